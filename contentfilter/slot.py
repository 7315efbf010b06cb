"""One worker as the supervisor has it: the process, its place on the board, and when the next may start if it died."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from contentfilter.board import Place

READY_SECONDS: Final = 60.0
"""How long workers may take until they serve."""
ABORT_SECONDS: Final = 5.0
"""How long a worker whose heart stands still has to show where it hangs, before it is killed."""
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
"""Seconds before a worker that died is started again; doubled each time it dies young."""
YOUNG: Final = 60.0

RETIRE: Final = signal.SIGUSR1
"""What tells a worker that others serve in its place: it finishes what it has, also what has just come in."""

_AS_TOLD = {0, -signal.SIGTERM, -RETIRE}
"""How a worker ends that was told to: it finished, or had not begun to listen for the signal."""


class StartError(Exception):
    """We cannot serve, for a reason that may go away. status: of sysexits.h, 78 for what does not go away by itself."""

    def __init__(self, message: str, status: int = os.EX_OSERR) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Slot:
    """A worker's slot. ready: the descriptor that tells whether the process serves, -1 once it is known.

    kill_due: when a worker whose heart stood still and that was told to abort is killed; 0: it was not.
    """

    pid: int = 0
    ready: int = -1
    place: Place | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE
    due: float = 0.0
    kill_due: float = 0.0

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

    @property
    def lives(self) -> bool:
        """Whether there is a process that serves or may yet."""
        return self.pid > 0 and not self.kill_due

    def silent_for(self, since: float) -> float:
        """Seconds since the heart last beat, those before since not counted."""
        beaten = 0.0 if self.place is None else self.place.beaten / 1e9
        return time.monotonic() - max(beaten, since)

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def put_off(self, now: float) -> None:
        """The worker died, or none could be made: empty, and due after a pause, a longer one if that was soon."""
        self.pause = min(self.pause * 2, LONGEST_PAUSE) if now - self.started < YOUNG else FIRST_PAUSE
        self.pid, self.due, self.kill_due = 0, now + self.pause, 0.0
        self.forget()

    def forget(self) -> None:
        """Close the descriptor."""
        if self.ready >= 0:
            os.close(self.ready)
            self.ready = -1


@dataclass(slots=True)
class Leaving:
    """A worker that was told to finish. deadline: when patience ends; cut: it has ended, and the worker was killed."""

    slot: Slot
    deadline: float
    cut: bool = False

    def ended_as_told(self, status: int) -> bool:
        """Whether a process that ended with this status of waitpid did so because we wanted it."""
        return self.cut or os.waitstatus_to_exitcode(status) in _AS_TOLD


def how_it_ended(status: int) -> str:
    """In words, from the status of waitpid."""
    code = os.waitstatus_to_exitcode(status)
    return f"exit {code}" if code >= 0 else signal.Signals(-code).name
