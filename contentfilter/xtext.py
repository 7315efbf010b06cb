"""The xtext encoding of RFC 3461 section 4, in which ENVID, ORCPT and XFORWARD values travel.

xtext = *( xchar / hexchar )
xchar = any ASCII CHAR between "!" (33) and "~" (126) inclusive, except for "+" and "="
hexchar = ASCII "+" immediately followed by two upper case hexadecimal digits
"""

from __future__ import annotations

import re

_NOT_XCHAR = re.compile(rb"[^!-*,-<>-~]")
_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")
_HEXCHAR = re.compile(rb"\+([0-9A-Fa-f]{2})")


def encode(text: str) -> str:
    """The text as xtext; characters beyond ASCII go as their UTF-8 bytes, surrogate escapes as the bytes they are."""
    raw = text.encode("utf-8", "surrogateescape")
    return _NOT_XCHAR.sub(lambda match: b"+%02X" % match[0][0], raw).decode("ascii")


def encode_international(address: str) -> str:
    """An address that is not ASCII, as ORCPT of type utf-8 has it (RFC 6533 section 3, utf-8-addr-xtext)."""
    return _NOT_QCHAR.sub(lambda match: f"\\x{{{ord(match[0]):02X}}}", address)


def decode(xtext: str) -> str:
    """What the xtext stands for. A "+" that no two hex digits follow stays.

    Bytes that are not UTF-8 become surrogate escapes.
    """
    raw = xtext.encode("utf-8", "surrogateescape")
    return _HEXCHAR.sub(lambda match: bytes([int(match[1], 16)]), raw).decode("utf-8", "surrogateescape")
