"""Files that stand in the middle of a text: uuencode, yEnc, BinHex, and base64 that no header announces.

Mail programs of the time before MIME wrote them so, and programs of today still make attachments of the first two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

from contentfilter.message import Buffer
from contentfilter.mime.base_64 import DIGITS, base64_content, straight
from contentfilter.mime.costs import Costs
from contentfilter.mime.uuencode import uu_block

_MOST_FILES = 100
"""Files that are taken out of one text; they may be as short as two lines."""

_MOST_ESCAPES = 4_000_000
"""Escapes in one file that are undone; of what has more, which no encoder makes, the beginning is decoded."""

_BINHEX_GROWTH = 20
"""Runs of equal bytes make a BinHex file longer than its text, up to so many times; a short one up to 64 kB."""

_OFTEN = 1000
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
_SMALL, _CAPITAL = re.compile(rb"[a-z]"), re.compile(rb"[A-Z]")
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
    """How files of a kind begin, as the first line of all and as a further one; where one ends; what is in it."""

    first: re.Pattern[bytes]
    further: re.Pattern[bytes]
    end: Callable[[Buffer, int, int], int]
    decode: Callable[[Buffer, re.Match[bytes], int, Costs], tuple[Embedded, ...]]


def embedded_files(buffer: Buffer, start: int, end: int, costs: Costs | None = None) -> Iterator[Embedded]:
    """The files in the text buffer[start:end], those of each kind in order.

    What they hold counts. Raises OutOfTimeError, and nothing else.
    """
    costs = costs or Costs()
    yield from named_files(buffer, start, end, costs)
    yield from _base64_blocks(buffer, start, end, costs)


def named_files(buffer: Buffer, start: int, end: int, costs: Costs | None = None) -> Iterator[Embedded]:
    """Those that say themselves what they are: all but base64. Raises OutOfTimeError."""
    costs = costs or Costs()
    for kind in _KINDS:
        # The line end before a body belongs to its header; only what was decoded begins without one.
        found = kind.first.match(buffer, 0, end) if start == 0 else None
        position = max(start - 1, 0)
        for _ in range(_MOST_FILES):
            costs.check()
            found = found or kind.further.search(buffer, position, end)
            if found is None:
                break
            # Nothing is longer than its text, but for what the decoders ask for themselves.
            finish = kind.end(buffer, found.end(), end)
            if not costs.may_hold(finish - found.end()):
                return
            files = kind.decode(buffer, found, finish, costs)
            costs.release(finish - found.end() - sum(len(file.content) for file in files))
            yield from files
            found, position = None, finish


def _uu_end(buffer: Buffer, begin: int, end: int) -> int:
    finish = _END_UU.search(buffer, begin - 1, end)
    return finish.start() + 1 if finish else end


def _uuencoded(buffer: Buffer, begin: re.Match[bytes], stop: int, costs: Costs) -> tuple[Embedded, ...]:
    if begin[1] is None:
        content, cut = uu_block(buffer, begin.end(), stop, costs)
    else:
        content, cut = base64_content(buffer, begin.end(), stop, costs), False
    return (Embedded("embedded-uuencode", begin.start(), stop, content, begin[2].strip(), cut),)


def _yenc_end(buffer: Buffer, begin: int, end: int) -> int:
    finish = buffer.find(b"\n=yend", begin - 1, end)
    return end if finish < 0 else max(finish, begin)


def _yencoded(buffer: Buffer, begin: re.Match[bytes], stop: int, costs: Costs) -> tuple[Embedded, ...]:
    """Each byte plus 42; "=" stands before those that would be CR, LF, NUL or "=", and adds 64 to them."""
    content = BytesIO()
    escapes = _MOST_ESCAPES
    position = begin.end()
    while position < stop and escapes > 0:
        costs.check()
        until = min(position + _CHUNK, stop)
        until += buffer[until - 1 : until] == b"="
        first, *escaped = buffer[position:until].translate(None, b"\r\n").split(b"=", escapes)
        pieces = [first, *(bytes([(piece[0] - 64) % 256]) + piece[1:] for piece in escaped if piece)]
        content.write(b"".join(pieces).translate(_MINUS_42))
        escapes -= len(escaped)
        position = until
    name = begin[1].partition(b"name=")[2].strip(b' \t"')
    return (Embedded("embedded-yenc", begin.start(), stop, content.getvalue(), name, position < stop),)


def _binhex_end(buffer: Buffer, begin: int, end: int) -> int:
    finish = buffer.find(b":", begin, end)
    return end if finish < 0 else max(finish, begin)


def _binhexed(buffer: Buffer, begin: re.Match[bytes], stop: int, costs: Costs) -> tuple[Embedded, ...]:
    """BinHex 4.0 (RFC 1741 section 4): the name, 20 bytes about the file, its data fork and its resource fork.

    The resource fork gets the name that AppleDouble would give it.
    """
    # Twice: the forks are cut out of the whole.
    room = (stop - begin.end() + costs.room) // 2
    packed = straight(buffer, begin.end(), stop, costs, alphabet=(_FROM_HQX, _NOT_HQX))
    data, cut = _without_runs(packed, room, costs)
    del packed
    length = data[0] if data else 0
    name = data[1 : length + 1]
    sizes = [int.from_bytes(data[length + at : length + at + 4], "big") for at in (12, 16)]
    first = length + 22
    second = first + sizes[0] + 2
    forks = ((name, data[first : first + sizes[0]]), (b"._" + name, data[second : second + sizes[1]]))
    return tuple(
        Embedded("embedded-binhex", begin.start(), stop, content, called, cut) for called, content in forks if content
    )


def _without_runs(data: bytes, room: int, costs: Costs) -> tuple[bytes, bool]:
    """90 hex and a count repeat the byte before, itself counted in; 90 00 is 90 itself. The count may be 90, too.

    room: bytes that it may become. Whether it was cut short comes along.
    """
    plain = BytesIO()
    last, position = b"", 0
    room = min(max(_BINHEX_GROWTH * len(data), _CHUNK), room)
    for number, mark in enumerate(_RUN_MARK.finditer(data)):
        if number % _OFTEN == 0:
            costs.check()
        piece = data[position : mark.start()]
        last = piece[-1:] or last
        count = mark[1][0] if mark[1] else 0
        run = last * (count - 1) if count else b"\x90"
        if number >= _MOST_ESCAPES or plain.tell() + len(piece) + len(run) > room:
            return plain.getvalue(), True
        last = last if count else run
        plain.write(piece)
        plain.write(run)
        position = mark.end()
    plain.write(data[position:])
    return plain.getvalue(), False


def _base64_blocks(buffer: Buffer, start: int, end: int, costs: Costs) -> Iterator[Embedded]:
    position = passed = start
    for _ in range(_MOST_RUNS):
        run = _next_run(buffer, position, end, costs)
        if run is None:
            return
        line = max(buffer.rfind(b"\n", max(start, run - 2 * _RUN), run) + 1, position)
        position = _after_line(buffer, run + _RUN, end)
        if line != start and buffer[line - 1 : line] != b"\n":
            continue
        # A block whose beginning was passed over ends where it ended then: it is not matched for each of its lines.
        stop = passed if line < passed else _block_end(buffer, line, end)
        if stop == line:
            continue
        if not _is_mixed(buffer[line : min(stop, line + _SAMPLE)]):
            passed = stop
            position = max(position, _mixed_from(buffer, line, stop))
            continue
        position = max(stop, run + _RUN)
        if not costs.may_hold(stop - line):
            return
        content = base64_content(buffer, line, stop, costs)
        costs.release(stop - line - len(content))
        yield Embedded("embedded-base64", line, stop, content)


def _block_end(buffer: Buffer, line: int, end: int) -> int:
    block = _BASE64_LINES.match(buffer, line, end)
    return line if block is None else block.end()


def _mixed_from(buffer: Buffer, start: int, end: int) -> int:
    """Where the line begins by which there have been capital and small letters; the end, if there is none."""
    small, capital = _SMALL.search(buffer, start, end), _CAPITAL.search(buffer, start, end)
    if small is None or capital is None:
        return end
    return buffer.rfind(b"\n", start, max(small.start(), capital.start())) + 1


def _next_run(buffer: Buffer, position: int, end: int, costs: Costs) -> int | None:
    """Where the next digits in a row begin, as many as make us look. Without patterns: this is done to every text."""
    while position + _RUN <= end:
        costs.check()
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
    _Kind(re.compile(begin), re.compile(b"\n" + begin), end, decode)
    for begin, end, decode in (
        (_BEGIN_UU, _uu_end, _uuencoded),
        (_BEGIN_YENC, _yenc_end, _yencoded),
        (_BEGIN_BINHEX, _binhex_end, _binhexed),
    )
)
