"""Content-Transfer-Encoding undone (RFC 2045 section 6), as tolerantly as mail programs do it.

Where tolerance means a choice, the first content is the one with most in it, and the others come along.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import pybase64

from contentfilter.message import Buffer

_CHUNK = 256 * 1024
"""Bytes of base64 cleaned and decoded at a time: what a core's own cache holds."""

_MOST_PIECES = 1000
"""Padded pieces of base64 that are told apart; what follows is decoded in one."""

_MOST_BLOCKS = 100
"""Blocks of uuencode that are decoded; they may be as short as two lines."""

_SHORT_UU_LINE = 40
"""Lines are 61 characters long, but for the last. On average they are not taken to be shorter than this."""

_BLANKS = b" \t\r\n"
_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_FOREIGN = bytes(set(range(256)) - set(_DIGITS))
_NOT_DIGITS = _FOREIGN + b"="
_FROM_URL = bytes.maketrans(b"-_", b"+/")
_NOT_URL_DIGITS = bytes(set(_NOT_DIGITS) - set(b"-_"))
_HEAD = 4096
"""Bytes at the beginning of a body that tell whether it may be in an encoding that nobody declared."""

_FOREIGN_DIGIT = re.compile(rb"[^A-Za-z0-9+/= \t\r\n]")
_TOKEN = re.compile(r"[^\s;,()\"']+")
_NAMES = MappingProxyType({
    "": "7bit",
    "7bit": "7bit",
    "7-bit": "7bit",
    "8bit": "8bit",
    "8-bit": "8bit",
    "binary": "binary",
    "base64": "base64",
    "quoted-printable": "quoted-printable",
    "x-uuencode": "x-uuencode",
    "x-uue": "x-uuencode",
    "x-uu": "x-uuencode",
    "uuencode": "x-uuencode",
    "uue": "x-uuencode",
})  # fmt: skip

_HINTS = (("64", "base64"), ("print", "quoted-printable"), ("quoted", "quoted-printable"), ("uue", "x-uuencode"))
_LONGEST_NAME = 100
"""Bytes of a Content-Transfer-Encoding that are looked at; the longest name has 16."""

_ESCAPE = re.compile(rb"=(?:[0-9A-F]{2}|\r?\n)")
_FEWEST_DIGITS = 16

_BEGIN_UU = re.compile(rb"^begin(?:-base64)? [0-7]{3,6} ([^\r\n]*)\r?\n", re.MULTILINE)
_END_UU = re.compile(rb"^end[ \t]*\r?$", re.MULTILINE)
_PADDED_SOFT_BREAK = re.compile(rb"=[ \t]++(?=\r?(?:\n|\Z))")
_BAD_ESCAPE = re.compile(rb"=(?![0-9A-Fa-f]{2}|\r?\n|\Z)")
_MOST_ODD_ESCAPES = 100_000
"""Escapes of quoted-printable that are looked at one by one. Ordinary content has none."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Content with its encoding removed.

    defects: what was wrong with the encoding; others: (defect, content) as programs read it that treat it differently;
    names: file names that stand in the encoded data itself; too_costly: oddities beyond a number were not looked at.
    """

    content: bytes
    defects: tuple[str, ...] = ()
    others: tuple[tuple[str, bytes], ...] = ()
    names: tuple[bytes, ...] = ()
    too_costly: bool = False


def encodings_of(value: bytes) -> tuple[list[str], bool]:
    """The encodings that a field's value can mean, the likeliest first, and whether the value is in proper form.

    An encoding that we do not know is given as written, lower case, and then what it may have been meant for.
    """
    text = value.strip(b" \t\r\n").decode("ascii", "backslashreplace").lower()
    proper = _NAMES.get(text)
    if proper is not None:
        return [proper], True
    words = _TOKEN.findall(text[:_LONGEST_NAME]) or ["7bit"]
    found = [_NAMES.get(word, word) for word in words]
    known = [word for word in found if word in _NAMES.values()]
    meant = [encoding for hint, encoding in _HINTS if hint in text]
    # A program that reads the value strictly does not know it, and leaves the content as it is.
    return list(dict.fromkeys([found[0], *known, *meant, "7bit"])), False


def looks_like(encoding: str, buffer: Buffer, start: int, end: int) -> bool:
    """Whether a body seems to be in this encoding, whatever is declared."""
    head = buffer[start : min(end, start + _HEAD)]
    if encoding == "quoted-printable":
        return _ESCAPE.search(head) is not None
    digits = head.translate(None, _BLANKS)
    return len(digits) >= _FEWEST_DIGITS and b" " not in head.strip() and not digits.translate(None, _DIGITS)


def decode_base64(buffer: Buffer, start: int, end: int) -> Decoded:
    """RFC 2045 section 6.8. Only what is entirely in order takes the fast way."""
    decoded: list[bytes] = []
    rest = b""
    padded = False
    try:
        for position in range(start, end, _CHUNK):
            digits = rest + buffer[position : min(position + _CHUNK, end)].translate(None, _BLANKS)
            if padded and digits:
                return _odd_base64(buffer[start:end])
            whole = len(digits) - len(digits) % 4
            decoded.append(pybase64.b64decode(digits[:whole], validate=True))
            rest, padded = digits[whole:], digits.endswith(b"=")
    except binascii.Error:
        return _odd_base64(buffer[start:end])
    return _odd_base64(buffer[start:end]) if rest else Decoded(b"".join(decoded))


def _odd_base64(data: bytes) -> Decoded:
    """Base64 with foreign characters, padding before its end, or padding that is missing."""
    digits = data.translate(None, _FOREIGN)
    *pieces, rest = digits.split(b"=", 2 * _MOST_PIECES)
    pieces = [piece for piece in (*pieces, rest.replace(b"=", b"")) if piece]
    decoded = [_base64_piece(piece) for piece in pieces]
    content = b"".join(decoded)
    defects: list[str] = []
    others: list[tuple[str, bytes]] = []
    foreign = _FOREIGN_DIGIT.search(data)
    if foreign is not None:
        defects.append("base64-foreign")
        others.append(("base64-foreign", _base64_piece(data[: foreign.start()].translate(None, _NOT_DIGITS))))
    if len(pieces) == 1 and not data.translate(None, _DIGITS + _BLANKS + b"-_"):
        # The alphabet for addresses (RFC 4648 section 5), which lenient decoders take as well.
        others.append(("base64-url", _base64_piece(data.translate(_FROM_URL, _NOT_URL_DIGITS))))
    if len(pieces) > 1:
        defects.append("base64-after-padding")
        others.append(("base64-after-padding", decoded[0]))
        others.append(("base64-after-padding", _base64_piece(digits.replace(b"=", b""))))
    return Decoded(content, tuple(defects) or ("base64-padding",), _different(content, others))


def _base64_piece(digits: bytes) -> bytes:
    """Digits without padding. One that is left over holds no whole byte."""
    digits = digits[: len(digits) - (len(digits) % 4 == 1)]
    return pybase64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)


def decode_quoted_printable(buffer: Buffer, start: int, end: int) -> Decoded:
    """RFC 2045 section 6.7. An escape that is none stays as it is."""
    data = buffer[start:end]
    defects: list[str] = []
    others: list[tuple[str, bytes]] = []
    padded = data.count(b"= ") + data.count(b"=\t")
    if 0 < padded <= _MOST_ODD_ESCAPES:
        # Blanks at the end of a line are transport padding (rule 3), so this is a soft line break.
        data = _PADDED_SOFT_BREAK.sub(b"=", data)
    if data.count(b"=\r") != data.count(b"=\r\n"):
        # a2b_qp would drop everything up to the next LF.
        data = data.replace(b"=\r\n", b"=\n").replace(b"=\r", b"=3D\r")
    content = binascii.a2b_qp(data)
    # What is left of an escape in proper form is no "=", except where it stood for one.
    odd = content.count(b"=") - data.count(b"=3D") - data.count(b"=3d")
    if odd or b"==" in data:
        defects.append("quoted-printable-escape")
        if odd <= _MOST_ODD_ESCAPES:
            others.append(("quoted-printable-escape", binascii.a2b_qp(_BAD_ESCAPE.sub(b"", data))))
    return Decoded(
        content, tuple(defects), _different(content, others), too_costly=max(padded, odd) > _MOST_ODD_ESCAPES
    )


def decode_uu(buffer: Buffer, start: int, end: int) -> Decoded:
    """What uuencode(1) makes: all blocks, one after the other. Without any, the data as it is."""
    data = buffer[start:end]
    blocks: list[bytes] = []
    names: list[bytes] = []
    position = 0
    while len(blocks) < _MOST_BLOCKS and (begin := _BEGIN_UU.search(data, position)):
        finish = _END_UU.search(data, begin.end())
        stop = finish.start() if finish else len(data)
        blocks.append(_uu_block(data[begin.end() : stop]))
        names.append(begin[1].strip())
        position = finish.end() if finish else len(data)
    if not blocks:
        return Decoded(data, ("uuencode-without-begin",))
    return Decoded(b"".join(blocks), ("uuencode-blocks",) if len(blocks) > 1 else (), names=tuple(names))


def _uu_block(data: bytes) -> bytes:
    """The lines of a block. A line says how long it is, and zeros are put where it is shorter: that must not add up."""
    lines = data.split(b"\n", 1000 + len(data) // _SHORT_UU_LINE)
    room = len(data)
    decoded: list[bytes] = []
    for line in map(bytes.rstrip, lines):
        # An empty line announces nothing, but the standard library makes 32 zeros of it.
        content = _uu_line(line) if line else b""
        room -= len(content)
        if room < 0:
            break
        decoded.append(content)
    return b"".join(decoded)


def _uu_line(line: bytes) -> bytes:
    try:
        return binascii.a2b_uu(line)
    except binascii.Error:
        # Some encoders put a checksum or other garbage behind what the first byte announces.
        announced = (line[0] - 32) & 63
    try:
        return binascii.a2b_uu(line[: 1 + (announced + 2) // 3 * 4])
    except binascii.Error:
        return b""


def _different(content: bytes, others: list[tuple[str, bytes]]) -> tuple[tuple[str, bytes], ...]:
    """The other contents, each once, without those that are the same as the first."""
    seen = {content}
    distinct: list[tuple[str, bytes]] = []
    for name, other in others:
        if other not in seen:
            seen.add(other)
            distinct.append((name, other))
    return tuple(distinct)


DECODERS: MappingProxyType[str, Callable[[Buffer, int, int], Decoded]] = MappingProxyType({
    "base64": decode_base64,
    "quoted-printable": decode_quoted_printable,
    "x-uuencode": decode_uu,
})  # fmt: skip

IDENTITIES = frozenset({"7bit", "8bit", "binary"})
"""The encodings that are none."""
