"""XFORWARD: what Postfix tells of the client, made harmless."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter import reply
from contentfilter.errors import CommandError
from contentfilter.intake.xforward import ATTRIBUTES, MAX_VALUE, parse_xforward

GIVEN = [
    (b"NAME=mail.example.com ADDR=192.0.2.1", {"name": "mail.example.com", "addr": "192.0.2.1"}),
    (b"name=a  Proto=ESMTP ", {"name": "a", "proto": "ESMTP"}),
    (b"PORT=25 IDENT=4ABC SOURCE=REMOTE", {"port": "25", "ident": "4ABC", "source": "REMOTE"}),
    (b"NAME=[UNAVAILABLE] ADDR=[unavailable] PORT=[TEMPUNAVAIL]", {"name": None, "addr": None, "port": None}),
    (b"IDENT=", {"ident": None}),
    (b"ADDR=IPV6:2001:db8::1", {"addr": "2001:db8::1"}),
    (b"ADDR=ipv6:::1", {"addr": "::1"}),
    (b"ADDR=2001:db8::1", {"addr": "2001:db8::1"}),
    (b"HELO=a+20b+2Bc+3Dd", {"helo": "a b+c=d"}),
    (b"HELO=+5BUNAVAILABLE+5D", {"helo": None}),
    (b"HELO=a=b", {"helo": "a=b"}),
    (b"HELO=x+0D+0ARSET+00+1B[2J", {"helo": "x??RSET??[2J"}),
    (b"HELO=a\x01b", {"helo": "a?b"}),
    (b"HELO=b+C3+BCcher", {"helo": "bücher"}),
    ("HELO=bücher".encode(), {"helo": "bücher"}),
    (b"HELO=\xffx+FE", {"helo": "?x?"}),
    ("HELO=a\u202eb\u2028c".encode(), {"helo": "a?b?c"}),
    (b"HELO=" + b"h" * 5000, {"helo": "h" * MAX_VALUE}),
    (b"NAME=a NAME=b", {"name": "b"}),
]

REFUSED = [b"", b"   ", b"FOO=bar", b"NAME", b"NAME:x", b"=x", b"NAME=x LOGIN=bob", b"HELO=+", b"HELO=+G0", b"HELO=a+2"]


@pytest.mark.parametrize(("argument", "want"), GIVEN)
def test_attributes(argument: bytes, want: dict[str, str | None]) -> None:
    assert parse_xforward(argument) == want


@pytest.mark.parametrize("argument", REFUSED)
def test_what_we_did_not_offer_is_refused(argument: bytes) -> None:
    with pytest.raises(CommandError) as caught:
        parse_xforward(argument)
    assert caught.value.reply is reply.SYNTAX_XFORWARD


def xtext(value: bytes) -> bytes:
    return b"".join(bytes([c]) if 33 <= c <= 126 and c not in b"+=" else b"+%02X" % c for c in value)


@given(st.sampled_from(ATTRIBUTES), st.binary(min_size=1, max_size=400))
def test_any_value_is_harmless_and_bounded(name: str, value: bytes) -> None:
    kept = parse_xforward(name.encode() + b"=" + xtext(value))[name.lower()]
    if kept is None:
        return
    assert kept.isprintable()
    assert len(kept.encode()) <= MAX_VALUE


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=MAX_VALUE))
def test_printable_values_come_through(value: str) -> None:
    want = None if value.upper() in {"[UNAVAILABLE]", "[TEMPUNAVAIL]"} else value
    assert parse_xforward(b"HELO=" + xtext(value.encode())) == {"helo": want}
