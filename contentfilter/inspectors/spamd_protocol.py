"""spamd's protocol, SPAMC/1.5, as far as it is spoken here: what a request looks like, and what a reply says. Pure.

    SPAMD/1.1 0 EX_OK
    Content-length: 626
    Spam: False ; 3.5 / 5.0

    (626 bytes)

A reply without Content-length ends with the connection: that to PING, and those that tell of an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from contentfilter.errors import InspectorError

LONGEST_HEADER: Final = 4096
"""Bytes of the protocol's own header."""

_FIRST: Final = re.compile(rb"SPAMD/[0-9.]{1,8} +([0-9]{1,3}) +([^\r\n]*)\r\n")
_LENGTH: Final = re.compile(rb"\r\nContent-length:[ \t]*([0-9]{1,10})[ \t]*\r\n", re.IGNORECASE)
_NUMBER: Final = rb"([-+]?[0-9]{1,12}(?:\.[0-9]{1,12})?)"
_SPAM: Final = re.compile(
    rb"\r\nSpam:[ \t]*(?:True|False|Yes|No)[ \t]*;[ \t]*" + _NUMBER + rb"[ \t]*/[ \t]*" + _NUMBER + rb"[ \t]*\r\n",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole one. code: 0, or one of sysexits.h; message: what stands behind it; score: None if it gives none."""

    code: int
    message: str
    score: float | None
    body: bytes


def request(command: str, content: bytes = b"", user: str = "") -> bytes:
    """The bytes to send. user: by whose preferences, "" for spamd's own; it must be one word of ASCII."""
    length = f"Content-length: {len(content)}\r\n" if content else ""
    named = f"User: {user}\r\n" if user else ""
    return b"".join((f"{command} SPAMC/1.5\r\n{length}{named}\r\n".encode(), content))


def is_whole(received: bytes | bytearray) -> bool:
    """Whether a reply has come to the end that it says itself. Raises InspectorError if its header has no end."""
    end = received.find(b"\r\n\r\n", 0, LONGEST_HEADER)
    if end < 0:
        if len(received) > LONGEST_HEADER:
            raise InspectorError("gave a reply whose header is too long")
        return False
    length = _LENGTH.search(received, 0, end + 2)
    return length is not None and len(received) >= end + 4 + int(length[1])


def parse(received: bytes | bytearray) -> Reply:
    """What the reply says. Raises InspectorError for one that is none, or not whole."""
    first = _FIRST.match(received)
    if first is None:
        raise InspectorError(f"answered {bytes(received[:80])!r}")
    end = received.find(b"\r\n\r\n", 0, LONGEST_HEADER)
    header_end, body = (end + 2, bytes(received[end + 4 :])) if end >= 0 else (len(received), b"")
    length = _LENGTH.search(received, 0, header_end)
    if length is not None and len(body) != int(length[1]):
        raise InspectorError(f"gave {len(body)} bytes in place of {int(length[1])}")
    spam = _SPAM.search(received, 0, header_end) if length is not None else None
    return Reply(int(first[1]), first[2].decode("ascii", "replace"), float(spam[1]) if spam else None, body)
