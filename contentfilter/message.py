"""The message: its raw bytes exactly as they came, and the header edits with which they go on.

The bytes are what stood between DATA and the final dot: dots unstuffed, lines ending in CRLF, a bare LF made CRLF as
Postfix does it; bare CR, NUL, 8-bit and long lines untouched. A small message lives in memory, a larger one in an
anonymous file that has no name anyone could guess, reuse or leave behind.

A message has one owner, who closes it. Nothing here is changed in place: an edit is a value that says which stretches
of the header go and what is put on top, and :meth:`Message.edited` gives the result as pieces of the original.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Protocol as Interface

from contentfilter.errors import SpoolError
from contentfilter.search import count

Buffer = bytes | mmap.mmap
"""What a message's bytes are held in. Both take find, rfind, slices, len and the functions of :mod:`re`."""

_BARE_LF = re.compile(rb"(?<!\r)\n")
_WRITTEN_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Replacement:
    """The bytes from start to end (offsets into the raw message) become text, which may be empty."""

    start: int
    end: int
    text: bytes = b""


@dataclass(frozen=True, slots=True)
class HeaderEdits:
    """What to change in a header. prepend goes on top, whole lines with CRLF; replacements lie inside the header."""

    prepend: bytes = b""
    replacements: tuple[Replacement, ...] = ()

    @property
    def growth(self) -> int:
        """By how many bytes the message becomes longer; negative if shorter."""
        return len(self.prepend) + sum(len(one.text) - (one.end - one.start) for one in self.replacements)


class Message:
    """The raw bytes of one message, read-only. Close it, or use it as a context manager."""

    def __init__(self, buffer: Buffer, descriptor: int | None = None) -> None:
        self.buffer = buffer
        self._descriptor = descriptor
        self._digest = ""

    def __len__(self) -> int:
        return len(self.buffer)

    @property
    def in_file(self) -> bool:
        """Whether it lies in a file, so that to close it may take a while."""
        return isinstance(self.buffer, mmap.mmap)

    @cached_property
    def header_end(self) -> int:
        """Offset just past the last header line: of the empty line, or of the end if there is none."""
        if self.buffer[:2] == b"\r\n":
            return 0
        blank = self.buffer.find(b"\r\n\r\n")
        return len(self.buffer) if blank < 0 else blank + 2

    @property
    def is_digested(self) -> bool:
        """Whether the digest is known already: of a large message it takes its time."""
        return bool(self._digest)

    @property
    def digest(self) -> str:
        """SHA-256 of the raw bytes, in hex."""
        if not self._digest:
            self._digest = hashlib.sha256(self.buffer).hexdigest()
        return self._digest

    def rest(self) -> None:
        """Nobody reads it for a while: what lies in a file need not be in memory meanwhile. It comes back by itself."""
        if isinstance(self.buffer, mmap.mmap):
            self.buffer.madvise(mmap.MADV_DONTNEED)

    def descriptor(self) -> int:
        """A file descriptor over the same bytes, for a scanner that takes one. It stays ours and closes with us.

        Raises SpoolError if none can be made.
        """
        if self._descriptor is None:
            self._descriptor = memory_file(self.buffer)
        return self._descriptor

    def edited(self, edits: HeaderEdits) -> Iterator[bytes | memoryview]:
        """The message with the edits made, as pieces in order. Release each piece before closing the message."""
        if edits.prepend:
            yield edits.prepend
        position = 0
        with memoryview(self.buffer) as view:
            for change in sorted(edits.replacements, key=lambda change: change.start):
                if change.start > position:
                    yield from _released(view[position : change.start])
                if change.text:
                    yield change.text
                position = max(position, change.end)
            yield from _released(view[position:])

    def close(self) -> None:
        """Free memory and file. Closing twice does no harm."""
        if isinstance(self.buffer, mmap.mmap):
            self.buffer.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Message:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Room(Interface):
    """What a spool asks before it keeps more: others want memory and disk too. Sizes are in bytes."""

    def fits_memory(self, size: int) -> bool:
        """Take so much more memory, if it is to be had."""
        ...

    def leave_memory(self) -> None:
        """Give the memory back."""
        ...

    def spool(self, size: int) -> None:
        """Take so much more disk. Raises FilterError."""
        ...


class Spool:
    """Takes the bytes of a message as they arrive and becomes a :class:`Message`.

    directory: where the anonymous file goes once more than memory_threshold bytes have come, or room, if given, has no
    memory for them. The disk may take its time, so only flush and finish write to it: flush from a thread, when the
    spool is behind.
    """

    def __init__(self, directory: Path, memory_threshold: int, room: Room | None = None) -> None:
        self._directory = directory
        self._threshold = memory_threshold
        self._room = room
        self._pieces: list[bytes] = []
        self._kept = 0
        self._descriptor: int | None = None
        self._ends_in_cr = False
        # A descriptor that is closed while a thread writes to it may be somebody else's by then.
        self._writing = threading.Lock()
        self._abandoned = False
        self.size = 0
        self.in_file = False

    def write(self, chunk: bytes) -> None:
        """Append bytes; a bare LF becomes CRLF, also across chunks. Raises FilterError when they cannot be kept."""
        if not chunk:
            return
        if count(chunk, b"\n") != count(chunk, b"\r\n"):
            chunk = self._with_full_line_ends(chunk)
        self._ends_in_cr = chunk.endswith(b"\r")
        self.size += len(chunk)
        self._pieces.append(chunk)
        self._kept += len(chunk)
        if self.in_file:
            if self._room is not None:
                self._room.spool(len(chunk))
        elif self.size > self._threshold or (self._room and not self._room.fits_memory(len(chunk))):
            if self._room is not None:
                self._room.spool(self.size)
                self._room.leave_memory()
            self.in_file = True

    def _with_full_line_ends(self, chunk: bytes) -> bytes:
        if self._ends_in_cr and chunk.startswith(b"\n"):
            return b"\n" + _BARE_LF.sub(b"\r\n", chunk[1:])
        return _BARE_LF.sub(b"\r\n", chunk)

    @property
    def behind(self) -> bool:
        """Whether so much waits to be written to the file that it is time to flush."""
        return self.in_file and self._kept >= _WRITTEN_AT_ONCE

    def flush(self) -> None:
        """Write to the file what belongs there. Nothing else may be called meanwhile but abandon. Raises SpoolError."""
        with self._writing:
            if not self.in_file or self._abandoned:
                return
            if self._descriptor is None:
                self._descriptor = _anonymous_file(self._directory)
            for piece in self._pieces:
                _write_all(self._descriptor, piece, self._directory)
            self._pieces.clear()
            self._kept = 0

    def finish(self) -> Message:
        """The message. The spool is empty afterwards. Raises SpoolError."""
        self.flush()
        if self._descriptor is None:
            message = Message(b"".join(self._pieces))
            self._pieces.clear()
            return message
        try:
            buffer = mmap.mmap(self._descriptor, 0, prot=mmap.PROT_READ)
        except OSError as error:
            self.abandon()
            raise SpoolError(f"cannot map the message spooled into {self._directory}: {error}") from error
        message = Message(buffer, self._descriptor)
        self._descriptor = None
        return message

    def abandon(self) -> None:
        """Drop what came so far. Waits for the end of a flush."""
        with self._writing:
            self._abandoned = True
            self._pieces.clear()
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


def memory_file(content: Buffer | memoryview) -> int:
    """A descriptor over an anonymous file in memory with this content, at offset 0. Raises SpoolError."""
    try:
        descriptor = os.memfd_create("contentfilter")
    except OSError as error:
        raise SpoolError(f"cannot make a memory file: {error}") from error
    try:
        os.fchmod(descriptor, 0o600)  # the kernel makes it 0777
        with memoryview(content) as view:
            _write_all(descriptor, view)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _anonymous_file(directory: Path) -> int:
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        # Not every file system knows O_TMPFILE; the name then exists for an instant only.
        try:
            descriptor, name = tempfile.mkstemp(prefix="spool-", dir=directory)
        except OSError as error:
            raise SpoolError(f"cannot spool into {directory}: {error}") from error
        with contextlib.suppress(OSError):
            Path(name).unlink()
        return descriptor


def _write_all(descriptor: int, data: bytes | memoryview, where: Path | str = "memory") -> None:
    with memoryview(data) as view:
        written = 0
        while written < len(view):
            try:
                written += os.write(descriptor, view[written:])
            except OSError as error:
                raise SpoolError(f"cannot spool into {where}: {error}") from error


def _released(piece: memoryview) -> Iterator[memoryview]:
    """Give the piece, then let go of it: a memory map with a view left on it cannot be closed."""
    if len(piece):
        yield piece
    piece.release()
