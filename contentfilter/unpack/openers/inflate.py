"""The compressions of zip entries that the standard library and zstandard know, undone a chunk at a time."""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from contentfilter.unpack.openers.common import CHUNK, sliced
from contentfilter.unpack.openers.zip_records import Content

MEMORY_LIMIT = 128 * 1024 * 1024
"""Bytes that a decompressor may keep as its dictionary; what asks for more counts as damaged."""


class Extent:
    """Where the compressed data ended; known once all of it was read."""

    def __init__(self, start: int) -> None:
        self.end = start


Inflate = Callable[[Content, int, int, int, Extent], Iterator[bytes]]


def deflated(content: Content, start: int, _length: int, _size: int, extent: Extent) -> Iterator[bytes]:
    """Deflate ends where it says, whatever length a header claims."""
    decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
    position, waiting = start, b""
    while not decompressor.eof:
        if not waiting:
            waiting = bytes(content[position : position + CHUNK])
            position += len(waiting)
        if not waiting:
            raise EOFError("ends in the middle")
        piece = decompressor.decompress(waiting, CHUNK)
        waiting = decompressor.unconsumed_tail
        extent.end = position - len(decompressor.unused_data) - len(waiting)
        if piece:
            yield piece


def stored(content: Content, start: int, length: int, _size: int, extent: Extent) -> Iterator[bytes]:
    """As it is; what the header claims beyond the end of the file is missing."""
    yield from sliced(content, start, start + length)
    extent.end = min(start + length, len(content))
    if start + length > len(content):
        raise EOFError("ends in the middle")


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def _bzip2(content: Content, start: int, _length: int, _size: int, extent: Extent) -> Iterator[bytes]:
    yield from _steps(bz2.BZ2Decompressor(), content, start, extent)


def _xz(content: Content, start: int, _length: int, _size: int, extent: Extent) -> Iterator[bytes]:
    yield from _steps(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_LIMIT), content, start, extent)


def _lzma(content: Content, start: int, length: int, size: int, extent: Extent) -> Iterator[bytes]:
    """APPNOTE 5.8: two bytes of version, two of length, then the properties. With a size in front it is a .lzma file.

    An entry may end with a mark or, without one, where its size says; so it is asked for both ways.
    """
    (width,) = struct.unpack("<H", content[start + 2 : start + 4])
    properties = bytes(content[start + 4 : start + 4 + width])
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MEMORY_LIMIT)
    decompressor.decompress(properties[:5] + struct.pack("<q", -1))
    given = 0
    for piece in _steps(decompressor, content[: start + length], start + 4 + width, extent, open_ended=True):
        given += len(piece)
        yield piece
    if not decompressor.eof and given < size:
        raise EOFError("ends in the middle")


def _zstandard(content: Content, start: int, length: int, _size: int, extent: Extent) -> Iterator[bytes]:
    import zstandard  # noqa: PLC0415 - rarely wanted

    extent.end = start + length
    try:
        with zstandard.ZstdDecompressor(max_window_size=MEMORY_LIMIT).stream_reader(
            io.BytesIO(content[start : start + length])
        ) as reader:
            while piece := reader.read(CHUNK):
                yield piece
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def _steps(
    decompressor: _Decompressor, content: Content, start: int, extent: Extent, *, open_ended: bool = False
) -> Iterator[bytes]:
    position = start
    while not decompressor.eof:
        data = b""
        if decompressor.needs_input:
            data = bytes(content[position : position + CHUNK])
            if not data:
                if open_ended:
                    return
                raise EOFError("ends in the middle")
            position += len(data)
        piece = decompressor.decompress(data, CHUNK)
        extent.end = position - len(decompressor.unused_data)
        if piece:
            yield piece


METHODS: dict[int, Inflate] = {
    0: stored,
    8: deflated,
    12: _bzip2,
    14: _lzma,
    20: _zstandard,
    93: _zstandard,
    95: _xz,
}
