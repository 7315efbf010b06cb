"""The supervisor: binds the sockets, keeps the workers running, passes on the signals.

The sockets are bound once and inherited, so no connection is refused while a worker is restarted or the configuration
is reloaded: what arrives meanwhile waits in the kernel's queue. A reload is a change of guard: new workers start with
the new configuration, and once they serve the old ones finish what they have in hand. A configuration that cannot be
read, or with which no worker comes up, changes nothing. A worker that dies, or whose heart stands still, is replaced,
and the messages that it had in work are reported, for one of them may be what did it.

The supervisor does nothing else. It holds no message, runs no event loop and no threads, so that it can fork.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import logging
import os
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

from contentfilter import history, maillog, sockets, systemd
from contentfilter.account import Account, AccountError
from contentfilter.board import Board, Place
from contentfilter.config import Config
from contentfilter.errors import ConfigError
from contentfilter.slot import ABORT_SECONDS, READY_SECONDS, RETIRE, Leaving, Slot, StartError, how_it_ended
from contentfilter.sockets import Sockets

__all__ = ["CUT_SECONDS", "PLACES", "Blame", "StartError", "Supervisor", "Work"]

_log = logging.getLogger("contentfilter.daemon")

CUT_SECONDS = 10.0
"""How long a worker has beyond its drain timeout to cut off what is left, before it is killed."""
EXPIRY_SECONDS = 3600.0
"""How often the history is looked through for what is too old."""
PLACES = 1024
"""Workers at once, those included that finish after a reload: four generations of as many as can be configured."""
_LOOK_SECONDS = 5.0
"""How often hearts are looked at, at least."""
_STDERR = 2

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}

Work = Callable[[Config, tuple[socket.socket, ...], int, Board, Place], None]
"""What a worker process does until SIGTERM: serve the sockets, and write one byte to the descriptor when ready.

It beats the heart of its place about once a second, and writes down there what it has in work.
"""

Blame = Callable[[Sequence[bytes], str], None]
"""Told, after a worker ended unasked, which messages it had in work, and how it ended.

It must be quick: meanwhile no worker is replaced.
"""


def _nobody(_identities: Sequence[bytes], _how: str) -> None:
    """Blame for no message."""


@dataclass(slots=True)
class Supervisor:
    """Runs workers until it is told to stop.

    load: reads the configuration anew, raises ConfigError; work: the body of a worker process; blame: told of messages
    that a worker died over; account: whom to become once the sockets are bound, None to stay who we are.
    """

    config: Config
    load: Callable[[], Config]
    work: Work
    blame: Blame = _nobody
    account: Account | None = None
    board: Board = field(default_factory=lambda: Board(PLACES))
    _sockets: Sockets = field(default_factory=dict)
    _slots: list[Slot] = field(default_factory=list)
    _leaving: dict[int, Leaving] = field(default_factory=dict)
    """Workers told to finish, by process id."""
    _taken: set[int] = field(default_factory=set)
    """Places that workers have."""
    _watchdog: systemd.Watchdog = field(default_factory=systemd.Watchdog)
    _looked: float = 0.0
    _awake_since: float = 0.0
    """Since when we look at hearts without a gap."""
    _expiry_due: float = 0.0

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT. Returns the exit status.

        Raises StartError if a socket cannot be bound, or if a worker dies before all of them served.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        faulthandler.enable(_STDERR)  # SIGABRT, of systemd to us and of us to a worker, shows which line hangs
        self._watchdog = systemd.Watchdog.wanted(os.environ, os.getpid())
        self._sockets = self._opened(self.config)
        if self.account is not None:
            self._become(self.account)
        gc.collect()
        gc.freeze()
        self._fill()
        try:
            serving = self._await_ready()
        except StartError:
            self._stop()
            raise
        if serving:
            self._tell_ready()
            _log.info("ready: %d workers on %s", self.config.workers, ", ".join(self.config.listen.addresses))
        self._reap()
        self._expire_history()
        while self._turn(signal.sigtimedwait(_SIGNALS, self._next_deadline())):
            pass
        return self._stop()

    def _become(self, account: Account) -> None:
        """Be this user, who must be able to read the configuration, as a reload does. Raises StartError."""
        try:
            account.become()
            self.config = self.load()
        except (AccountError, ConfigError) as error:
            sockets.close(self._sockets)
            raise StartError(f'user: as "{account.name}": {error}', os.EX_CONFIG) from error
        directory = self.config.state_directory
        if not os.access(directory, os.W_OK | os.X_OK):
            sockets.close(self._sockets)
            advice = f"if it is not read-only: chown -R {account.name} {directory}"
            raise StartError(f'state_directory: "{account.name}" cannot write to {directory}; {advice}')
        self.account = None
        _log.info("started as root, runs as %s from here on", account.name)

    def _tell_ready(self) -> None:
        status = f"{self.config.workers} workers on {', '.join(self.config.listen.addresses)}"
        systemd.notify("READY=1", f"STATUS={status}")

    def _turn(self, received: signal.struct_siginfo | None) -> bool:
        """React to one signal, or to none. False: stop."""
        number = received.si_signo if received else 0
        if number in (signal.SIGTERM, signal.SIGINT):
            return False
        if number == signal.SIGHUP:
            self._reload()
        self._reap()
        self._look_at_hearts()
        self._cut_the_late()
        self._fill()
        self._show_life()
        self._expire_history()
        return True

    def _show_life(self) -> None:
        """To systemd, which restarts us where nobody serves and nobody is about to."""
        if any(slot.lives for slot in self._slots):
            self._watchdog.keep_alive()

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
        """Seconds until something is due."""
        now = time.monotonic()
        moments = [now + self._look_seconds(), now + (self._watchdog.interval or _LOOK_SECONDS)]
        moments += [slot.due for slot in self._slots if not slot.pid]
        moments += [slot.kill_due for slot in self._slots if slot.kill_due]
        moments += [each.deadline for each in self._leaving.values()]
        return max(0.05, min(moments) - now)

    def _look_seconds(self) -> float:
        return min(_LOOK_SECONDS, self.config.worker_timeout / 4)

    def _opened(self, config: Config) -> Sockets:
        """A socket for each address: the one that is open already, or a new one. Raises StartError."""
        opened = {one: self._sockets[one] for one in config.listen.addresses if one in self._sockets}
        for address in config.listen.addresses:
            if address not in opened:
                try:
                    opened[address] = sockets.bind(address, int(config.listen.unix_mode, 8), self.account)
                except OSError as error:
                    sockets.close({one: sock for one, sock in opened.items() if one not in self._sockets})
                    raise StartError(f"[listen] addresses: {sockets.why_not(address, error)}") from error
        return opened

    def _fill(self) -> None:
        """Start a worker in each empty slot whose time has come."""
        while len(self._slots) < self.config.workers:
            self._slots.append(Slot())
        now = time.monotonic()
        for slot in self._slots:
            if not slot.pid and slot.due <= now:
                slot.started = now
                try:
                    self._fork(slot)
                except OSError as error:
                    # No process or memory to be had now: that of a worker that died young, and the others serve on.
                    slot.put_off(now)
                    _log.error("no worker can be started: %s; tried again in %.1f s", error, slot.pause)

    def _fork(self, slot: Slot) -> None:
        """Put a new worker into the slot, which gets one byte from it when it serves, or the end if it died.

        Raises OSError if there can be none.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        supervisor = os.getpid()
        place = self._free_place()
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
            slot.pid, slot.ready, slot.place = pid, ready, place
            self._taken.add(place.index)
            return
        status = 70
        try:
            # The worker keeps its copy of the reading end, so that it can say "ready" when nobody listens any more.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            _leave_with(supervisor)
            _leave_no_core()
            self.work(self.config, tuple(self._sockets.values()), tell, self.board, place)
            status = 0
        except BaseException:
            _log.critical("worker died:\n%s", traceback.format_exc())
        finally:
            logging.shutdown()
            os._exit(status)  # never return into the supervisor's frames

    def _free_place(self) -> Place:
        """A place that nobody has, with a heart that beats from now on. Raises OSError if there is none."""
        index = next((one for one in range(self.board.places) if one not in self._taken), None)
        if index is None:
            raise OSError(f"{self.board.places} workers, all that there can be, run or finish after reloads")
        place = self.board.place(index)
        place.clear()
        place.beat()
        return place

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
            self._show_life()
            signal.sigtimedwait({signal.SIGCHLD}, 0.02)
        return True

    def _reload(self) -> None:
        systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            config = self.load()
            self._change_guard(config)
        except (ConfigError, StartError) as error:
            _log.error("reload refused, the old configuration stays: %s", error)
        else:
            _log.info("reloaded")
        self._tell_ready()

    def _change_guard(self, config: Config) -> None:
        """Put new workers in the place of the old ones, who go once the new ones serve.

        Raises StartError if they cannot; then everything is as before.
        """
        before = (self.config, self._sockets, self._slots)
        old_config, old_sockets, old_slots = before
        opened = self._opened(config)
        self.config, self._sockets, self._slots = config, opened, []
        _set_up_log(config)
        self._fill()
        try:
            self._await_ready()
        except StartError:
            self._dismiss(self._slots)
            self.config, self._sockets, self._slots = before
            sockets.close({one: sock for one, sock in opened.items() if one not in old_sockets})
            _set_up_log(old_config)
            raise
        self._dismiss(old_slots, old_config.drain_timeout, RETIRE)
        sockets.close({one: sock for one, sock in old_sockets.items() if one not in opened})
        self._expiry_due = 0.0  # it may be kept for fewer days from now on
        if config.listen.unix_mode != old_config.listen.unix_mode:
            sockets.change_modes(opened, int(config.listen.unix_mode, 8))
        if config.user != old_config.user:
            _log.warning('user: "%s" counts from the next start on, not for a reload', config.user)

    def _dismiss(
        self, slots: Iterable[Slot], drain_timeout: float | None = None, number: signal.Signals = signal.SIGTERM
    ) -> None:
        """Tell workers to finish; after drain_timeout seconds (None: as configured) and some more they are killed."""
        patience = (self.config.drain_timeout if drain_timeout is None else drain_timeout) + CUT_SECONDS
        for slot in slots:
            slot.forget()
            if slot.pid:
                slot.signal(number)
                self._leaving[slot.pid] = Leaving(slot, time.monotonic() + patience)

    def _cut_the_late(self) -> None:
        now = time.monotonic()
        for pid, leaving in self._leaving.items():
            if leaving.deadline <= now:
                _log.warning("worker %d did not finish in time", pid)
                leaving.slot.signal(signal.SIGKILL)
                leaving.deadline, leaving.cut = now + CUT_SECONDS, True

    def _look_at_hearts(self) -> None:
        """End workers whose event loop has stood still for too long. Whoever dies is replaced like one that crashed."""
        now = time.monotonic()
        if now - self._looked > 2 * self._look_seconds() + 1:
            # We did not run ourselves, in a reload or because all of the machine was paused: nobody can have beaten.
            self._awake_since = now
        self._looked = now
        for slot in chain(self._slots, (each.slot for each in self._leaving.values())):
            if not slot.pid:
                continue
            if slot.kill_due:
                if slot.kill_due <= now:
                    slot.signal(signal.SIGKILL)
                    slot.kill_due = now + ABORT_SECONDS
                continue
            silent = slot.silent_for(self._awake_since)
            if silent > max(self.config.worker_timeout, READY_SECONDS if self._starts(slot) else 0.0):
                _log.error("worker %d has given no sign of life for %.0f s and is ended", slot.pid, silent)
                slot.signal(signal.SIGABRT)
                slot.kill_due = now + ABORT_SECONDS

    @staticmethod
    def _starts(slot: Slot) -> bool:
        """Whether it has yet to say that it serves."""
        try:
            return not slot.serves()
        except StartError:
            return True  # it died, which is somebody else's to notice

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            leaving = self._leaving.pop(pid, None)
            if leaving is None:
                self._mourn(pid, status)
            elif leaving.ended_as_told(status):
                self._vacate(leaving.slot)
            else:
                _log.error("worker %d ended while it finished (%s)", pid, how_it_ended(status))
                self._inquire(leaving.slot, status)

    def _mourn(self, pid: int, status: int) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.pid == pid:
                self._inquire(slot, status)
                slot.put_off(now)
                _log.error(
                    "worker %d ended unasked (%s); a new one starts in %.1f s",
                    pid, how_it_ended(status), slot.pause,
                )  # fmt: skip

    def _inquire(self, slot: Slot, status: int) -> None:
        """Report what a worker that ended unasked had in work. Whatever comes of that, we go on."""
        how = f"no sign of life, {how_it_ended(status)}" if slot.kill_due else how_it_ended(status)
        identities = self._vacate(slot)
        if not identities:
            return
        _log.error("worker %d had %d messages in work", slot.pid, len(identities))
        try:
            self.blame(identities, how)
        except Exception:
            _log.exception("what worker %d had in work could not be noted", slot.pid)

    def _vacate(self, slot: Slot) -> list[bytes]:
        """Free the place of a worker that is gone. Returns what was in work there."""
        place, slot.place = slot.place, None
        if place is None:
            return []
        identities = place.in_work()
        place.clear()
        self._taken.discard(place.index)
        return identities

    def _stop(self) -> int:
        systemd.notify("STOPPING=1")
        for sock in self._sockets.values():
            sock.close()
        self._dismiss(self._slots)
        self._slots = []
        self._reap()
        while self._leaving:
            self._watchdog.keep_alive()
            signal.sigtimedwait(_SIGNALS, self._next_deadline())
            self._reap()
            self._cut_the_late()
        sockets.close(self._sockets)
        _log.info("stopped")
        return 0


def _leave_with(supervisor: int) -> None:
    """Have this worker told to finish when the supervisor, whose process id this is, is gone, however that came.

    Otherwise it would keep the sockets, and no other supervisor could bind them.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != supervisor:
        os._exit(os.EX_TEMPFAIL)  # it was gone before the kernel knew


def _leave_no_core() -> None:
    """A core dump would have mail in it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _set_up_log(config: Config) -> None:
    maillog.set_up(config.log.to.value, config.log.level.value, config.log.syslog_address)
