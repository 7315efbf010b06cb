"""The policy database: entries and lists that are changed while the filter runs.

SQLite by default, with a write-ahead log so that the workers read while somebody writes; PostgreSQL for several hosts.
Every transaction that changes something adds one to the generation, by which readers learn that what they remember is
old. Methods block: the event loop calls them in threads.

The SQLite file is made by the first change. Before that there is nothing that anybody could have set, so that a reader
without a file finds no entries. A file that was there and is gone, which a mark beside it tells also after a restart, a
directory that is not there, and whatever else keeps us from reading, is an error.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from contentfilter.errors import PolicyError
from contentfilter.policy.change import Change, ConflictError, DropEntry, DropListed, PutEntry, PutListed
from contentfilter.policy.engine import cause_of, engine_for, sqlite_path
from contentfilter.policy.entry import Entry
from contentfilter.policy.lists import ListEntry
from contentfilter.policy.rows import (
    BATCH,
    Snapshot,
    batches,
    entry_of,
    entry_row,
    listed_of,
    listed_row,
    storable,
    stretches,
)
from contentfilter.policy.schema import (
    ENTRY,
    LIST,
    check_encoding,
    generation_of,
    may_create,
    migrate,
    next_generation,
    version_of,
)
from contentfilter.policy.sqlite_file import Watched, identity, make_file, no_tables
from contentfilter.policy.steps import STEPS, check_version

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """version: of the tables, 0 if there are none; entries, listed: how many there are, expired ones included.

    may_create: whether we may make the tables that are missing.
    """

    version: int
    entries: int = 0
    listed: int = 0
    may_create: bool = True


class PolicyDatabase:
    """One database. It is opened at first use, in the process that is to use it.

    url: SQLAlchemy's; "sqlite:////path" or "postgresql://user@host/name". timeout: seconds for each answer of the
    server, or for another process that writes. Every method raises PolicyError; so does a URL that cannot be used.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        self._engine = engine_for(url, timeout, ("sqlite", "postgresql"))
        self._path = sqlite_path(self._engine.url)
        if self._engine.dialect.name == "sqlite" and (self._path is None or self._engine.url.query):
            raise PolicyError("SQLite must be given as sqlite:////path/to/a/file, without parameters")
        self._guard = threading.Lock()
        self._watched = None if self._path is None else Watched(self._path)
        self._prepared = False

    def generation(self) -> int:
        """A number that is another one after every change; 0 while there is no SQLite file."""
        return self._read(generation_of, 0)

    def entries(self, keys: Iterable[str] | None = None) -> dict[str, Entry]:
        """The entries under these canonical keys, or all of them, sorted by key."""
        wanted = None if keys is None else storable(keys)
        return self._read(lambda connection: _entries(connection, wanted), {})

    def listed(
        self, owners: Iterable[str] | None = None, subjects: Iterable[str] | None = None
    ) -> tuple[ListEntry, ...]:
        """The list entries of these owners about these subjects; None: all. Sorted by owner and subject."""
        of = None if owners is None else storable(owners)
        about = None if subjects is None else storable(subjects)
        return self._read(lambda connection: _listed(connection, of, about), ())

    def snapshot(self, keys: Iterable[str]) -> Snapshot:
        """What stands under these keys, and the generation that it is of."""
        wanted = storable(keys)

        def read(connection: Connection) -> Snapshot:
            return Snapshot(generation_of(connection), _entries(connection, wanted), _owners(connection, wanted))

        return self._read(read, Snapshot(0, {}, frozenset()))

    def apply(self, changes: Iterable[Change], expected_generation: int | None = None) -> int:
        """Make all changes in one transaction, or none; of several about the same thing the last one counts.

        expected_generation: the one at which the caller read what it changes; ConflictError if there is another by
        now. 0 is that of a database that is not there yet. Returns the new generation. Raises ValueError for keys and
        subjects that are not canonical, and for settings that are no policy.
        """
        rows = _Rows.of(changes, time.time())

        def write(connection: Connection) -> int:
            generation = next_generation(connection)
            if expected_generation is not None and generation - 1 != (expected_generation or made_at):
                raise ConflictError("the policy database was changed by somebody else in the meantime")
            rows.write(connection)
            return generation

        with self._translated():
            made_at = self._made()
            engine = self._connected()
            if engine is None:
                raise PolicyError(f"{self._path} is gone as soon as it is made")
            with engine.execution_options(writes=True).begin() as connection:
                return write(connection)

    def status(self) -> DatabaseStatus | None:
        """What there is, without making or changing tables; None while there is no SQLite file."""
        with self._translated():
            if self._path is not None and identity(self._path) is None:
                return None
            with self._engine.begin() as connection:
                check_encoding(connection)
                version = version_of(connection)
                check_version(version)
                if version == 0 and self._path is not None:
                    raise PolicyError(no_tables(self._path))
                if version == 0:
                    return DatabaseStatus(0, may_create=may_create(connection))
                entries, listed = (
                    connection.execute(select(func.count()).select_from(table)).scalar_one() for table in (ENTRY, LIST)
                )
                return DatabaseStatus(version, entries, listed)

    def close(self) -> None:
        """Let go of connections. Another use opens them anew."""
        self._engine.dispose()

    def _read(self, read: Callable[[Connection], _T], if_missing: _T) -> _T:
        with self._translated():
            engine = self._connected()
            if engine is None:
                return if_missing
            if engine.dialect.name == "postgresql":
                engine = engine.execution_options(isolation_level="REPEATABLE READ")
            try:
                with engine.begin() as connection:
                    return read(connection)
            except DBAPIError as error:
                # A server that was restarted has broken the connections that we had; the pool has dropped them now.
                if not error.connection_invalidated:
                    raise
            with engine.begin() as connection:
                return read(connection)

    def _made(self) -> int | None:
        """Make the SQLite file if there is none; the generation that it begins with if it was us."""
        with self._guard:
            if self._path is None or self._watched is None or self._watched.known or identity(self._path) is not None:
                return None
            self._watched.check_never_there()
            return make_file(self._path)

    def _connected(self) -> Engine | None:
        """The engine, for a database with our tables; None if there is no SQLite file and never was one."""
        with self._guard:
            if self._watched is not None:
                changed = self._watched.look()
                if changed is None:
                    return None
                if changed:
                    self._engine.dispose()
                    self._prepared = False
            if not self._prepared:
                self._prepare(self._engine)
                self._prepared = True
                if self._watched is not None:
                    self._watched.remember()
            return self._engine

    def _prepare(self, engine: Engine) -> None:
        with engine.begin() as connection:
            check_encoding(connection)
            version = version_of(connection)
        check_version(version)
        if version == len(STEPS):
            return
        if version == 0 and self._path is not None:
            # We put files here that have their tables. This one lost them, or is another program's.
            raise PolicyError(no_tables(self._path))
        try:
            with engine.execution_options(writes=True).begin() as connection:
                migrate(connection)
        except DBAPIError as error:
            raise PolicyError(
                f"the policy database has tables of version {version} and cannot be brought to {len(STEPS)}: "
                f"{cause_of(error)}; run contentfilter policy list once as somebody who may create tables"
            ) from error

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """The edge to the database."""
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise PolicyError(f"the policy database does not work: {cause_of(error)}") from error


@dataclass(frozen=True, slots=True)
class _Rows:
    """Changes, sorted by what is to be done."""

    entries: dict[str, dict[str, Any] | None]
    listed: dict[tuple[str, str], dict[str, Any] | None]

    @classmethod
    def of(cls, changes: Iterable[Change], now: float) -> _Rows:
        rows = cls({}, {})
        for change in changes:
            match change:
                case PutEntry(key, settings, expires):
                    rows.entries[key] = entry_row(key, settings, expires, now)
                case DropEntry(key):
                    rows.entries[key] = None
                case PutListed(entry):
                    rows.listed[entry.owner, entry.subject] = listed_row(entry, now)
                case DropListed(owner, subject):
                    rows.listed[owner, subject] = None
        return rows

    def write(self, connection: Connection) -> None:
        keys = list(self.entries)
        for start in range(0, len(keys), BATCH):
            batch = keys[start : start + BATCH]
            connection.execute(delete(ENTRY).where(ENTRY.c.key.in_(batch)))
        if pairs := [{"an_owner": owner, "a_subject": subject} for owner, subject in self.listed]:
            same = (LIST.c.owner == bindparam("an_owner"), LIST.c.subject == bindparam("a_subject"))
            connection.execute(delete(LIST).where(*same), pairs)
        if entries := [row for row in self.entries.values() if row is not None]:
            connection.execute(insert(ENTRY), entries)
        if listed := [row for row in self.listed.values() if row is not None]:
            connection.execute(insert(LIST), listed)


def _entries(connection: Connection, keys: Sequence[str] | None) -> dict[str, Entry]:
    chosen = select(ENTRY.c.key, ENTRY.c.settings, ENTRY.c.expires)
    rows = [
        row
        for batch in batches(keys)
        for row in connection.execute(chosen if batch is None else chosen.where(ENTRY.c.key.in_(batch)))
    ]
    return {entry.key: entry for entry in sorted(map(entry_of, rows), key=lambda entry: entry.key)}


def _listed(
    connection: Connection, owners: Sequence[str] | None, subjects: Sequence[str] | None
) -> tuple[ListEntry, ...]:
    chosen = select(LIST.c.owner, LIST.c.subject, LIST.c.effect, LIST.c.score, LIST.c.expires)
    found: list[Any] = []
    for of in batches(owners):
        those = chosen if of is None else chosen.where(LIST.c.owner.in_(of))
        for about in batches(subjects):
            found += connection.execute(those if about is None else those.where(LIST.c.subject.in_(about))).all()
    return tuple(sorted(map(listed_of, found), key=lambda entry: (entry.owner, entry.subject)))


def _owners(connection: Connection, keys: Sequence[str]) -> frozenset[str]:
    chosen = select(LIST.c.owner).distinct()
    return frozenset(
        owner
        for some in stretches(keys)
        for owner in connection.execute(chosen.where(LIST.c.owner.in_(some))).scalars()
    )
