"""Content-Transfer-Encoding undone (RFC 2045 section 6), as tolerantly as mail programs do it.

Where tolerance means a choice, the first content is the one with most in it, and the others come along.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from types import MappingProxyType

from contentfilter.message import Buffer
from contentfilter.mime.base_64 import decode_base64, looks_like_base64
from contentfilter.mime.costs import Costs
from contentfilter.mime.decoded import Decoded
from contentfilter.mime.quoted_printable import decode_quoted_printable
from contentfilter.mime.uuencode import decode_uu

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
_HEAD = 4096
"""Bytes at the beginning of a body that tell whether it may be in an encoding that nobody declared."""

DECODERS: MappingProxyType[str, Callable[[Buffer, int, int, Costs], Decoded]] = MappingProxyType({
    "base64": decode_base64,
    "quoted-printable": decode_quoted_printable,
    "x-uuencode": decode_uu,
})  # fmt: skip

IDENTITIES = frozenset({"7bit", "8bit", "binary"})
"""The encodings that are none."""


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
    """Whether a body seems to be in base64 or quoted-printable, whatever is declared."""
    head = buffer[start : min(end, start + _HEAD)]
    return _ESCAPE.search(head) is not None if encoding == "quoted-printable" else looks_like_base64(head)
