"""What is sent: messages that can be told apart wherever they turn up, and the mixes of recipients they go to."""

from __future__ import annotations

import base64
import itertools
import os
from dataclasses import dataclass, field

from contentfilter.policy.settings import Policy
from contentfilter.verdict import Action
from tests.house import zipped
from tests.journey import POLICIES

SENDER = "sender@y.example"
DOMAIN = "x.example"
MEMORY_THRESHOLD = 20_000
"""Bytes above which the filters under test keep a message in a file."""

_numbers = itertools.count(1)

OWN_POLICIES = {
    # Passes with a marking of its own, so that its copy is another than that of "pass" and of "other".
    "third": Policy(virus_action=Action.PASS, virus_quarantine=False, bypass_spam_checks=True),
    "bounce": Policy(virus_action=Action.REJECT, virus_quarantine=False),
}


@dataclass(frozen=True, slots=True)
class Mix:
    """A kind of message by its recipients. who: local parts, whose policies tests/journey.py and OWN_POLICIES have.

    groups: copies that go to the next hop; own: the report that SMTP makes necessary goes there as well. refused: a
    recipient whom the next hop refuses once for now, whatever else happens.
    """

    name: str
    who: tuple[str, ...]
    groups: int
    own_report: bool = False
    mail_from: str = SENDER
    refused: str = ""


MIXES = (
    Mix("one", ("pass",), 1),
    Mix("pair", ("pass", "later"), 1),
    Mix("two groups", ("pass", "other"), 2),
    Mix("pass, discard", ("pass", "discard"), 1),
    Mix("discard", ("discard",), 0),
    Mix("pass, reject", ("pass", "reject"), 1, own_report=True),
    Mix("pass, reject, null sender", ("pass", "reject"), 1, mail_from=""),
    Mix("three groups, second refused", ("pass", "other", "third"), 3, refused="other"),
    Mix("pass, discard, reject, other", ("pass", "discard", "reject", "other"), 2, own_report=True),
)
MIX = {mix.name: mix for mix in MIXES}


@dataclass(frozen=True, slots=True)
class Mail:
    """One message with its envelope. token: in its Message-ID, and Postfix's queue id."""

    mail_from: str
    rcpts: tuple[str, ...]
    content: bytes = field(repr=False)
    token: str

    @property
    def mark(self) -> bytes:
        """What every copy of it contains, and every report about it."""
        return f"<{self.token}@y.example>".encode()


_ARCHIVE = (
    "MIME-Version: 1.0",
    "Content-Type: application/zip; name=a.zip",
    "Content-Transfer-Encoding: base64",
    "",
    *base64.encodebytes(zipped("a.txt", b"Of no interest.")).decode().splitlines(),
    "",
)


def mail_for(mix: Mix, *, large: bool = False, container: bool = False) -> Mail:
    """A new message. large: above MEMORY_THRESHOLD; container: with an archive in it."""
    token = f"F{os.getpid():X}{next(_numbers):06X}"
    lines = ["Of no interest.", ". a dot at the start of a line", ""] + ["0123456789" * 7] * (500 if large else 0)
    header = (
        f"From: {mix.mail_from or 'mailer-daemon@y.example'}",
        "To: c@d.example",
        "Date: Mon, 1 Jan 2024 00:00:00 +0000",
        f"Message-ID: <{token}@y.example>",
        "Subject: hi",
        *(_ARCHIVE if container else ("",)),
    )
    content = "".join(f"{line}\r\n" for line in (*header, *lines)).encode()
    return Mail(mix.mail_from, tuple(f"{who}@{DOMAIN}" for who in mix.who), content, token)


def policies() -> dict[str, Policy]:
    """By local part."""
    return {**POLICIES, **OWN_POLICIES}
