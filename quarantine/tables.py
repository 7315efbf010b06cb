"""The tables of the index, and the conditions on them that a query means. Pure."""

from __future__ import annotations

from collections.abc import Iterator

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
from quarantine.rows import Query, storable

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
