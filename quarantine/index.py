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
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, delete, event, func, insert, make_url, select, text
from sqlalchemy.exc import ArgumentError, DatabaseError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from contentfilter.errors import PolicyError, QuarantineError
from contentfilter.policy.engine import engine_for
from contentfilter.verdict import Category
from quarantine.durable import create_file, locked
from quarantine.errors import IndexDamagedError, IndexVersionError
from quarantine.identity import Identity, identity, main_of
from quarantine.record import Record, State
from quarantine.rows import VERSION, Holding, Query, Summary, item_row, recipient_rows
from quarantine.tables import ITEM, METADATA, RECIPIENT, SCHEMA, conditions

__all__ = ["Holding", "Index", "Query", "Summary"]

_WAIT = 10.0
"""Seconds to wait for another process that writes."""
_SERVER_WAIT = 30.0
"""Seconds for each answer of a database server."""
_TAKEN = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_ATTEMPTS = 3
_SHORT = (sqlite3.SQLITE_IOERR_SHORT_READ, sqlite3.SQLITE_IOERR_CORRUPTFS)
"""Fewer bytes than the database should have."""
_BATCH = 500
"""Ids in one statement: SQLite takes 999 parameters at the least."""


class Index:
    """The index in one database. The connection is made at first use, and anew in a forked process.

    lock_file: held while the tables are made, so that processes that start together do not get in each other's way.
    on_loss: called, with the lock held, when the tables are new or may have lost rows. Raises OSError or nothing.
    """

    def __init__(self, database: str, lock_file: Path, on_loss: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._lock_file = lock_file
        self._on_loss = on_loss
        self._guard = threading.Lock()
        self._engine: Engine | None = None
        self._pid = 0
        self._path: Path | None = None
        self._file: Identity | None = None
        """Which file our connections are to, and which log, by device and inode."""

    def put(self, entries: Iterable[tuple[Record, int]]) -> None:
        """Enter records with the bytes they take on disk, or replace their entries. Committed when this returns.

        Raises QuarantineError.
        """
        entries = list(entries)
        if not entries:
            return

        def enter(connection: Connection) -> None:
            _delete(connection, [record.id for record, _ in entries])
            connection.execute(insert(ITEM), [item_row(record, stored) for record, stored in entries])
            connection.execute(insert(RECIPIENT), [row for record, _ in entries for row in recipient_rows(record)])

        self._write(enter)

    def remove(self, ids: Sequence[str]) -> None:
        """Forget items. Raises QuarantineError."""
        self._write(lambda connection: _delete(connection, ids))

    def find(self, query: Query, limit: int | None = None, offset: int = 0) -> list[Summary]:
        """The items, newest first. Raises QuarantineError."""
        chosen = select(ITEM).where(*conditions(query)).order_by(ITEM.c.time.desc(), ITEM.c.id.desc())
        with self._transaction() as connection:
            rows = connection.execute(chosen.limit(limit).offset(offset)).all()
            recipients = _recipients_of(connection, [row.id for row in rows])
        return [
            Summary(
                row.id, row.time, Category[row.category.upper()], State(row.state), row.mail_from,
                tuple(recipients.get(row.id, ())), row.subject, row.size, row.score,
            )
            for row in rows
        ]  # fmt: skip

    def count(self, query: Query) -> int:
        """How many items there are. Raises QuarantineError."""
        with self._transaction() as connection:
            return connection.execute(select(func.count(ITEM.c.id)).where(*conditions(query))).scalar_one()

    def holdings(self) -> list[Holding]:
        """What every item takes, oldest first. Raises QuarantineError."""
        chosen = select(ITEM.c.id, ITEM.c.time, ITEM.c.state, ITEM.c.stored).order_by(ITEM.c.time, ITEM.c.id)
        with self._transaction() as connection:
            rows = connection.execute(chosen).all()
        return [Holding(row.id, row.time, State(row.state), row.stored) for row in rows]

    def ids(self) -> frozenset[str]:
        """The ids of all items. Raises QuarantineError."""
        with self._transaction() as connection:
            return frozenset(connection.execute(select(ITEM.c.id)).scalars())

    def check(self) -> None:
        """Look whether the database is sound. Raises IndexDamagedError if not, QuarantineError if that is unclear."""
        with self._transaction() as connection:
            if connection.dialect.name == "sqlite":
                answer = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
                if answer != "ok":
                    raise IndexDamagedError(f"the index is damaged: {answer}")

    def recreate(self, file: object = None) -> bool:
        """Begin with an empty index, whatever state the old one is in; a SQLite file is kept as *.damaged.

        file: that of an IndexDamagedError. If another one is in place by now, somebody else was faster, nothing is done
        and the answer is False. Raises QuarantineError.
        """
        self.close()
        url = _parsed(self._database)
        with self._translated(), locked(self._lock_file, _WAIT):
            if (path := _sqlite_path(url)) is not None:
                if isinstance(file, Identity) and file.main is not None and identity(path).main != file.main:
                    return False
                _set_aside(path)
                return True
            engine = _server(self._database)
            try:
                METADATA.drop_all(engine)
            finally:
                engine.dispose()
            return True

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
            try:
                with self._transaction() as connection:
                    write(connection)
            except QuarantineError:
                # Without connections there is no log: the file alone tells whether another one is in place.
                if self._path is None or file is None or main_of(self._path) == file.main:
                    raise
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
            lost = False
            if self._engine is not None and self._replaced(self._file):
                # Another process made the index anew: what we wrote into the old file nobody would ever see.
                lost = (
                    self._file is not None and self._path is not None and identity(self._path).main == self._file.main
                )
                self._engine.dispose()
                self._engine = None
            if self._engine is None:
                self._engine = self._open(lost=lost)
                self._pid = os.getpid()
            return self._engine

    def _replaced(self, file: Identity | None) -> bool:
        """Whether the SQLite file, or its log, is not any more the one that it was. Raises OSError."""
        return self._path is not None and identity(self._path) != file

    def _open(self, *, lost: bool) -> Engine:
        """lost: whether rows went with a log that somebody deleted under us."""
        url = _parsed(self._database)
        path = self._path = _sqlite_path(url)
        engine = create_engine(url, connect_args={"timeout": _WAIT}) if path else _server(self._database)
        try:
            with locked(self._lock_file, _WAIT):
                if path is not None:
                    os.close(create_file(path, flags=0))
                    event.listen(engine, "connect", _set_up_sqlite)
                    self._file = identity(path)
                if lost:
                    self._on_loss()
                _make_tables(engine, self._on_loss)
                if path is not None:
                    self._file = identity(path)
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
            named = _named(error)
            if isinstance(named, IndexDamagedError):
                named.file = self._file
            raise named from error


def _parsed(database: str) -> URL:
    try:
        return make_url(database)
    except (ArgumentError, ValueError) as error:
        # Not shown: the URL may have a password in it.
        raise QuarantineError("the quarantine index does not work: [quarantine] database: is no URL") from error


def _server(database: str) -> Engine:
    """An engine for a database that is no SQLite file. Raises QuarantineError."""
    try:
        return engine_for(database, _SERVER_WAIT, ("sqlite", "postgresql"), pre_ping=True)
    except PolicyError as error:
        raise QuarantineError(f"the quarantine index does not work: [quarantine] database: {error}") from error


def _named(error: Exception) -> QuarantineError:
    cause = error.orig if isinstance(error, DatabaseError) else error
    if isinstance(cause, sqlite3.DatabaseError) and _is_damage(cause):
        return IndexDamagedError(f"the index is damaged: {cause}")
    return QuarantineError(f"the quarantine index does not work: {' '.join(str(cause).split())}")


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether waiting will not help. A lock, a full disk and missing rights go away; what has no tables does not."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return type(error) is sqlite3.DatabaseError
    lost = code == sqlite3.SQLITE_ERROR and str(error).startswith(("no such table", "no such column"))
    return lost or code in _SHORT or code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _sqlite_path(url: URL) -> Path | None:
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


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
        except sqlite3.OperationalError as error:
            # Going over to the log needs the database alone, and SQLite does not wait for that by itself.
            if error.sqlite_errorcode & 0xFF not in _TAKEN or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    connection.execute("PRAGMA synchronous = FULL").close()


def _make_tables(engine: Engine, on_new: Callable[[], None]) -> None:
    with engine.begin() as connection:
        METADATA.create_all(connection)
        version = connection.execute(select(SCHEMA.c.version)).scalar()
        if version is None:
            on_new()
            connection.execute(insert(SCHEMA), {"version": VERSION})
        elif version != VERSION:
            problem = f"the index has version {version}, this program needs {VERSION}"
            raise IndexVersionError(f"{problem}: run quarantine reindex")


def _delete(connection: Connection, ids: Sequence[str]) -> None:
    for batch in _batches(ids):
        connection.execute(delete(RECIPIENT).where(RECIPIENT.c.item.in_(batch)))
        connection.execute(delete(ITEM).where(ITEM.c.id.in_(batch)))


def _recipients_of(connection: Connection, ids: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for batch in _batches(ids):
        chosen = select(RECIPIENT.c.item, RECIPIENT.c.address).where(RECIPIENT.c.item.in_(batch))
        for item, address in connection.execute(chosen.order_by(RECIPIENT.c.item, RECIPIENT.c.position)):
            found.setdefault(item, []).append(address)
    return found


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))
