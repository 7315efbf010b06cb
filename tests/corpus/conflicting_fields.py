"""Fields that stand twice, or contradict each other: programs take the first, the last, or one in between."""

from __future__ import annotations

from tests.corpus.building import CRLF, PROGRAM, TEXT, Family, attached, b64, delimited, entity, letter, mixed, qp, text
from tests.corpus.case import NOT_VERIFIED, TOLERANT

_family = Family("conflicting-fields")
_add = _family.add

_MULTIPART = b'Content-Type: multipart/mixed; boundary="frontier"\r\n'
_PLAIN = b"Content-Type: text/plain\r\n"
_BODY = delimited([text(), attached()])
_BASE64 = b"Content-Transfer-Encoding: base64\r\n"
_7BIT = b"Content-Transfer-Encoding: 7bit\r\n"
_JPEG = b"Content-Type: image/jpeg\r\n"
_PAPER = "some mail programs believe the first of two fields, some the last (CCS 2024, Inbox Invasion)"

_add("type-first-plain", "two Content-Type; the multipart is the last", _PAPER, letter(_PLAIN + _MULTIPART, _BODY))
_add("type-last-plain", "two Content-Type; the multipart is the first", _PAPER, letter(_MULTIPART + _PLAIN, _BODY))
_add(
    "type-middle",
    "three Content-Type; only the middle one is a multipart",
    NOT_VERIFIED,
    letter(_PLAIN + _MULTIPART + b"Content-Type: text/html\r\n", _BODY),
)
_add(
    "type-case",
    "the second Content-Type is written in other letters",
    NOT_VERIFIED,
    letter(b"content-type: text/plain\r\n" + _MULTIPART.replace(b"Content-Type", b"CONTENT-TYPE"), _BODY),
)
for _first, _last in ((b"frontier", b"other"), (b"other", b"frontier")):
    _add(
        f"two-boundaries-{_first.decode()}",
        "two Content-Type with different boundaries, each of which is used in the body",
        _PAPER,
        letter(
            b"".join(b"Content-Type: multipart/mixed; boundary=" + each + CRLF for each in (_first, _last)),
            delimited([text()], b"other") + delimited([text(), attached()]),
        ),
    )
_add(
    "encoding-first-7bit",
    "two Content-Transfer-Encoding; base64 is the last",
    _PAPER,
    letter(_JPEG + _7BIT + _BASE64, b64(PROGRAM)),
)
_add(
    "encoding-last-7bit",
    "two Content-Transfer-Encoding; base64 is the first",
    _PAPER,
    letter(_JPEG + _BASE64 + _7BIT, b64(PROGRAM)),
)
_add(
    "encoding-middle",
    "three Content-Transfer-Encoding; base64 stands in the middle",
    NOT_VERIFIED,
    letter(_JPEG + _7BIT + _BASE64 + b"Content-Transfer-Encoding: quoted-printable\r\n", b64(PROGRAM)),
)
_add(
    "encoding-base64-then-qp",
    "base64 and quoted-printable are both declared; the content is quoted-printable",
    _PAPER,
    letter(_JPEG + _BASE64 + b"Content-Transfer-Encoding: quoted-printable\r\n", qp(PROGRAM)),
)
_add(
    "encoding-of-part-first-7bit",
    "two Content-Transfer-Encoding in a part; base64 is the last",
    _PAPER,
    mixed(text(), entity(b64(PROGRAM), _JPEG[:-2], _7BIT[:-2], _BASE64[:-2])),
)
_add(
    "disposition-first-harmless",
    "two Content-Disposition; the name of a program is in the last",
    _PAPER,
    mixed(
        text(),
        attached(
            TEXT, b"notes.txt", b"application/octet-stream", b'Content-Disposition: attachment; filename="run.exe"'
        ),
    ),
)
_add(
    "disposition-last-harmless",
    "two Content-Disposition; the name of a program is in the first",
    _PAPER,
    mixed(
        text(),
        attached(
            TEXT, b"run.exe", b"application/octet-stream", b'Content-Disposition: attachment; filename="notes.txt"'
        ).replace(b'name="run.exe"\r\nContent-Transfer', b'name="notes.txt"\r\nContent-Transfer'),
    ),
)
_add(
    "type-name-only-in-second",
    "two Content-Type; only the last gives the name of a program",
    NOT_VERIFIED,
    mixed(
        text(),
        entity(
            b64(TEXT),
            b"Content-Type: text/plain",
            b'Content-Type: text/plain; name="run.exe"',
            b"Content-Transfer-Encoding: base64",
        ),
    ),
)
_add(
    "name-against-filename",
    "name of Content-Type and filename of Content-Disposition differ",
    "Outlook prefers filename, some webmails name (RFC 2183 leaves it open)",
    mixed(
        text(),
        entity(
            b64(TEXT),
            b'Content-Type: application/octet-stream; name="run.exe"',
            b"Content-Transfer-Encoding: base64",
            b'Content-Disposition: attachment; filename="notes.txt"',
        ),
    ),
)
_add(
    "no-mime-version",
    "MIME-Version is missing",
    TOLERANT,
    letter(_MULTIPART, _BODY, mime=b""),
)
_add("mime-version-2", "MIME-Version is not 1.0", NOT_VERIFIED, letter(_MULTIPART, _BODY, mime=b"2.0"))
_add(
    "mime-version-twice",
    "MIME-Version stands twice, with different values",
    NOT_VERIFIED,
    letter(b"MIME-Version: 0.9\r\n" + _MULTIPART, _BODY),
)
_add(
    "description-name",
    "only Content-Description has the name of a program; the content is one",
    NOT_VERIFIED,
    mixed(text(), entity(b64(PROGRAM), _JPEG[:-2], _BASE64[:-2], b"Content-Description: run.exe")),
)

CASES = tuple(_family.cases)
