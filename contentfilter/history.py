"""The history: a line of JSON for each message that was handled, so that it can be explained for some days.

STATE_DIRECTORY/history/2026-11-21.jsonl, by day in UTC. Whole lines, several of them where many messages come, are one
write to a file opened for appending, which the kernel does not interleave with those of other workers. A thread writes,
so that a disk that hangs holds up no mail. Nothing is synced and no mail depends on it: what cannot be written, or
waits in too great a number, is lost, and the log says so once in a while.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from contentfilter.case import Case
from contentfilter.handled import LONGEST_LINE, Handled
from contentfilter.outcome import Outcome

DIRECTORY = "history"
"""Its name below the state directory."""

MOST_WAITING = 1000
"""Messages that wait to be written, at most."""
MOST_RECIPIENTS = 20_000
"""And the recipients of them together: that bounds the memory."""
_GATHERING = 0.1
"""Seconds in which lines are gathered for one write: whenever the thread wakes, it and the loop wait for each other."""
_BATCH = LONGEST_LINE
"""Bytes, about, of one write."""
_PATIENCE = 3.0
"""Seconds that we wait at the end for a disk that hangs."""

_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})\.jsonl")
_COMPLAINT_SECONDS = 600.0
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_log = logging.getLogger("contentfilter.history")


class History:
    """Where a worker writes. Nothing is opened, and no thread started, before the first line.

    clock: seconds since the epoch.
    """

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._clock = clock
        self._guard = threading.Lock()
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._messages = 0
        self._recipients = 0
        self._thread: threading.Thread | None = None
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
        """Have the line of a message written."""
        recipients = handled.count
        with self._guard:
            full = self._messages >= MOST_WAITING or self._recipients > MOST_RECIPIENTS
            if not full:
                self._messages += 1
                self._recipients += recipients
                if self._thread is None:
                    self._thread = threading.Thread(target=self._write_all, name="history", daemon=True)
                    self._thread.start()
        if full:
            self._complain(OSError("the disk does not keep up"))
            return
        self._queue.put(_Waiting(int(self._clock() // 86_400), handled, recipients))

    def _write_all(self) -> None:
        """The thread: until :meth:`close`."""
        file = _DayFile(self._directory)
        waiting = self._queue.get()
        while waiting is not None:
            time.sleep(_GATHERING)
            batch = [waiting]
            with contextlib.suppress(queue.Empty):
                while (waiting := self._queue.get_nowait()) is not None:
                    batch.append(waiting)
            self._write(file, batch)
            if waiting is not None:
                waiting = self._queue.get()
        file.close()

    def _write(self, file: _DayFile, batch: Sequence[_Waiting]) -> None:
        lines: list[bytes] = []
        day = batch[0].day
        for one in batch:
            try:
                line = one.handled.to_line()
            except Exception as error:
                self._complain(error)
                line = b""
            if lines and (one.day != day or sum(map(len, lines)) + len(line) > _BATCH):
                self._append(file, day, lines)
                lines = []
            day = one.day
            lines += [line] if line else []
        self._append(file, day, lines)
        with self._guard:
            self._messages -= len(batch)
            self._recipients -= sum(one.recipients for one in batch)

    def _append(self, file: _DayFile, day: int, lines: Sequence[bytes]) -> None:
        if not lines:
            return
        try:
            file.append(day, lines)
        except Exception as error:
            self._complain(error, file.missing)

    def _complain(self, error: Exception, count: int = 1) -> None:
        with self._guard:
            self._failed += count
            now = time.monotonic()
            if now - self._complained < _COMPLAINT_SECONDS:
                return
            self._complained = now
            failed, self._failed = self._failed, 0
        what = error if isinstance(error, OSError) else type(error).__name__  # no text of a stranger's
        _log.error("%d messages are missing from the history in %s: %s", failed, self._directory, what)

    def flush(self) -> None:
        """Have written what waits now. Blocks, and a disk that hangs gets a few seconds."""
        deadline = time.monotonic() + _PATIENCE
        while self._messages and time.monotonic() < deadline:
            time.sleep(_GATHERING)

    def close(self) -> None:
        """Write what waits, and let go of the file. A disk that hangs gets a few seconds."""
        with self._guard:
            thread, self._thread = self._thread, None
        if thread is None:
            return
        self._queue.put(None)
        thread.join(_PATIENCE)
        if thread.is_alive():
            self._complain(OSError("the disk does not answer"), self._messages)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A message whose line is to be written. day: since 1970, of its file."""

    day: int
    handled: Handled
    recipients: int


class _DayFile:
    """The file of a day, open for appending. missing: lines of the last call that are not in it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._day = -1
        self._descriptor = -1
        self._torn = False
        """Whether a line was cut off by a full disk, so that the next one has to end it."""
        self.missing = 0

    def append(self, day: int, lines: Sequence[bytes]) -> None:
        """Write whole lines at once. Raises OSError."""
        self.missing = len(lines)
        if day != self._day or not os.fstat(self._descriptor).st_nlink:
            self.close()
            self._open(day)
        data = b"".join((b"\n" if self._torn else b"", *lines))
        written = os.write(self._descriptor, data)
        if written < len(data):
            self._torn = True
            self.missing -= data[:written].count(b"\n") - data.startswith(b"\n")
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
