"""The quarantine as the filter and the command line see it: files and index as one thing.

The files come first and are the truth. An item is safe once its files are durable and its row is committed, in that
order; it goes in the same order. So a crash leaves either a file without a row, which :meth:`Quarantine.reindex`
finds, or a row without a file, which it removes.

An index that is damaged or lost is no reason to make mail wait: it is set aside, a new one takes the item, and the
others are entered from their files in the background.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from contentfilter.errors import QuarantineError
from contentfilter.mail_id import is_id
from contentfilter.message import Message
from contentfilter.printable import printable
from quarantine.errors import (
    IndexDamagedError,
    IndexVersionError,
    ItemBusyError,
    ItemDamagedError,
    UnknownIdError,
)
from quarantine.files import Files
from quarantine.item import Item, translated
from quarantine.late_index import LateIndex
from quarantine.rebuilding import Rebuilding
from quarantine.record import Record
from quarantine.rows import Holding, Query, Summary

if TYPE_CHECKING:
    from quarantine.index import Index

_log = logging.getLogger("contentfilter.quarantine")
_T = TypeVar("_T")

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
    late: whether most of the index may never be needed, and is not to be loaded before.
    """

    def __init__(self, directory: Path, database: str, *, late: bool = False) -> None:
        lock_file = directory / ".index.lock"
        self._files = Files(directory)
        self._index: Index | LateIndex
        if late:
            self._index = LateIndex(database, lock_file, self._lost)
        else:
            from quarantine.index import Index  # noqa: PLC0415 - SQLAlchemy, which is not wanted otherwise

            self._index = Index(database, lock_file, self._lost)
        self._rebuilding = Rebuilding(directory / ".index.rebuild", lock_file, self._rebuilt)
        self._entering: set[str] = set()
        """Items whose rows are on their way: of a new index they are not missing."""
        self.incomplete = False
        """Whether the last answer may lack items, because another process is just rebuilding the index."""

    def keep(self, record: Record, message: Message) -> None:
        """Store a message. On disk, synced, and its row committed when this returns.

        Raises QuarantineError, and has then taken back what it had done.
        """
        self._files.prepare()
        with self._files.create(record, message) as item:
            self._entering.add(record.id)
            try:
                self._enter([(record, item.stored_size())])
            except BaseException:
                with contextlib.suppress(QuarantineError):
                    item.remove()
                with contextlib.suppress(QuarantineError):
                    self._index.remove([record.id])  # an error at commit does not say whether it took place
                raise
            finally:
                self._entering.discard(record.id)
        self._rebuilding.start()

    def _enter(self, entries: Sequence[tuple[Record, int]]) -> None:
        try:
            self._index.put(entries)
        except IndexDamagedError as error:
            self._replace(error)
            self._index.put(entries)

    def _forget(self, ids: Sequence[str]) -> None:
        try:
            self._index.remove(ids)
        except IndexDamagedError as error:
            self._replace(error)  # by one without them

    def _replace(self, error: IndexDamagedError) -> None:
        """Put an empty index in the place of a damaged one. Raises IndexVersionError, QuarantineError."""
        if isinstance(error, IndexVersionError):
            raise error
        if self._index.recreate(error.file):
            where = self._files.directory
            _log.error("%s: %s: set aside as *.damaged and rebuilt from the files", where, printable(str(error)[:500]))

    def _lost(self) -> None:
        """Called when the index is new, or may have lost rows."""
        if any(mail_id not in self._entering for mail_id in self._files.ids()):
            self._rebuilding.demand()

    def _rebuilt(self) -> int:
        return self.reindex(lambda _done, _all: None).indexed

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
                self._forget([mail_id])  # what a crash between files and row left
            raise
        self._forget([mail_id])

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
        self._enter([(record, item.stored_size())])

    def find(self, query: Query, limit: int | None = None, offset: int = 0) -> list[Summary]:
        """The items that match, newest first. Raises QuarantineError."""
        return self._asked(lambda: self._index.find(query, limit, offset), [])

    def count(self, query: Query) -> int:
        """How many items match. Raises QuarantineError."""
        return self._asked(lambda: self._index.count(query), 0)

    def holdings(self) -> list[Holding]:
        """What every item takes, oldest first. Raises QuarantineError."""
        return self._asked(self._index.holdings, [])

    def _asked(self, ask: Callable[[], _T], if_missing: _T) -> _T:
        """What the index says, once it is whole again as far as that is ours to do."""
        if not self._files.exist():
            return if_missing
        try:
            answer = ask()
        except IndexDamagedError as error:
            self._replace(error)
            answer = ask()
        with translated("cannot rebuild the quarantine index"):
            if not self._rebuilding.needed:
                self.incomplete = False
                return answer
            self.incomplete = not self._rebuilding.run()
        return ask()

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
        with translated("cannot rebuild the quarantine index"):
            noted = self._rebuilding.noted()
        ids = self._files.ids()
        damaged: list[str] = []
        busy: list[str] = []
        for start in range(0, len(ids), _BATCH):
            if self._rebuilding.stopped.is_set():
                raise QuarantineError("interrupted")
            self._reindex_batch(ids[start : start + _BATCH], damaged, busy)
            progress(min(start + _BATCH, len(ids)), len(ids))
        # The rows are asked first: an item whose row is there had its files before.
        rows = self._index.ids()
        gone = tuple(sorted(rows - frozenset(self._files.ids())))
        self._index.remove(gone)
        with translated("cannot rebuild the quarantine index"):
            self._rebuilding.done(noted)
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
        self._rebuilding.stop()
        self._index.close()
