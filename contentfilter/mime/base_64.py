"""Base64 (RFC 2045 section 6.8), as tolerantly as mail programs decode it, a stretch at a time."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO

import pybase64

from contentfilter.message import Buffer
from contentfilter.mime.costs import Costs
from contentfilter.mime.decoded import Decoded, Others
from contentfilter.search import find

_CHUNK = 256 * 1024
"""Bytes of base64 cleaned and decoded at a time: what a core's own cache holds."""

_MOST_PIECES = 1000
"""Padded pieces that are told apart; what follows is decoded in one."""

_BLANKS = b" \t\r\n"
DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_DIGITS = bytes(set(range(256)) - set(DIGITS))
_AS_THEY_ARE = bytes(range(256))
_FROM_URL = bytes.maketrans(b"-_", b"+/")
_NOT_URL_DIGITS = bytes(set(_NOT_DIGITS) - set(b"-_"))
_FOREIGN_DIGIT = re.compile(rb"[^A-Za-z0-9+/= \t\r\n]")
_FOREIGN_TO_ALL = re.compile(rb"[^A-Za-z0-9+/= \t\r\n_-]")
_PADDING = re.compile(rb"=")


def decode_base64(buffer: Buffer, start: int, end: int, costs: Costs | None = None) -> Decoded:
    """The content. Only what is entirely in order takes the fast way. Raises OutOfTimeError."""
    costs = costs or Costs()
    content = _orderly(buffer, start, end, costs)
    return _odd(buffer, start, end, costs) if content is None else Decoded(content)


def base64_content(buffer: Buffer, start: int, end: int, costs: Costs) -> bytes:
    """The content by itself, all that lies between the padding of an odd one. Raises OutOfTimeError."""
    content = _orderly(buffer, start, end, costs)
    return _whole(buffer, start, end, costs)[0] if content is None else content


def _orderly(buffer: Buffer, start: int, end: int, costs: Costs) -> bytes | None:
    """The content of what is in order, else None."""
    decoded = BytesIO()
    rest = b""
    padded = False
    position = start
    try:
        while position < end:
            costs.check()
            stop = _end_of_stretch(buffer, position, end)
            with memoryview(buffer) as view, view[position:stop] as stretch:
                ends = padded or b"=" in rest or find(stretch, b"=") >= 0
                content, rest = _decoded_stretch(stretch, rest)
                if padded and (content or rest):
                    return None
                decoded.write(content)
                padded = ends and not rest
            position = stop
    except binascii.Error:
        return None
    return None if rest else decoded.getvalue()


def _end_of_stretch(buffer: Buffer, position: int, end: int) -> int:
    """Behind a line end where there is one: most often whole bytes end there as well."""
    if end - position <= _CHUNK:
        return end
    line_end = buffer.rfind(b"\n", position, position + _CHUNK)
    return position + _CHUNK if line_end < 0 else line_end + 1


def _decoded_stretch(stretch: memoryview, rest: bytes) -> tuple[bytes, bytes]:
    """The content of a stretch behind so many digits, and the digits that are left over. Raises binascii.Error."""
    if not rest:
        with suppress(binascii.Error):  # raised as well if the last digits make no whole byte
            return pybase64.b64decode(stretch, validate=True, ignorechars=_BLANKS), b""
    digits = rest + bytes(stretch).translate(None, _BLANKS)
    whole, rest = digits[: len(digits) - len(digits) % 4], digits[len(digits) - len(digits) % 4 :]
    if rest and b"=" in whole:
        raise binascii.Error("digits behind the padding")
    return pybase64.b64decode(whole, validate=True), rest


def looks_like_base64(head: bytes) -> bool:
    """Whether the beginning of a body is nothing but lines of digits."""
    digits = head.translate(None, _BLANKS)
    return len(digits) >= 16 and b" " not in head.strip() and not digits.translate(None, DIGITS + b"=")


def _odd(buffer: Buffer, start: int, end: int, costs: Costs) -> Decoded:
    """Base64 with foreign characters, padding before its end, or padding that is missing."""
    whole, pieces, first = _whole(buffer, start, end, costs)
    defects: list[str] = []
    others = Others(whole, costs)
    most = len(whole) + 4
    foreign = _FOREIGN_DIGIT.search(buffer, start, end)
    if foreign is not None:
        defects.append("base64-foreign")
        stop = foreign.start()
        others.add("base64-foreign", min(stop - start, most), lambda: straight(buffer, start, stop, costs))
        if pieces == 1 and _FOREIGN_TO_ALL.search(buffer, stop, end) is None:
            # The alphabet for addresses (RFC 4648 section 5), which lenient decoders take as well.
            for_urls = _FROM_URL, _NOT_URL_DIGITS
            others.add("base64-url", end - start, lambda: straight(buffer, start, end, costs, alphabet=for_urls))
    if pieces > 1:
        defects.append("base64-after-padding")
        others.add("base64-after-padding", first, lambda: whole[:first])
        others.add("base64-after-padding", most, lambda: straight(buffer, start, end, costs))
    return Decoded(whole, tuple(defects) or ("base64-padding",), others.found)


def _whole(buffer: Buffer, start: int, end: int, costs: Costs) -> tuple[bytes, int, int]:
    """All pieces, how many of them hold anything, and how long the first of these is."""
    content = BytesIO()
    first = pieces = 0
    for begin, stop in _pieces(buffer, start, end):
        pieces += _write(content, buffer, begin, stop, costs) > 0
        first = first or content.tell()
    return content.getvalue(), pieces, first


def _pieces(buffer: Buffer, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The stretches between the padding, empty ones too."""
    position = start
    for number, padding in enumerate(_PADDING.finditer(buffer, start, end)):
        if number >= 2 * _MOST_PIECES:
            break
        yield position, padding.start()
        position = padding.end()
    yield position, end


def straight(
    buffer: Buffer, start: int, end: int, costs: Costs, *, alphabet: tuple[bytes, bytes] = (_AS_THEY_ARE, _NOT_DIGITS)
) -> bytes:
    """All digits as if nothing stood between them. alphabet: which digit each byte stands for, and which are none.

    Raises OutOfTimeError.
    """
    content = BytesIO()
    _write(content, buffer, start, end, costs, alphabet=alphabet)
    return content.getvalue()


def _write(
    content: BytesIO,
    buffer: Buffer,
    start: int,
    end: int,
    costs: Costs,
    *,
    alphabet: tuple[bytes, bytes] = (_AS_THEY_ARE, _NOT_DIGITS),
) -> int:
    """Decode one piece, padding left out; how many digits there were. One that is left over holds no whole byte."""
    rest = b""
    count = 0
    for position in range(start, end, _CHUNK):
        costs.check()
        digits = buffer[position : min(position + _CHUNK, end)].translate(*alphabet)
        count += len(digits)
        digits = rest + digits
        whole = len(digits) - len(digits) % 4
        content.write(pybase64.b64decode(digits[:whole], validate=True))
        rest = digits[whole:]
    if len(rest) > 1:
        content.write(pybase64.b64decode(rest + b"=" * (4 - len(rest)), validate=True))
    return count
