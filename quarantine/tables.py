"""The tables of the index, what is asked of them, and how a record becomes rows. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    select,
)

from contentfilter.envelope import split_address
from contentfilter.verdict import Category
from quarantine.record import Record, State

METADATA = MetaData()
SCHEMA = Table("quarantine_schema", METADATA, Column("version", Integer, primary_key=True, autoincrement=False))
ITEM = Table(
    "quarantine_item",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("time", Double, nullable=False, index=True),
    Column("category", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("mail_from", String, nullable=False),
    Column("mail_from_folded", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("subject_folded", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("stored", BigInteger, nullable=False),
    Column("score", Double),
)
RECIPIENT = Table(
    "quarantine_recipient",
    METADATA,
    Column("item", String(32), ForeignKey("quarantine_item.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("address", String, nullable=False),
    Column("address_folded", String, nullable=False, index=True),
)


@dataclass(frozen=True, slots=True)
class Summary:
    """An item as a list shows it. time: seconds since the epoch; size: bytes of the message; stored: bytes on disk."""

    id: str
    time: float
    category: Category
    state: State
    mail_from: str
    rcpt_tos: tuple[str, ...]
    subject: str
    size: int
    stored: int
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


def conditions(query: Query) -> Iterator[ColumnElement[bool]]:
    """What an item has to fulfil."""
    if query.recipient is not None:
        matching = _address_matches(RECIPIENT.c.address_folded, query.recipient)
        yield ITEM.c.id.in_(select(RECIPIENT.c.item).where(matching))
    if query.sender is not None:
        yield _address_matches(ITEM.c.mail_from_folded, query.sender)
    if query.categories:
        yield ITEM.c.category.in_(sorted(category.word for category in query.categories))
    if query.since is not None:
        yield ITEM.c.time >= query.since
    if query.until is not None:
        yield ITEM.c.time < query.until
    if query.subject is not None:
        yield ITEM.c.subject_folded.contains(storable(query.subject).casefold(), autoescape=True)
    if query.state is not None:
        yield ITEM.c.state == query.state.value


def _address_matches(column: Column[str], wanted: str) -> ColumnElement[bool]:
    folded = storable(wanted).casefold()
    if folded == "<>":
        return column == ""
    local, domain = split_address(folded)
    if local and domain:
        return column == folded
    if domain:
        return column.endswith(folded, autoescape=True)
    return column.contains(folded, autoescape=True)
