"""What the index says of an item, what it is asked, and how a record becomes rows. Pure, and without a database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from contentfilter.verdict import Category
from quarantine.record import Record, State

VERSION = 1
"""Of the tables that these rows go into."""


@dataclass(frozen=True, slots=True)
class Summary:
    """An item as a list shows it. time: seconds since the epoch; size: bytes of the message."""

    id: str
    time: float
    category: Category
    state: State
    mail_from: str
    rcpt_tos: tuple[str, ...]
    subject: str
    size: int
    score: float | None


@dataclass(frozen=True, slots=True)
class Holding:
    """What an item takes. time: seconds since the epoch; stored: bytes on disk."""

    id: str
    time: float
    state: State
    stored: int


@dataclass(frozen=True, slots=True)
class Query:
    """Which items to list. What is None or empty does not restrict.

    recipient, sender: user@domain is that address, @domain all of a domain, anything else a part of the address, and
    "<>" the null sender, without regard to case. subject: a part of it, likewise. since <= time < until, in seconds.
    """

    recipient: str | None = None
    sender: str | None = None
    categories: frozenset[Category] = frozenset()
    since: float | None = None
    until: float | None = None
    subject: str | None = None
    state: State | None = None


def item_row(record: Record, stored: int) -> dict[str, object]:
    """The row of an item. stored: bytes that it takes on disk."""
    mail_from, subject = storable(record.mail_from), storable(record.subject)
    return {
        "id": record.id,
        "time": record.time,
        "category": record.category.word,
        "state": record.state.value,
        "mail_from": mail_from,
        "mail_from_folded": mail_from.casefold(),
        "subject": subject,
        "subject_folded": subject.casefold(),
        "size": record.size,
        "stored": stored,
        "score": record.score,
    }


def recipient_rows(record: Record) -> Iterator[dict[str, object]]:
    """The rows of its recipients."""
    for position, withheld in enumerate(record.withheld):
        address = storable(withheld.recipient.address)
        yield {"item": record.id, "position": position, "address": address, "address_folded": address.casefold()}


def storable(value: str) -> str:
    """The text without what a database may refuse: NUL, and surrogates that stand for undecodable bytes."""
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
