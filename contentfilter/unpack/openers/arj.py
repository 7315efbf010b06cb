"""arj with a password. 7z reads arj, but decrypts nothing of it, so it gets a copy without the encryption.

arj calls it garbling: each byte of a member is combined with the next one of the password, to which the header adds one
number. Not done: GOST, which arj can use in its place.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import BinaryIO

from contentfilter.unpack.opener import Kind, NotThisError, Sink
from contentfilter.unpack.openers import sevenzip
from contentfilter.unpack.openers.common import mapped, sliced
from contentfilter.unpack.store import new_file

PASSWORD_LIMIT = 10
"""Passwords tried on one archive: each is a run of 7z."""

_MARK = b"\x60\xea"
_LARGEST_HEADER = 2600
_MOST_HEADERS = 20_000
_FLAGS, _MODIFIER, _SIZE = 4, 7, 12
_GARBLED = 0x01


class Arj:
    """arj with encrypted members; any other is left to 7z."""

    name = "arj"
    exclusive = True

    def accepts(self, kind: Kind) -> bool:
        """Whether it begins as an arj."""
        return kind.head.startswith(_MARK) and sevenzip.program() is not None

    def open(self, file: BinaryIO, kind: Kind, sink: Sink) -> None:
        """Give the members. Raises NotThisError if nothing is encrypted or no password opens it, UnpackError."""
        with mapped(file) as content:
            members = [member for member in _members(content) if member.garbled]
            for password in sink.passwords[:PASSWORD_LIMIT] if members else ():
                if password and _opened(content, members, password.encode("cp437", "replace"), sink):
                    return
        raise NotThisError("nothing in it that can be decrypted")


@dataclass(frozen=True, slots=True)
class _Member:
    """Where a header lies, and the data behind it. modifier: the number that the header adds to the password."""

    header: int
    header_size: int
    data: int
    size: int
    garbled: bool
    modifier: int


def _members(content: mmap.mmap | bytes) -> Iterator[_Member]:
    """The members in order; the first header is that of the archive, which has no data."""
    position = 0
    for number in range(_MOST_HEADERS):
        size = int.from_bytes(content[position + 2 : position + 4], "little")
        header = content[position + 4 : position + 4 + size]
        if content[position : position + 2] != _MARK or not _SIZE + 4 <= size <= _LARGEST_HEADER:
            return
        data = position + 4 + size + 4
        while extension := int.from_bytes(content[data : data + 2], "little"):
            data += 2 + extension + 4
        data += 2
        length = int.from_bytes(header[_SIZE : _SIZE + 4], "little") if number else 0
        yield _Member(position + 4, size, data, length, bool(header[_FLAGS] & _GARBLED), header[_MODIFIER])
        position = data + length


def _opened(content: mmap.mmap | bytes, members: list[_Member], password: bytes, sink: Sink) -> bool:
    """Give what a copy holds in which the members are not encrypted, if the checksums are right then."""
    with open(new_file(), "w+b") as copy:  # noqa: PTH123 - a descriptor
        copy.writelines(sliced(content))
        for member in members:
            header = bytearray(content[member.header : member.header + member.header_size])
            header[_FLAGS] &= ~_GARBLED
            copy.seek(member.header)
            copy.write(header + zlib.crc32(header).to_bytes(4, "little"))
            copy.seek(member.data)
            keys = cycle([byte + member.modifier & 0xFF for byte in password])
            for piece in sliced(content, member.data, member.data + member.size):
                combined = int.from_bytes(piece) ^ int.from_bytes(bytes(islice(keys, len(piece))))
                copy.write(combined.to_bytes(len(piece)))
        copy.flush()
        if not sevenzip.is_whole(copy.fileno(), "arj", sink.directory):
            return False
        sevenzip.extract(copy.fileno(), "arj", sink)
    return True
