"""The index for a process that enters and removes rows, and may never need the rest of it.

The rest is loaded when it is wanted: for a database that is no SQLite file, for one that has no tables yet, and for
whatever goes wrong, which :class:`quarantine.index.Index` knows how to deal with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from contentfilter.policy.sqlite_file import path_of
from quarantine.durable import locked
from quarantine.item import translated
from quarantine.record import Record
from quarantine.rows import Holding, Query, Summary
from quarantine.sqlite_rows import SqliteRows

if TYPE_CHECKING:
    from quarantine.index import Index

_WAIT: Final = 10.0


class LateIndex:
    """What :class:`quarantine.index.Index` is, with the same arguments and errors."""

    def __init__(self, database: str, lock_file: Path, on_loss: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._lock_file = lock_file
        self._on_loss = on_loss
        path = path_of(database)
        self._rows = None if path is None else SqliteRows(path)
        self._guard = threading.Lock()
        self._whole: Index | None = None

    def put(self, entries: Sequence[tuple[Record, int]]) -> None:
        """Enter records, or replace their entries. Committed when this returns. Raises QuarantineError."""
        self._tell_of_loss()
        if self._rows is None or not self._rows.put(entries):
            self._index().put(entries)

    def remove(self, ids: Sequence[str]) -> None:
        """Forget items. Raises QuarantineError."""
        self._tell_of_loss()
        if self._rows is None or not self._rows.remove(ids):
            self._index().remove(ids)

    def _tell_of_loss(self) -> None:
        if self._rows is not None and self._rows.lost_its_log():
            with translated("the quarantine index does not work"), locked(self._lock_file, _WAIT):
                self._on_loss()
            self._rows.close()

    def find(self, query: Query, limit: int | None = None, offset: int = 0) -> list[Summary]:
        """The items, newest first. Raises QuarantineError."""
        return self._index().find(query, limit, offset)

    def count(self, query: Query) -> int:
        """How many items there are. Raises QuarantineError."""
        return self._index().count(query)

    def holdings(self) -> list[Holding]:
        """What every item takes, oldest first. Raises QuarantineError."""
        return self._index().holdings()

    def ids(self) -> frozenset[str]:
        """The ids of all items. Raises QuarantineError."""
        return self._index().ids()

    def check(self) -> None:
        """Look whether the database is sound. Raises IndexDamagedError if not, QuarantineError if that is unclear."""
        self._index().check()

    def recreate(self, file: object = None) -> bool:
        """Begin with an empty index, whatever state the old one is in. Raises QuarantineError."""
        if self._rows is not None:
            self._rows.close()
        return self._index().recreate(file)

    def close(self) -> None:
        """Let go of connections."""
        if self._rows is not None:
            self._rows.close()
        with self._guard:
            if self._whole is not None:
                self._whole.close()

    def _index(self) -> Index:
        with self._guard:
            if self._whole is None:
                from quarantine.index import Index  # noqa: PLC0415 - what this is for

                self._whole = Index(self._database, self._lock_file, self._on_loss)
            return self._whole
