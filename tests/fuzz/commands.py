"""What a client may say: commands, good and bad, envelopes and messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hypothesis import strategies as st

MAX_LINE: Final = 8192

REFUSED, LATER = "no@x.example", "later@x.example"


@dataclass(frozen=True)
class Command:
    """A line without its CRLF. verb: what it is to the model; good: whether it is well formed."""

    verb: str
    line: bytes
    good: bool = True
    address: str = ""


def _commands(verb: str, good: Sequence[str], bad: Sequence[str] = ()) -> list[Command]:
    return [Command(verb, one.encode()) for one in good] + [Command(verb, one.encode(), good=False) for one in bad]


FIXED: Final = [
    *_commands("EHLO", ["EHLO mx.example", "ehlo [192.0.2.1]"], ["EHLO", "EHLO two words", "EHLO \u00fc"]),
    *_commands("HELO", ["HELO mx.example"], ["HELO"]),
    *_commands("LHLO", ["LHLO mx.example", "lhlo x"], ["LHLO", "LHLO \x01"]),
    *_commands(
        "XFORWARD",
        ["XFORWARD NAME=c.example ADDR=192.0.2.7", "XFORWARD HELO=a+0D+0A.+0D+0AQUIT IDENT=4A1B", "xforward PORT=1"],
        ["XFORWARD", "XFORWARD FOO=1", "XFORWARD NAME", "XFORWARD NAME=+zz"],
    ),
    *_commands("RSET", ["RSET", "rset", "RSET "], ["RSET now"]),
    *_commands("NOOP", ["NOOP", "NOOP and more", "noop \u00fc"]),
    *_commands("HELP", ["HELP", "HELP me"]),
    *_commands("VRFY", ["VRFY bob"], ["VRFY"]),
    *_commands(
        "", [], ["EXPN list", "STARTTLS", "AUTH PLAIN x", "BDAT 5 LAST", "TURN", "FOO", "", " ", "MAILFROM:<a@b>"]
    ),
    *_commands("DATA bad", [], ["DATA now"]),
    *_commands("QUIT bad", [], ["QUIT now"]),
]

MAIL_TAILS: Final = [
    "",
    " SIZE=100",
    " BODY=8BITMIME",
    " RET=HDRS ENVID=x+2B",
    " SMTPUTF8",
    " BODY=7BIT SIZE=0",
    " AUTH=<>",
]
BAD_MAIL: Final = [
    "MAIL",
    "MAIL FROM:",
    "MAIL FROM:a@b",
    "MAIL FROM:<a@b",
    "MAIL FROM:<a@b> FOO=1",
    "MAIL FROM:<a@b> SIZE=x",
    "MAIL FROM:<a@b> BODY=9BIT",
    "MAIL FROM:<a b@c>",
    "MAIL FROM:<a@b> RET=FULL RET=FULL",
    "MAIL FROM:<" + "a" * 600 + "@b>",
]
RCPT_TAILS: Final = ["", " NOTIFY=NEVER", " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x+2Bb@c"]
BAD_RCPT: Final = [
    "RCPT",
    "RCPT TO:<>",
    "RCPT TO:b",
    "RCPT TO:<b@c> NOTIFY=NEVER,DELAY",
    "RCPT TO:<b@c> FOO",
    "RCPT FROM:<b>",
]


def mail(number: int, tail: str, null: bool) -> Command:
    address = "" if null else f"s{number}@y.example"
    return Command("MAIL", f"MAIL FROM:<{address}>{tail}".encode(), address=address)


def rcpt(address: str, tail: str) -> Command:
    return Command("RCPT", f"RCPT TO:<{address}>{tail}".encode(), address=address)


no_line_end = st.binary(max_size=60).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b""))

COMMANDS = st.one_of(
    st.sampled_from(FIXED),
    st.builds(mail, st.integers(0, 9), st.sampled_from(MAIL_TAILS), st.booleans()),
    st.sampled_from([Command("MAIL", one.encode(), good=False) for one in BAD_MAIL]),
    st.builds(
        rcpt,
        st.sampled_from(["a@x.example", "b@x.example", '"c d"@x.example', REFUSED, LATER]),
        st.sampled_from(RCPT_TAILS),
    ),
    st.sampled_from([Command("RCPT", one.encode(), good=False) for one in BAD_RCPT]),
    # Binary that begins like no command; and control characters in what would be one.
    no_line_end.map(lambda raw: Command("", b"\xff" + raw, good=False)),
    st.sampled_from([b"NOOP \0", b"RSET\0", b"MAIL FROM:<a\r@b>", b"\rQUIT", b"DATA\r"]).map(
        lambda line: Command("", line, good=False)
    ),
    st.sampled_from([MAX_LINE - 1, MAX_LINE, 100_000]).map(
        lambda size: Command("", b"NOOP " + b"x" * size, good=False)
    ),
)

PIECES = (
    b"\r",
    b"\n",
    b".",
    b"\0",
    b"\r\n",
    b"\r\n.",
    b"\r\n..\r\n",
    b"\n.\n",
    b"\r.\r",
    b"text",
    b"\xff\xfe",
    b"MAIL FROM:<x@y>\r\n",
)
BODIES = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join),
    st.binary(max_size=200),
    # Many lines, and one long one.
    st.sampled_from([("line\r\n", 2000), ("line\r\n", 40_000), ("x", 70_000)]),
)
ENVELOPES = st.fixed_dictionaries(
    {
        "hello": st.sampled_from(["EHLO", "HELO", "LHLO"]),
        "rcpts": st.lists(
            st.sampled_from(["a@x.example", "b@x.example", REFUSED, LATER]), min_size=1, max_size=4, unique=True
        ),
        "null": st.booleans(),
    }
)
MESSAGES = st.fixed_dictionaries(
    {
        "body": BODIES,
        "header": st.booleans(),
        "cuts": st.lists(st.integers(0, 2_000_000), max_size=3),
        "leave": st.sampled_from(["", "", "", "", "", "", "body", "dot", "half-close"]),
    }
)
