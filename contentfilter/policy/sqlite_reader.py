"""The policy database in a SQLite file, for those who only read.

It says what :class:`contentfilter.policy.database.PolicyDatabase` says of the same file, but needs no SQLAlchemy, which
takes half a second at the start and more memory than the rest of a worker. Whoever writes, or has tables of an earlier
version before him, takes that one.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from contentfilter.errors import PolicyError
from contentfilter.policy.entry import Entry
from contentfilter.policy.lists import ListEntry
from contentfilter.policy.rows import Snapshot, entry_of, listed_of, storable
from contentfilter.policy.sqlite_file import Watched, no_tables
from contentfilter.policy.steps import STEPS, check_version

_T = TypeVar("_T")

# A list of any length is one parameter: SQLite has a limit for their number.
_ENTRIES: Final = "SELECT key, settings, expires FROM policy_entry WHERE key IN (SELECT value FROM json_each(?))"
_OWNERS: Final = "SELECT DISTINCT owner FROM policy_list WHERE owner IN (SELECT value FROM json_each(?))"
_LISTED: Final = """
    SELECT owner, subject, effect, score, expires FROM policy_list
    WHERE owner IN (SELECT value FROM json_each(?)) AND subject IN (SELECT value FROM json_each(?))"""


class _EntryRow(NamedTuple):
    key: Any
    settings: Any
    expires: Any


class _ListRow(NamedTuple):
    owner: Any
    subject: Any
    effect: Any
    score: Any
    expires: Any


class SqliteReader:
    """One file. It is opened at first use, in the process that is to use it. Methods block.

    timeout: seconds to wait for another process that writes. Every method raises PolicyError.
    """

    def __init__(self, path: Path, *, timeout: float) -> None:
        self._path = path
        self._timeout = timeout
        self._guard = threading.Lock()
        self._watched = Watched(path)
        self._connection: sqlite3.Connection | None = None

    def generation(self) -> int:
        """A number that is another one after every change; 0 while there is no file."""
        return self._read(_generation, 0)

    def snapshot(self, keys: Iterable[str]) -> Snapshot:
        """What stands under these keys, and the generation that it is of."""
        wanted = storable(keys)

        def read(connection: sqlite3.Connection) -> Snapshot:
            return Snapshot(_generation(connection), _entries(connection, wanted), _owners(connection, wanted))

        return self._read(read, Snapshot(0, {}, frozenset()))

    def listed(self, owners: Iterable[str], subjects: Iterable[str]) -> tuple[ListEntry, ...]:
        """The list entries of these owners about these subjects. Sorted by owner and subject."""
        of, about = storable(owners), storable(subjects)
        return self._read(lambda connection: _listed(connection, of, about), ())

    def close(self) -> None:
        """Let go of the file. Another use opens it anew."""
        with self._guard:
            self._let_go()

    def _read(self, read: Callable[[sqlite3.Connection], _T], if_missing: _T) -> _T:
        with self._guard, self._translated():
            connection = self._connected()
            if connection is None:
                return if_missing
            with _transaction(connection):
                return read(connection)

    def _connected(self) -> sqlite3.Connection | None:
        changed = self._watched.look()
        if changed is None:
            return None
        if changed:
            self._let_go()
        if self._connection is None:
            # Never made here: a file that is gone by now is an error, not an empty database.
            where = f"{self._path.absolute().as_uri()}?mode=rw"
            self._connection = sqlite3.connect(
                where, self._timeout, isolation_level=None, check_same_thread=False, uri=True
            )
            self._check_tables(self._connection)
            self._watched.remember()
        return self._connection

    def _check_tables(self, connection: sqlite3.Connection) -> None:
        with _transaction(connection):
            version = _version(connection)
        check_version(version)
        if version == 0:
            raise PolicyError(no_tables(self._path))
        if version < len(STEPS):
            self._update()

    def _update(self) -> None:
        from contentfilter.policy.database import PolicyDatabase  # noqa: PLC0415 - once in the life of a version

        with contextlib.closing(PolicyDatabase(f"sqlite:///{self._path}", timeout=self._timeout)) as database:
            database.generation()

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """The edge to the database. After an error it is opened anew."""
        try:
            yield
        except PolicyError:
            self._let_go()
            raise
        except (sqlite3.Error, OSError) as error:
            self._let_go()
            raise PolicyError(f"the policy database does not work: {' '.join(str(error).split())}") from error


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Several tables as they are at one moment."""
    connection.execute("BEGIN").close()
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK").close()


def _version(connection: sqlite3.Connection) -> int:
    named = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'policy_state'"
    return int(_state(connection)[0]) if connection.execute(named).fetchone()[0] else 0


def _generation(connection: sqlite3.Connection) -> int:
    """Of a database of a later program, which may have come to be that just now, an error."""
    version, generation = _state(connection)
    check_version(version)
    return int(generation)


def _state(connection: sqlite3.Connection) -> tuple[Any, Any]:
    rows = connection.execute("SELECT version, generation FROM policy_state").fetchall()
    if len(rows) != 1:
        raise PolicyError(f"the policy database does not work: policy_state has {len(rows)} rows and not one")
    version, generation = rows[0]
    return version, generation


def _entries(connection: sqlite3.Connection, keys: Sequence[str]) -> dict[str, Entry]:
    rows = [_EntryRow(*row) for row in connection.execute(_ENTRIES, (json.dumps(keys),))]
    return {entry.key: entry for entry in sorted(map(entry_of, rows), key=lambda entry: entry.key)}


def _listed(connection: sqlite3.Connection, owners: Sequence[str], subjects: Sequence[str]) -> tuple[ListEntry, ...]:
    rows = [_ListRow(*row) for row in connection.execute(_LISTED, (json.dumps(owners), json.dumps(subjects)))]
    return tuple(sorted(map(listed_of, rows), key=lambda entry: (entry.owner, entry.subject)))


def _owners(connection: sqlite3.Connection, keys: Sequence[str]) -> frozenset[str]:
    return frozenset(owner for (owner,) in connection.execute(_OWNERS, (json.dumps(keys),)))
