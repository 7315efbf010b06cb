"""Encoded words (RFC 2047), read as tolerantly as mail programs do."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from contentfilter.mime.charset import decode, decode_unlabelled

# encoded-word = "=?" charset ["*" language] "?" encoding "?" encoded-text "?=" (RFC 2047, RFC 2231 section 5).
# Blanks inside encoded-text are not allowed, but common.
_WORD = re.compile(rb"=\?([^?*\s]{1,64})(?:\*[^?\s]{0,64})?\?([BbQq])\?([^?]*)\?=")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")


def decode_words(value: bytes) -> str:
    """The text of an unstructured value: encoded words decoded, everything else as UTF-8 or Windows-1252.

    Blanks between two encoded words go (RFC 2047 section 6.2); neighbours in one charset are decoded together, since
    many programs split inside a character. Never raises.
    """
    if b"=?" not in value:
        return decode_unlabelled(value)
    return "".join(decode(data, charset) if charset else decode_unlabelled(data) for charset, data in _runs(value))


def _runs(value: bytes) -> Iterator[tuple[str, bytes]]:
    """Charset ("" outside of encoded words) and bytes of each stretch, neighbours of one charset joined."""
    charset = ""
    pending: list[bytes] = []
    position = 0
    for word in _WORD.finditer(value):
        between = value[position : word.start()]
        if between.strip() or (between and not charset):
            yield charset, b"".join(pending)
            yield "", between
            charset, pending = "", []
        found = word[1].decode("ascii", "replace").lower()
        if found != charset:
            yield charset, b"".join(pending)
            charset, pending = found, []
        pending.append(_word_bytes(word[2], word[3]))
        position = word.end()
    yield charset, b"".join(pending)
    yield "", value[position:]


def _word_bytes(encoding: bytes, text: bytes) -> bytes:
    if encoding in b"Qq":
        return binascii.a2b_qp(text, header=True)
    digits = _NOT_BASE64.sub(b"", text)
    digits = digits[: len(digits) - (len(digits) % 4 == 1)]
    return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4))
