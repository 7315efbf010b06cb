"""Lines that end in something else than CRLF."""

from __future__ import annotations

from tests.corpus.building import CRLF, EICAR, PROGRAM, Family, attached, b64, delimited, letter, mixed, text
from tests.corpus.case import NOT_VERIFIED, TOLERANT, VIRUS

_family = Family("line-ends")
_add = _family.add

_MULTIPART = b'Content-Type: multipart/mixed; boundary="frontier"\r\n'
_BODY = delimited([text(), attached()])
_FIELDS = b"Content-Type: image/jpeg\nContent-Transfer-Encoding: base64\n\n"
_LF_HEADER = _FIELDS + b64(PROGRAM)
_LF_CONTENT = _FIELDS.replace(b"\n", CRLF) + b64(PROGRAM).replace(CRLF, b"\n")
_ORDERLY = letter(_MULTIPART, _BODY)

_add("lf", "LF everywhere", "every client: Unix programs send it so", _ORDERLY.replace(CRLF, b"\n"))
_add("lf-body", "LF in the body only", TOLERANT, letter(_MULTIPART, _BODY.replace(CRLF, b"\n")))
_add(
    "lf-delimiters",
    "LF around delimiters only",
    TOLERANT,
    letter(_MULTIPART, _BODY.replace(b"\r\n--frontier\r\n", b"\n--frontier\n")),
)
_add("cr-body", "CR for every line end of the body", NOT_VERIFIED, letter(_MULTIPART, _BODY.replace(CRLF, b"\r")))
_add(
    "cr-delimiters",
    "CR before and after the delimiters",
    NOT_VERIFIED,
    letter(_MULTIPART, _BODY.replace(b"\r\n--frontier\r\n", b"\r--frontier\r")),
)
_add(
    "cr-part-header",
    "CR between the fields of a part",
    NOT_VERIFIED,
    letter(_MULTIPART, _BODY.replace(b"\r\nContent-Transfer", b"\rContent-Transfer")),
)
_add(
    "crcrlf",
    "CR CR LF everywhere in the body",
    "mail that was converted twice",
    letter(_MULTIPART, _BODY.replace(CRLF, b"\r\r\n")),
)
_add(
    "crcrlf-blank-line",
    "CR CR LF as the blank line of a part",
    NOT_VERIFIED,
    letter(_MULTIPART, _BODY.replace(b"\r\n\r\n", b"\r\n\r\r\n")),
)
_add(
    "lf-cr",
    "LF CR around delimiters",
    NOT_VERIFIED,
    letter(_MULTIPART, _BODY.replace(b"\r\n--frontier\r\n", b"\n\r\n--frontier\r\n\r")),
)
_add(
    "form-feed",
    "form feeds before the fields of a part",
    NOT_VERIFIED,
    letter(_MULTIPART, _BODY.replace(b"\r\nContent-Transfer", b"\r\n\x0cContent-Transfer")),
)
_add(
    "nul-after-delimiter",
    "NUL behind the delimiter",
    NOT_VERIFIED,
    letter(_MULTIPART, _BODY.replace(b"--frontier\r\n", b"--frontier\0\r\n")),
)
_add(
    "nul-before-delimiter",
    "NUL before the dashes of the delimiter",
    NOT_VERIFIED,
    letter(_MULTIPART, _BODY.replace(b"--frontier\r\n", b"\0--frontier\r\n")),
)
_add("lf-base64", "LF between the lines of base64", TOLERANT, mixed(text(), _LF_CONTENT))
_add("no-end", "no line end after the last line", TOLERANT, _ORDERLY.rstrip())
_add(
    "dot-lines",
    "lines of dots that end DATA for a careless relay",
    "servers open to SMTP smuggling (CVE-2023-51764)",
    mixed(text(b".\n..\r\n.\r.\r\n"), attached(EICAR, b"note.txt", b"text/plain")),
    VIRUS,
)
_add("part-header-lf", "the part's header ends in LF LF between CRLF lines", TOLERANT, mixed(text(), _LF_HEADER))

CASES = tuple(_family.cases)
