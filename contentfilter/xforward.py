"""The XFORWARD command as we send it: the client's data go on to the next hop, in the form that Postfix uses itself.

Postfix's XFORWARD_README: values in xtext, an IPv6 address marked as such, lines of at most 512 bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from contentfilter import xtext
from contentfilter.envelope import Client

_ATTRIBUTES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE")
_MAX_LINE = 510
"""Bytes of a command line without its CRLF (RFC 5321 section 4.5.3.1.4)."""


def xforward_lines(client: Client, offered: Collection[str]) -> Iterator[bytes]:
    """XFORWARD commands, each of at most 512 bytes with its CRLF, for the attributes that EHLO offered.

    None where nothing is known of the client. What is not available is said to be so, as is a value that fits no line.
    """
    if client == Client():
        return
    line = "XFORWARD"
    for name in _ATTRIBUTES:
        if name in offered:
            word = f" {name}={_value(name, getattr(client, name.lower()))}"
            if len(line) + len(word) > _MAX_LINE:
                yield line.encode("ascii")
                line = "XFORWARD"
            line += word
    if line != "XFORWARD":
        yield line.encode("ascii")


def _value(name: str, value: str | None) -> str:
    if name == "ADDR" and value and ":" in value:
        value = f"IPV6:{value}"
    encoded = xtext.encode(value or "")
    longest = _MAX_LINE - len(f"XFORWARD {name}=")
    return encoded if 0 < len(encoded) <= longest else "[UNAVAILABLE]"
