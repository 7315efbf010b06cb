"""Where one part ends and the next begins, as told by different programs."""

from __future__ import annotations

from tests.corpus.building import (
    CRLF,
    PROGRAM,
    Family,
    attached,
    b64,
    delimited,
    entity,
    letter,
    mixed,
    multipart,
    text,
)
from tests.corpus.case import NOT_VERIFIED, STANDARD, TOLERANT

_family = Family("boundaries")
_add = _family.add

_PARTS = [text(), attached()]
_CVE = "several mail programs choose the first, MIME::Parser the last (CVE-2024-28054)"


def _declared(parameters: bytes, boundary: bytes = b"frontier", body: bytes | None = None) -> bytes:
    field = b"Content-Type: multipart/mixed" + parameters + CRLF
    return letter(field, delimited(_PARTS, boundary) if body is None else body)


_TWO = delimited([text()], b"other") + delimited(_PARTS)
for _name, _why, _client, _parameters in (
    ("repeated-first", "boundary is given twice, the first one counts", _CVE, b"; boundary=frontier; boundary=other"),
    ("repeated-last", "boundary is given twice, the last one counts", _CVE, b"; boundary=other; boundary=frontier"),
    ("repeated-in-case", "BOUNDARY and boundary", NOT_VERIFIED, b"; BOUNDARY=other; boundary=frontier"),
    (
        "repeated-extended",
        "boundary beside an RFC 2231 boundary*",
        NOT_VERIFIED,
        b"; boundary=other; boundary*=us-ascii''frontier",
    ),
    (
        "repeated-pieces",
        "boundary beside RFC 2231 pieces of another",
        NOT_VERIFIED,
        b"; boundary=other; boundary*0=fron; boundary*1=tier",
    ),
    (
        "pieces-then-plain",
        "RFC 2231 pieces of one boundary before another",
        NOT_VERIFIED,
        b"; boundary*0=oth; boundary*1=er; boundary=frontier",
    ),
):
    _add(_name, _why, _client, _declared(_parameters, body=_TWO))

_HOUSE = "lenient parsers, such as that of Python's email package"
for _name, _why, _client, _parameters, _boundary in (
    ("no-parameter", "no boundary is declared, but used", NOT_VERIFIED, b"", b"frontier"),
    ("empty-parameter", "an empty boundary", NOT_VERIFIED, b'; boundary=""', b"frontier"),
    ("empty-and-used", "an empty boundary, used as such", NOT_VERIFIED, b'; boundary=""', b""),
    ("blank-at-end-quoted", "a quoted boundary ends in a blank", NOT_VERIFIED, b'; boundary="frontier "', b"frontier"),
    (
        "blank-at-end-used",
        "the blank at the end of the boundary is used",
        NOT_VERIFIED,
        b'; boundary="frontier "',
        b"frontier ",
    ),
    ("blank-within-unquoted", "an unquoted boundary with a blank", NOT_VERIFIED, b"; boundary=fron tier", b"fron tier"),
    (
        "blank-cuts-unquoted",
        "an unquoted boundary ends at the blank",
        NOT_VERIFIED,
        b"; boundary=frontier tier",
        b"frontier",
    ),
    ("comment-after", "a comment after the boundary", NOT_VERIFIED, b"; boundary=frontier (comment)", b"frontier"),
    (
        "comment-kept",
        "what looks like a comment belongs to the boundary",
        _HOUSE,
        b"; boundary=frontier(x)",
        b"frontier(x)",
    ),
    (
        "comment-removed",
        "a comment in the middle of the boundary",
        NOT_VERIFIED,
        b"; boundary=fron(x)tier",
        b"frontier",
    ),
    (
        "comment-before-name",
        "a comment before the name of the parameter",
        NOT_VERIFIED,
        b"; (x) boundary=frontier",
        b"frontier",
    ),
    (
        "comment-hides",
        "a comment holds another boundary",
        NOT_VERIFIED,
        b"; (; boundary=other) boundary=frontier",
        b"frontier",
    ),
    (
        "comment-believed",
        "the boundary in the comment is used",
        NOT_VERIFIED,
        b"; (; boundary=frontier) boundary=other",
        b"frontier",
    ),
    (
        "folded-before-value",
        "the field is folded before the boundary",
        STANDARD,
        b';\r\n\t boundary =\r\n "frontier"',
        b"frontier",
    ),
    (
        "folded-within",
        "the field is folded inside the quoted boundary",
        NOT_VERIFIED,
        b'; boundary="fron\r\n tier"',
        b"fron tier",
    ),
    (
        "folded-within-joined",
        "the fold inside the boundary is dropped with its blank",
        NOT_VERIFIED,
        b'; boundary="fron\r\n tier"',
        b"frontier",
    ),
    ("escaped-read", "backslashes in the quoted boundary are escapes", _HOUSE, b'; boundary="fron\\tier"', b"frontier"),
    (
        "escaped-kept",
        "backslashes in the quoted boundary are kept",
        NOT_VERIFIED,
        b'; boundary="fron\\tier"',
        b"fron\\tier",
    ),
    (
        "single-quotes-kept",
        "single quotes are part of the boundary",
        "RFC 2045",
        b"; boundary='frontier'",
        b"'frontier'",
    ),
    (
        "single-quotes-dropped",
        "single quotes are taken for quotes",
        NOT_VERIFIED,
        b"; boundary='frontier'",
        b"frontier",
    ),
    (
        "quote-not-closed",
        "the quote before the boundary is never closed",
        NOT_VERIFIED,
        b'; boundary="frontier',
        b"frontier",
    ),
    (
        "quote-within",
        "a quote in the middle of an unquoted boundary",
        NOT_VERIFIED,
        b'; boundary=fron"tier',
        b'fron"tier',
    ),
    ("text-after-quotes", "text behind the closing quote", NOT_VERIFIED, b'; boundary="frontier"x', b"frontier"),
    (
        "extended",
        "RFC 2231 charset and percent escapes in the boundary",
        NOT_VERIFIED,
        b"; boundary*=us-ascii''f%72ontier",
        b"frontier",
    ),
    (
        "pieces",
        "RFC 2231 pieces of a boundary",
        "clients that implement RFC 2231 for all parameters",
        b"; boundary*0=fron; boundary*1=tier",
        b"frontier",
    ),
    (
        "pieces-out-of-order",
        "RFC 2231 pieces of a boundary, the last first",
        NOT_VERIFIED,
        b"; boundary*1=tier; boundary*0=fron",
        b"frontier",
    ),
    (
        "encoded-word",
        "an RFC 2047 word as boundary",
        NOT_VERIFIED,
        b'; boundary="=?us-ascii?q?frontier?="',
        b"=?us-ascii?q?frontier?=",
    ),
    (
        "encoded-word-decoded",
        "an RFC 2047 word as boundary, decoded",
        NOT_VERIFIED,
        b'; boundary="=?us-ascii?q?frontier?="',
        b"frontier",
    ),
    ("eight-bit", "bytes above 127 in the boundary", NOT_VERIFIED, b'; boundary="fr\xf6ntier"', b"fr\xf6ntier"),
    ("nul", "NUL in the boundary", NOT_VERIFIED, b'; boundary="fron\0tier"', b"fron\0tier"),
    ("nul-cuts", "programs in C end the boundary at NUL", NOT_VERIFIED, b'; boundary="frontier\0xyz"', b"frontier"),
    ("long", "a boundary longer than the 70 characters allowed", NOT_VERIFIED, b"; boundary=" + b"f" * 300, b"f" * 300),
    (
        "no-semicolon",
        "no semicolon before the parameter",
        "lenient clients (CCS 2024, Inbox Invasion)",
        b" boundary=frontier",
        b"frontier",
    ),
    ("comma", "a comma in the place of the semicolon", NOT_VERIFIED, b", boundary=frontier", b"frontier"),
    ("two-semicolons", "empty parameters before the boundary", NOT_VERIFIED, b";;; ; boundary=frontier", b"frontier"),
    ("dashes", "the boundary begins and ends with dashes", STANDARD, b'; boundary="--frontier--"', b"--frontier--"),
    ("colon-for-equals", "a colon in the place of the equals sign", NOT_VERIFIED, b"; boundary:frontier", b"frontier"),
):
    _add(_name, _why, _client, _declared(_parameters, _boundary))

_add(
    "inner-begins-like-outer",
    "the inner boundary begins with the outer one",
    "programs that compare only as many characters as the boundary has (RFC 2046 says to)",
    mixed(text(), multipart(text(), attached(), boundary=b"frontierX")),
)
_add(
    "outer-begins-like-inner",
    "the outer boundary begins with the inner one",
    "programs that compare only as many characters as the boundary has (RFC 2046 says to)",
    mixed(text(), multipart(text(), boundary=b"fro"), attached()),
)
_add(
    "delimiter-with-text",
    "text follows the boundary in the delimiter line",
    "programs that compare only as many characters as the boundary has (RFC 2046 says to)",
    _declared(b"; boundary=frontier", body=b"--frontier and more\r\n" + attached() + b"\r\n--frontier--\r\n"),
)
_add(
    "same-inside",
    "inner and outer multipart use one boundary",
    NOT_VERIFIED,
    mixed(text(), multipart(text(), attached(), boundary=b"frontier")),
)
_add(
    "no-close",
    "the closing delimiter is missing",
    TOLERANT,
    _declared(b"; boundary=frontier", body=delimited(_PARTS, close=False)),
)
_add(
    "cut-in-part",
    "the message ends in the middle of a part, even of a line",
    TOLERANT,
    _declared(b"; boundary=frontier", body=delimited(_PARTS, close=False).rstrip()),
)
_add(
    "blanks-after-delimiter",
    "blanks behind the delimiter, as RFC 2046 allows it",
    STANDARD,
    _declared(b"; boundary=frontier", body=delimited(_PARTS).replace(b"--frontier\r\n", b"--frontier \t \r\n")),
)
_add(
    "blank-before-delimiter",
    "a blank before the dashes: no delimiter by RFC 2046",
    NOT_VERIFIED,
    _declared(b"; boundary=frontier", body=delimited(_PARTS).replace(b"--frontier\r\n", b" --frontier\r\n")),
)
_add(
    "other-case",
    "the delimiter is written in other letters than declared",
    NOT_VERIFIED,
    _declared(b"; boundary=FRONTIER"),
)
_add(
    "one-dash",
    "the delimiter lines lack the two dashes",
    NOT_VERIFIED,
    _declared(b"; boundary=--frontier", body=delimited(_PARTS)),
)
_add(
    "inner-not-closed",
    "the outer delimiter ends a multipart that was never closed; what follows is the outer one's",
    TOLERANT,
    mixed(
        text(),
        entity(delimited([text()], b"inner", close=False), b"Content-Type: multipart/alternative; boundary=inner"),
        attached(),
    ),
)
_add(
    "outer-closed-by-inner-name",
    "the inner multipart uses the closing delimiter of the outer one as its own",
    NOT_VERIFIED,
    mixed(
        entity(
            b"--frontier--\r\n--inner\r\n" + attached() + b"\r\n--inner--\r\n",
            b"Content-Type: multipart/mixed; boundary=inner",
        )
    ),
)
_add(
    "first-line",
    "the delimiter follows the header's blank line at once, and the only part has no header",
    TOLERANT,
    letter(
        b"Content-Type: multipart/mixed; boundary=frontier\r\nContent-Transfer-Encoding: 7bit\r\n",
        b"--frontier\r\n" + entity(b64(PROGRAM), b"Content-Transfer-Encoding: base64") + b"\r\n--frontier--\r\n",
    ),
)

CASES = tuple(_family.cases)
