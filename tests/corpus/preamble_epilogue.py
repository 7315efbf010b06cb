"""What stands before the first delimiter and behind the last one."""

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
    uu,
)
from tests.corpus.case import NOT_VERIFIED

_family = Family("preamble-epilogue")
_add = _family.add

_MULTIPART = b'Content-Type: multipart/mixed; boundary="frontier"\r\n'


def _around(before: bytes, after: bytes, *parts: bytes) -> bytes:
    return letter(_MULTIPART, before + delimited(parts or (text(),)) + after)


_FILE = CRLF + attached() + CRLF
_add(
    "uuencode-before",
    "a uuencoded program in the preamble",
    "programs that do not know MIME",
    _around(uu(PROGRAM, b"run.exe"), b""),
)
_add(
    "uuencode-after",
    "a uuencoded program in the epilogue",
    "programs that do not know MIME",
    _around(b"", uu(PROGRAM, b"run.exe")),
)
_add(
    "entity-before",
    "a whole part in the preamble",
    "CCS 2024, Inbox Invasion names preamble and epilogue",
    _around(_FILE, b""),
)
_add(
    "entity-after",
    "a whole part in the epilogue",
    "CCS 2024, Inbox Invasion names preamble and epilogue",
    _around(b"", _FILE),
)
_add("base64-before", "bare base64 in the preamble", NOT_VERIFIED, _around(b64(PROGRAM) + CRLF, b""))
_add("base64-after", "bare base64 in the epilogue", NOT_VERIFIED, _around(b"", b64(PROGRAM) + CRLF))
_add(
    "part-after-close",
    "a further delimiter and part behind the closing delimiter",
    "clients that ignore the closing delimiter",
    _around(b"", delimited([attached()])),
)
_add(
    "part-after-close-only",
    "the closing delimiter comes first of all",
    "clients that ignore the closing delimiter",
    letter(_MULTIPART, b"--frontier--\r\n" + delimited([attached()])),
)
_add(
    "multipart-in-epilogue",
    "another multipart with its own field in the epilogue",
    NOT_VERIFIED,
    _around(b"", CRLF + multipart(text(), attached(), boundary=b"inner")),
)
_add("no-part", "no delimiter at all: everything is preamble", NOT_VERIFIED, letter(_MULTIPART, _FILE))
_add(
    "epilogue-of-inner",
    "a part in the epilogue of an inner multipart",
    NOT_VERIFIED,
    mixed(multipart(text(), boundary=b"inner") + _FILE),
)
_add(
    "preamble-of-inner",
    "a part in the preamble of an inner multipart",
    NOT_VERIFIED,
    mixed(entity(_FILE + delimited([text()], b"inner"), b"Content-Type: multipart/alternative; boundary=inner")),
)
_add(
    "other-boundary-after",
    "parts between delimiters that nobody declared, in the epilogue",
    NOT_VERIFIED,
    _around(b"", delimited([attached()], b"undeclared")),
)
_add(
    "other-boundary-before",
    "parts between delimiters that nobody declared, in the preamble",
    NOT_VERIFIED,
    _around(delimited([attached()], b"undeclared"), b""),
)

CASES = tuple(_family.cases)
