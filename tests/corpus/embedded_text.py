"""Files in the text itself: uuencode, yEnc, BinHex, base64."""

from __future__ import annotations

import base64

from tests.corpus.building import CRLF, EICAR, PROGRAM, Family, b64, entity, letter, mixed, qp, text, uu
from tests.corpus.case import NOT_VERIFIED, VIRUS
from tests.corpus.formats import binhex, yenc, zip_file

_family = Family("embedded-text")
_add = _family.add

_OUTLOOK = "Outlook and Thunderbird turn it into an attachment"
_PLAIN = b"Content-Type: text/plain; charset=us-ascii\r\n"


def _text(body: bytes) -> bytes:
    return letter(_PLAIN, b"Hello,\r\n\r\n" + body + b"\r\n-- \r\nAlice\r\n")


_add("uuencode", "a uuencoded program in the text", _OUTLOOK, _text(uu(PROGRAM)))
_add("uuencode-name", "a uuencoded text with the name of a program", _OUTLOOK, _text(uu(b"harmless", b"run.exe")))
_add("uuencode-no-mime", "the same in a message without MIME", _OUTLOOK, letter(b"", uu(PROGRAM), mime=b""))
_add("uuencode-no-end", "the end line is missing", NOT_VERIFIED, _text(uu(PROGRAM).replace(b"`\r\nend\r\n", b"")))
_add("uuencode-blanks", "blanks for zero in place of backticks", _OUTLOOK, _text(uu(PROGRAM).replace(b"`", b" ")))
_add(
    "uuencode-blanks-lost",
    "blanks for zero, lost at the ends of lines on the way",
    _OUTLOOK,
    _text(CRLF.join(line.rstrip() for line in uu(PROGRAM).replace(b"`", b" ").split(CRLF))),
)
_add(
    "uuencode-mode",
    "an odd mode in the begin line",
    NOT_VERIFIED,
    _text(uu(PROGRAM).replace(b"begin 644", b"begin 100644")),
)
_add("uuencode-first-line", "begin is the first line of the body", _OUTLOOK, letter(_PLAIN, uu(PROGRAM)))
_add(
    "uuencode-html",
    "uuencoded in HTML",
    NOT_VERIFIED,
    letter(b"Content-Type: text/html\r\n", b"<pre>\r\n" + uu(PROGRAM) + b"</pre>\r\n"),
)
_add(
    "uuencode-in-qp",
    "uuencoded below quoted-printable",
    _OUTLOOK,
    letter(_PLAIN + b"Content-Transfer-Encoding: quoted-printable\r\n", qp(uu(PROGRAM))),
)
_add(
    "uuencode-in-base64",
    "uuencoded below base64",
    _OUTLOOK,
    letter(_PLAIN + b"Content-Transfer-Encoding: base64\r\n", b64(uu(PROGRAM))),
)
_add("uuencode-second", "the second of two files", _OUTLOOK, _text(uu(b"harmless", b"a.txt") + CRLF + uu(PROGRAM)))
_add("uuencode-zip", "a uuencoded zip with a program", _OUTLOOK, _text(uu(zip_file({"run.exe": PROGRAM}), b"docs.zip")))
_add("uuencode-virus", "a uuencoded virus", _OUTLOOK, _text(uu(EICAR, b"a.txt")), VIRUS)
_add(
    "begin-base64",
    "the base64 form of uuencode (POSIX)",
    NOT_VERIFIED,
    _text(b"begin-base64 644 photo.jpg\r\n" + b64(PROGRAM) + b"\r\n====\r\n"),
)
_add("yenc", "yEnc in the text", "news readers, Thunderbird", _text(yenc(PROGRAM, b"photo.jpg")))
_add("yenc-name", "yEnc with the name of a program", "news readers, Thunderbird", _text(yenc(b"harmless", b"run.exe")))
_add(
    "yenc-part",
    "yEnc of a file in parts, this is the first",
    "news readers",
    _text(yenc(PROGRAM, b"photo.jpg", part=True)),
)
_add("binhex", "BinHex in the text", "Apple Mail, Eudora", _text(binhex(PROGRAM, b"photo.jpg")))
_add("binhex-name", "BinHex with the name of a program", "Apple Mail, Eudora", _text(binhex(b"harmless", b"run.exe")))
_add(
    "binhex-resource",
    "a program in the resource fork of a BinHex file",
    "programs that keep both forks",
    _text(binhex(b"harmless", b"photo.jpg", PROGRAM)),
)
_add(
    "binhex-declared",
    "BinHex under its own type",
    "Outlook (MS-OXCMAIL)",
    mixed(text(), entity(binhex(PROGRAM, b"photo.jpg"), b"Content-Type: application/mac-binhex40")),
)
_add(
    "base64-block",
    "a block of base64 in the text, without any header",
    "nobody by itself; the reader is told how",
    _text(b64(PROGRAM)),
)
_add(
    "base64-line", "the same in one line", "nobody by itself; the reader is told how", _text(base64.b64encode(PROGRAM))
)
_add(
    "base64-zip",
    "a zip as base64 in the text",
    "nobody by itself; the reader is told how",
    _text(b64(zip_file({"run.exe": PROGRAM}))),
)
_add(
    "mime-in-text",
    "the header of a part, a blank line and base64 in the text",
    "clients that show a bounce's text as message",
    _text(b'Content-Type: image/jpeg; name="x.jpg"\r\nContent-Transfer-Encoding: base64\r\n\r\n' + b64(PROGRAM)),
)
_add(
    "data-url",
    "a data: URL with a program in HTML",
    "browsers save it on a click",
    letter(
        b"Content-Type: text/html\r\n",
        b'<a download="run.exe" href="data:application/octet-stream;base64,'
        + base64.b64encode(PROGRAM)
        + b'">open</a>\r\n',
    ),
)

CASES = tuple(_family.cases)
