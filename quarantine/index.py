"""The SQL index: what is searched for, and nothing that is not in the files too.

SQLite by default, with a write-ahead log so that several processes can work at once; the statements are plain enough
for PostgreSQL. Text is stored as it reads, and once more folded to lower case, because databases disagree on what
"without regard to case" means beyond ASCII.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Double,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    event,
    func,
    insert,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import DatabaseError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from contentfilter.envelope import split_address
from contentfilter.errors import QuarantineError
from contentfilter.verdict import Category
from quarantine.durable import create_file, locked
from quarantine.errors import IndexDamagedError
from quarantine.record import Record, State

VERSION = 1
_WAIT = 10.0
"""Seconds to wait for another process that writes."""
_ATTEMPTS = 3
_BATCH = 500
"""Ids in one statement: SQLite takes 999 parameters at the least."""

_METADATA = MetaData()
_SCHEMA = Table("quarantine_schema", _METADATA, Column("version", Integer, primary_key=True, autoincrement=False))
_ITEM = Table(
    "quarantine_item",
    _METADATA,
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
_RECIPIENT = Table(
    "quarantine_recipient",
    _METADATA,
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


class Index:
    """The index in one database. The connection is made at first use, and anew in a forked process.

    lock_file: held while the tables are made, so that processes that start together do not get in each other's way.
    """

    def __init__(self, database: str, lock_file: Path) -> None:
        self._database = database
        self._lock_file = lock_file
        self._guard = threading.Lock()
        self._engine: Engine | None = None
        self._pid = 0
        self._path: Path | None = None
        self._file: tuple[int, int] | None = None
        """Which file our connections are to, by device and inode."""

    def put(self, entries: Iterable[tuple[Record, int]]) -> None:
        """Enter records with the bytes they take on disk, or replace their entries. Committed when this returns.

        Raises QuarantineError.
        """
        entries = list(entries)
        if not entries:
            return

        def enter(connection: Connection) -> None:
            _delete(connection, [record.id for record, _ in entries])
            connection.execute(insert(_ITEM), [_item_row(record, stored) for record, stored in entries])
            connection.execute(insert(_RECIPIENT), [row for record, _ in entries for row in _recipient_rows(record)])

        self._write(enter)

    def remove(self, ids: Sequence[str]) -> None:
        """Forget items. Raises QuarantineError."""
        self._write(lambda connection: _delete(connection, ids))

    def find(self, query: Query, limit: int | None = None, offset: int = 0) -> list[Summary]:
        """The items, newest first. Raises QuarantineError."""
        chosen = select(_ITEM).where(*_conditions(query)).order_by(_ITEM.c.time.desc(), _ITEM.c.id.desc())
        with self._transaction() as connection:
            rows = connection.execute(chosen.limit(limit).offset(offset)).all()
            recipients = _recipients_of(connection, [row.id for row in rows])
        return [
            Summary(
                row.id, row.time, Category[row.category.upper()], State(row.state), row.mail_from,
                tuple(recipients.get(row.id, ())), row.subject, row.size, row.stored, row.score,
            )
            for row in rows
        ]  # fmt: skip

    def count(self, query: Query) -> int:
        """How many items there are. Raises QuarantineError."""
        with self._transaction() as connection:
            return connection.execute(select(func.count(_ITEM.c.id)).where(*_conditions(query))).scalar_one()

    def holdings(self) -> list[Holding]:
        """What every item takes, oldest first. Raises QuarantineError."""
        chosen = select(_ITEM.c.id, _ITEM.c.time, _ITEM.c.state, _ITEM.c.stored).order_by(_ITEM.c.time, _ITEM.c.id)
        with self._transaction() as connection:
            rows = connection.execute(chosen).all()
        return [Holding(row.id, row.time, State(row.state), row.stored) for row in rows]

    def ids(self) -> frozenset[str]:
        """The ids of all items. Raises QuarantineError."""
        with self._transaction() as connection:
            return frozenset(connection.execute(select(_ITEM.c.id)).scalars())

    def check(self) -> None:
        """Look whether the database is sound. Raises IndexDamagedError if not, QuarantineError if that is unclear."""
        with self._transaction() as connection:
            if connection.dialect.name == "sqlite":
                answer = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
                if answer != "ok":
                    raise IndexDamagedError(f"the index is damaged: {answer}")

    def recreate(self) -> None:
        """Begin with an empty index, whatever state the old one is in; a SQLite file is kept as *.damaged.

        Raises QuarantineError.
        """
        self.close()
        url = make_url(self._database)
        with self._translated(), locked(self._lock_file, _WAIT):
            if (path := _sqlite_path(url)) is not None:
                _set_aside(path)
                return
            engine = create_engine(url)
            try:
                _METADATA.drop_all(engine)
            finally:
                engine.dispose()

    def close(self) -> None:
        """Let go of connections."""
        with self._guard:
            if self._engine is not None:
                self._engine.dispose(close=self._pid == os.getpid())
                self._engine = None

    def _write(self, write: Callable[[Connection], None]) -> None:
        """Do something that may be done twice, so that it is in the database that is in place afterwards."""
        for _ in range(_ATTEMPTS):
            with self._translated():
                self._connected()
                # Taken before: another thread may connect anew while we write over the connection that we have.
                file = self._file
            with self._transaction() as connection:
                write(connection)
            with self._translated():
                if not self._replaced(file):
                    return
        raise QuarantineError("the quarantine index is replaced again and again")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._translated(), self._connected().begin() as connection:
            yield connection

    def _connected(self) -> Engine:
        with self._guard:
            if self._engine is not None and self._pid != os.getpid():
                # The parent's connections are not ours to use, nor to close.
                self._engine.dispose(close=False)
                self._engine = None
            if self._engine is not None and self._replaced(self._file):
                # Another process made the index anew: what we wrote into the old file nobody would ever see.
                self._engine.dispose()
                self._engine = None
            if self._engine is None:
                self._engine = self._open()
                self._pid = os.getpid()
            return self._engine

    def _replaced(self, file: tuple[int, int] | None) -> bool:
        """Whether the SQLite file is not any more the one with this device and inode. Raises OSError."""
        return self._path is not None and _identity(self._path) != file

    def _open(self) -> Engine:
        url = make_url(self._database)
        path = self._path = _sqlite_path(url)
        engine = create_engine(url, connect_args={"timeout": _WAIT}) if path else create_engine(url, pool_pre_ping=True)
        try:
            with locked(self._lock_file, _WAIT):
                if path is not None:
                    os.close(create_file(path, flags=0))
                    event.listen(engine, "connect", _set_up_sqlite)
                    self._file = _identity(path)
                _make_tables(engine)
        except BaseException:
            engine.dispose()
            raise
        return engine

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """The edge to the database. After an error connections are made anew: the file may be another one by then."""
        try:
            yield
        except (SQLAlchemyError, ImportError, OSError) as error:
            self.close()
            raise _named(error) from error


def _named(error: Exception) -> QuarantineError:
    cause = error.orig if isinstance(error, DatabaseError) else error
    # SQLite's "malformed" and "not a database" are plain DatabaseErrors; a lock or a full disk is Operational.
    if isinstance(cause, sqlite3.DatabaseError) and not isinstance(cause, sqlite3.OperationalError):
        return IndexDamagedError(f"the index is damaged, run quarantine reindex: {cause}")
    return QuarantineError(f"the quarantine index does not work: {cause}")


def _sqlite_path(url: URL) -> Path | None:
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _set_aside(path: Path) -> None:
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(name).rename(path.with_name(f"{name}.damaged"))


def _set_up_sqlite(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    """FULL: a commit that we answer 250 for survives a power failure (https://sqlite.org/pragma.html)."""
    deadline = time.monotonic() + _WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
            break
        except sqlite3.OperationalError:
            # Going over to the log needs the database alone, and SQLite does not wait for that by itself.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    connection.execute("PRAGMA synchronous = FULL").close()


def _make_tables(engine: Engine) -> None:
    with engine.begin() as connection:
        _METADATA.create_all(connection)
        version = connection.execute(select(_SCHEMA.c.version)).scalar()
        if version is None:
            connection.execute(insert(_SCHEMA), {"version": VERSION})
        elif version != VERSION:
            problem = f"the index has version {version}, this program needs {VERSION}"
            raise IndexDamagedError(f"{problem}: run quarantine reindex")


def _delete(connection: Connection, ids: Sequence[str]) -> None:
    for batch in _batches(ids):
        connection.execute(delete(_RECIPIENT).where(_RECIPIENT.c.item.in_(batch)))
        connection.execute(delete(_ITEM).where(_ITEM.c.id.in_(batch)))


def _recipients_of(connection: Connection, ids: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for batch in _batches(ids):
        chosen = select(_RECIPIENT.c.item, _RECIPIENT.c.address).where(_RECIPIENT.c.item.in_(batch))
        for item, address in connection.execute(chosen.order_by(_RECIPIENT.c.item, _RECIPIENT.c.position)):
            found.setdefault(item, []).append(address)
    return found


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))


def _item_row(record: Record, stored: int) -> dict[str, object]:
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


def _recipient_rows(record: Record) -> Iterator[dict[str, object]]:
    for position, withheld in enumerate(record.withheld):
        address = storable(withheld.recipient.address)
        yield {"item": record.id, "position": position, "address": address, "address_folded": address.casefold()}


def storable(value: str) -> str:
    """The text without what a database may refuse: NUL, and surrogates that stand for undecodable bytes."""
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _conditions(query: Query) -> Iterator[ColumnElement[bool]]:
    if query.recipient is not None:
        matching = _address_matches(_RECIPIENT.c.address_folded, query.recipient)
        yield _ITEM.c.id.in_(select(_RECIPIENT.c.item).where(matching))
    if query.sender is not None:
        yield _address_matches(_ITEM.c.mail_from_folded, query.sender)
    if query.categories:
        yield _ITEM.c.category.in_(sorted(category.word for category in query.categories))
    if query.since is not None:
        yield _ITEM.c.time >= query.since
    if query.until is not None:
        yield _ITEM.c.time < query.until
    if query.subject is not None:
        yield _ITEM.c.subject_folded.contains(storable(query.subject).casefold(), autoescape=True)
    if query.state is not None:
        yield _ITEM.c.state == query.state.value


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
