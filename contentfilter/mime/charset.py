"""Bytes to Unicode by a charset that a stranger named (RFC 2978, and what mail programs write instead).

Only charsets from a fixed table are used. Python's own lookup would try to import a module for each unknown name and
remember every failure for ever, and some of its codecs (idna, punycode) take quadratic time.
"""

from __future__ import annotations

import re
from encodings.aliases import aliases
from types import MappingProxyType

_NOT_CHARSETS = frozenset({"mbcs", "oem", "rot_13", "idna", "punycode", "undefined"})
_TRANSFORMS = re.compile(r".*_codec$")

# Mail programs write the left and mean the right, its superset.
_MEANT = MappingProxyType({
    "ascii": "utf_8",
    "latin_1": "cp1252",
    "iso8859_9": "cp1254",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "iso2022_jp": "iso2022_jp_ext",
    "tis_620": "cp874",
})  # fmt: skip
_FURTHER_NAMES = MappingProxyType({
    "x_sjis": "cp932",
    "windows_31j": "cp932",
    "x_gbk": "gb18030",
    "x_big5": "big5",
    "iso_8859_8_i": "iso8859_8",
    "iso_8859_8_e": "iso8859_8",
    "iso_8859_6_i": "iso8859_6",
    "iso_8859_6_e": "iso8859_6",
    "unicode_1_1_utf_7": "utf_7",
    "unicode_1_1_utf_8": "utf_8",
    "x_unicode_2_0_utf_7": "utf_7",
    "utf8mb4": "utf_8",
    "ansi": "cp1252",
    "cp_850": "cp850",
    "koi8r": "koi8_r",
    "koi8u": "koi8_u",
    "koi8_r": "koi8_r",
    "koi8_u": "koi8_u",
    "koi8_t": "koi8_t",
    "cp874": "cp874",
    "utf_8_sig": "utf_8_sig",
})  # fmt: skip


def _known() -> dict[str, str]:
    codecs = {codec for codec in aliases.values() if codec not in _NOT_CHARSETS and not _TRANSFORMS.match(codec)}
    known = {codec: codec for codec in codecs}
    known.update({alias: codec for alias, codec in aliases.items() if codec in codecs})
    known.update(_FURTHER_NAMES)
    return {name: _MEANT.get(codec, codec) for name, codec in known.items()}


_KNOWN = MappingProxyType(_known())
_SURROGATES = re.compile("[\ud800-\udfff]")
_SEPARATORS = re.compile(r"[^a-z0-9]+")


def codec_of(charset: str) -> str | None:
    """The codec for a charset name as found in mail, None if we know none."""
    return _KNOWN.get(_SEPARATORS.sub("_", charset[:64].lower()).strip("_"))


def decode(data: bytes, charset: str) -> str:
    """Text of these bytes: by the charset if it is known and fits, else as :func:`decode_unlabelled`. Never raises."""
    codec = codec_of(charset)
    if codec is None:
        return decode_unlabelled(data)
    try:
        text = data.decode(codec)
    except UnicodeError:
        return decode_unlabelled(data) if codec == "utf_8" else data.decode(codec, "replace")
    # UTF-7 can spell half a surrogate pair, which nothing later could encode.
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text) if codec == "utf_7" else text


def decode_unlabelled(data: bytes) -> str:
    """Text of bytes that came without a charset: UTF-8 if they are that, 7-bit JIS, else Windows-1252. Never raises."""
    if b"\x1b$" in data:
        try:
            return data.decode("iso2022_jp_ext")
        except UnicodeError:
            pass
    try:
        return data.decode("utf-8")
    except UnicodeError:
        return data.decode("cp1252", "replace")
