"""What goes into the box, and which passwords are tried."""

from __future__ import annotations

import base64

import pytest

from contentfilter.mime import parse
from contentfilter.unpack.choice import passwords_in, passwords_of, to_open

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def part(content: bytes, *fields: str) -> bytes:
    header = "".join(f"{field}\r\n" for field in fields)
    return f"MIME-Version: 1.0\r\n{header}Content-Transfer-Encoding: base64\r\n\r\n".encode() + _base64(content)


def _base64(content: bytes) -> bytes:
    return base64.encodebytes(content).replace(b"\n", b"\r\n")


STAYS = {
    "text": (b"hello world, nothing here", "Content-Type: text/plain"),
    "html": (b"<html><p>hello</p></html>", "Content-Type: text/html"),
    "picture": (PNG, 'Content-Type: image/png; name="a.png"'),
    "next to nothing": (b"x", "Content-Type: application/pdf"),
}
GOES = {
    "pdf": (b"%PDF-1.4\n" + bytes(range(256)), "Content-Type: application/pdf"),
    "pdf that says it is text": (b"%PDF-1.4\n" + bytes(range(256)), "Content-Type: text/plain"),
    "picture with a zip behind it": (PNG + b"PK\x03\x04" + bytes(50), "Content-Type: image/png"),
    "picture with a program in it": (PNG + b"This program cannot be run in DOS mode", "Content-Type: image/png"),
    "table that begins as a picture": (b"GIF8\x01\n=cmd|'/c calc'!A1", 'Content-Type: image/gif; name="a.csv"'),
    "html with a script": (b"<html><sCript>x()</script></html>", "Content-Type: text/html"),
    "html with data": (b'<html><a href="data:application/zip;base64,xxx">x</a></html>', "Content-Type: text/html"),
    "text as an attachment": (b"[InternetShortcut]\nURL=file://x", 'Content-Type: text/plain; name="x.url"'),
    "a zip behind much text": (b"text " * 20_000 + b"PK\x03\x04", "Content-Type: text/plain"),
    "rtf": (b"{\\rtf1 hello}", "Content-Type: text/rtf"),
    "anything else": (bytes(range(256)), "Content-Type: application/octet-stream"),
}


@pytest.mark.parametrize(("content", "field"), STAYS.values(), ids=STAYS.keys())
def test_what_needs_no_opening_stays_in_the_worker(content: bytes, field: str) -> None:
    assert to_open(parse(part(content, field))) == ()


@pytest.mark.parametrize(("content", "field"), GOES.values(), ids=GOES.keys())
def test_what_may_hold_something_goes_into_the_box(content: bytes, field: str) -> None:
    assert [one.content() for one in to_open(parse(part(content, field)))] == [content]


@pytest.mark.parametrize(
    ("text", "password"),
    [
        ("The password is: geheim1", "geheim1"),
        ("Password: 1234.", "1234"),
        ("PW: abc", "abc"),
        ("Das Passwort lautet „Sommer2024“.", "Sommer2024"),
        ("Kennwort = xyz", "xyz"),
        ("mot de passe : soleil", "soleil"),
        ("Пароль: секрет", "секрет"),
        ("パスワード\uff1aabc123", "abc123"),
        ('Use "swordfish" as the password for the archive', "swordfish"),
        ("password:\r\n  next-line", "next-line"),
    ],
)
def test_passwords_are_found(text: str, password: str) -> None:
    assert password in passwords_in(text)


def test_few_passwords_are_tried() -> None:
    assert len(passwords_in("password: a1 " * 5 + " ".join(f"password: p{number}" for number in range(100)))) == 10
    assert passwords_in("nothing of the kind") == ()


def test_the_body_and_the_subject_are_searched() -> None:
    raw = part(b"<p>password: <b>rosebud</b></p>", "Subject: pw: citizen", "Content-Type: text/html")
    assert passwords_of(parse(raw)) == ("citizen", "rosebud", "infected")
