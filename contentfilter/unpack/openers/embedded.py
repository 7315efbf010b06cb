"""Archives that begin inside another content: self-extractors, and pictures or documents with an archive behind them.

WinRAR and 7-Zip search for their signatures, so such a file opens with a double click once it is named .rar.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from contentfilter.search import find
from contentfilter.unpack.opener import EncryptedError, Kind, NotThisError, Sink, UnpackError
from contentfilter.unpack.openers import rar, sevenzip
from contentfilter.unpack.openers.common import sliced
from contentfilter.unpack.openers.libarchive import entries_at
from contentfilter.unpack.store import new_file

SIGNATURES = (b"7z\xbc\xaf\x27\x1c\x00", b"Rar!\x1a\x07", b"MSCF\x00\x00\x00\x00", b"xar!\x00\x1c")

PLACES = 16
"""Signatures of one kind that are tried."""


class Embedded:
    """7z, rar, cab and xar behind anything else: 7z-sfx, rar-sfx, cabinet self-extractors, polyglots."""

    name = "embedded"
    exclusive = True

    def accepts(self, kind: Kind) -> bool:
        """Anything but archives, in which others may lie without meaning anything by it."""
        return not kind.head.startswith((b"PK\x03\x04", b"PK\x05\x06", *SIGNATURES)) and kind.head[257:262] != b"ustar"

    def open(self, file: BinaryIO, kind: Kind, sink: Sink) -> None:
        """Give what lies in the archives. Raises NotThisError if there is none, EncryptedError."""
        size = file.seek(0, 2)
        found = False
        if not size:
            raise NotThisError("empty")
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as content:
            for signature in SIGNATURES:
                for position in _places(content, signature):
                    found |= _tried(content, position, kind, sink)
        if not found:
            raise NotThisError("no archive inside")


def _places(content: mmap.mmap, signature: bytes) -> Iterator[int]:
    """Where the signature stands, but for the very beginning."""
    position = 0
    for _ in range(PLACES):
        position = find(content, signature, position + 1)
        if position < 0:
            return
        yield position


def _tried(content: mmap.mmap, position: int, kind: Kind, sink: Sink) -> bool:
    """Whether an archive begins there. What cannot be read is taken for a coincidence."""
    try:
        _opened(content, position, kind, sink)
    except EncryptedError:
        if content[position : position + 2] != b"7z":
            raise
        _by_7z(content, position, sink)
    except UnpackError:
        return False
    return True


def _opened(content: mmap.mmap, position: int, kind: Kind, sink: Sink) -> None:
    if content[position : position + 4] == b"Rar!":
        with suppress(NotThisError):
            rar.locked_entries_at(content, position, kind, sink)
            return
    entries_at(content, position, kind, sink)


def _by_7z(content: mmap.mmap, position: int, sink: Sink) -> None:
    with open(new_file(), "w+b") as copy:  # noqa: PTH123 - a descriptor
        copy.writelines(sliced(content, position))
        copy.flush()
        sevenzip.extract(copy.fileno(), "7z", sink)
