"""Where a header ends, what a field is, and what its value says."""

from __future__ import annotations

from tests.corpus.building import CRLF, PROGRAM, TEXT, Family, attached, b64, delimited, entity, letter, mixed, text
from tests.corpus.case import NOT_VERIFIED, STANDARD, TOLERANT

_family = Family("header-syntax")
_add = _family.add

_MULTIPART = b'Content-Type: multipart/mixed; boundary="frontier"\r\n'
_BODY = delimited([text(), attached()])
_JPEG = b"Content-Type: image/jpeg"
_BASE64 = b"Content-Transfer-Encoding: base64"


def _part(*lines: bytes) -> bytes:
    """A part of which these are the lines before the content, the blank one included."""
    return mixed(text(), CRLF.join((*lines, b64(PROGRAM))))


_add(
    "blank-before-colon",
    "blanks between the name and the colon",
    TOLERANT,
    letter(b'Content-Type : multipart/mixed; boundary="frontier"\r\n', _BODY),
)
_add(
    "tab-before-colon",
    "a tab between name and colon of the encoding",
    TOLERANT,
    _part(_JPEG, b"Content-Transfer-Encoding\t: base64", b""),
)
_add(
    "no-blank-after-colon",
    "nothing between the colon and the value",
    STANDARD,
    _part(_JPEG, b"Content-Transfer-Encoding:base64", b""),
)
_add(
    "line-without-colon",
    "a line that is no field in the middle of the header",
    TOLERANT,
    letter(b"this line is no field\r\n" + _MULTIPART, _BODY),
)
_add(
    "line-without-colon-in-part",
    "a line that is no field in the middle of a part's header",
    TOLERANT,
    _part(_JPEG, b"nonsense", _BASE64, b""),
)
_add(
    "line-without-colon-ends",
    "the line that is no field ends the header: the rest is a program in base64",
    NOT_VERIFIED,
    mixed(text(), CRLF.join((_JPEG, _BASE64, b64(PROGRAM)))),
)
_add(
    "no-blank-line",
    "no blank line between the header and a body of boundaries",
    TOLERANT,
    letter(_MULTIPART, _BODY).replace(b"\r\n\r\n--frontier", b"\r\n--frontier", 1),
)
_add(
    "blanks-for-blank-line",
    "a line of blanks in the place of the blank line",
    NOT_VERIFIED,
    _part(_JPEG, _BASE64, b" "),
)
_add("blanks-within", "a line of blanks in the middle of the header", NOT_VERIFIED, _part(_JPEG, b" ", _BASE64, b""))
_add(
    "begins-with-blank",
    "the part's header begins with a continuation line",
    NOT_VERIFIED,
    _part(b" X-Odd: 1", _JPEG, _BASE64, b""),
)
_add(
    "from-line",
    "an mbox line in the middle of the header",
    TOLERANT,
    letter(b"From alice@example.net Mon Mar  2 10:00:00 2026\r\n" + _MULTIPART, _BODY),
)
_add(
    "quoted-from-line",
    "a quoted mbox line in the middle of the header",
    TOLERANT,
    letter(b">From alice@example.net Mon Mar  2 10:00:00 2026\r\n" + _MULTIPART, _BODY),
)
_add(
    "nul-in-name",
    "NUL in the name of a field before the encoding",
    NOT_VERIFIED,
    _part(_JPEG, b"X-\0Y: z", _BASE64, b""),
)
_add(
    "nul-ends-name",
    "NUL behind the name of the encoding field",
    NOT_VERIFIED,
    _part(_JPEG, b"Content-Transfer-Encoding\0: base64", b""),
)
_add(
    "nul-in-value",
    "NUL in the type of the multipart",
    NOT_VERIFIED,
    letter(b'Content-Type: multipart/mixed;\0 boundary="frontier"\r\n', _BODY),
)
_add(
    "control-in-value",
    "control characters before the value",
    NOT_VERIFIED,
    letter(b'Content-Type:\x01\x02 multipart/mixed; boundary="frontier"\r\n', _BODY),
)
_add("eight-bit-name", "bytes above 127 in the name of a field", TOLERANT, _part(_JPEG, b"X-B\xfcro: x", _BASE64, b""))
_add("field-name-blank", "a field name with a blank in it", NOT_VERIFIED, _part(_JPEG, b"X Header: x", _BASE64, b""))
_add(
    "bare-cr",
    "a bare CR between two fields",
    "programs that take CR for a line end (CVE-2023-51764 and kin are about such differences)",
    mixed(text(), _JPEG + b"\r" + _BASE64 + CRLF + CRLF + b64(PROGRAM)),
)
_add(
    "bare-cr-hides-type",
    "a bare CR hides the type of the message",
    NOT_VERIFIED,
    letter(b"X-Note: a\r" + _MULTIPART, _BODY),
)
_add("bare-lf", "bare LF between the fields of the message", TOLERANT, letter(b"X-Note: a\n" + _MULTIPART, _BODY))
_add(
    "folded-name",
    "the name of the field is folded",
    NOT_VERIFIED,
    _part(_JPEG, b"Content-Transfer-\r\n Encoding: base64", b""),
)
_add(
    "folded-colon",
    "the colon stands on the next line",
    NOT_VERIFIED,
    _part(_JPEG, b"Content-Transfer-Encoding\r\n : base64", b""),
)
_add(
    "folded-much",
    "every word on its own line",
    STANDARD,
    letter(b'Content-Type:\r\n multipart/mixed\r\n ;\r\n boundary\r\n =\r\n "frontier"\r\n', _BODY),
)
_add(
    "comment-in-type",
    "comments in the type",
    STANDARD,
    letter(b"Content-Type: (a) multipart (b) / (c) mixed (d); boundary=frontier\r\n", _BODY),
)
_add(
    "quoted-type",
    "the type in quotes",
    TOLERANT,
    letter(b'Content-Type: "multipart/mixed"; boundary=frontier\r\n', _BODY),
)
_add(
    "no-subtype",
    "multipart without a subtype",
    TOLERANT,
    letter(b"Content-Type: multipart; boundary=frontier\r\n", _BODY),
)
_add(
    "empty-subtype",
    "multipart with an empty subtype",
    TOLERANT,
    letter(b"Content-Type: multipart/; boundary=frontier\r\n", _BODY),
)
_add(
    "odd-subtype",
    "a subtype nobody knows",
    "RFC 2046: unknown subtypes are mixed",
    letter(b"Content-Type: multipart/x-odd; boundary=frontier\r\n", _BODY),
)
_add(
    "capitals",
    "everything in capitals",
    STANDARD,
    letter(b"CONTENT-TYPE: MULTIPART/MIXED; BOUNDARY=frontier\r\n", _BODY),
)
_add(
    "no-type-but-boundary",
    "the type is missing, the parameter is there",
    NOT_VERIFIED,
    letter(b"Content-Type: ; boundary=frontier\r\n", _BODY),
)
_add(
    "long-line",
    "the boundary stands behind 5,000 characters of other parameters",
    NOT_VERIFIED,
    letter(b"Content-Type: multipart/mixed; x=" + b"y" * 5000 + b"; boundary=frontier\r\n", _BODY),
)
_add(
    "many-fields",
    "a thousand fields before the type",
    NOT_VERIFIED,
    letter(b"X-Filler: 1\r\n" * 1000 + _MULTIPART, _BODY),
)
_add(
    "disposition-only",
    "only Content-Disposition says that there is a file",
    TOLERANT,
    mixed(text(), entity(TEXT, b"Content-Disposition: attachment; filename=run.exe")),
)
_add(
    "no-break-space-line",
    "a line of a no-break space in the place of the blank line",
    NOT_VERIFIED,
    _part(_JPEG, _BASE64, b"\xa0", b""),
)
_add(
    "content-type-misspelt",
    "Content Type with a blank for the hyphen; the file is named elsewhere",
    NOT_VERIFIED,
    mixed(text(), entity(b64(PROGRAM), b"Content Type: image/jpeg", _BASE64)),
)

CASES = tuple(_family.cases)
