"""Paths of MAIL and RCPT: what Postfix hands over is taken as it stands, the rest is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter import reply
from contentfilter.address import MAX_ADDRESS, is_mailbox, parse_path
from contentfilter.errors import CommandError
from contentfilter.intake.parameters import parse_mail, parse_rcpt

ACCEPTED = [
    ("<>", "", ""),
    ("<> SIZE=1", "", " SIZE=1"),
    ("<bob@example.org>", "bob@example.org", ""),
    ("<Bob.Smith+Tag@Example.ORG>  BODY=7BIT", "Bob.Smith+Tag@Example.ORG", "  BODY=7BIT"),
    ("<postmaster>", "postmaster", ""),
    ('<"a b"@x>', '"a b"@x', ""),
    ('<"a>b"@x> RET=FULL', '"a>b"@x', " RET=FULL"),
    (r'<"a\"b\\"@x>', r'"a\"b\\"@x', ""),
    ('<"a@b"@x>', '"a@b"@x', ""),
    ('<""@x>', '""@x', ""),
    ('<"no domain">', '"no domain"', ""),
    ("<a..b.@x>", "a..b.@x", ""),
    ("<!#$%&'*+-/=?^_`{|}~@x>", "!#$%&'*+-/=?^_`{|}~@x", ""),
    ("<jürgen@bücher.example>", "jürgen@bücher.example", ""),
    ("<用户@例え.テスト>", "用户@例え.テスト", ""),
    ('<"ü ü"@x>', '"ü ü"@x', ""),
    ("<@a,@b:user@dom>", "user@dom", ""),
    ("<@a.example:user@dom>", "user@dom", ""),
    ('<@a:"x y"@dom>', '"x y"@dom', ""),
    ("<@a:postmaster>", "postmaster", ""),
    ("<user@[192.0.2.1]>", "user@[192.0.2.1]", ""),
    ("<user@[IPv6:2001:db8::1]>", "user@[IPv6:2001:db8::1]", ""),
    ("<user@under_score.example.>", "user@under_score.example.", ""),
]

REFUSED = [
    "",
    "<",
    ">",
    "<<>>",
    "bob@example.org",
    "<bob@example.org",
    "<bob@example.org>x",
    "<bob@example.org>\tSIZE=1",
    "<bob@>",
    "<@example.org>",
    "<@a:>",
    "<@a,@b:>",
    "<@a:@b>",
    "<a@b@c>",
    "<a b@c>",
    "< a@c>",
    "<a@c >",
    "<a@b c>",
    '<"a@x>',
    '<"a"b@x>',
    '<"a\\">',
    "<a\\@b@x>",
    "<a(b)@x>",
    "<a,b@x>",
    "<user@[1.2.3.4>",
    "<user@1.2.3.4]>",
    "<user@[a]b]>",
    "<a\x00@x>",
    "<a\r@x>",
    "<a\x7f@x>",
    "<a\x85@x>",
    '<"a\x01"@x>',
    '<"a\\\x1b"@x>',
    "<a@x\n>",
]


@pytest.mark.parametrize(("text", "address", "rest"), ACCEPTED)
def test_path_is_taken_as_it_stands(text: str, address: str, rest: str) -> None:
    assert parse_path(text, reply.BAD_SENDER) == (address, rest)


@pytest.mark.parametrize("text", REFUSED)
def test_malformed_path_gets_the_callers_reply(text: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse_path(text, reply.BAD_RECIPIENT)
    assert caught.value.reply is reply.BAD_RECIPIENT


@given(st.text(alphabet=st.characters(blacklist_categories=("Cc", "Cs")), max_size=40), st.sampled_from(["", "@x.y"]))
def test_any_local_part_survives_when_quoted(local: str, domain: str) -> None:
    quoted = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"' + domain
    assert parse_path(f"<{quoted}> SIZE=3", reply.BAD_SENDER) == (quoted, " SIZE=3")


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        address, rest = parse_path(text, reply.BAD_SENDER)
    except CommandError:
        return
    assert text.startswith("<")
    assert text.endswith(f"{address}>{rest}")
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in address)


LONG = "a" * (MAX_ADDRESS - len("@example.org")) + "@example.org"


@pytest.mark.parametrize("address", [LONG, "ü" * (MAX_ADDRESS // 2), '"' + "a b" * 170 + '"'])
def test_an_address_has_a_longest_length_in_bytes(address: str) -> None:
    assert len(address.encode()) == MAX_ADDRESS
    assert parse_path(f"<{address}> SIZE=1", reply.BAD_SENDER) == (address, " SIZE=1")
    assert parse_path(f"<@route.example:{address}>", reply.BAD_SENDER) == (address, "")
    longer = address.replace("a", "aa", 1).replace("ü", "üü", 1)
    with pytest.raises(CommandError):
        parse_path(f"<{longer}>", reply.BAD_SENDER)


def test_a_long_address_is_refused_as_what_it_is() -> None:
    with pytest.raises(CommandError, match=r"^501 5\.1\.7 "):
        parse_mail(f"FROM:<a{LONG}>".encode())
    with pytest.raises(CommandError, match=r"^501 5\.1\.3 "):
        parse_rcpt(f"TO:<a{LONG}>".encode())


def test_hostile_path_takes_linear_time() -> None:
    for text in ("<" + "@a," * 100_000, '<"' + "\\" * 200_001, "<" + "a." * 100_000, "<@" + "a" * 200_000):
        with pytest.raises(CommandError):
            parse_path(text, reply.BAD_SENDER)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a@example.org", True),
        ('"a b"@example.org', True),
        ("a+b@[192.0.2.1]", True),
        ("grüße@exämple.org", True),
        ("a", False),
        ("@example.org", False),
        ("a@", False),
        ("<a@example.org>", False),
        ("a@b c", False),
        ("a" * 600 + "@example.org", False),
        ("", False),
    ],
)
def test_mailbox(text: str, wanted: bool) -> None:
    assert is_mailbox(text) is wanted
