"""The files of the quarantine: DIRECTORY/2026-11-21/ID.eml.zst, the exact bytes, and ID.json beside it, the record.

An item exists once ID.json does: it is written last and appears by rename. What else lies about is left over from a
crash. Whoever changes an item holds the lock of its ID.eml.zst; such a lock cannot outlive its process, so that a crash
leaves nothing locked. Only ids that :func:`contentfilter.mail_id.is_id` accepts become names of files.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from contentfilter.errors import QuarantineError
from contentfilter.mail_id import is_id
from contentfilter.message import Message
from quarantine.durable import create_file, make_directory, open_directory, try_lock
from quarantine.errors import ItemDamagedError, UnknownIdError
from quarantine.item import MESSAGE, NEW, READ, RECORD, Item, exists, read_record, status, take_lock, translated, unlink
from quarantine.packing import unpack
from quarantine.record import Record

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class Files:
    """All items below one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._safe_day: Path | None = None

    def prepare(self) -> None:
        """Make the directory if it is missing. Raises QuarantineError."""
        with translated(f"cannot use {self.directory}"):
            make_directory(self.directory, for_group=True)

    def exist(self) -> bool:
        """Whether the directory is there: it is made when the first item comes. Raises QuarantineError."""
        with translated(f"cannot look into {self.directory}"):
            try:
                # To look into it is the one way to know that we may; otherwise "no items" would be a guess.
                os.scandir(self.directory).close()
            except FileNotFoundError:
                return False
            return True

    def create(self, record: Record, message: Message) -> Item:
        """Write a new item. It is on disk, and locked, when this returns. Raises QuarantineError and leaves nothing."""
        if not is_id(record.id):
            raise QuarantineError(f"not a quarantine id: {record.id!r}")
        if (record.digest, record.size) != (message.digest, len(message)):
            raise QuarantineError(f"the record of {record.id} is about another message")
        with translated(f"cannot store item {record.id} in {self.directory}"):
            item = self._new_item(record)
            try:
                item.fill(record, message)
            except BaseException:
                item.take_back()
                item.close()
                raise
            return item

    def _new_item(self, record: Record) -> Item:
        day = self._day_directory(record.time)
        try:
            descriptor = create_file(record.id + MESSAGE, directory=day)
        except BaseException:
            os.close(day)
            raise
        return Item(day, record.id, descriptor)

    def _day_directory(self, received_at: float) -> int:
        day = self.directory / datetime.fromtimestamp(received_at, UTC).strftime("%Y-%m-%d")
        if day == self._safe_day:
            with contextlib.suppress(FileNotFoundError):  # emptied meanwhile, and removed
                return open_directory(day)
        make_directory(day)
        self._safe_day = day
        return open_directory(day)

    def read(self, mail_id: str) -> Record:
        """The record of an item. Raises UnknownIdError, ItemDamagedError, QuarantineError."""
        with self._found(mail_id) as day:
            return read_record(day, mail_id)

    def open_message(self, record: Record) -> Message:
        """The message, whose bytes are those that were stored. Close it.

        Raises ItemDamagedError if they are not, UnknownIdError, QuarantineError.
        """
        with (
            self._found(record.id) as day,
            _message_access(record.id),
            open(os.open(record.id + MESSAGE, READ, dir_fd=day), "rb") as source,  # noqa: PTH123 - a descriptor
        ):
            return unpack(source, record)

    def lock(self, mail_id: str) -> Item:
        """The item, for its changing. Raises ItemBusyError, UnknownIdError, ItemDamagedError, QuarantineError."""
        with self._found(mail_id) as day, _message_access(mail_id):
            descriptor = os.open(mail_id + MESSAGE, READ, dir_fd=day)
            try:
                item = Item(os.dup(day), mail_id, descriptor)
            except BaseException:
                os.close(descriptor)
                raise
        try:
            take_lock(mail_id, descriptor)
            with self._found(mail_id):
                pass  # it may have been deleted while we came to the lock
        except BaseException:
            item.close()
            raise
        return item

    def discard(self, mail_id: str) -> None:
        """Delete what is left of an item that cannot be locked because its message is gone. Raises QuarantineError."""
        with self._found(mail_id) as day, translated(f"cannot delete item {mail_id}"):
            unlink(day, mail_id + RECORD)
            os.fsync(day)

    @contextlib.contextmanager
    def _found(self, mail_id: str) -> Iterator[int]:
        """The directory that holds the item."""
        if not is_id(mail_id):
            raise UnknownIdError(f"not a quarantine id: {mail_id!r}")
        for path in reversed(self.days()):
            with translated(f"cannot look for item {mail_id}"), _opened(path) as day:
                if day is None or not exists(day, mail_id + RECORD):
                    continue
                found = os.dup(day)
            try:
                yield found
            finally:
                os.close(found)
            return
        raise UnknownIdError(f"no item {mail_id} in the quarantine")

    def days(self) -> list[Path]:
        """The dated directories, oldest first; what only leads to one is none of ours. Raises QuarantineError."""
        if not self.exist():
            return []
        with translated(f"cannot read {self.directory}"), os.scandir(self.directory) as entries:
            names = [one.name for one in entries if _DAY.fullmatch(one.name) and one.is_dir(follow_symlinks=False)]
        return [self.directory / name for name in sorted(names)]

    def ids(self) -> list[str]:
        """The ids of all items, oldest day first. Raises QuarantineError."""
        with translated(f"cannot read {self.directory}"):
            names = []
            for path in self.days():
                with _opened(path) as day:
                    names += [] if day is None else _names(day)
        ids = (name.removesuffix(RECORD) for name in names if name.endswith(RECORD))
        return [mail_id for mail_id in ids if is_id(mail_id)]

    def leftovers(self, older_than: float) -> list[Path]:
        """Files of ours that belong to no item and have not changed for so many seconds. Raises QuarantineError."""
        before = time.time() - older_than
        found = []
        with translated(f"cannot read {self.directory}"):
            for path in self.days():
                with _opened(path) as day:
                    if day is not None:
                        found += [path / name for name in _names(day) if _is_left_over(day, name, before)]
        return found

    def sweep(self, older_than: float) -> list[Path]:
        """Delete the leftovers, and dated directories that are empty and too old to be filled again.

        older_than: in seconds. Raises QuarantineError.
        """
        found = []
        with translated("cannot delete a leftover file"):
            for path in self.leftovers(older_than):
                with _opened(path.parent) as day:
                    if day is not None and _deleted_unless_in_use(day, path.name):
                        found.append(path)
        for path in self.days()[:-2]:
            with contextlib.suppress(OSError):  # not empty
                path.rmdir()
        return found


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    """A dated directory; None if it is gone. Raises OSError."""
    try:
        descriptor = open_directory(path)
    except FileNotFoundError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _names(day: int) -> list[str]:
    return sorted(os.listdir(day))


def _is_left_over(day: int, name: str, before: float) -> bool:
    mail_id, dot, suffix = name.partition(".")
    if not is_id(mail_id) or dot + suffix not in {NEW, MESSAGE}:
        return False
    if dot + suffix == MESSAGE and exists(day, mail_id + RECORD):
        return False
    try:
        return status(day, name).st_mtime < before
    except FileNotFoundError:
        return False  # it was not left over but on its way


def _deleted_unless_in_use(day: int, name: str) -> bool:
    """Delete a leftover. Who writes an item holds its lock: that tells also when a clock that jumped tells nothing."""
    try:
        descriptor = os.open(name.partition(".")[0] + MESSAGE, READ, dir_fd=day)
    except FileNotFoundError:
        unlink(day, name)
        return True
    try:
        if not try_lock(descriptor):
            return False
        unlink(day, name)
    finally:
        os.close(descriptor)
    return True


@contextlib.contextmanager
def _message_access(mail_id: str) -> Iterator[None]:
    with translated(f"cannot read item {mail_id}"):
        try:
            yield
        except FileNotFoundError as error:
            raise ItemDamagedError(f"item {mail_id} is damaged: its message is missing") from error
