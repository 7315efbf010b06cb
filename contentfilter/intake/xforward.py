"""The XFORWARD command: what Postfix tells of the remote client (Postfix's XFORWARD_README).

The values are written by strangers (HELO) or by their DNS (NAME), and end up in logs, header fields and other people's
commands: control characters become "?" and what is too long is cut. Neither is a reason to refuse mail.
"""

from __future__ import annotations

import re

from contentfilter import reply
from contentfilter.errors import CommandError

ATTRIBUTES = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE")
"""What EHLO offers, in Postfix's order; in lower case they are the fields of :class:`contentfilter.envelope.Client`."""

MAX_VALUE = 255
"""Bytes that we keep of a value."""

_PAIR = re.compile(rb"([A-Za-z]+)=((?:[^+]|\+[0-9A-Fa-f]{2})*)", re.DOTALL)
_ENCODED = re.compile(rb"\+([0-9A-Fa-f]{2})")
_UNAVAILABLE = frozenset({"", "[UNAVAILABLE]", "[TEMPUNAVAIL]"})


def parse_xforward(argument: bytes) -> dict[str, str | None]:
    """Fields of a Client by name, for those attributes that were given; None is "not available".

    Raises CommandError on an attribute we did not offer, and on what is no xtext.
    """
    given: dict[str, str | None] = {}
    for word in filter(None, argument.split(b" ")):
        match = _PAIR.fullmatch(word)
        name = match[1].decode().upper() if match else ""
        if match is None or name not in ATTRIBUTES:
            raise CommandError(reply.SYNTAX_XFORWARD)
        value = _neutral(_ENCODED.sub(lambda code: bytes.fromhex(code[1].decode()), match[2]))
        if name == "ADDR" and value[:5].upper() == "IPV6:":
            value = value[5:]
        given[name.lower()] = None if value.upper() in _UNAVAILABLE else value
    if not given:
        raise CommandError(reply.SYNTAX_XFORWARD)
    return given


def _neutral(value: bytes) -> str:
    text = value[:MAX_VALUE].decode(errors="replace").replace("\ufffd", "?")
    if not text.isprintable():
        text = "".join(character if character.isprintable() else "?" for character in text)
    return text.encode()[:MAX_VALUE].decode(errors="ignore")
