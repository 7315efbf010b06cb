"""Base64 that decoders read differently: strictly, up to the first fault, over all faults, in pieces."""

from __future__ import annotations

import base64

from tests.corpus.building import CRLF, EICAR, PROGRAM, Family, b64, entity, mixed, text
from tests.corpus.case import NOT_VERIFIED, STANDARD, TOLERANT, VIRUS

_family = Family("base64")
_add = _family.add
_RFC = "RFC 2045 says to ignore foreign characters; clients do, scanners do not always (CCS 2024, Inbox Invasion)"
_PIECES = "clients go on after padding, many decoders stop there (CCS 2024, Inbox Invasion)"


def _with(body: bytes) -> bytes:
    fields = (b'Content-Type: image/jpeg; name="photo.jpg"', b"Content-Transfer-Encoding: base64")
    return mixed(text(), entity(body, *fields))


_line = base64.b64encode(PROGRAM)


def _pieces(size: int, content: bytes = PROGRAM) -> bytes:
    """Each so many bytes padded on their own."""
    return CRLF.join(base64.b64encode(content[at : at + size]) for at in range(0, len(content), size))


_add(
    "foreign-everywhere",
    "a foreign character after each digit",
    _RFC,
    _with(b"!".join(_line[i : i + 1] for i in range(len(_line)))),
)
_add(
    "foreign-lines",
    "lines of foreign characters between",
    _RFC,
    _with(b64(PROGRAM).replace(CRLF, b"\r\n*** -_- ***\r\n")),
)
_add("foreign-first", "foreign characters before the first digit", _RFC, _with(b"#%#%#%\r\n" + b64(PROGRAM)))
_add("eight-bit", "bytes above 127 between the digits", _RFC, _with(b"\xa0\xff".join((_line[:10], _line[10:]))))
_add("nul", "NUL between the digits", _RFC, _with(b"\0".join((_line[:2], _line[2:50], _line[50:]))))
_add(
    "blanks", "blanks between the digits", STANDARD, _with(b" ".join(_line[i : i + 3] for i in range(0, len(_line), 3)))
)
_add("digit-a-line", "one digit a line", STANDARD, _with(CRLF.join(_line[i : i + 1] for i in range(len(_line)))))
_add("one-line", "everything in one long line", STANDARD, _with(_line))
_add("empty-lines", "empty lines between", STANDARD, _with(b64(PROGRAM).replace(CRLF, CRLF * 3)))
_add("padded-pieces", "several padded pieces, one after the other", _PIECES, _with(_pieces(100)))
_add("padded-small-pieces", "padding after every byte", _PIECES, _with(_pieces(1)))
_add(
    "padded-first",
    "a padded byte first, then the rest",
    _PIECES,
    _with(base64.b64encode(PROGRAM[:1]) + base64.b64encode(PROGRAM[1:])),
)
_add(
    "no-padding",
    "the padding at the end is missing",
    TOLERANT,
    _with(base64.b64encode(PROGRAM + b"x").rstrip(b"=")),
)
_add("too-much-padding", "more padding than needed", TOLERANT, _with(_line.rstrip(b"=") + b"======"))
_add("padding-first", "padding before everything", NOT_VERIFIED, _with(b"====\r\n" + b64(PROGRAM)))
_add(
    "padding-lines",
    "a line of padding between the lines",
    NOT_VERIFIED,
    _with(b64(PROGRAM).replace(CRLF, b"\r\n==\r\n")),
)
_add("one-digit-more", "one digit too many at the end", TOLERANT, _with(b64(PROGRAM) + b"A"))
_add(
    "text-after",
    "text after the end",
    TOLERANT,
    _with(b64(PROGRAM) + b"==\r\n\r\n-- \r\nthis was added on the way\r\n"),
)
_add(
    "soft-break",
    "an equals sign at each line end, as in quoted-printable",
    NOT_VERIFIED,
    _with(b64(PROGRAM).replace(CRLF, b"=\r\n")),
)
_add(
    "url-alphabet",
    "minus and underscore for plus and slash",
    NOT_VERIFIED,
    _with(base64.urlsafe_b64encode(PROGRAM + b"\xfb\xff\xfe" * 9)),
)
_add("dots", "lines that begin with a dot, which SMTP doubles", STANDARD, _with(b64(PROGRAM).replace(CRLF, b"\r\n.")))
_add("bare-cr", "bare CR as line end between the digits", TOLERANT, _with(b64(PROGRAM).replace(CRLF, b"\r")))
_add("utf-7-plus", "a virus in pieces that are padded", _PIECES, _with(_pieces(20, EICAR)), VIRUS)
_add(
    "virus-foreign",
    "a virus between foreign characters",
    _RFC,
    _with(b"$".join(base64.b64encode(EICAR)[i : i + 7] for i in range(0, 96, 7))),
    VIRUS,
)

CASES = tuple(_family.cases)
