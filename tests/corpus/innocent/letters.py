"""Letters between people: charsets, names, long lines, text that looks like something else."""

from __future__ import annotations

import base64
from email.message import EmailMessage
from email.policy import SMTP

from tests.corpus.building import CRLF, b64, letter
from tests.corpus.case import Innocent
from tests.corpus.innocent.collecting import Collection

_all = Collection()
_add = _all.add

_UTF8 = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
_PLAIN = b"Content-Type: text/plain; charset=us-ascii\r\n"


def composed(subject: str, body: str, charset: str = "utf-8", **fields: str) -> bytes:
    message = EmailMessage()
    message["From"] = fields.pop("sender", "Alice <alice@example.net>")
    message["To"] = fields.pop("to", "Bob <bob@example.org>")
    message["Date"] = "Mon, 02 Mar 2026 10:00:00 +0000"
    message["Message-ID"] = "<innocent@example.net>"
    message["Subject"] = subject
    for name, value in fields.items():
        message[name.replace("_", "-")] = value
    message.set_content(body, charset=charset)
    return message.as_bytes(policy=SMTP)


def _plain(*lines: bytes) -> bytes:
    return letter(_PLAIN, CRLF.join(lines) + CRLF)


_add("plain", "nothing special", composed("Lunch", "Shall we say one o'clock?\n"))
_add("no-mime", "a message as in 1982", letter(b"", b"Hello.\r\n", mime=b""))
_add("empty-body", "no body", letter(_PLAIN, b""))
_add("only-blank-lines", "a body of blank lines", letter(_PLAIN, b"\r\n\r\n\r\n"))
_add(
    "japanese",
    "Japanese names and ISO-2022-JP",
    composed(
        "\u4f1a\u8b70\u306e\u8b70\u4e8b\u9332",
        "\u4f1a\u8b70\n",
        "iso-2022-jp",
        sender="\u5c71\u7530\u592a\u90ce <yamada@example.net>",
    ),
)
_add(
    "shift-jis",
    "Shift_JIS",
    composed("\u8acb\u6c42\u66f8", "\u8acb\u6c42\u66f8\u3092\u304a\u9001\u308a\u3057\u307e\u3059\u3002\n", "shift_jis"),
)
_add("chinese", "GB2312", composed("\u53d1\u7968", "\u60a8\u597d\n", "gb2312"))
_add("korean", "EUC-KR", composed("\uc548\ub155\ud558\uc138\uc694", "\uc548\ub155\n", "euc-kr"))
_add(
    "arabic",
    "Arabic, written from right to left",
    composed(
        "\u0641\u0627\u062a\u0648\u0631\u0629",
        "\u0645\u0631\u062d\u0628\u0627\n",
        sender="\u0645\u062d\u0645\u062f <m@example.net>",
    ),
)
_add("hebrew", "Hebrew in ISO-8859-8", composed("\u05e9\u05dc\u05d5\u05dd", "\u05e9\u05dc\u05d5\u05dd\n", "iso-8859-8"))
_add(
    "russian",
    "Russian in KOI8-R",
    composed("\u041f\u0440\u0438\u0432\u0435\u0442", "\u041f\u0440\u0438\u0432\u0435\u0442\n", "koi8-r"),
)
_add(
    "greek", "Greek in Windows-1253", composed("\u0393\u03b5\u03b9\u03b1", "\u0393\u03b5\u03b9\u03b1\n", "windows-1253")
)
_add("turkish", "Turkish in ISO-8859-9", composed("\u0130yi g\u00fcnler", "\u0130\u015fte\n", "iso-8859-9"))
_add(
    "thai",
    "Thai in TIS-620",
    composed("\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\n", "tis-620"),
)
_add(
    "emoji", "emoji, with joiners and selectors", composed("\U0001f469\u200d\U0001f4bb\ufe0f", "\U0001f44d\U0001f3fd\n")
)
_add("eight-bit", "8-bit text in UTF-8", letter(_UTF8, "Gr\u00fc\u00dfe aus K\u00f6ln\r\n".encode()))
_add(
    "eight-bit-latin",
    "8-bit text in Latin-1, declared as such",
    letter(_UTF8.replace(b"utf-8", b"iso-8859-1"), "Gr\u00fc\u00dfe\r\n".encode("latin-1")),
)
_add("eight-bit-undeclared", "8-bit text without a charset", letter(b"", b"Gr\xfc\xdfe\r\n"))
_add(
    "eight-bit-header",
    "a raw 8-bit subject",
    letter(_UTF8, b"hello\r\n", subject="Gr\u00fc\u00dfe".encode()),
    "RFC 5322 allows no such bytes",
)
_add("long-subject", "a subject of six folded lines", composed("a long subject, " * 40, "body\n"))
_add("long-line", "a paragraph in one line of 990 characters", _plain(b"word " * 198))
_add(
    "longer-line",
    "a line of 20,000 characters, as HTML generators make them",
    letter(b"Content-Type: text/html; charset=utf-8\r\n", b"<p>" + b"word " * 4000 + b"</p>\r\n"),
)
_add(
    "long-references",
    "a thread of a hundred messages",
    composed("Re: plans", "ok\n", References=" ".join(f"<{n}@example.net>" for n in range(100))),
)
_add(
    "folded-fields",
    "fields folded by tabs",
    letter(b"Content-Type: text/plain;\r\n\tcharset=us-ascii;\r\n\tformat=flowed\r\n", b"Hello \r\nworld\r\n"),
)
_add("quoted-text", "a reply that quotes", _plain(b"> > Shall we?", b"> Yes.", b"Good."))
_add("from-quoted", "lines that begin with From", _plain(b"From here to there.", b">From mbox."))
_add(
    "signature-dashes",
    "lines of dashes",
    _plain(b"Hello", b"-- ", b"Alice", b"--", b"-----", b"----------------------------------------"),
)
_add(
    "looks-like-boundary",
    "lines that look like delimiters",
    _plain(b"--frontier", b"Hello", b"--frontier--", b"------=_Part_1_2"),
)
_add(
    "looks-like-header",
    "text with lines like fields",
    _plain(b"Content-Type: what is that?", b"Content-Transfer-Encoding: base64 is one", b"", b"ok"),
)
_add(
    "begin-a-sentence",
    "a line that begins with begin and a number",
    _plain(b"begin 2026 with a smile", b"and go on", b"end"),
)
_add(
    "begin-uuencode-lesson",
    "a text about uuencode",
    _plain(
        b"A file begins with a line such as",
        b"begin 644 name.txt",
        b"then come lines of letters, and it ends in",
        b"end",
        b"",
    ),
)
_add(
    "yenc-lesson",
    "a text about yEnc",
    _plain(b"It starts with =ybegin line=128 size=100 name=a.txt", b"and ends with =yend size=100"),
)
_add(
    "base64-lesson",
    "a few short lines of base64",
    _plain(b"The answer is", base64.b64encode(b"forty-two, as everybody knows"), b"in base64."),
)
_add(
    "long-base64-token",
    "a token of 400 characters of base64",
    _plain(b"Your token:", base64.b64encode(bytes(range(256)) + b"token" * 9)),
)
_add(
    "hex-dump",
    "a hex dump",
    _plain(
        *[b"%08x  %s  |................|" % (n * 16, b" ".join(b"%02x" % (n + k) for k in range(16))) for n in range(9)]
    ),
)
_add(
    "pgp-armor",
    "a public key in the text",
    _plain(
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----",
        b"",
        b64(b"\x98\x33" + bytes(range(256)) * 3),
        b"=abcd",
        b"-----END PGP PUBLIC KEY BLOCK-----",
    ),
)
_add(
    "pgp-message",
    "an encrypted text in armor",
    _plain(
        b"-----BEGIN PGP MESSAGE-----",
        b"",
        b64(b"\x85\x01" + bytes(range(255, 0, -1)) * 3),
        b"=abcd",
        b"-----END PGP MESSAGE-----",
    ),
)
_add(
    "pgp-clearsigned",
    "a text signed in clear",
    _plain(
        b"-----BEGIN PGP SIGNED MESSAGE-----",
        b"Hash: SHA256",
        b"",
        b"- -- dashed",
        b"-----BEGIN PGP SIGNATURE-----",
        b"",
        b64(bytes(range(90))),
        b"-----END PGP SIGNATURE-----",
    ),
)
_add(
    "pem",
    "a certificate in the text",
    _plain(
        b"-----BEGIN CERTIFICATE-----", b64(b"\x30\x82\x03\x01" + bytes(range(256)) * 3), b"-----END CERTIFICATE-----"
    ),
)
_add(
    "ssh-key",
    "a public SSH key",
    _plain(b"ssh-rsa " + base64.b64encode(b"\0\0\0\7ssh-rsa" + bytes(range(250))) + b" alice@example"),
)
_add(
    "patch",
    "a patch from git",
    letter(
        _PLAIN,
        b"---\r\n a.c | 2 +-\r\n\r\ndiff --git a/a.c b/a.c\r\nindex 83db48f..bf26920 100644\r\n--- a/a.c\r\n+++ b/a.c\r\n@@ -1 +1 @@\r\n-int a;\r\n+int b;\r\n-- \r\n2.39.2\r\n",
        subject=b"[PATCH 1/2] a: rename",
    ),
)
_add(
    "binary-patch",
    "a binary patch from git",
    _plain(b"GIT binary patch", b"literal 12", b"TcmZQzU|?imU|?imU|?im00000000", b"", b"literal 0", b"HcmV?d00001"),
)
_add(
    "log",
    "an excerpt of a mail log",
    _plain(
        b"Mar  2 10:00:00 mx postfix/qmgr[12]: 4Wh0Zk: from=<a@b.example>, size=1234",
        b"Mar  2 10:00:01 mx kernel: run.exe blocked",
    ),
)
_add(
    "tnef-word",
    "a text that names programs",
    _plain(b"Please do not open setup.exe or invoice.pdf.exe, they are dangerous."),
)
_add(
    "equals-signs",
    "a line of equals signs, as under a heading",
    _plain(b"Heading", b"=======", b"a=b; c==d; =E4 is one escape"),
)
_add("dots", "lines of dots", _plain(b".", b"..", b"...", b". . ."))
_add("smtp-dialog", "an SMTP dialog in the text", _plain(b"EHLO a", b"MAIL FROM:<a@b.example>", b"DATA", b".", b"QUIT"))
_add("no-final-line-end", "no line end at the end", letter(_PLAIN, b"Hello"))
_add("bare-lf", "LF everywhere, as a script sends it", composed("Cron", "done\n").replace(CRLF, b"\n"))
_add(
    "resent",
    "a message that was resent",
    letter(b"Resent-From: carol@example.net\r\nResent-To: bob@example.org\r\n" + _PLAIN, b"see below\r\n"),
)
_add(
    "many-received",
    "thirty Received fields",
    letter(b"Received: from a.example by b.example; Mon, 02 Mar 2026 10:00:00 +0000\r\n" * 30 + _PLAIN, b"hi\r\n"),
)
_add(
    "html-only",
    "HTML only",
    letter(
        b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n",
        b'<html><body style=3D"margin:0">Hello =E2=80=93 you</body></html>\r\n',
    ),
)
_add(
    "utf-16-text",
    "a body in UTF-16, base64",
    letter(
        b"Content-Type: text/plain; charset=utf-16\r\nContent-Transfer-Encoding: base64\r\n",
        b64("Hello there, Bob.\r\n".encode("utf-16")),
    ),
)
_add(
    "unknown-charset",
    "a charset that nobody knows",
    letter(b"Content-Type: text/plain; charset=x-mac-klingon\r\n", b"Hello\r\n"),
)

INNOCENT: tuple[Innocent, ...] = _all.innocent()
