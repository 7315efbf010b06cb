"""The quarantine as the filter and the command line see it: files and index as one thing.

The files come first and are the truth. An item is safe once its files are durable and its row is committed, in that
order; it goes in the same order. So a crash leaves either a file without a row, which :meth:`Quarantine.reindex`
finds, or a row without a file, which it removes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from contentfilter.errors import QuarantineError
from contentfilter.mail_id import is_id
from contentfilter.message import Message
from quarantine.errors import IndexDamagedError, ItemBusyError, ItemDamagedError, UnknownIdError
from quarantine.files import Files, Item
from quarantine.index import Holding, Index, Query, Summary
from quarantine.record import Record

Progress = Callable[[int, int], None]
"""Told how many of how many items are done."""

LEFTOVER_AGE = 3600.0
"""Seconds after which a file that belongs to no item is left over rather than being written just now."""

_BATCH = 100
"""Items that reindex holds locked at a time: each is an open file."""


@dataclass(frozen=True, slots=True)
class Reindexed:
    """What reindex did. damaged: items whose record cannot be read; gone: rows whose files no longer exist.

    busy: items that somebody else was changing, who enters them as well; leftovers: files that belong to no item.
    """

    indexed: int
    damaged: tuple[str, ...]
    gone: tuple[str, ...]
    busy: tuple[str, ...]
    leftovers: tuple[str, ...]
    rebuilt: bool


class Quarantine:
    """All of it. Calls block; in the filter they run in a thread. Safe for several threads and processes.

    database: SQLAlchemy URL. Nothing is opened before it is used, so that it may be made before a fork.
    """

    def __init__(self, directory: Path, database: str) -> None:
        self._files = Files(directory)
        self._index = Index(database, directory / ".index.lock")

    def keep(self, record: Record, message: Message) -> None:
        """Store a message. On disk, synced, and its row committed when this returns.

        Raises QuarantineError, and has then taken back what it had done.
        """
        self._files.prepare()
        with self._files.create(record, message) as item:
            try:
                self._index.put([(record, item.stored_size())])
            except BaseException:
                with contextlib.suppress(QuarantineError):
                    item.remove()
                with contextlib.suppress(QuarantineError):
                    self._index.remove([record.id])  # an error at commit does not say whether it took place
                raise

    def withdraw(self, mail_id: str, keeping: Collection[str] = ()) -> None:
        """Undo keep, but for these addresses: the others were told to come again after all. An unknown id is no error.

        Raises QuarantineError.
        """
        with contextlib.suppress(UnknownIdError):
            if not keeping:
                self.delete(mail_id)
                return
            with self.lock(mail_id) as item:
                record = item.record()
                staying = tuple(one for one in record.withheld if one.recipient.address in keeping)
                self.update(item, replace(record, withheld=staying))

    def delete(self, mail_id: str) -> None:
        """Delete an item for good: the files, then the row. Raises UnknownIdError, ItemBusyError, QuarantineError."""
        try:
            with self._files.lock(mail_id) as item:
                item.remove()
        except ItemDamagedError:
            self._files.discard(mail_id)
        except UnknownIdError:
            if is_id(mail_id) and self._files.exist():
                self._index.remove([mail_id])  # what a crash between files and row left
            raise
        self._index.remove([mail_id])

    def read(self, mail_id: str) -> Record:
        """The record of an item. Raises UnknownIdError, ItemDamagedError, QuarantineError."""
        return self._files.read(mail_id)

    def open_message(self, record: Record) -> Message:
        """The exact bytes that were stored. Close the message. Raises ItemDamagedError, QuarantineError."""
        return self._files.open_message(record)

    def lock(self, mail_id: str) -> Item:
        """The item, so that nobody else changes it until it is closed. Raises ItemBusyError, QuarantineError."""
        return self._files.lock(mail_id)

    def update(self, item: Item, record: Record) -> None:
        """Replace the record of a locked item, durably. Raises QuarantineError."""
        item.rewrite(record)
        self._index.put([(record, item.stored_size())])

    def find(self, query: Query, limit: int | None = None, offset: int = 0) -> list[Summary]:
        """The items that match, newest first. Raises QuarantineError."""
        return self._index.find(query, limit, offset) if self._files.exist() else []

    def count(self, query: Query) -> int:
        """How many items match. Raises QuarantineError."""
        return self._index.count(query) if self._files.exist() else 0

    def holdings(self) -> list[Holding]:
        """What every item takes, oldest first. Raises QuarantineError."""
        return self._index.holdings() if self._files.exist() else []

    def leftovers(self) -> list[Path]:
        """Files that a crash left and that belong to no item. Raises QuarantineError."""
        return self._files.leftovers(LEFTOVER_AGE)

    def sweep(self) -> list[Path]:
        """Delete the leftovers. Raises QuarantineError."""
        return self._files.sweep(LEFTOVER_AGE)

    def reindex(self, progress: Progress) -> Reindexed:
        """Make the index agree with the files, while others go on working. Raises QuarantineError."""
        self._files.prepare()
        rebuilt = self._ensure_index()
        ids = self._files.ids()
        damaged: list[str] = []
        busy: list[str] = []
        for start in range(0, len(ids), _BATCH):
            self._reindex_batch(ids[start : start + _BATCH], damaged, busy)
            progress(min(start + _BATCH, len(ids)), len(ids))
        # The rows are asked first: an item whose row is there had its files before.
        rows = self._index.ids()
        gone = tuple(sorted(rows - frozenset(self._files.ids())))
        self._index.remove(gone)
        leftovers = tuple(str(path) for path in self.leftovers())
        indexed = len(ids) - len(damaged) - len(busy)
        return Reindexed(indexed, tuple(damaged), gone, tuple(busy), leftovers, rebuilt)

    def _ensure_index(self) -> bool:
        """Replace an index that cannot be used any more. Whether that was necessary."""
        try:
            self._index.check()
        except IndexDamagedError:
            self._index.recreate()
            self._index.check()
            return True
        return False

    def _reindex_batch(self, ids: Iterable[str], damaged: list[str], busy: list[str]) -> None:
        with contextlib.ExitStack() as locks:
            entries = []
            for mail_id in ids:
                try:
                    item = locks.enter_context(self._files.lock(mail_id))
                    entries.append((item.record(), item.stored_size()))
                except ItemDamagedError:
                    damaged.append(mail_id)
                except ItemBusyError:
                    busy.append(mail_id)
                except UnknownIdError:
                    continue  # deleted meanwhile
            self._index.put(entries)

    def close(self) -> None:
        """Let go of database connections."""
        self._index.close()
