"""The encoding of uuencode(1), older than MIME: blocks of lines between "begin" and "end"."""

from __future__ import annotations

import binascii
import re
from io import BytesIO

from contentfilter.message import Buffer
from contentfilter.mime.costs import Costs
from contentfilter.mime.decoded import Decoded

_MOST_BLOCKS = 100
"""Blocks that are decoded; they may be as short as two lines."""

_MOST_LINES = 200_000
_SHORT_LINE = 40
"""Lines are 61 characters long, but for the last and those that lost blanks. Beyond so many lines they are not taken to
be shorter than this on average."""

_LOST = 4 * 1024 * 1024
"""Bytes by which a content may be longer than its text: a line of zeros may be left with its first character."""

_CHUNK = 256 * 1024
_BEGIN = rb"begin(?:-base64)? [0-7]{3,6} ([^\r\n]*)\r?\n"
_FIRST = re.compile(_BEGIN)
_FURTHER = re.compile(b"\n" + _BEGIN)
# The line end before it belongs to the block.
_END = re.compile(rb"\nend[ \t]*\r?(?=\n|\Z)")


def decode_uu(buffer: Buffer, start: int, end: int, costs: Costs | None = None) -> Decoded:
    """All blocks, one after the other. Without any, the data as it is. Raises OutOfTimeError."""
    blocks = _Blocks(end - start, costs or Costs())
    names: list[bytes] = []
    position = start
    begin = _FIRST.match(buffer, start, end)
    while len(names) < _MOST_BLOCKS and (begin := begin or _FURTHER.search(buffer, position, end)):
        finish = _END.search(buffer, begin.end() - 1, end)
        blocks.add(buffer, begin.end(), finish.start() + 1 if finish else end)
        names.append(begin[1].strip())
        position = finish.end() if finish else end
        begin = None
    if not names:
        return Decoded(buffer[start:end], ("uuencode-without-begin",))
    defects = ("uuencode-blocks",) if len(names) > 1 else ()
    return Decoded(blocks.content, defects, names=tuple(names), too_costly=blocks.cut)


def uu_block(buffer: Buffer, start: int, end: int, costs: Costs) -> tuple[bytes, bool]:
    """What the lines of one block hold; and whether it was cut short, since it has too many, or promises too much.

    Raises OutOfTimeError.
    """
    block = _Blocks(end - start, costs)
    block.add(buffer, start, end)
    return block.content, block.cut


class _Blocks:
    """Decodes blocks, under one limit. size: bytes of all of them, encoded.

    A line says how long it is, and zeros are put where it is shorter: that must not add up.
    """

    def __init__(self, size: int, costs: Costs) -> None:
        self._decoded = BytesIO()
        self._costs = costs
        self._room = size + min(_LOST, costs.room)
        self._lines = _MOST_LINES + size // _SHORT_LINE
        self.cut = False

    @property
    def content(self) -> bytes:
        return self._decoded.getvalue()

    def add(self, buffer: Buffer, start: int, end: int) -> None:
        """Decode one more block."""
        position = start
        while position < end and not self.cut:
            self._costs.check()
            stop = buffer.find(b"\n", min(position + _CHUNK, end), end) + 1 or end
            lines = buffer[position:stop].split(b"\n", max(self._lines, 0))
            self._lines -= len(lines)
            self.cut = self._lines < 0
            for line in map(bytes.rstrip, lines):
                # An empty line announces nothing, but the standard library makes 32 zeros of it.
                content = _line(line) if line else b""
                self._room -= len(content)
                if self._room < 0:
                    self.cut = True
                    return
                self._decoded.write(content)
            position = stop


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
