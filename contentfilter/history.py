"""The history: a line of JSON for each message that was handled, so that it can be explained for some days.

STATE_DIRECTORY/history/2026-11-21.jsonl, by day in UTC. Each line is one write to a file opened for appending, which
the kernel does not interleave with those of other workers. Nothing is synced and no mail depends on it: a line that
cannot be written is lost, and the log says so once in a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from contentfilter.case import Case
from contentfilter.handled import LONGEST_LINE, Handled
from contentfilter.outcome import Outcome

DIRECTORY = "history"
"""Its name below the state directory."""

MANY = 20
"""Recipients from which a line is made in a thread: about a tenth of a millisecond, if they have little in common."""

MOST_PENDING = 100
"""Lines that may wait for a thread. Where the disk hangs, what comes after them is lost and the mail goes on."""

_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})\.jsonl")
_COMPLAINT_SECONDS = 600.0
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_log = logging.getLogger("contentfilter.history")


class History:
    """Where a worker writes. Nothing is opened before the first line. clock: seconds since the epoch."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._clock = clock
        self._guard = threading.Lock()
        self._day = -1
        self._descriptor = -1
        self._torn = False
        """Whether a line was cut off by a full disk, so that the next one has to end it."""
        self._pending = 0
        self._failed = 0
        self._complained = -_COMPLAINT_SECONDS

    def note(self, case: Case, outcomes: Sequence[Outcome]) -> None:
        """Keep how a message fared; outcomes: of its recipients, in their order.

        Never raises: who was told 250 is not told anything else for this.
        """
        try:
            self.add(Handled.of(case, outcomes))
        except Exception as error:
            self._complain(error)

    def add(self, handled: Handled) -> None:
        """Write the line of a message, in a thread if that takes longer than it should hold up others."""
        if handled.count > MANY:
            if self._pending >= MOST_PENDING:
                self._complain(OSError("too many lines wait to be written"))
                return
            with contextlib.suppress(RuntimeError):  # there are no threads any more
                writing = asyncio.get_running_loop().run_in_executor(None, self._add, handled)
                self._pending += 1
                writing.add_done_callback(self._written)
                return
        self._add(handled)

    def _written(self, _: asyncio.Future[None]) -> None:
        self._pending -= 1

    def _add(self, handled: Handled) -> None:
        try:
            line = handled.to_line()
            with self._guard:
                self._write(line)
        except Exception as error:
            self._complain(error)

    def _write(self, line: bytes) -> None:
        day = int(self._clock() // 86_400)
        if day != self._day or not os.fstat(self._descriptor).st_nlink:
            self.close()
            self._open(day)
        data = b"\n" + line if self._torn else line
        self._torn = True
        written = os.write(self._descriptor, data)
        if written < len(data):
            raise OSError(f"{written} of {len(data)} bytes could be written")
        self._torn = False

    def _open(self, day: int) -> None:
        self._directory.mkdir(mode=0o750, exist_ok=True)
        name = f"{date.fromordinal(date(1970, 1, 1).toordinal() + day)}.jsonl"
        with _opened_directory(self._directory) as directory:
            descriptor = os.open(name, _APPEND, 0o640, dir_fd=directory)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(f"{name} is no file")
        self._descriptor, self._day = descriptor, day

    def _complain(self, error: Exception) -> None:
        self._failed += 1
        now = time.monotonic()
        if now - self._complained >= _COMPLAINT_SECONDS:
            self._complained = now
            _log.error("%d messages are missing from the history in %s: %s", self._failed, self._directory, error)
            self._failed = 0

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor, self._day, self._torn = -1, -1, False


def expire(directory: Path, keep_days: int, now: float) -> list[str]:
    """Delete the files whose every line is older than so many days; 0: all of them. Returns their names.

    now: seconds since the epoch. Raises OSError.
    """
    gone = []
    today = datetime.fromtimestamp(now, UTC).date()
    with contextlib.suppress(FileNotFoundError), _opened_directory(directory) as descriptor:
        for name in _days(descriptor):
            if keep_days == 0 or today - date.fromisoformat(name[:10]) > timedelta(keep_days):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=descriptor)
                    gone.append(name)
    return gone


def find(directory: Path, name: str) -> list[Handled]:
    """The messages of this id, or of this queue id of Postfix's, oldest first. Raises OSError.

    A line that cannot be read, such as one that a full disk cut off, is passed over.
    """
    found = []
    needle = name.encode("ascii", "backslashreplace")
    with contextlib.suppress(FileNotFoundError), _opened_directory(directory) as descriptor:
        for day in _days(descriptor):
            for line in _lines(day, descriptor):
                if needle in line and (handled := _read(line)) is not None and handled.goes_by(name):
                    found.append(handled)  # noqa: PERF401 - four conditions in a comprehension are harder to read
    return found


def _read(line: bytes) -> Handled | None:
    try:
        return Handled.from_line(line)
    except ValueError:
        return None


def _lines(name: str, directory: int) -> Iterator[bytes]:
    try:
        descriptor = os.open(name, _READ, dir_fd=directory)
    except FileNotFoundError:
        return  # deleted meanwhile
    with open(descriptor, "rb") as file:  # noqa: PTH123 - of a descriptor
        while line := file.readline(LONGEST_LINE + 1):
            yield line


def _days(directory: int) -> list[str]:
    """The names of our files, the oldest first."""
    return sorted(name for name in os.listdir(directory) if _is_ours(name))


def _is_ours(name: str) -> bool:
    match = _DAY.fullmatch(name)
    if match is None:
        return False
    try:
        date.fromisoformat(match[1])
    except ValueError:
        return False
    return True


@contextlib.contextmanager
def _opened_directory(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
