"""The supervisor: binds the sockets, keeps the workers running, passes on the signals.

The sockets are bound once and inherited, so no connection is refused while a worker is restarted or the configuration
is reloaded: what arrives meanwhile waits in the kernel's queue. A reload is a change of guard: new workers start with
the new configuration, and once they serve the old ones finish what they have in hand. A configuration that cannot be
read, or with which no worker comes up, changes nothing.

The supervisor does nothing else. It holds no message, runs no event loop and no threads, so that it can fork.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import logging
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from contentfilter import history, maillog
from contentfilter.config import Config
from contentfilter.endpoint import Endpoint
from contentfilter.errors import ConfigError

_log = logging.getLogger("contentfilter.daemon")

BACKLOG = 512
READY_SECONDS = 60.0
"""How long workers may take until they serve."""
CUT_SECONDS = 10.0
"""How long a worker has beyond its drain timeout to cut off what is left, before it is killed."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds before a worker that died is started again; doubled each time it dies young."""
YOUNG = 60.0
EXPIRY_SECONDS = 3600.0
"""How often the history is looked through for what is too old."""

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}

Work = Callable[[Config, tuple[socket.socket, ...], int], None]
"""What a worker process does until SIGTERM: serve the sockets, and write one byte to the descriptor when ready."""


class StartError(Exception):
    """We cannot serve, for a reason that may go away. status: of sysexits.h, never that of a wrong configuration."""

    def __init__(self, message: str, status: int = os.EX_OSERR) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class _Slot:
    """A worker's place: the process in it, and when the next may start if it died.

    ready: the descriptor that tells whether the process serves, -1 once it is known.
    """

    pid: int = 0
    ready: int = -1
    started: float = 0.0
    pause: float = FIRST_PAUSE
    due: float = 0.0

    def serves(self) -> bool:
        """Whether the worker said that it serves. Raises StartError if it died before, or could not be made."""
        if not self.pid:
            raise StartError("a worker could not be started; the log above says why")
        if self.ready >= 0:
            try:
                said = os.read(self.ready, 1)
            except BlockingIOError:
                return False
            self.forget()
            if not said:
                raise StartError(f"worker {self.pid} died before it served; the log above says why", os.EX_SOFTWARE)
        return True

    def put_off(self, now: float) -> None:
        """The worker died, or none could be made: empty, and due after a pause, a longer one if that was soon."""
        self.pause = min(self.pause * 2, LONGEST_PAUSE) if now - self.started < YOUNG else FIRST_PAUSE
        self.pid, self.due = 0, now + self.pause
        self.forget()

    def forget(self) -> None:
        """Close the descriptor."""
        if self.ready >= 0:
            os.close(self.ready)
            self.ready = -1


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
    _expiry_due: float = 0.0

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT. Returns the exit status.

        Raises StartError if a socket cannot be bound, or if a worker dies before all of them served.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._sockets = self._opened(self.config)
        gc.collect()
        gc.freeze()
        self._fill()
        try:
            serving = self._await_ready()
        except StartError:
            self._stop()
            raise
        if serving:
            notify_systemd("READY=1")
            _log.info("ready: %d workers on %s", self.config.workers, ", ".join(self.config.listen.addresses))
        self._reap()
        self._expire_history()
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
        self._expire_history()
        return True

    def _expire_history(self) -> None:
        """Now and then, whether mail comes or not."""
        if time.monotonic() >= self._expiry_due:
            self._expiry_due = time.monotonic() + EXPIRY_SECONDS
            directory = self.config.state_directory / history.DIRECTORY
            try:
                history.expire(directory, self.config.history.keep_days, time.time())
            except OSError as error:
                _log.error("old files in %s cannot be deleted: %s", directory, error)

    def _next_deadline(self) -> float:
        now = time.monotonic()
        moments = [slot.due for slot in self._slots if not slot.pid] + list(self._leaving.values())
        return max(0.05, min(moments, default=now + 60.0) - now)

    def _opened(self, config: Config) -> dict[str, socket.socket]:
        """A socket for each address: the one that is open already, or a new one. Raises StartError."""
        sockets = {one: self._sockets[one] for one in config.listen.addresses if one in self._sockets}
        for address in config.listen.addresses:
            if address not in sockets:
                try:
                    sockets[address] = bind(address, int(config.listen.unix_mode, 8))
                except OSError as error:
                    self._close({one: sock for one, sock in sockets.items() if one not in self._sockets})
                    problem = f"cannot listen on {address}: {error.strerror or error}"
                    raise StartError(f"[listen] addresses: {problem}") from error
        return sockets

    @staticmethod
    def _close(sockets: Mapping[str, socket.socket]) -> None:
        """Close sockets, and remove the files of those that had one."""
        for address, sock in sockets.items():
            sock.close()
            if path := Endpoint.parse(address).path:
                Path(path).unlink(missing_ok=True)

    def _fill(self) -> None:
        """Start a worker in each empty slot whose time has come."""
        while len(self._slots) < self.config.workers:
            self._slots.append(_Slot())
        now = time.monotonic()
        for slot in self._slots:
            if not slot.pid and slot.due <= now:
                slot.started = now
                try:
                    slot.pid, slot.ready = self._fork()
                except OSError as error:
                    # No process or memory to be had now: that of a worker that died young, and the others serve on.
                    slot.put_off(now)
                    _log.error("no worker can be started: %s; tried again in %.1f s", error, slot.pause)

    def _fork(self) -> tuple[int, int]:
        """A new worker, and the descriptor from which comes one byte when it serves, or the end if it died.

        Raises OSError if there can be none.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        supervisor = os.getpid()
        ready, tell = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            os.close(ready)
            os.close(tell)
            raise
        if pid:
            os.close(tell)
            os.set_blocking(ready, False)
            return pid, ready
        status = 70
        try:
            # The worker keeps its copy of the reading end, so that it can say "ready" when nobody listens any more.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            _leave_with(supervisor)
            self.work(self.config, tuple(self._sockets.values()), tell)
            status = 0
        except BaseException:
            _log.critical("worker died", exc_info=True)
        finally:
            logging.shutdown()
            os._exit(status)  # never return into the supervisor's frames

    def _await_ready(self) -> bool:
        """Wait until every worker serves; false as soon as we are told to stop. Raises StartError if one dies before.

        The signal to stop stays pending, and so does SIGHUP.
        """
        deadline = time.monotonic() + READY_SECONDS
        waiting = list(self._slots)
        while waiting := [slot for slot in waiting if not slot.serves()]:
            if signal.sigpending() & _STOP_SIGNALS:
                return False
            if time.monotonic() > deadline:
                raise StartError(f"a worker did not serve within {READY_SECONDS:g} s", os.EX_SOFTWARE)
            signal.sigtimedwait({signal.SIGCHLD}, 0.02)
        return True

    def _reload(self) -> None:
        notify_systemd(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            config = self.load()
            self._change_guard(config)
        except (ConfigError, StartError) as error:
            _log.error("reload refused, the old configuration stays: %s", error)
        else:
            _log.info("reloaded")
        notify_systemd("READY=1")

    def _change_guard(self, config: Config) -> None:
        """Put new workers in the place of the old ones, who go once the new ones serve.

        Raises StartError if they cannot; then everything is as before.
        """
        before = (self.config, self._sockets, self._slots)
        old_config, old_sockets, old_slots = before
        sockets = self._opened(config)
        self.config, self._sockets, self._slots = config, sockets, []
        _set_up_log(config)
        self._fill()
        try:
            self._await_ready()
        except StartError:
            self._dismiss(self._slots)
            self.config, self._sockets, self._slots = before
            self._close({one: sock for one, sock in sockets.items() if one not in old_sockets})
            _set_up_log(old_config)
            raise
        self._dismiss(old_slots, old_config.drain_timeout)
        self._close({one: sock for one, sock in old_sockets.items() if one not in sockets})
        self._expiry_due = 0.0  # it may be kept for fewer days from now on
        if config.listen.unix_mode != old_config.listen.unix_mode:
            _change_modes(sockets, int(config.listen.unix_mode, 8))

    def _dismiss(self, slots: Iterable[_Slot], drain_timeout: float | None = None) -> None:
        """Tell workers to finish; after drain_timeout seconds (None: as configured) and some more they are killed."""
        patience = (self.config.drain_timeout if drain_timeout is None else drain_timeout) + CUT_SECONDS
        for slot in slots:
            slot.forget()
            if slot.pid:
                with suppress(ProcessLookupError):
                    os.kill(slot.pid, signal.SIGTERM)
                self._leaving[slot.pid] = time.monotonic() + patience

    def _cut_the_late(self) -> None:
        now = time.monotonic()
        for pid in [pid for pid, deadline in self._leaving.items() if deadline <= now]:
            _log.warning("worker %d did not finish in time", pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self._leaving[pid] = now + CUT_SECONDS

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
                slot.put_off(now)
                _log.error(
                    "worker %d ended unasked (%s); a new one starts in %.1f s",
                    pid, _how_it_ended(status), slot.pause,
                )  # fmt: skip

    def _stop(self) -> int:
        notify_systemd("STOPPING=1")
        for sock in self._sockets.values():
            sock.close()
        self._dismiss(self._slots)
        self._reap()
        while self._leaving:
            signal.sigtimedwait(_SIGNALS, self._next_deadline())
            self._reap()
            self._cut_the_late()
        self._close(self._sockets)
        _log.info("stopped")
        return 0


def _leave_with(supervisor: int) -> None:
    """Have this worker told to finish when the supervisor, whose process id this is, is gone, however that came.

    Otherwise it would keep the sockets, and no other supervisor could bind them.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != supervisor:
        os._exit(os.EX_TEMPFAIL)  # it was gone before the kernel knew


def _set_up_log(config: Config) -> None:
    maillog.set_up(config.log.to.value, config.log.level.value, config.log.syslog_address)


def _change_modes(addresses: Iterable[str], mode: int) -> None:
    for address in addresses:
        if path := Endpoint.parse(address).path:
            with suppress(FileNotFoundError):  # somebody removed it, and the socket is unreachable whatever its mode
                Path(path).chmod(mode)


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
