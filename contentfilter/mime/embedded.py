"""Files that stand in the middle of a text: uuencode, yEnc, BinHex, and base64 that no header announces.

Mail programs of the time before MIME wrote them so, and programs of today still make attachments of the first two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import islice

import pybase64

from contentfilter.message import Buffer
from contentfilter.mime.base_64 import DIGITS, decode_base64
from contentfilter.mime.uuencode import uu_block

_MOST_FILES = 100
"""Files that are taken out of one text; they may be as short as two lines."""

_MOST_ESCAPES = 500_000
"""Escapes in one file that are undone; of what has more, which no encoder makes, the beginning is decoded."""

_BINHEX_GROWTH = 20
"""Runs of equal bytes make a BinHex file longer than its text, up to so many times; a short one up to 64 kB."""

_CHUNK = 64 * 1024
_RUN = 40
"""Digits of base64 in a row that make us look closer. Lines of mail programs hold 60 to 76."""

_MOST_RUNS = 1000
"""Runs looked at in one text. No mail program decodes such base64, people do: certainty is not needed."""

_AS_DIGIT = bytes(ord("A") if byte in DIGITS else ord(" ") for byte in range(256))
_BASE64_LINES = re.compile(
    rb"(?:(?:[A-Za-z0-9+/]{40,}+[ \t]*+\r?\n){2,}+|(?=[A-Za-z0-9+/]{160}))"
    rb"(?:[A-Za-z0-9+/]*+={0,2}+(?=[ \t]*+(?:\r?\n|\Z)))?"
)
_SAMPLE = 200
_BEGIN_UU = rb"begin(-base64)? [0-7]{3,6} ([^\r\n]{0,1000})\r?\n"
_END_UU = re.compile(rb"\n(?:end|====)[ \t]*\r?(?=\n|\Z)")
_BEGIN_YENC = rb"=ybegin ([^\r\n]{0,2000}+)\r?\n(?:=ypart [^\r\n]*+\r?\n)?"
_BEGIN_BINHEX = rb"\(This file must be converted with BinHex[^\n]{0,100}\n\s*:"
_HQX_DIGITS = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
_FROM_HQX = bytes.maketrans(_HQX_DIGITS, DIGITS)
_NOT_HQX = bytes(set(range(256)) - set(_HQX_DIGITS))
_RUN_MARK = re.compile(rb"\x90(.?)", re.DOTALL)
_MINUS_42 = bytes((byte - 42) % 256 for byte in range(256))


@dataclass(frozen=True, slots=True)
class Embedded:
    """One file. way: the ambiguity's name ("embedded-uuencode"); start, end: where it stands; name: its own, raw.

    cut: it has more content than was decoded.
    """

    way: str
    start: int
    end: int
    content: bytes
    name: bytes = b""
    cut: bool = False


@dataclass(frozen=True, slots=True)
class _Kind:
    """How files of a kind begin: as the first line of all, and as a further one; and what one is decoded to."""

    first: re.Pattern[bytes]
    further: re.Pattern[bytes]
    decode: Callable[[Buffer, re.Match[bytes], int], tuple[tuple[Embedded, ...], int]]


def embedded_files(buffer: Buffer, start: int, end: int) -> Iterator[Embedded]:
    """The files in the text buffer[start:end], those of each kind in order. Never raises."""
    yield from named_files(buffer, start, end)
    yield from _base64_blocks(buffer, start, end)


def named_files(buffer: Buffer, start: int, end: int) -> Iterator[Embedded]:
    """Those that say themselves what they are: all but base64."""
    for kind in _KINDS:
        # The line end before a body belongs to its header; only what was decoded begins without one.
        found = kind.first.match(buffer, 0, end) if start == 0 else None
        position = max(start - 1, 0)
        for _ in range(_MOST_FILES):
            found = found or kind.further.search(buffer, position, end)
            if found is None:
                break
            files, position = kind.decode(buffer, found, end)
            found = None
            yield from files


def _uuencoded(buffer: Buffer, begin: re.Match[bytes], end: int) -> tuple[tuple[Embedded, ...], int]:
    finish = _END_UU.search(buffer, begin.end() - 1, end)
    stop = finish.start() + 1 if finish else end
    if begin[1] is None:
        content, cut = uu_block(buffer, begin.end(), stop)
    else:
        content, cut = decode_base64(buffer, begin.end(), stop).content, False
    return (Embedded("embedded-uuencode", begin.start(), stop, content, begin[2].strip(), cut),), stop


def _yencoded(buffer: Buffer, begin: re.Match[bytes], end: int) -> tuple[tuple[Embedded, ...], int]:
    """Each byte plus 42; "=" stands before those that would be CR, LF, NUL or "=", and adds 64 to them."""
    finish = buffer.find(b"\n=yend", begin.end() - 1, end)
    stop = end if finish < 0 else max(finish, begin.end())
    content = BytesIO()
    escapes = _MOST_ESCAPES
    position = begin.end()
    while position < stop and escapes > 0:
        until = min(position + _CHUNK, stop)
        until += buffer[until - 1 : until] == b"="
        first, *escaped = buffer[position:until].translate(None, b"\r\n").split(b"=", escapes)
        pieces = [first, *(bytes([(piece[0] - 64) % 256]) + piece[1:] for piece in escaped if piece)]
        content.write(b"".join(pieces).translate(_MINUS_42))
        escapes -= len(escaped)
        position = until
    name = begin[1].partition(b"name=")[2].strip(b' \t"')
    return (Embedded("embedded-yenc", begin.start(), stop, content.getvalue(), name),), stop


def _binhexed(buffer: Buffer, begin: re.Match[bytes], end: int) -> tuple[tuple[Embedded, ...], int]:
    """BinHex 4.0 (RFC 1741 section 4): the name, 20 bytes about the file, its data fork and its resource fork.

    The resource fork gets the name that AppleDouble would give it.
    """
    finish = buffer.find(b":", begin.end(), end)
    stop = end if finish < 0 else max(finish, begin.end())
    digits = buffer[begin.end() : stop].translate(_FROM_HQX, _NOT_HQX)
    digits = digits[: len(digits) - len(digits) % 4]
    data = _without_runs(pybase64.b64decode(digits, validate=True))
    length = data[0] if data else 0
    name = data[1 : length + 1]
    sizes = [int.from_bytes(data[length + at : length + at + 4], "big") for at in (12, 16)]
    first = length + 22
    second = first + sizes[0] + 2
    forks = ((name, data[first : first + sizes[0]]), (b"._" + name, data[second : second + sizes[1]]))
    files = [Embedded("embedded-binhex", begin.start(), stop, content, called) for called, content in forks if content]
    return tuple(files), stop


def _without_runs(data: bytes) -> bytes:
    """90 hex and a count repeat the byte before, itself counted in; 90 00 is 90 itself. The count may be 90, too."""
    pieces: list[bytes] = []
    last, position = b"", 0
    room = max(_BINHEX_GROWTH * len(data), _CHUNK)
    for mark in islice(_RUN_MARK.finditer(data), _MOST_ESCAPES):
        piece = data[position : mark.start()]
        last = piece[-1:] or last
        count = mark[1][0] if mark[1] else 0
        run = last * (count - 1) if count else b"\x90"
        room -= len(run)
        if room < 0:
            return b"".join(pieces)
        last = last if count else run
        pieces += [piece, run]
        position = mark.end()
    return b"".join((*pieces, data[position:]))


def _base64_blocks(buffer: Buffer, start: int, end: int) -> Iterator[Embedded]:
    position = start
    for _ in range(_MOST_RUNS):
        run = _next_run(buffer, position, end)
        if run is None:
            return
        line = max(buffer.rfind(b"\n", max(start, run - 2 * _RUN), run) + 1, position)
        begins_line = line == start or buffer[line - 1 : line] == b"\n"
        block = _BASE64_LINES.match(buffer, line, end) if begins_line else None
        if block is None or not _is_mixed(buffer[block.start() : min(block.end(), block.start() + _SAMPLE)]):
            position = _after_line(buffer, run + _RUN, end)
            continue
        position = max(block.end(), run + _RUN)
        content = decode_base64(buffer, block.start(), block.end()).content
        yield Embedded("embedded-base64", block.start(), block.end(), content)


def _next_run(buffer: Buffer, position: int, end: int) -> int | None:
    """Where the next digits in a row begin, as many as make us look. Without patterns: this is done to every text."""
    while position + _RUN <= end:
        digits = buffer[position : min(end, position + _CHUNK)].translate(_AS_DIGIT)
        found = digits.find(b"A" * _RUN)
        if found >= 0:
            return position + found
        position += _CHUNK - _RUN
    return None


def _after_line(buffer: Buffer, position: int, end: int) -> int:
    found = buffer.find(b"\n", position, end)
    return end if found < 0 else found + 1


def _is_mixed(digits: bytes) -> bool:
    """Whether there are capital and small letters: lists of checksums have only one of them."""
    return digits != digits.lower() and digits != digits.upper()


_KINDS = tuple(
    _Kind(re.compile(begin), re.compile(b"\n" + begin), decode)
    for begin, decode in ((_BEGIN_UU, _uuencoded), (_BEGIN_YENC, _yencoded), (_BEGIN_BINHEX, _binhexed))
)
