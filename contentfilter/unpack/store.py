"""Contents in anonymous memory files: small ones side by side in one file, large ones each in a file of its own.

Three thousand members must not mean three thousand open files. What is large stays alone, so that a scanner can be
given its descriptor without a copy.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from contentfilter.unpack.opener import Kind

LARGE: Final = 4 << 20
"""Bytes from which a content has a file of its own."""
_SHARED: Final = 64 << 20
"""Bytes after which a shared file is full."""
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where a content lies: the number of the file, and the stretch of it in bytes."""

    file: int
    offset: int
    size: int


@dataclass(slots=True)
class Store:
    """Numbered memory files. Close it."""

    files: list[int] = field(default_factory=list)
    _shared: int = -1
    _used: int = 0

    def add(self, content: bytes | bytearray | memoryview) -> Place:
        """Keep a content. Raises OSError."""
        size = len(content)
        if size >= LARGE:
            number = self._new_file()
            write_at(self.files[number], content, 0)
            return Place(number, 0, size)
        if self._shared < 0 or self._used >= _SHARED:
            self._shared, self._used = self._new_file(), 0
        place = Place(self._shared, self._used, size)
        write_at(self.files[self._shared], content, self._used)
        self._used += size
        return place

    def adopt(self, descriptor: int) -> int:
        """Take over a file that is already written; its number."""
        self.files.append(descriptor)
        return len(self.files) - 1

    def read(self, place: Place, offset: int, size: int) -> bytes:
        """A stretch of a content, shorter than asked at its end. Raises OSError."""
        size = max(0, min(size, place.size - offset))
        return os.pread(self.files[place.file], size, place.offset + offset)

    def open(self, place: Place) -> BinaryIO:
        """A content as a file of its own, which the caller closes. Raises OSError."""
        if place.size >= LARGE and place.size == os.fstat(self.files[place.file]).st_size:
            return open(os.dup(self.files[place.file]), "rb")  # noqa: PTH123 - a descriptor; the caller closes
        descriptor = os.memfd_create("contentfilter-member", os.MFD_CLOEXEC)
        for start in range(0, place.size, _CHUNK):
            write_at(descriptor, self.read(place, start, _CHUNK), start)
        return open(descriptor, "rb")  # noqa: PTH123 - a descriptor; the caller closes

    def _new_file(self) -> int:
        return self.adopt(new_file())

    def close(self) -> None:
        """Let go of all files. Closing twice does no harm."""
        while self.files:
            os.close(self.files.pop())
        self._shared, self._used = -1, 0


def new_file() -> int:
    """A descriptor of an empty memory file that can be sealed. Raises OSError."""
    return os.memfd_create("contentfilter", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def write_at(descriptor: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all of the data. Raises OSError."""
    with memoryview(data) as view:
        written = 0
        while written < len(view):
            written += os.pwrite(descriptor, view[written:], offset + written)


def head_and_tail(file: BinaryIO, size: int) -> tuple[bytes, bytes]:
    """The first and the last 64 kB of a content of this size, which is what openers are told of it."""
    span = 64 * 1024
    head = os.pread(file.fileno(), span, 0)
    return head, head if size <= span else os.pread(file.fileno(), span, size - span)


def kind_of(file: BinaryIO, size: int, media_type: str, names: tuple[str, ...]) -> Kind:
    """What an opener is told of a content."""
    head, tail = head_and_tail(file, size)
    return Kind(media_type, head, names, tail)
