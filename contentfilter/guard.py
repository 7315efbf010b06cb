"""All worker processes: those that serve, in their slots, and those that were told to finish.

They are forked here, their hearts watched, their ends noticed. What a worker that ended unasked had in work is
reported, for one of those messages may be what did it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from contentfilter.board import Board, Place
from contentfilter.config import Config
from contentfilter.printable import told
from contentfilter.slot import ABORT_SECONDS, READY_SECONDS, Leaving, Slot, StartError, how_it_ended
from contentfilter.sockets import Sockets

_log = logging.getLogger("contentfilter.daemon")

CUT_SECONDS = 10.0
"""How long a worker has beyond its drain timeout to cut off what is left, before it is killed."""
PLACES = 1024
"""Workers at once, those included that finish after a reload: four generations of as many as can be configured."""
LOOK_SECONDS = 5.0
"""How often hearts are looked at, at least."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
"""Those that the supervisor blocks, to wait for them."""

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1

Work = Callable[[Config, tuple[socket.socket, ...], int, Board, Place], None]
"""What a worker process does until SIGTERM: serve the sockets, and write one byte to the descriptor when ready.

It beats the heart of its place about once a second, and writes down there what it has in work.
"""

Blame = Callable[[Sequence[bytes], str], None]
"""Told, after a worker ended unasked, which messages it had in work, and how it ended.

It must be quick: meanwhile no worker is replaced.
"""


def nobody(_identities: Sequence[bytes], _how: str) -> None:
    """Blame for no message."""


@dataclass(slots=True)
class Guard:
    """The workers. slots: those that serve or are to; leaving: those that were told to finish, by process id.

    board: where each has a place.
    """

    work: Work
    blame: Blame = nobody
    board: Board = field(default_factory=lambda: Board(PLACES))
    slots: list[Slot] = field(default_factory=list)
    leaving: dict[int, Leaving] = field(default_factory=dict)
    _taken: set[int] = field(default_factory=set)
    """Places that workers have."""
    _looked: float = 0.0
    _awake_since: float = 0.0
    """Since when we look at hearts without a gap."""

    @property
    def lives(self) -> bool:
        """Whether a worker serves, or may soon."""
        return any(slot.lives for slot in self.slots)

    def deadlines(self) -> Iterator[float]:
        """Moments of the monotonic clock at which there is something to do here."""
        for slot in self.slots:
            if not slot.pid:
                yield slot.due
            elif slot.kill_due:
                yield slot.kill_due
        for each in self.leaving.values():
            yield min(each.deadline, each.slot.kill_due or each.deadline)

    def fill(self, config: Config, sockets: Sockets) -> None:
        """Start a worker in each empty slot whose time has come, of as many as the configuration has."""
        while len(self.slots) < config.workers:
            self.slots.append(Slot())
        now = time.monotonic()
        for slot in self.slots:
            if not slot.pid and slot.due <= now:
                slot.started = now
                try:
                    self._fork(slot, config, sockets)
                except OSError as error:
                    # No process or memory to be had now: that of a worker that died young, and the others serve on.
                    slot.put_off(now)
                    _log.error("no worker can be started: %s; tried again in %.1f s", error, slot.pause)

    def _fork(self, slot: Slot, config: Config, sockets: Sockets) -> None:
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
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            _leave_with(supervisor)
            _leave_no_core()
            self.work(config, tuple(sockets.values()), tell, self.board, place)
            status = 0
        except BaseException as error:
            _log.critical("worker died: %s", told(error))
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

    def dismiss(self, slots: Iterable[Slot], drain_timeout: float, number: signal.Signals = signal.SIGTERM) -> None:
        """Tell workers to finish, by this signal; after drain_timeout seconds and some more they are killed."""
        for slot in slots:
            slot.forget()
            if slot.pid:
                slot.signal(number)
                self.leaving[slot.pid] = Leaving(slot, time.monotonic() + drain_timeout + CUT_SECONDS)

    def cut_the_late(self) -> None:
        """Kill those that should have finished."""
        now = time.monotonic()
        for pid, leaving in self.leaving.items():
            if leaving.deadline <= now:
                _log.warning("worker %d did not finish in time", pid)
                leaving.slot.signal(signal.SIGKILL)
                leaving.deadline, leaving.cut = now + CUT_SECONDS, True

    def look_at_hearts(self, worker_timeout: float) -> None:
        """End workers whose event loop has stood still for too long. Whoever dies is replaced like one that crashed.

        To be called every LOOK_SECONDS, or every quarter of a shorter worker_timeout.
        """
        now = time.monotonic()
        if now - self._looked > min(2 * LOOK_SECONDS + 1, worker_timeout / 2):
            # We did not run ourselves, in a reload or because all of the machine was paused: nobody can have beaten.
            self._awake_since = now
        self._looked = now
        for slot in chain(self.slots, (each.slot for each in self.leaving.values())):
            if not slot.pid:
                continue
            if slot.kill_due:
                if slot.kill_due <= now:
                    slot.signal(signal.SIGKILL)
                    slot.kill_due = now + ABORT_SECONDS
                continue
            silent = slot.silent_for(self._awake_since)
            if silent > max(worker_timeout, READY_SECONDS if self._starts(slot) else 0.0):
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

    def reap(self) -> None:
        """Notice who has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            leaving = self.leaving.pop(pid, None)
            if leaving is None:
                self._mourn(pid, status)
            elif leaving.ended_as_told(status):
                self._vacate(leaving.slot)
            else:
                _log.error("worker %d ended while it finished (%s)", pid, how_it_ended(status))
                self._inquire(leaving.slot, status)

    def _mourn(self, pid: int, status: int) -> None:
        now = time.monotonic()
        for slot in self.slots:
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
