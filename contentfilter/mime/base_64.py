"""Base64 (RFC 2045 section 6.8), as tolerantly as mail programs decode it, a stretch at a time."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from io import BytesIO

import pybase64

from contentfilter.message import Buffer
from contentfilter.mime.decoded import Decoded, different

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


def decode_base64(buffer: Buffer, start: int, end: int) -> Decoded:
    """The content. Only what is entirely in order takes the fast way."""
    decoded = BytesIO()
    rest = b""
    padded = False
    try:
        for position in range(start, end, _CHUNK):
            digits = rest + buffer[position : min(position + _CHUNK, end)].translate(None, _BLANKS)
            if padded and digits:
                return _odd(buffer, start, end)
            whole = len(digits) - len(digits) % 4
            decoded.write(pybase64.b64decode(digits[:whole], validate=True))
            rest, padded = digits[whole:], digits.endswith(b"=")
    except binascii.Error:
        return _odd(buffer, start, end)
    return _odd(buffer, start, end) if rest else Decoded(decoded.getvalue())


def looks_like_base64(head: bytes) -> bool:
    """Whether the beginning of a body is nothing but lines of digits."""
    digits = head.translate(None, _BLANKS)
    return len(digits) >= 16 and b" " not in head.strip() and not digits.translate(None, DIGITS + b"=")


def _odd(buffer: Buffer, start: int, end: int) -> Decoded:
    """Base64 with foreign characters, padding before its end, or padding that is missing."""
    content = BytesIO()
    first: int | None = None
    pieces = 0
    for begin, stop in _pieces(buffer, start, end):
        pieces += _write(content, buffer, begin, stop) > 0
        first = content.tell() if first is None and pieces else first
    whole = content.getvalue()
    defects: list[str] = []
    others: list[tuple[str, bytes]] = []
    foreign = _FOREIGN_DIGIT.search(buffer, start, end)
    if foreign is not None:
        defects.append("base64-foreign")
        others.append(("base64-foreign", _straight(buffer, start, foreign.start())))
        if pieces == 1 and _FOREIGN_TO_ALL.search(buffer, foreign.start(), end) is None:
            # The alphabet for addresses (RFC 4648 section 5), which lenient decoders take as well.
            others.append(("base64-url", _straight(buffer, start, end, _FROM_URL, _NOT_URL_DIGITS)))
    if pieces > 1:
        defects.append("base64-after-padding")
        others.append(("base64-after-padding", whole[:first]))
        others.append(("base64-after-padding", _straight(buffer, start, end)))
    return Decoded(whole, tuple(defects) or ("base64-padding",), different(whole, others))


def _pieces(buffer: Buffer, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The stretches between the padding, empty ones too."""
    position = start
    for number, padding in enumerate(_PADDING.finditer(buffer, start, end)):
        if number >= 2 * _MOST_PIECES:
            break
        yield position, padding.start()
        position = padding.end()
    yield position, end


def _straight(
    buffer: Buffer, start: int, end: int, meaning: bytes = _AS_THEY_ARE, dropped: bytes = _NOT_DIGITS
) -> bytes:
    content = BytesIO()
    _write(content, buffer, start, end, meaning=meaning, dropped=dropped)
    return content.getvalue()


def _write(
    content: BytesIO,
    buffer: Buffer,
    start: int,
    end: int,
    *,
    meaning: bytes = _AS_THEY_ARE,
    dropped: bytes = _NOT_DIGITS,
) -> int:
    """Decode one piece, padding left out; how many digits there were. One that is left over holds no whole byte."""
    rest = b""
    count = 0
    for position in range(start, end, _CHUNK):
        digits = buffer[position : min(position + _CHUNK, end)].translate(meaning, dropped)
        count += len(digits)
        digits = rest + digits
        whole = len(digits) - len(digits) % 4
        content.write(pybase64.b64decode(digits[:whole], validate=True))
        rest = digits[whole:]
    if len(rest) > 1:
        content.write(pybase64.b64decode(rest + b"=" * (4 - len(rest)), validate=True))
    return count
