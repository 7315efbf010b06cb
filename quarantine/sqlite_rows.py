"""Rows for an index that is there and sound, by SQLite alone: what a worker does with the index, day in, day out.

:class:`quarantine.index.Index` does it as well, and all else: make tables, notice damage, serve other databases. But it
takes SQLAlchemy, which is more memory than all that a worker has of its own. So nothing is decided here: whatever is
not as it should be is answered with a no, and left to the index.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from quarantine.identity import Identity, identity
from quarantine.record import Record
from quarantine.rows import VERSION, item_row, recipient_rows

_WAIT: Final = 10.0
"""Seconds to wait for another process that writes."""

Row = dict[str, object]


class SqliteRows:
    """The rows of one file. The connection is made at first use, and anew in a forked process. Safe for threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._pid = 0
        self._inherited: sqlite3.Connection | None = None
        """The parent's: not ours to use, nor to close, and so not to be forgotten either."""
        self._file: Identity | None = None
        """What the connection is to."""

    def put(self, entries: Sequence[tuple[Record, int]]) -> bool:
        """Enter records with the bytes they take on disk, or replace their entries. True: it is committed.

        False: it may not be. To do it again does no harm.
        """

        def enter(connection: sqlite3.Connection) -> None:
            _delete(connection, [record.id for record, _ in entries])
            for record, stored in entries:
                _insert(connection, "quarantine_item", item_row(record, stored))
                for row in recipient_rows(record):
                    _insert(connection, "quarantine_recipient", row)

        return self._write(enter)

    def remove(self, ids: Sequence[str]) -> bool:
        """Forget items. True and False as for :meth:`put`."""
        return self._write(lambda connection: _delete(connection, ids))

    def lost_its_log(self) -> bool:
        """Whether the log of the database that we are connected to is gone or another one: rows may have gone with it.

        Where another database is in place, or none, whoever makes the tables sees to their rows.
        """
        with self._guard, contextlib.suppress(OSError):
            if self._connection is None or self._pid != os.getpid() or self._file is None:
                return False
            now = identity(self._path)
            return now.main == self._file.main and now != self._file
        return False

    def _write(self, write: Callable[[sqlite3.Connection], None]) -> bool:
        with self._guard:
            try:
                connection = self._connected()
                if connection is None:
                    return False
                connection.execute("BEGIN IMMEDIATE").close()
                write(connection)
                connection.execute("COMMIT").close()
                # Another process may have put a new index in place meanwhile: nobody would ever see these rows.
                if identity(self._path) == self._file:
                    return True
            except (sqlite3.Error, OSError):
                pass
            self._let_go()
            return False

    def _connected(self) -> sqlite3.Connection | None:
        """The connection to the index that is in place, None if there is none that we know how to write to."""
        if self._connection is not None and self._pid != os.getpid():
            self._inherited, self._connection = self._connection, None
        if self._connection is not None and identity(self._path) != self._file:
            self._let_go()
            return None
        if self._connection is None:
            if identity(self._path).main is None:
                return None
            self._connection, self._pid = _connect(self._path), os.getpid()
            if not _known(self._connection):
                self._let_go()
                return None
            self._file = identity(self._path)  # with the log, which reading has made
        return self._connection

    def _let_go(self) -> None:
        if self._connection is not None and self._pid == os.getpid():
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def close(self) -> None:
        """Let go of the connection."""
        with self._guard:
            self._let_go()


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=_WAIT, isolation_level=None, check_same_thread=False)


def _known(connection: sqlite3.Connection) -> bool:
    """Whether it is an index of this version, set up as one is. A commit survives a power failure from here on."""
    connection.execute("PRAGMA synchronous = FULL").close()
    (version,) = connection.execute("SELECT version FROM quarantine_schema").fetchone() or (None,)
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    return bool(version == VERSION and mode == "wal")


def _delete(connection: sqlite3.Connection, ids: Sequence[str]) -> None:
    for mail_id in ids:
        connection.execute("DELETE FROM quarantine_recipient WHERE item = ?", (mail_id,)).close()
        connection.execute("DELETE FROM quarantine_item WHERE id = ?", (mail_id,)).close()


def _insert(connection: sqlite3.Connection, table: str, row: Row) -> None:
    """The names of table and columns are our own words, never a stranger's."""
    names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({values})", row).close()  # noqa: S608
