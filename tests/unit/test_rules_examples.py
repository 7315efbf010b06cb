"""Every example in conf/rules is switched on, loaded, and hits the message that it is meant for and no innocent one."""

from __future__ import annotations

import base64
import quopri
import re
from pathlib import Path

import pytest

from contentfilter.mime import parse as parse_message
from contentfilter.rules import RuleHits, RuleSet, Table, TableKind, match, parse

RULES = Path(__file__).parents[2] / "conf" / "rules"


def table(kind: TableKind) -> Table:
    """All examples of a file: the lines that begin with "#" and no blank behind it."""
    text = (RULES / kind.value).read_text()
    return parse(re.sub(r"(?m)^#(?=[^ #\n])", "", text), kind.value, kind)


TABLES = {kind: table(kind) for kind in TableKind}


def hits(kind: TableKind, raw: bytes) -> RuleHits:
    return match(RuleSet((TABLES[kind],)), parse_message(raw))


def header(*fields: str) -> bytes:
    return "".join(f"{field}\r\n" for field in fields).encode() + b"\r\nbody\r\n"


def part(*fields: bytes, body: bytes = b"x") -> bytes:
    inner = b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body + b"\r\n"
    return b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + inner + b"--b--\r\n"


def attached(*fields: str) -> bytes:
    return part(b"Content-Type: message/rfc822", body=header(*fields))


def text(line: str, kind: str = "plain", charset: str = "utf-8", encoding: str = "8bit") -> bytes:
    data = f"Hello,\r\n{line}\r\n".encode(charset)
    encode = {"8bit": bytes, "base64": base64.encodebytes, "quoted-printable": quopri.encodestring}[encoding]
    fields = f"Content-Type: text/{kind}; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return fields.encode() + encode(data)


def koi8(words: str) -> str:
    """An encoded word (RFC 2047)."""
    return f"=?koi8-r?B?{base64.b64encode(words.encode('koi8-r')).decode()}?="


FORGED = "Received: from mail.example.org (unknown [198.51.100.9]) by mx.example.net"
TRUE = "Received: from mail.example.org (mail.example.org [192.0.2.10]) by mx.example.net"
NAME = "счёт за май.zip"
PERCENT = "".join(f"%{byte:02X}" for byte in NAME.encode("koi8-r"))
DISPOSITION = b"Content-Disposition: attachment; "
INVOICE = "REJECT 5.7.1 Such invoices are not accepted here"

CASES: dict[TableKind, list[tuple[str, bytes]]] = {
    TableKind.HEADER_CHECKS: [
        ("REJECT 5.7.1 You are not one of our hosts", header(FORGED)),
        ("REJECT 5.7.1 The Date of this message is years ago", header("Date: Mon, 1 Jan 2001 10:00:00 +0000")),
        ("REJECT 5.7.1 The Date of this message is years ago", header("Date: Thu, 01 Jan 1970 00:00:00 GMT")),
        ("REJECT 5.7.1 The Date of this message is years ahead", header("Date: Tue, 19 Jan 2098 03:14:07 +0000")),
        ("SCORE LOCAL_DATE_HOUR", header("Date: Mon, 5 Jan 2026 27:00:00 +0000")),
        ("SCORE LOCAL_DATE_ZONE", header("Date: Mon, 5 Jan 2026 10:00:00 +2500")),
        ("SCORE LOCAL_MSGID_NO_HOST", header("Message-ID: <12345>")),
        ("SCORE LOCAL_PILLS", header("Subject: cheap VIAGRA here")),
        ("SCORE LOCAL_PILLS", header("Subject: =?iso-8859-1?q?buy_Ci=61lis?= now")),
        ("SCORE LOCAL_CHEAP", header(f"Subject: {koi8('Очень дёшево')}")),
        ("SCORE LOCAL_HAN", header("Subject: =?gb2312?B?zNi828ak4rE=?= =?utf-8?B?54m55Lu35Y+R56Wo?=")),
        ("HOLD Looks like invoice fraud", header("Subject: Your\r\n overdue invoice")),
        ("IGNORE", header("Received: from pc7 (pc7.local [10.1.2.3]) by mail.example.org")),
        ("IGNORE", header("X-Originating-IP: [192.0.2.1]")),
        ("IGNORE", header("X-Mailer: Something 1.0")),
        ("IGNORE", header("User-Agent: Something/1.0")),
        ("REPLACE Subject: hi", header("Subject: [EXTERNAL] hi")),
        ("PREPEND X-Local-Bulk: yes", header("List-Unsubscribe: <mailto:a@example.net>")),
        ("REDIRECT office@example.org", header('To: "Her" <former.colleague@example.org>')),
        ("BCC archive@example.org", header("From: Bob <bob@partner.example>")),
        ("DISCARD Our robot's own mail came back", header("X-Loop: robot@example.org")),
        ("INFO Somebody else took it for spam", header("X-Spam-Level: ******")),
    ],
    TableKind.MIME_HEADER_CHECKS: [
        (INVOICE, part(DISPOSITION + b"filename*=koi8-r''" + PERCENT.encode())),
        (INVOICE, part(DISPOSITION + b'filename="' + koi8(NAME).encode() + b'"')),
        (INVOICE, part(DISPOSITION + b'filename="' + NAME.encode("koi8-r") + b'"')),
        (INVOICE, part(b'Content-Type: application/x-a; name="' + NAME.encode("cp1251") + b'"')),
        ("REJECT 5.7.1 Attachments of type .scr are not accepted here", part(b"Content-Type: a/b; name=photo.scr")),
        ("REJECT 5.7.1 Attachments of type .exe are not accepted here",
         part(b'Content-Type: a/b;\r\n name="a b.exe"; x=y')),
        ("REJECT 5.7.1 Attachments of type .lnk are not accepted here",
         part(DISPOSITION + b"filename*0=inv; filename*1=oice.l; filename*2=nk")),
        ("HOLD Two extensions", part(DISPOSITION + b"filename=report.pdf.zip")),
        ("REJECT 5.7.1 Send it in one piece", header("Content-Type: message/partial; id=a; number=1")),
        ("SCORE LOCAL_CHARSET", header('Content-Type: text/plain; charset="GB2312"')),
    ],
    TableKind.NESTED_HEADER_CHECKS: [
        ("REJECT 5.7.1 That message was never ours", attached(FORGED)),
        ("DISCARD The list's own mail came back", attached("X-Loop: list@example.org")),
        ("SCORE LOCAL_FORWARDED_SPAM", attached("Subject: ***SPAM*** buy")),
    ],
    TableKind.BODY_CHECKS: [
        ("REJECT 5.7.1 That message was never ours", text(FORGED)),
        ("REJECT 5.7.1 That message was never ours", text("> " + FORGED)),
        ("REJECT 5.7.1 That message was never ours", part(b"Content-Type: text/rfc822-headers", body=FORGED.encode())),
        ("REJECT 5.7.1 We write no such Message-ID", text("Message-ID: <0123abcd@example.org>")),
        ("DISCARD A notice to the wrong person", text("Our virus scanner has found a virus in your mail")),
        ("SCORE LOCAL_WIRE_TRANSFER", text("An urgent matter: a wire transfer", charset="utf-16", encoding="base64")),
        ("SCORE LOCAL_WIRE_TRANSFER", text("An urgent matter: a wire transfer", encoding="base64")),
        ("SCORE LOCAL_WIRE_TRANSFER", text("<p>An ur<b>gent</b> matter: a wire&nbsp;transfer</p>", "html")),
        ("SCORE LOCAL_WIRE_TRANSFER", text("<div hidden>urgent wire transfer</div>", "html")),
        ("SCORE LOCAL_WIRE_TRANSFER_RU", text("Нужен срочный перевод", charset="koi8-r", encoding="quoted-printable")),
        ("SCORE LOCAL_WIRE_TRANSFER_RU", text("Нужен срочный перевод", charset="utf-16-le", encoding="base64")),
        ("SCORE LOCAL_BITCOIN", text("Pay to bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq now")),
        ("SCORE LOCAL_SCRIPT", text("<script>alert(1)</script>", "html", encoding="base64")),
        ("HOLD A frame in a mail", text('<iframe width=1 src="http://example.net/">', "html")),
    ],
}  # fmt: skip

INNOCENT: dict[TableKind, list[bytes]] = {
    TableKind.HEADER_CHECKS: [
        header(
            TRUE, "Received: by mail.example.org with local", "Date: Mon, 5 Jan 2026 20:10:02 +1300",
            "X-Spam-Level: **",
            "Message-ID: <2001@example.net>", "Subject: specialist, Re: the invoice of 2098 is not overdue",
            "From: Ada <ada@example.net>", "To: colleague@example.org", "X-Loop: other@example.net",
        ),
        header("Date: Fri, 31 Dec 2027 23:59:60 -0800 (PST)", "Subject: =?gb2312?B?xOO6ww==?="),
    ],
    TableKind.MIME_HEADER_CHECKS: [
        part(DISPOSITION + b'filename="report.final.pdf"'),
        part(b"Content-Type: text/plain; charset=utf-8; name=notes.txt"),
        part(DISPOSITION + b"filename*=koi8-r''" + PERCENT.encode().replace(b"%7A%69%70", b"pdf")),
        part(b"Content-Type: application/octet-stream; name=execom"),
    ],
    TableKind.NESTED_HEADER_CHECKS: [
        attached(TRUE, "Subject: no SPAM here", "X-Loop: other@example.org"), header(FORGED),
    ],
    TableKind.BODY_CHECKS: [
        text(TRUE), text("The scanner found a virus, they wrote; urgent, but no transfer"),
        text("Write a script, not an iframe"), text("несрочный перевод"),
        text("Message-ID: <20260105.1234@example.org>"), text("<p>bc1q and <b>scripted</b></p>", "html"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "wanted", "raw"), [(kind, *case) for kind in CASES for case in CASES[kind]])
def test_the_example_hits(kind: TableKind, wanted: str, raw: bytes) -> None:
    assert wanted in [str(hit.rule).partition(": ")[2] for hit in hits(kind, raw).hits]


@pytest.mark.parametrize(("kind", "raw"), [(kind, raw) for kind in INNOCENT for raw in INNOCENT[kind]])
def test_the_innocent_are_not_hit(kind: TableKind, raw: bytes) -> None:
    assert hits(kind, raw).hits == ()


@pytest.mark.parametrize("kind", list(TableKind))
def test_every_example_has_a_message(kind: TableKind) -> None:
    """DUNNO hits without being seen; what it spares is among the innocent."""
    hit = {hit.rule.source for _, raw in CASES[kind] for hit in hits(kind, raw).hits}
    silent = {f"{kind.value}:{rule.line}" for rule in TABLES[kind].rules if rule.order.action.value == "DUNNO"}
    assert hit | silent == {f"{kind.value}:{rule.line}" for rule in TABLES[kind].rules}


@pytest.mark.parametrize("kind", list(TableKind))
def test_as_shipped_nothing_is_switched_on(kind: TableKind) -> None:
    assert parse((RULES / kind.value).read_text(), kind.value, kind).rules == ()
