"""Entries and lists of the policy database, for the lookup: one query a message at most, none when nothing changed.

What stands under a key is remembered, also that nothing does. At most once a second the database is asked for its
generation; another one than before, and everything is forgotten. So a change takes effect within a second, whoever
made it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from contentfilter.policy.entry import Entry, Found
from contentfilter.policy.lists import ListEntry
from contentfilter.policy.rows import Snapshot
from contentfilter.policy.threads import Threads

CACHE_SIZE = 20_000
"""Keys that are remembered; a recipient has about nine, most of them shared with others."""
_CHECK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Known:
    """What stands under a key. lists: whether it has list entries."""

    entry: Entry | None
    lists: bool


_NOTHING = _Known(None, lists=False)


class PolicyReader(Protocol):
    """A database of entries and lists, as :class:`contentfilter.policy.database.PolicyDatabase` has it. Calls block."""

    def generation(self) -> int:
        """Another number after every change."""

    def snapshot(self, keys: Iterable[str]) -> Snapshot:
        """What stands under these keys."""

    def listed(self, owners: Iterable[str], subjects: Iterable[str]) -> Sequence[ListEntry]:
        """The list entries of these owners about these subjects."""

    def close(self) -> None:
        """Let go of connections."""


class SqlSource:
    """A source over a database, for one event loop.

    timeout: seconds for one lookup as a whole; cache_size: keys to remember; clock: seconds, monotonic.
    """

    def __init__(
        self,
        database: PolicyReader,
        *,
        timeout: float,
        cache_size: int = CACHE_SIZE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._threads = Threads("policy database", timeout)
        self._cache_size = cache_size
        self._clock = clock
        self._cache: OrderedDict[str, _Known] = OrderedDict()
        self._generation = -1
        self._checked = -_CHECK_SECONDS
        self._checking = asyncio.Lock()

    async def find(self, recipients: Sequence[Sequence[str]], subjects: Sequence[str]) -> Sequence[Found]:
        """What there is for each recipient, in their order. Raises PolicyError: an error is never "nothing"."""
        wanted = list(dict.fromkeys(key for keys in recipients for key in keys))
        known = self._at_hand(wanted)
        if known is not None and not any(one.lists for one in known.values()):
            return [Found(_entries(keys, known)) for keys in recipients]
        async with self._threads.in_time():
            known = known or await self._known(wanted)
            owners = [key for key, one in known.items() if one.lists]
            listed = await self._listed(owners, subjects)
        return [Found(_entries(keys, known), _of(keys, listed)) for keys in recipients]

    def close(self) -> None:
        """Let go of threads and connections."""
        self._threads.close()
        self._database.close()

    def _at_hand(self, keys: Sequence[str]) -> Mapping[str, _Known] | None:
        """What is remembered under all of these keys; None if the database has to be asked."""
        if self._clock() - self._checked >= _CHECK_SECONDS or self._checking.locked():
            return None
        known = {key: self._cache[key] for key in keys if key in self._cache}
        return known if len(known) == len(keys) else None

    async def _known(self, keys: Sequence[str]) -> Mapping[str, _Known]:
        await self._check()
        known = {key: self._cache[key] for key in keys if key in self._cache}
        missing = [key for key in keys if key not in known]
        if missing:
            read = await self._threads.run(self._database.snapshot, missing)
            if read.generation != self._generation and known:
                # Changed in between. All of it once more, so that nobody gets half of a change.
                read = await self._threads.run(self._database.snapshot, keys)
                missing = list(keys)
            if read.generation != self._generation:
                self._forget(read.generation)
            known |= self._remember(missing, read)
        return known

    async def _check(self) -> None:
        async with self._checking:
            if self._clock() - self._checked < _CHECK_SECONDS:
                return
            asked = self._clock()
            generation = await self._threads.run(self._database.generation)
            if generation != self._generation:
                self._forget(generation)
            self._checked = asked

    def _forget(self, generation: int) -> None:
        self._cache.clear()
        self._generation = generation

    def _remember(self, keys: Iterable[str], read: Snapshot) -> dict[str, _Known]:
        found = {}
        for key in keys:
            entry, lists = read.entries.get(key), key in read.owners
            found[key] = self._cache[key] = _Known(entry, lists) if entry or lists else _NOTHING
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return found

    async def _listed(self, owners: Sequence[str], subjects: Sequence[str]) -> Mapping[str, Sequence[ListEntry]]:
        """By owner, the most specific subject first."""
        if not owners or not subjects:
            return {}
        place = {subject: number for number, subject in enumerate(subjects)}
        listed: dict[str, list[ListEntry]] = {}
        found = await self._threads.run(self._database.listed, owners, subjects)
        for entry in sorted(found, key=lambda entry: place[entry.subject]):
            listed.setdefault(entry.owner, []).append(entry)
        return listed


def _entries(keys: Sequence[str], known: Mapping[str, _Known]) -> tuple[Entry, ...]:
    return tuple(entry for key in keys if (entry := known[key].entry) is not None)


def _of(keys: Sequence[str], listed: Mapping[str, Sequence[ListEntry]]) -> tuple[ListEntry, ...]:
    return tuple(entry for key in keys for entry in listed.get(key, ())) if listed else ()
