"""Compressed streams that libarchive gives up, read as far as they go; and the name in a gzip header."""

from __future__ import annotations

import bz2
import lzma
import mmap
import zlib
from collections.abc import Iterator

from contentfilter.unpack.openers.common import CHUNK, readable, sliced
from contentfilter.unpack.openers.inflate import MEMORY_LIMIT

_GZIP = b"\x1f\x8b\x08"
_EXTRA, _NAME = 4, 8


def salvaged(content: mmap.mmap, offset: int) -> Iterator[bytes] | None:
    """What can be had of a gzip, bzip2 or xz that breaks off; None for anything else. Raises EOFError at the break."""
    head = content[offset : offset + 6]
    if head.startswith(_GZIP):
        return _gunzipped(content, offset)
    if head.startswith(b"BZh"):
        return _read(bz2.BZ2Decompressor(), content, offset)
    if head == b"\xfd7zXZ\0":
        return _read(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_LIMIT), content, offset)
    return None


def _gunzipped(content: mmap.mmap, offset: int) -> Iterator[bytes]:
    decompressor = zlib.decompressobj(31)
    for piece in sliced(content, offset):
        waiting = piece
        while waiting and not decompressor.eof:
            yield decompressor.decompress(waiting, CHUNK)
            waiting = decompressor.unconsumed_tail
    if not decompressor.eof:
        yield decompressor.flush(CHUNK)
        raise EOFError("ends in the middle")


def _read(
    decompressor: bz2.BZ2Decompressor | lzma.LZMADecompressor, content: mmap.mmap, offset: int
) -> Iterator[bytes]:
    for piece in sliced(content, offset):
        if decompressor.eof:
            return
        yield decompressor.decompress(piece, CHUNK)
        while not decompressor.eof and not decompressor.needs_input:
            yield decompressor.decompress(b"", CHUNK)
    if not decompressor.eof:
        raise EOFError("ends in the middle")


def gzip_name(content: mmap.mmap, offset: int) -> str:
    """The original name in the header (RFC 1952 section 2.3), "" if there is none."""
    head = content[offset : offset + 12]
    if len(head) < 12 or not head.startswith(_GZIP) or not head[3] & _NAME:
        return ""
    start = offset + 10
    if head[3] & _EXTRA:
        start += 2 + int.from_bytes(head[10:12], "little")
    end = content.find(b"\0", start, start + 65536)
    return readable(content[start:end]) if end > start else ""
