"""The encoding of uuencode(1), older than MIME: blocks of lines between "begin" and "end"."""

from __future__ import annotations

import binascii
import re
from io import BytesIO

from contentfilter.message import Buffer
from contentfilter.mime.decoded import Decoded

_MOST_BLOCKS = 100
"""Blocks that are decoded; they may be as short as two lines."""

_SHORT_LINE = 40
"""Lines are 61 characters long, but for the last. On average they are not taken to be shorter than this."""

_CHUNK = 256 * 1024
_BEGIN = rb"begin(?:-base64)? [0-7]{3,6} ([^\r\n]*)\r?\n"
_FIRST = re.compile(_BEGIN)
_FURTHER = re.compile(b"\n" + _BEGIN)
# The line end before it belongs to the block.
_END = re.compile(rb"\nend[ \t]*\r?(?=\n|\Z)")


def decode_uu(buffer: Buffer, start: int, end: int) -> Decoded:
    """All blocks, one after the other. Without any, the data as it is."""
    blocks: list[bytes] = []
    names: list[bytes] = []
    position = start
    begin = _FIRST.match(buffer, start, end)
    while len(blocks) < _MOST_BLOCKS and (begin := begin or _FURTHER.search(buffer, position, end)):
        finish = _END.search(buffer, begin.end() - 1, end)
        stop = finish.start() + 1 if finish else end
        blocks.append(uu_block(buffer, begin.end(), stop))
        names.append(begin[1].strip())
        position = finish.end() if finish else end
        begin = None
    if not blocks:
        return Decoded(buffer[start:end], ("uuencode-without-begin",))
    return Decoded(b"".join(blocks), ("uuencode-blocks",) if len(blocks) > 1 else (), names=tuple(names))


def uu_block(buffer: Buffer, start: int, end: int) -> bytes:
    """The lines of a block. A line says how long it is, and zeros are put where it is shorter: that must not add up."""
    room = end - start
    lines_left = 1000 + room // _SHORT_LINE
    decoded = BytesIO()
    position = start
    while position < end and lines_left > 0:
        stop = buffer.find(b"\n", min(position + _CHUNK, end), end) + 1 or end
        lines = buffer[position:stop].split(b"\n", lines_left)
        lines_left -= len(lines)
        for line in map(bytes.rstrip, lines):
            # An empty line announces nothing, but the standard library makes 32 zeros of it.
            content = _line(line) if line else b""
            room -= len(content)
            if room < 0:
                return decoded.getvalue()
            decoded.write(content)
        position = stop
    return decoded.getvalue()


def _line(line: bytes) -> bytes:
    try:
        return binascii.a2b_uu(line)
    except binascii.Error:
        # Some encoders put a checksum or other garbage behind what the first byte announces.
        announced = (line[0] - 32) & 63
    try:
        return binascii.a2b_uu(line[: 1 + (announced + 2) // 3 * 4])
    except binascii.Error:
        return b""
