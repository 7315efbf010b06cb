"""What we tell the next hop of the client, and the encoding in which it travels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter import xtext
from contentfilter.envelope import Client
from contentfilter.xforward import xforward_lines

ALL = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE")
CLIENT = Client("mx.example.com", "192.0.2.7", "47", "ESMTP", "he.lo", "4Kq2", "REMOTE")

TABLE = {
    "all": (
        CLIENT,
        ALL,
        [b"XFORWARD NAME=mx.example.com ADDR=192.0.2.7 PORT=47 PROTO=ESMTP HELO=he.lo IDENT=4Kq2 SOURCE=REMOTE"],
    ),
    "some offered": (CLIENT, ("ADDR", "NAME"), [b"XFORWARD NAME=mx.example.com ADDR=192.0.2.7"]),
    "none offered": (CLIENT, (), []),
    "nothing known": (Client(), ALL, []),
    "some known": (Client(addr="192.0.2.7"), ("NAME", "ADDR"), [b"XFORWARD NAME=[UNAVAILABLE] ADDR=192.0.2.7"]),
    "empty": (Client(addr="192.0.2.7", helo=""), ("HELO",), [b"XFORWARD HELO=[UNAVAILABLE]"]),
    "IPv6": (Client(addr="2001:db8::1"), ("ADDR",), [b"XFORWARD ADDR=IPV6:2001:db8::1"]),
    "injection": (Client(helo="a ADDR=::1\r\nDATA+="), ("HELO",), [b"XFORWARD HELO=a+20ADDR+3D::1+0D+0ADATA+2B+3D"]),
    "UTF-8": (Client(helo="ö"), ("HELO",), [b"XFORWARD HELO=+C3+B6"]),
    "fits no line": (Client(helo="ö" * 100, ident="x"), ("HELO", "IDENT"), [b"XFORWARD HELO=[UNAVAILABLE] IDENT=x"]),
}


@pytest.mark.parametrize("name", TABLE)
def test_lines(name: str) -> None:
    client, offered, expected = TABLE[name]
    assert list(xforward_lines(client, offered)) == expected


VALUES = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=255)


@given(client=st.builds(Client, *[VALUES] * 7))
def test_no_line_is_too_long_and_none_is_anything_else(client: Client) -> None:
    lines = list(xforward_lines(client, ALL))
    words = b" ".join(line.removeprefix(b"XFORWARD ") for line in lines).split(b" ") if lines else []
    assert [word.split(b"=")[0].decode() for word in words] == (list(ALL) if client != Client() else [])
    assert all(len(line) <= 510 and line.isascii() and line.decode().isprintable() for line in lines)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_xtext_round_trip(text: str) -> None:
    encoded = xtext.encode(text)
    assert xtext.decode(encoded) == text
    assert all("!" <= character <= "~" and character != "=" for character in encoded)


@pytest.mark.parametrize(
    ("encoded", "decoded"),
    [("a+2Bb+40c", "a+b@c"), ("a+2bb", "a+b"), ("a+", "a+"), ("+GG", "+GG"), ("+FF", "\udcff"), ("ö+C3+B6", "öö")],
)
def test_xtext_decoding_is_lenient(encoded: str, decoded: str) -> None:
    assert xtext.decode(encoded) == decoded
