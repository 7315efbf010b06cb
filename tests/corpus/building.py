"""Pieces that messages are built from. Nothing here trips a scanner before it is put together."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Callable, Iterable

from contentfilter.inspectors import clamd
from tests.corpus.case import BANNED, Case, Expect

CRLF = b"\r\n"


def _program() -> bytes:
    """The headers of a Windows program, and nothing that runs. No CR or LF, so that it may stand in a body as it is."""
    dos = b"MZ" + bytes(58) + struct.pack("<I", 0x40)
    pe = b"PE\0\0" + struct.pack("<HHIIIHH", 0x14C, 0, 0, 0, 0, 0xE0, 0x102)
    optional = struct.pack("<H", 0x10B) + bytes(222)
    return dos + pe + optional


EICAR = clamd.EICAR
"""The text that every virus scanner takes for a virus."""

PROGRAM = _program()
"""What libmagic calls a Windows program: banned by what it is, whatever it is called."""

TEXT = b"Nothing to see here.\r\n"


def letter(fields: bytes, body: bytes, *, subject: bytes = b"the papers", mime: bytes = b"1.0") -> bytes:
    """A message with an orderly header that goes on with these fields, a line each."""
    version = b"MIME-Version: " + mime + CRLF if mime else b""
    return (
        b"From: Alice <alice@example.net>\r\nTo: <bob@example.org>\r\n"
        b"Date: Mon, 02 Mar 2026 10:00:00 +0000\r\nMessage-ID: <corpus@example.net>\r\n"
        b"Subject: " + subject + CRLF + version + fields + CRLF + body
    )


def entity(content: bytes, *fields: bytes) -> bytes:
    """A part: these fields, a blank line, the content."""
    return b"".join(field + CRLF for field in fields) + CRLF + content


def b64(content: bytes) -> bytes:
    """Base64 in lines of 76."""
    return base64.encodebytes(content).replace(b"\n", CRLF).removesuffix(CRLF)


def qp(content: bytes) -> bytes:
    """Quoted-printable with every byte escaped, in short lines."""
    escaped = [b"=%02X" % byte for byte in content]
    return b"=\r\n".join(b"".join(escaped[start : start + 20]) for start in range(0, len(escaped), 20))


def uu(content: bytes, name: bytes = b"photo.jpg") -> bytes:
    """Uuencoded, from begin to end."""
    lines = [
        binascii.b2a_uu(content[start : start + 45], backtick=True).rstrip(b"\n")
        for start in range(0, len(content), 45)
    ]
    return CRLF.join([b"begin 644 " + name, *lines, b"`", b"end", b""])


def attached(
    content: bytes = PROGRAM, name: bytes = b"photo.jpg", media_type: bytes = b"image/jpeg", *more: bytes
) -> bytes:
    """An attachment in base64. By default a program that does not say so."""
    return entity(
        b64(content),
        b'Content-Type: %s; name="%s"' % (media_type, name),
        b"Content-Transfer-Encoding: base64",
        b'Content-Disposition: attachment; filename="%s"' % name,
        *more,
    )


def text(content: bytes = TEXT) -> bytes:
    """A plain part."""
    return entity(content, b"Content-Type: text/plain; charset=us-ascii")


def delimited(parts: Iterable[bytes], boundary: bytes = b"frontier", *, close: bool = True) -> bytes:
    """The body of a multipart."""
    body = b"".join(b"--" + boundary + CRLF + part + CRLF for part in parts)
    return body + (b"--" + boundary + b"--" + CRLF if close else b"")


def mixed(*parts: bytes, boundary: bytes = b"frontier", subtype: bytes = b"mixed", subject: bytes = b"hi") -> bytes:
    """A multipart message in good order."""
    field = b'Content-Type: multipart/%s; boundary="%s"\r\n' % (subtype, boundary)
    return letter(field, delimited(parts, boundary), subject=subject)


def multipart(*parts: bytes, boundary: bytes, subtype: bytes = b"mixed") -> bytes:
    """A multipart that is itself a part."""
    return entity(delimited(parts, boundary), b'Content-Type: multipart/%s; boundary="%s"' % (subtype, boundary))


def carrying(content: bytes, name: str, media_type: str = "application/octet-stream", note: bytes = TEXT) -> bytes:
    """An ordinary message with one attachment."""
    return mixed(text(note), attached(content, name.encode(), media_type.encode()))


class Family:
    """Collects the cases of a family, so that each names it but once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cases: list[Case] = []

    def add(
        self, name: str, why: str, client: str, build: bytes | Callable[[], bytes], expect: Expect = BANNED
    ) -> None:
        """One more case. build: the message, or what makes it where that takes a while."""
        maker = build if callable(build) else _constant(build)
        self.cases.append(Case(name, self.name, why, client, maker, expect))


def _constant(message: bytes) -> Callable[[], bytes]:
    return lambda: message
