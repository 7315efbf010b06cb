"""The text of parts, for rules that match what a reader reads: charset and HTML."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from contentfilter.mime import charset as charsets
from contentfilter.mime.model import Part

DEFAULT_LIMIT = 256 * 1024
"""Characters of text that one part gives at most."""

_SOURCE_FACTOR = 4
"""Bytes that are read for each character: UTF-32 needs four, and HTML has its tags."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SAMPLE = 1024
_WIDE = frozenset({"utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be"})
_META = re.compile(
    rb"""<(?:meta\b[^>]{0,200}?\bcharset|\?xml\b[^>]{0,200}?\bencoding)\s*=\s*["']?\s*([\w.:-]{1,64})""", re.IGNORECASE
)
_META_SAMPLE = 4096
_HTML_TYPES = frozenset({"text/html", "application/xhtml+xml", "text/x-html"})
_HTML_START = re.compile(r"\s*<(?:!doctype\s+html|html[\s>]|!--[^>]*-->\s*<html)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PartText:
    """The text of one part.

    visible: what a reader sees; complete: that, and what is hidden from him; truncated: there was more than the limit
    allows. source: the text in its charset, tags and all: of HTML up to four times the limit, of anything else the same
    as visible.
    """

    visible: str
    complete: str
    truncated: bool = False
    source: str = ""


def is_text(part: Part) -> bool:
    """Whether a reader is shown this part as text, by its declared type."""
    return part.declared_type.startswith("text/") or part.declared_type in _HTML_TYPES


def part_text(part: Part, limit: int = DEFAULT_LIMIT) -> PartText:
    """The text of one part, at most limit characters (RFC 2046 section 4.1). Linear time; never raises."""
    size = limit * _SOURCE_FACTOR
    data = part.head(size)
    cut = part.size > len(data)
    is_html = part.declared_type in _HTML_TYPES
    source = decode(data, part.charset, is_html=is_html, whole=not cut)
    if is_html or _HTML_START.match(source, 0, _META_SAMPLE):
        # A parser of HTML takes a megabyte, and only rules for bodies ask for this text.
        from contentfilter.html_text import html_text  # noqa: PLC0415

        found = html_text(source)
        visible, complete = found.visible, found.complete
        cut = cut or max(len(visible), len(complete)) > limit
        return PartText(visible[:limit], complete[:limit], cut, source)
    plain = source[:limit]
    return PartText(plain, plain, cut or len(source) > limit, plain)


def decode(data: bytes, charset: str = "", *, is_html: bool = False, whole: bool = True) -> str:
    """Text of bytes by a byte order mark, by the shape of UTF-16 and UTF-32, by the declared charset, in this order.

    The declared charset is believed only as far as the bytes fit it: what has no NUL is not UTF-16. Without a declared
    one HTML's own is taken. whole: False if these are only the first bytes, so that half a character may be at the end.
    """
    for mark, codec in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(codec, "replace")
    shape = _wide_shape(data[:_SAMPLE])
    if shape:
        return data.decode(shape, "replace")
    codec_name = charsets.codec_of(charset)
    if codec_name is None and is_html:
        meta = _META.search(data, 0, _META_SAMPLE)
        codec_name = None if meta is None else charsets.codec_of(meta[1].decode("ascii", "replace"))
    if codec_name in _WIDE and b"\0" not in data:
        # Han text in UTF-16 has no NUL either, but blanks and line ends have; without any it is too short to tell.
        codec_name = None if data.isascii() or _is_utf8(data) else codec_name
    if not whole and codec_name not in _WIDE:
        data = _without_half_character(data)
    return charsets.decode_unlabelled(data) if codec_name is None else charsets.decode(data, codec_name)


def _wide_shape(sample: bytes) -> str | None:
    """UTF-16 or UTF-32 without a mark: most of the other bytes of Latin text are NUL, in every language some are."""
    if b"\0" not in sample or len(sample) < 4:
        return None
    zeros = [sample[lane::4].count(0) * 4 / len(sample) for lane in range(4)]
    if zeros[0] > 0.9 and zeros[1] > 0.9 and zeros[3] < 0.5:
        return "utf-32-be"
    if zeros[3] > 0.9 and zeros[2] > 0.9 and zeros[0] < 0.5:
        return "utf-32-le"
    even, odd = (zeros[0] + zeros[2]) / 2, (zeros[1] + zeros[3]) / 2
    if even > 0.4 and odd < 0.1:
        return "utf-16-be"
    if odd > 0.4 and even < 0.1:
        return "utf-16-le"
    return None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeError:
        return False
    return True


def _without_half_character(data: bytes) -> bytes:
    """Cut before the last lead byte of UTF-8, if it may lack some of what follows it."""
    for back in range(1, min(4, len(data)) + 1):
        if data[-back] >= 0xC0:
            return data[:-back]
        if data[-back] < 0x80:
            break
    return data
