"""Quoted-printable with faults that decoders forgive in their own ways."""

from __future__ import annotations

from tests.corpus.building import CRLF, EICAR, PROGRAM, Family, entity, mixed, qp, text
from tests.corpus.case import NOT_VERIFIED, STANDARD, TOLERANT, VIRUS

_family = Family("quoted-printable")
_add = _family.add
_PAPER = TOLERANT


def _with(body: bytes) -> bytes:
    return mixed(text(), entity(body, b"Content-Type: image/jpeg", b"Content-Transfer-Encoding: quoted-printable"))


_escaped = b"".join(b"=%02X" % byte for byte in PROGRAM)
_soft = b"=\r\n".join(b"=%02X" % byte for byte in PROGRAM)

_add("lower-case", "lower-case digits", _PAPER, _with(qp(PROGRAM).lower()))
_add("long-line", "one line far beyond 76 characters", TOLERANT, _with(_escaped))
_add("break-after-each", "a soft break after each byte", STANDARD, _with(_soft))
_add(
    "break-in-escape",
    "soft breaks in the middle of an escape",
    NOT_VERIFIED,
    _with(_escaped.replace(b"=4D", b"=\r\n=4D", 1).replace(b"=5A", b"=5=\r\nA", 1)),
)
_add(
    "blanks-after-break",
    "blanks behind the equals sign of a soft break",
    _PAPER,
    _with(_soft.replace(b"=\r\n", b"= \t\r\n")),
)
_add("bare-lf-break", "soft breaks that end in LF only", TOLERANT, _with(_soft.replace(CRLF, b"\n")))
_add(
    "unescaped",
    "letters as they are, the rest escaped",
    STANDARD,
    _with(b"MZ" + b"=\r\n".join(b"=%02X" % byte for byte in PROGRAM[2:])),
)
_add("bad-escape-after", "escapes that are none, behind the program", _PAPER, _with(_soft + b"=ZZ=4=G1="))
_add("equals-at-end", "an equals sign as the very last character", TOLERANT, _with(_soft + b"="))
_add("raw-bytes", "NUL and other bytes as they are", TOLERANT, _with(PROGRAM.replace(b"=", b"=3D")))
_add(
    "virus-soft-breaks",
    "a virus with a soft break after each character",
    STANDARD,
    _with(b"=\r\n".join(EICAR[i : i + 1].replace(b"=", b"=3D") for i in range(len(EICAR)))),
    VIRUS,
)
_add("virus-lower", "a virus in lower-case escapes", _PAPER, _with(b"".join(b"=%02x" % byte for byte in EICAR)), VIRUS)
_add(
    "double-equals",
    "a doubled equals sign before each escape that needs none",
    NOT_VERIFIED,
    _with(_soft + b"==3D==\r\n"),
)
_add(
    "blank-in-escape",
    "blanks at line ends, which decoding removes",
    STANDARD,
    _with(_soft.replace(b"=\r\n", b"=\r\n", 3) + b"   \r\n"),
)
_add("break-before-delimiter", "the last line of the part is a soft break", TOLERANT, _with(_soft + b"=\r\n"))

CASES = tuple(_family.cases)
