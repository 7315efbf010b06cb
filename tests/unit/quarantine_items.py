"""Items for the tests of the quarantine."""

from __future__ import annotations

from pathlib import Path

from contentfilter.envelope import Client, Envelope, Recipient
from contentfilter.finding import Finding, Kind, Test
from contentfilter.mail_id import new_id
from contentfilter.message import Message
from contentfilter.verdict import Action, Category
from quarantine.record import Record, State, Withheld
from quarantine.store import Quarantine

RAW = b"From: Eve <eve@example.net>\r\nSubject: cheap pills\r\nMessage-ID: <1@example.net>\r\n\r\nBuy\x00 now\r\xff\r\n"
NOON = 1_795_262_400.0
"""2026-11-21 12:00 UTC."""


def open_quarantine(directory: Path, *, late: bool = False) -> Quarantine:
    return Quarantine(directory / "quarantine", f"sqlite:///{directory / 'quarantine' / 'index.sqlite'}", late=late)


def withheld(
    address: str, category: Category = Category.SPAM, state: State = State.PENDING, action: Action = Action.DISCARD
) -> Withheld:
    notify = ("FAILURE", "DELAY")
    return Withheld(Recipient(address, notify, f"rfc822;{address}"), category, action, ("spam: 12.3",), state)


def make(
    raw: bytes = RAW,
    *,
    time: float = NOON,
    mail_from: str = "eve@example.net",
    to: tuple[Withheld, ...] | None = None,
    subject: str = "cheap pills",
    score: float | None = 12.3,
) -> tuple[Record, Message]:
    message = Message(raw)
    to = to or (withheld("bob@example.org"),)
    envelope = Envelope(
        mail_from,
        tuple(one.recipient for one in to),
        body="8BITMIME",
        ret="HDRS",
        envid="QQ+2B1",
        client=Client(name="mx.example.net", addr="192.0.2.1", ident="4XyZ1"),
        received_at=time,
    )
    finding = Finding(Kind.SPAM, "spamd", "spam", score=12.3, tests=(Test("BAYES_99", 3.5), Test("URIBL")))
    return Record.of(
        new_id(), envelope, message, to, findings=(finding,), score=score, subject=subject, message_id="<1@example.net>"
    ), message


def keep(quarantine: Quarantine, *arguments: bytes, **more: object) -> Record:
    record, message = make(*arguments, **more)  # type: ignore[arg-type]  # handed through as they are
    quarantine.keep(record, message)
    return record


def files(directory: Path) -> list[str]:
    """The names of everything that belongs to items."""
    return sorted(path.name for path in directory.glob("quarantine/????-??-??/*"))
