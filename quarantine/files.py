"""The files of the quarantine: DIRECTORY/2026-11-21/ID.eml.zst, the exact bytes, and ID.json beside it, the record.

An item exists once ID.json does: it is written last and appears by rename. What else lies about is left over from a
crash. Whoever changes an item holds the lock of its ID.eml.zst; such a lock cannot outlive its process, so that a crash
leaves nothing locked. Only ids that :func:`contentfilter.mail_id.is_id` accepts become names of files.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import zstandard

from contentfilter.errors import QuarantineError
from contentfilter.mail_id import is_id
from contentfilter.message import Message
from quarantine.durable import create_file, make_directory, sync_directory, try_lock, write_all, write_file
from quarantine.errors import ItemBusyError, ItemDamagedError, UnknownIdError
from quarantine.record import Record

_MESSAGE = ".eml.zst"
_RECORD = ".json"
_NEW = ".json.new"
_DAY = "[0-9]" * 4 + "-" + "[0-9]" * 2 + "-" + "[0-9]" * 2
_CHUNK = 1 << 20
_LEVEL = 3


class Item:
    """One item, locked until it is closed. Use it as a context manager."""

    def __init__(self, directory: Path, mail_id: str, descriptor: int) -> None:
        self.id = mail_id
        self.directory = directory
        self._descriptor = descriptor

    def record(self) -> Record:
        """The record as it is on disk. Raises QuarantineError."""
        return _read_record(self.directory / (self.id + _RECORD))

    def stored_size(self) -> int:
        """Bytes that the item takes on disk. Raises QuarantineError."""
        with _translated(f"cannot measure item {self.id}"):
            return os.fstat(self._descriptor).st_size + (self.directory / (self.id + _RECORD)).stat().st_size

    def rewrite(self, record: Record) -> None:
        """Replace the record, durably. Raises QuarantineError; the old record then stands or the new one does."""
        with _translated(f"cannot update item {self.id}"):
            _place_record(self.directory, record, os.O_TRUNC)

    def remove(self) -> None:
        """Delete the files. Raises QuarantineError. The record goes first: what a crash leaves is no item any more."""
        with _translated(f"cannot delete item {self.id}"):
            for suffix in (_RECORD, _NEW, _MESSAGE):
                (self.directory / (self.id + suffix)).unlink(missing_ok=True)
            sync_directory(self.directory)

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._descriptor)

    def __enter__(self) -> Item:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Files:
    """All items below one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._safe_day: Path | None = None

    def prepare(self) -> None:
        """Make the directory if it is missing. Raises QuarantineError."""
        with _translated(f"cannot use {self.directory}"):
            make_directory(self.directory)

    def exist(self) -> bool:
        """Whether the directory is there: it is made when the first item comes. Raises QuarantineError."""
        with _translated(f"cannot look into {self.directory}"):
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
        with _translated(f"cannot store item {record.id}"):
            day = self._day_directory(record.time)
            try:
                descriptor = create_file(day / (record.id + _MESSAGE))
            except FileNotFoundError:
                self._safe_day = None
                raise
            item = Item(day, record.id, descriptor)
            try:
                _fill(item, descriptor, record, message)
            except BaseException:
                item.close()
                _discard(day, record.id)
                raise
            return item

    def _day_directory(self, received_at: float) -> Path:
        day = self.directory / datetime.fromtimestamp(received_at, UTC).strftime("%Y-%m-%d")
        if day != self._safe_day:
            make_directory(day)
            self._safe_day = day
        return day

    def read(self, mail_id: str) -> Record:
        """The record of an item. Raises UnknownIdError, ItemDamagedError, QuarantineError."""
        return _read_record(self._find(mail_id) / (mail_id + _RECORD))

    def open_message(self, record: Record) -> Message:
        """The message, whose bytes are those that were stored. Close it.

        Raises ItemDamagedError if they are not, UnknownIdError, QuarantineError.
        """
        path = self._find(record.id) / (record.id + _MESSAGE)
        try:
            with _message_access(record.id), path.open("rb") as source:
                return _unpack(source, record)
        except zstandard.ZstdError as error:
            raise ItemDamagedError(f"item {record.id} is damaged: {error}") from error

    def lock(self, mail_id: str) -> Item:
        """The item, for its changing. Raises ItemBusyError, UnknownIdError, ItemDamagedError, QuarantineError."""
        directory = self._find(mail_id)
        with _message_access(mail_id):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(directory / (mail_id + _MESSAGE), flags)
        item = Item(directory, mail_id, descriptor)
        try:
            _take_lock(item, descriptor)
            self._find(mail_id)  # it may have been deleted while we came to the lock
        except BaseException:
            item.close()
            raise
        return item

    def discard(self, mail_id: str) -> None:
        """Delete what is left of an item that cannot be locked because its message is gone. Raises QuarantineError."""
        directory = self._find(mail_id)
        with _translated(f"cannot delete item {mail_id}"):
            (directory / (mail_id + _RECORD)).unlink(missing_ok=True)
            sync_directory(directory)

    def _find(self, mail_id: str) -> Path:
        """The directory that holds the item."""
        if not is_id(mail_id):
            raise UnknownIdError(f"not a quarantine id: {mail_id!r}")
        with _translated(f"cannot look for item {mail_id}"):
            for day in reversed(self.days()):
                if (day / (mail_id + _RECORD)).exists():
                    return day
        raise UnknownIdError(f"no item {mail_id} in the quarantine")

    def days(self) -> list[Path]:
        """The dated directories, oldest first. Raises QuarantineError."""
        if not self.exist():
            return []
        with _translated(f"cannot read {self.directory}"):
            return sorted(self.directory.glob(_DAY))

    def ids(self) -> list[str]:
        """The ids of all items, oldest day first. Raises QuarantineError."""
        with _translated(f"cannot read {self.directory}"):
            names = [path.name for day in self.days() for path in sorted(day.iterdir())]
        ids = (name.removesuffix(_RECORD) for name in names if name.endswith(_RECORD))
        return [mail_id for mail_id in ids if is_id(mail_id)]

    def leftovers(self, older_than: float) -> list[Path]:
        """Files of ours that belong to no item and have not changed for so many seconds. Raises QuarantineError."""
        before = time.time() - older_than
        found = []
        with _translated(f"cannot read {self.directory}"):
            for path in (path for day in self.days() for path in sorted(day.iterdir())):
                with contextlib.suppress(FileNotFoundError):  # it was not left over but on its way
                    if _is_partial(path) and path.stat(follow_symlinks=False).st_mtime < before:
                        found.append(path)
        return found

    def sweep(self, older_than: float) -> list[Path]:
        """Delete the leftovers, and dated directories that are empty and too old to be filled again.

        older_than: in seconds. Raises QuarantineError.
        """
        found = self.leftovers(older_than)
        with _translated("cannot delete a leftover file"):
            for path in found:
                path.unlink(missing_ok=True)
        for day in self.days()[:-2]:
            with contextlib.suppress(OSError):  # not empty
                day.rmdir()
        return found


def _take_lock(item: Item, descriptor: int) -> None:
    if not try_lock(descriptor):
        raise ItemBusyError(f"item {item.id} is in use by another command; try again")


def _fill(item: Item, descriptor: int, record: Record, message: Message) -> None:
    _take_lock(item, descriptor)
    _pack(descriptor, message)
    os.fsync(descriptor)
    _place_record(item.directory, record, os.O_EXCL)


def _place_record(directory: Path, record: Record, flags: int) -> None:
    new = directory / (record.id + _NEW)
    write_file(new, record.to_json().encode("ascii"), flags)
    new.rename(directory / (record.id + _RECORD))
    sync_directory(directory)


def _discard(directory: Path, mail_id: str) -> None:
    """Take back an item that could not be completed, as well as the disk lets us; a rest counts as left over."""
    for suffix in (_RECORD, _NEW, _MESSAGE):
        with contextlib.suppress(OSError):
            (directory / (mail_id + suffix)).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        sync_directory(directory)


def _is_partial(path: Path) -> bool:
    mail_id, dot, suffix = path.name.partition(".")
    if not is_id(mail_id) or dot + suffix not in {_NEW, _MESSAGE}:
        return False
    return dot + suffix == _NEW or not path.with_name(mail_id + _RECORD).exists()


def _pack(descriptor: int, message: Message) -> None:
    """Compress the message into a file, a stretch at a time."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj(size=len(message))
    with memoryview(message.buffer) as view:
        for start in range(0, len(view), _CHUNK):
            with view[start : start + _CHUNK] as piece:
                write_all(descriptor, compressor.compress(piece))
    write_all(descriptor, compressor.flush())


def _unpack(source: BinaryIO, record: Record) -> Message:
    """Decompress into an anonymous file and make sure that it holds what the record says, and no byte more."""
    digest, size = hashlib.sha256(), 0
    with tempfile.TemporaryFile() as target:
        with zstandard.ZstdDecompressor().stream_reader(source) as reader:
            while size <= record.size and (chunk := reader.read(_CHUNK)):
                digest.update(chunk)
                size += len(chunk)
                target.write(chunk)
        if (size, digest.hexdigest()) != (record.size, record.digest):
            raise ItemDamagedError(f"item {record.id} is damaged: its content is not what was stored")
        target.flush()
        return Message(mmap.mmap(target.fileno(), 0, prot=mmap.PROT_READ) if size else b"")


def _read_record(path: Path) -> Record:
    mail_id = path.name.removesuffix(_RECORD)
    with _translated(f"cannot read the record of {mail_id}"):
        try:
            text = path.read_bytes()
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
def _message_access(mail_id: str) -> Iterator[None]:
    with _translated(f"cannot read item {mail_id}"):
        try:
            yield
        except FileNotFoundError as error:
            raise ItemDamagedError(f"item {mail_id} is damaged: its message is missing") from error


@contextlib.contextmanager
def _translated(problem: str) -> Iterator[None]:
    """The edge to the file system."""
    try:
        yield
    except (OSError, ValueError, OverflowError) as error:
        raise QuarantineError(f"{problem}: {error}") from error
