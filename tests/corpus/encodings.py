"""Content-Transfer-Encoding, named in every way but the right one."""

from __future__ import annotations

from tests.corpus.building import CRLF, PROGRAM, Family, attached, b64, delimited, entity, letter, mixed, qp, text, uu
from tests.corpus.case import NOT_VERIFIED, STANDARD, TOLERANT

_family = Family("encodings")
_add = _family.add
_PAPER = "CCS 2024, Inbox Invasion: clients recognise base64 in malformed values"


def _encoded(value: bytes, content: bytes) -> bytes:
    return mixed(text(), entity(content, b"Content-Type: image/jpeg", b"Content-Transfer-Encoding: " + value))


for _name, _why, _client, _value in (
    ("upper-case", "BASE64 in capitals", STANDARD, b"BASE64"),
    ("x-base64", "an x- before base64", NOT_VERIFIED, b"x-base64"),
    ("dash", "base-64", NOT_VERIFIED, b"base-64"),
    ("comment-after", "a comment after the value", _PAPER, b"base64 (really)"),
    ("comment-before", "a comment before the value", _PAPER, b"(not 7bit) base64"),
    ("quoted", "the value in quotes", _PAPER, b'"base64"'),
    ("semicolon", "a parameter after the value", _PAPER, b"base64; foo=bar"),
    ("list-first", "two encodings in one value, base64 first", NOT_VERIFIED, b"base64, 7bit"),
    ("list-last", "two encodings in one value, base64 last", NOT_VERIFIED, b"7bit, base64"),
    ("blank-list", "two encodings with a blank between", NOT_VERIFIED, b"7bit base64"),
    ("folded", "the value stands on the next line", STANDARD, b"\r\n base64"),
    ("encoded-word", "an RFC 2047 word as value", NOT_VERIFIED, b"=?us-ascii?q?base64?="),
    ("nul-after", "NUL behind the value", NOT_VERIFIED, b"base64\0"),
    ("nbsp-before", "a no-break space before the value", NOT_VERIFIED, b"\xa0base64"),
    ("trailing-blanks", "blanks behind the value", STANDARD, b"base64   \t"),
    ("control", "a control character before the value", NOT_VERIFIED, b"\x0bbase64"),
    ("dot", "a dot behind the value", NOT_VERIFIED, b"base64."),
    ("misspelt", "bsae64", NOT_VERIFIED, b"bsae64"),
    ("colon-twice", "two colons before the value", NOT_VERIFIED, b": base64"),
):
    _add(_name, _why, _client, _encoded(_value, b64(PROGRAM)))

_add("qp-upper-case", "Quoted-PRINTABLE", STANDARD, _encoded(b"Quoted-PRINTABLE", qp(PROGRAM)))
_add("qp-underscore", "quoted_printable", NOT_VERIFIED, _encoded(b"quoted_printable", qp(PROGRAM)))
_add("qp-misspelt", "quoted-printible", NOT_VERIFIED, _encoded(b"quoted-printible", qp(PROGRAM)))
_add(
    "uuencode", "x-uuencode", "Outlook and Exchange (MS-OXCMAIL lists x-uuencode)", _encoded(b"x-uuencode", uu(PROGRAM))
)
_add("uue", "x-uue", "Outlook and Exchange (MS-OXCMAIL lists x-uue)", _encoded(b"x-uue", uu(PROGRAM)))
_add("unnamed-uuencode", "uuencode without x-", "Thunderbird (libmime)", _encoded(b"uuencode", uu(PROGRAM)))
_add("undeclared-base64", "base64 in a part that declares no encoding", NOT_VERIFIED, _encoded(b"7bit", b64(PROGRAM)))
_add("empty", "an empty value before base64", NOT_VERIFIED, _encoded(b"", b64(PROGRAM)))
_add(
    "unknown", "an encoding that nobody knows; the content is base64", NOT_VERIFIED, _encoded(b"x-secret", b64(PROGRAM))
)
_add("binary", "binary content, declared as binary", STANDARD, _encoded(b"binary", PROGRAM))
_add(
    "multipart-base64",
    "a multipart that is itself base64, which RFC 2045 forbids",
    "some servers decode it (Oracle Messaging Server documents that it does)",
    letter(
        b"Content-Type: multipart/mixed; boundary=frontier\r\nContent-Transfer-Encoding: base64\r\n",
        b64(delimited([text(), attached()])),
    ),
)
_add(
    "multipart-qp",
    "a multipart in quoted-printable, which RFC 2045 forbids",
    "some servers decode it (Oracle Messaging Server documents that it does)",
    letter(
        b"Content-Type: multipart/mixed; boundary=frontier\r\nContent-Transfer-Encoding: quoted-printable\r\n",
        qp(delimited([text(), attached()])),
    ),
)
_add(
    "multipart-base64-ignored",
    "a multipart declared as base64, but not encoded",
    TOLERANT,
    letter(
        b"Content-Type: multipart/mixed; boundary=frontier\r\nContent-Transfer-Encoding: base64\r\n",
        delimited([text(), attached()]),
    ),
)
_add(
    "root",
    "the whole message is one encoded program that calls itself text",
    "all: it is shown as an attachment when it has a name",
    letter(b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n", b64(PROGRAM) + CRLF),
)

CASES = tuple(_family.cases)
