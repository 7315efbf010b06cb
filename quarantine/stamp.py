"""When something was last expired, so that a clock that is wrong deletes nothing.

A machine that starts with a dead battery may be years ahead until it has asked for the time. Everything is too old
then. So each deletion by age leaves a stamp beside what it looked at, and the next one is refused where the clock has
leapt far ahead since, or lies before the stamp.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from quarantine.durable import open_directory, write_file

NAME = ".expire.stamp"
"""Its name in the directory that is looked at."""
MOST_AHEAD = 90 * 86_400.0
"""Seconds between two runs from which on a clock that is wrong is likelier than a machine that was away."""
_BEHIND = 3600.0
"""Seconds by which a clock may be put back."""
_SETTLED = 3000.0
"""Seconds for which a clock has to have gone evenly before it is believed against the stamp: :class:`Patience`."""
_UNEVEN = 120.0
"""Seconds by which a clock that goes evenly may be put right in that time."""
_LONGEST = 64


@dataclass(frozen=True, slots=True)
class Leap:
    """Why the clock is not believed. last: the time of the last run, None if its stamp cannot be read; now: ours."""

    last: float | None
    now: float

    def __str__(self) -> str:
        if self.last is None:
            return f"{NAME} tells no time of a last run, and the clock says {_text(self.now)}"
        days = abs(self.now - self.last) / 86_400
        way = "ahead of" if self.now > self.last else "before"
        return f"the clock says {_text(self.now)}, {days:.1f} days {way} the last run at {_text(self.last)}"


def leap(directory: Path, now: float) -> Leap | None:
    """Why the clock is not to be believed, None if it is. now: seconds since the epoch. Raises OSError."""
    try:
        descriptor = open_directory(directory)
    except FileNotFoundError:
        return None
    try:
        last = _read(descriptor)
    except FileNotFoundError:
        return None
    except ValueError:
        return Leap(None, now)
    finally:
        os.close(descriptor)
    return None if last - _BEHIND <= now <= last + MOST_AHEAD else Leap(last, now)


def leave(directory: Path, now: float) -> None:
    """Leave the stamp of a run, durably; in a directory that is not there none is needed. Raises OSError."""
    try:
        descriptor = open_directory(directory)
    except FileNotFoundError:
        return
    try:
        new = f"{NAME}.new"
        write_file(new, f"{_text(now)}\n".encode("ascii"), os.O_TRUNC, descriptor)
        os.rename(new, NAME, src_dir_fd=descriptor, dst_dir_fd=descriptor)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(directory: int) -> float:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(NAME, flags, dir_fd=directory)
    try:
        return datetime.fromisoformat(os.read(descriptor, _LONGEST).decode("ascii").strip()).timestamp()
    finally:
        os.close(descriptor)


def _text(moment: float) -> str:
    with contextlib.suppress(OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
    return f"{moment:.0f} s"


class Patience:
    """For who looks every hour and has nobody to ask: a clock that leapt is believed once it went evenly for an hour.

    monotonic: seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._refused: tuple[Path, float, float] | None = None
        """The directory, and what both clocks said."""

    def refused(self, directory: Path, now: float) -> tuple[Leap | None, bool]:
        """Why not to delete by age now, None if there is nothing against it; and whether that is news.

        now: seconds since the epoch. Raises OSError.
        """
        found = leap(directory, now)
        if found is None:
            self._refused = None
            return None, False
        at = self._monotonic()
        if self._refused is not None and self._refused[0] == directory:
            passed = at - self._refused[2]
            if abs(now - self._refused[1] - passed) <= _UNEVEN:
                return (None if passed >= _SETTLED else found), False
        self._refused = (directory, now, at)
        return found, True
