"""Files of the Macintosh that carry their two forks in one: AppleSingle, AppleDouble (RFC 1740), MacBinary.

The data fork has the file's name, the resource fork that name behind "._", as AppleDouble names it on a disk.
"""

from __future__ import annotations

import binascii
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from contentfilter.unpack.opener import Kind, NotThisError, Sink, UnpackError
from contentfilter.unpack.openers.common import give, mapped, readable, sliced

_SINGLE, _DOUBLE = b"\0\x05\x16\0", b"\0\x05\x16\7"
_DATA, _RESOURCE, _NAME = 1, 2, 3
_HEADER, _BLOCK = 26, 128
_MOST_ENTRIES = 100


@dataclass(frozen=True, slots=True)
class _Fork:
    """Where a fork lies, and what it is called."""

    name: str
    start: int
    size: int


class Apple:
    """AppleSingle, AppleDouble, MacBinary: both forks."""

    name = "apple"
    exclusive = False

    def accepts(self, kind: Kind) -> bool:
        """Whether it begins with a mark, or with what may be a header of MacBinary."""
        return kind.head.startswith((_SINGLE, _DOUBLE)) or _may_be_macbinary(kind.head[:_BLOCK])

    def open(self, file: BinaryIO, kind: Kind, sink: Sink) -> None:
        """Give the forks. Raises NotThisError, UnpackError if one of them is cut off."""
        with mapped(file) as content:
            forks = list(_entries(content) if content[:3] == _SINGLE[:3] else _macbinary(content))
            if not forks:
                raise NotThisError("no fork")
            for fork in forks:
                give(sink, fork.name, sliced(content, fork.start, fork.start + fork.size))
            if any(fork.start + fork.size > len(content) for fork in forks):
                raise UnpackError("a fork is cut off")


def _entries(content: mmap.mmap | bytes) -> Iterator[_Fork]:
    """Each entry: what it is, where it lies, how long it is (RFC 1740 appendix A and B)."""
    count = min(int.from_bytes(content[24:_HEADER], "big"), _MOST_ENTRIES)
    table = content[_HEADER : _HEADER + 12 * count]
    entries = [struct.unpack_from(">LLL", table, at) for at in range(0, len(table) - 11, 12)]
    name = next((content[start : start + size] for kind, start, size in entries if kind == _NAME), b"")
    for kind, start, size in entries:
        if size and kind in {_DATA, _RESOURCE}:
            yield _Fork(_called(name[:255], resource=kind == _RESOURCE), start, size)


def _macbinary(content: mmap.mmap | bytes) -> Iterator[_Fork]:
    """A header of 128 bytes, and the forks, each filled up to a multiple of that."""
    header = content[:_BLOCK]
    data, resource = struct.unpack_from(">LL", header, 83)
    behind = _BLOCK + -(-data // _BLOCK) * _BLOCK
    # Without a checksum these may be any numbers, and only the length of the file speaks for them.
    if _may_be_macbinary(header) and (_has_checksum(header) or behind + resource <= len(content)):
        name = header[2 : 2 + header[1]]
        if data:
            yield _Fork(_called(name, resource=False), _BLOCK, data)
        if resource:
            yield _Fork(_called(name, resource=True), behind, resource)


def _may_be_macbinary(header: bytes) -> bool:
    if len(header) < _BLOCK or header[0] or header[74] or header[82] or not 1 <= header[1] <= 63:
        return False
    # The first version has no checksum, and zeros in its place and before it.
    return _has_checksum(header) or (any(header[83:91]) and not any(header[99:]))


def _has_checksum(header: bytes) -> bool:
    checksum = int.from_bytes(header[124:126], "big")
    return checksum == binascii.crc_hqx(header[:124], 0) != 0


def _called(name: bytes, *, resource: bool) -> str:
    text = readable(name.decode("mac_roman"), "unnamed")
    return f"._{text}" if resource else text
