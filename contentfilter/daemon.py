"""The supervisor: binds the sockets, keeps the workers running, passes on the signals.

The sockets are bound once and inherited, so no connection is refused while a worker is restarted or the configuration
is reloaded: what arrives meanwhile waits in the kernel's queue. A reload is a change of guard: new workers start with
the new configuration, the old ones finish what they have in hand. A configuration that cannot be read changes nothing.

The supervisor does nothing else. It holds no message, runs no event loop and no threads, so that it can fork.
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
import socket
import stat
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from contentfilter import maillog
from contentfilter.config import Config
from contentfilter.endpoint import Endpoint
from contentfilter.errors import ConfigError

_log = logging.getLogger("contentfilter.daemon")

BACKLOG = 512
DRAIN_SECONDS = 60.0
"""How long a worker may take to finish what it has in hand."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds before a worker that died is started again; doubled each time it dies young."""
YOUNG = 60.0

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

Work = Callable[[Config, tuple[socket.socket, ...], int], None]
"""What a worker process does until SIGTERM: serve the sockets, and write one byte to the descriptor when ready."""


@dataclass(slots=True)
class _Slot:
    """A worker's place: the process in it, and when the next may start if it died."""

    pid: int = 0
    started: float = 0.0
    pause: float = FIRST_PAUSE
    due: float = 0.0


@dataclass(slots=True)
class Supervisor:
    """Runs workers until it is told to stop.

    load: reads the configuration anew, raises ConfigError; work: the body of a worker process.
    """

    config: Config
    load: Callable[[], Config]
    work: Work
    _sockets: dict[str, socket.socket] = field(default_factory=dict)
    _slots: list[_Slot] = field(default_factory=list)
    _leaving: dict[int, float] = field(default_factory=dict)
    """Workers told to finish, with the time at which patience ends."""
    _ready: tuple[int, int] = (-1, -1)

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT. Returns the exit status. Raises ConfigError if a socket cannot be bound."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._ready = os.pipe()
        self._bind(self.config)
        gc.collect()
        gc.freeze()
        self._fill()
        self._await_ready()
        notify_systemd("READY=1")
        _log.info("ready: %d workers on %s", self.config.workers, ", ".join(self.config.listen.addresses))
        while self._turn(signal.sigtimedwait(_SIGNALS, self._next_deadline())):
            pass
        return self._stop()

    def _turn(self, received: signal.struct_siginfo | None) -> bool:
        """React to one signal, or to none. False: stop."""
        number = received.si_signo if received else 0
        if number in (signal.SIGTERM, signal.SIGINT):
            return False
        if number == signal.SIGHUP:
            self._reload()
        self._reap()
        self._cut_the_late()
        self._fill()
        return True

    def _next_deadline(self) -> float:
        now = time.monotonic()
        moments = [slot.due for slot in self._slots if not slot.pid] + list(self._leaving.values())
        return max(0.05, min(moments, default=now + 60.0) - now)

    def _bind(self, config: Config) -> None:
        wanted = config.listen.addresses
        fresh: dict[str, socket.socket] = {}
        try:
            for address in wanted:
                if address not in self._sockets:
                    fresh[address] = bind(address, int(config.listen.unix_mode, 8))
        except OSError as error:
            for sock in fresh.values():
                sock.close()
            raise ConfigError(f"[listen] addresses: cannot listen on {address}: {error.strerror or error}") from error
        for address in [address for address in self._sockets if address not in wanted]:
            self._sockets.pop(address).close()
        self._sockets.update(fresh)

    def _fill(self) -> None:
        """Start a worker in each empty slot whose time has come."""
        while len(self._slots) < self.config.workers:
            self._slots.append(_Slot())
        now = time.monotonic()
        for slot in self._slots:
            if not slot.pid and slot.due <= now:
                slot.pid = self._fork()
                slot.started = now

    def _fork(self) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return pid
        status = 70
        try:
            os.close(self._ready[0])
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            self.work(self.config, tuple(self._sockets.values()), self._ready[1])
            status = 0
        except BaseException:
            _log.critical("worker died:\n%s", traceback.format_exc())
        finally:
            logging.shutdown()
            os._exit(status)  # never return into the supervisor's frames

    def _await_ready(self) -> None:
        """Wait until every worker said that it serves, or one of them died."""
        for _ in self._slots:
            os.set_blocking(self._ready[0], False)
            while not self._one_is_ready():
                received = signal.sigtimedwait(_SIGNALS, 0.02)
                if received and received.si_signo != signal.SIGCHLD:
                    signal.raise_signal(received.si_signo)
                    return
                if received:
                    return

    def _one_is_ready(self) -> bool:
        try:
            return bool(os.read(self._ready[0], 1))
        except BlockingIOError:
            return False

    def _reload(self) -> None:
        notify_systemd(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            config = self.load()
            self._bind(config)
        except ConfigError as error:
            _log.error("reload refused, the old configuration stays: %s", error)
        else:
            self.config = config
            maillog.set_up(config.log.to.value, config.log.level.value, config.log.syslog_address)
            old, self._slots = self._slots, []
            self._fill()
            self._dismiss(slot.pid for slot in old if slot.pid)
            _log.info("reloaded")
        notify_systemd("READY=1")

    def _dismiss(self, pids: Iterable[int]) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            self._leaving[pid] = time.monotonic() + DRAIN_SECONDS + 5.0

    def _cut_the_late(self) -> None:
        now = time.monotonic()
        for pid in [pid for pid, deadline in self._leaving.items() if deadline <= now]:
            _log.warning("worker %d did not finish in time", pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self._leaving[pid] = now + DRAIN_SECONDS

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if self._leaving.pop(pid, None) is None:
                self._mourn(pid, status)

    def _mourn(self, pid: int, status: int) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.pid == pid:
                slot.pause = min(slot.pause * 2, LONGEST_PAUSE) if now - slot.started < YOUNG else FIRST_PAUSE
                slot.pid, slot.due = 0, now + slot.pause
                _log.error(
                    "worker %d ended unasked (%s); a new one starts in %.1f s",
                    pid, _how_it_ended(status), slot.pause,
                )  # fmt: skip

    def _stop(self) -> int:
        notify_systemd("STOPPING=1")
        for sock in self._sockets.values():
            sock.close()
        self._dismiss(slot.pid for slot in self._slots if slot.pid)
        while self._leaving:
            signal.sigtimedwait(_SIGNALS, self._next_deadline())
            self._reap()
            self._cut_the_late()
        for address in self._sockets:
            if address.startswith("unix:"):
                Path(address.removeprefix("unix:")).unlink(missing_ok=True)
        _log.info("stopped")
        return 0


def bind(address: str, unix_mode: int) -> socket.socket:
    """A non-blocking listening socket on "host:port", "[address]:port" or "unix:/path". Raises OSError, ValueError.

    A Unix socket that a dead process left behind is replaced; one that somebody serves is not, nor any other file.
    """
    endpoint = Endpoint.parse(address)
    if endpoint.path:
        sock = _bind_unix(Path(endpoint.path), unix_mode)
    else:
        family, kind, protocol, _, target = socket.getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(target)
        except OSError:
            sock.close()
            raise
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def _bind_unix(path: Path, mode: int) -> socket.socket:
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise OSError(errno.EADDRINUSE, "somebody serves this socket already")
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        path.chmod(mode)
    except OSError:
        sock.close()
        raise
    return sock


def _how_it_ended(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit {code}" if code >= 0 else signal.Signals(-code).name


def notify_systemd(state: str) -> None:
    """Tell systemd (sd_notify(3)) if it asked to be told."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, suppress(OSError):
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.sendall(state.encode())
