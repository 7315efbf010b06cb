"""OneNote sections: files that wait under a picture of a button ([MS-ONESTORE] 2.6.13)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO
from uuid import UUID

from contentfilter.unpack.opener import Kind
from contentfilter.unpack.signs.sign import MOST_BYTES, Family, Sign, is_executable, sign

_SECTION = UUID("7B5C52E4-D88C-4DA7-AEB1-5378D02996D3").bytes_le
_PACKAGE = UUID("109ADD3F-911B-49F5-A5D0-1791EDC8AED8").bytes_le
_FILE_DATA = UUID("BDE316E7-2665-4511-A4C4-8D4D0B7A9EAC").bytes_le
_HEADER = 36
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"\x01\0\0\0", b"II*\0", b"MM\0*", b"RIFF", b"<svg")
_MOST_FILES = 200


def _accepts(kind: Kind) -> bool:
    return kind.head.startswith((_SECTION, _PACKAGE))


def _signs(file: BinaryIO, _kind: Kind) -> Iterator[Sign]:
    data = file.read(MOST_BYTES)
    for content in islice(_files(data), _MOST_FILES):
        if is_executable(content):
            yield sign("onenote-embedded", "program")
        elif content and not content.startswith(_PICTURES):
            yield sign("onenote-embedded", content[:16])


def _files(data: bytes) -> Iterator[bytes]:
    """The first bytes of each embedded file: its GUID, length (8), unused (4), reserved (8), then the content."""
    at = data.find(_FILE_DATA)
    while at >= 0:
        length = int.from_bytes(data[at + 16 : at + 24], "little")
        yield data[at + _HEADER : at + _HEADER + min(length, 64)]
        at = data.find(_FILE_DATA, at + 16)


FAMILY = Family("onenote", _accepts, _signs)
