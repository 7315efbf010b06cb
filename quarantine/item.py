"""One item of the quarantine on disk, and what is done with the files of one, by the descriptor of their directory."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from types import TracebackType

from contentfilter.errors import QuarantineError
from contentfilter.message import Message
from quarantine.durable import try_lock, write_file
from quarantine.errors import ItemBusyError, ItemDamagedError, UnknownIdError
from quarantine.packing import pack
from quarantine.record import Record

MESSAGE = ".eml.zst"
RECORD = ".json"
NEW = ".json.new"
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""How whatever has the name of a file of ours is opened: a link is an error, and a pipe does not hold us up."""


class Item:
    """One item, locked until it is closed. Use it as a context manager.

    day: a descriptor of its directory, ours from now on; so that what is done in it is done there, whatever its name
    leads to by then.
    """

    def __init__(self, day: int, mail_id: str, descriptor: int) -> None:
        self.id = mail_id
        self._day = day
        self._descriptor = descriptor

    def record(self) -> Record:
        """The record as it is on disk. Raises QuarantineError."""
        return read_record(self._day, self.id)

    def stored_size(self) -> int:
        """Bytes that the item takes on disk. Raises QuarantineError."""
        with translated(f"cannot measure item {self.id}"):
            return os.fstat(self._descriptor).st_size + status(self._day, self.id + RECORD).st_size

    def fill(self, record: Record, message: Message) -> None:
        """Write the new item, durably. Raises OSError."""
        take_lock(self.id, self._descriptor)
        if not os.fstat(self._descriptor).st_nlink:
            raise FileNotFoundError(f"{self.id}{MESSAGE} was deleted as it was made")
        pack(self._descriptor, message)
        os.fsync(self._descriptor)
        _place_record(self._day, record, os.O_EXCL)

    def rewrite(self, record: Record) -> None:
        """Replace the record, durably. Raises QuarantineError; the old record then stands or the new one does."""
        with translated(f"cannot update item {self.id}"):
            _place_record(self._day, record, os.O_TRUNC)

    def remove(self) -> None:
        """Delete the files. Raises QuarantineError. The record goes first: what a crash leaves is no item any more."""
        with translated(f"cannot delete item {self.id}"):
            unlink(self._day, *(self.id + suffix for suffix in (RECORD, NEW, MESSAGE)))
            os.fsync(self._day)

    def take_back(self) -> None:
        """Delete an item that could not be completed, as well as the disk lets us; a rest counts as left over."""
        for suffix in (RECORD, NEW, MESSAGE):
            with contextlib.suppress(OSError):
                unlink(self._day, self.id + suffix)
        with contextlib.suppress(OSError):
            os.fsync(self._day)

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._descriptor)
        os.close(self._day)

    def __enter__(self) -> Item:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def status(day: int, name: str) -> os.stat_result:
    """What is known of a file; of a link, of itself. Raises OSError."""
    return os.stat(name, dir_fd=day, follow_symlinks=False)


def exists(day: int, name: str) -> bool:
    """Whether there is a file of this name that is no link. Raises OSError."""
    try:
        return stat.S_ISREG(status(day, name).st_mode)
    except FileNotFoundError:
        return False


def unlink(day: int, *names: str) -> None:
    """Delete files, if they are there. Raises OSError."""
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=day)


def take_lock(mail_id: str, descriptor: int) -> None:
    """Lock an item by the open file of its message. Raises ItemBusyError."""
    if not try_lock(descriptor):
        raise ItemBusyError(f"item {mail_id} is in use by another command; try again")


def _place_record(day: int, record: Record, flags: int) -> None:
    new = record.id + NEW
    write_file(new, record.to_json().encode("ascii"), flags, day)
    os.rename(new, record.id + RECORD, src_dir_fd=day, dst_dir_fd=day)
    os.fsync(day)


def read_record(day: int, mail_id: str) -> Record:
    """The record of an item. Raises UnknownIdError, ItemDamagedError, QuarantineError."""
    with translated(f"cannot read the record of {mail_id}"):
        try:
            with open(os.open(mail_id + RECORD, READ, dir_fd=day), "rb") as file:  # noqa: PTH123 - a descriptor
                text = file.read()
        except FileNotFoundError as error:
            raise UnknownIdError(f"no item {mail_id} in the quarantine") from error
    try:
        record = Record.from_json(text)
    except ValueError as error:
        raise ItemDamagedError(f"item {mail_id} is damaged: {error}") from error
    if record.id != mail_id:
        raise ItemDamagedError(f"item {mail_id} is damaged: its record is that of {record.id!r}")
    return record


@contextlib.contextmanager
def translated(problem: str) -> Iterator[None]:
    """The edge to the file system."""
    try:
        yield
    except (OSError, ValueError, OverflowError) as error:
        raise QuarantineError(f"{problem}: {error}") from error
