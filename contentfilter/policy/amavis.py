"""An existing amavis database as a source of settings and lists: read as amavis reads it, and never written.

Tables users, policy, mailaddr and wblist, as amavis's README.sql-mysql and README.sql-pg document them. Per column the
row of the highest users.priority that has a value wins. There is no generation to ask for: what was found for a
recipient is kept for a time. docs/amavis-sql.md tells the rest.
"""

from __future__ import annotations

import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from contentfilter.domains import LocalDomains
from contentfilter.policy.amavis_database import AmavisDatabase, ListRow, UserRow
from contentfilter.policy.amavis_keys import amavis_keys
from contentfilter.policy.amavis_row import RULE_NAMES, Warnings, listing, rule_names, settings_of_row
from contentfilter.policy.entry import Entry, Found
from contentfilter.policy.lists import Effect, ListEntry
from contentfilter.policy.threads import Threads

SOURCE = "amavis"
CACHE_SIZE = 10_000
"""Recipients that are remembered."""
_DEFAULT_RULES = "default"


@dataclass(frozen=True, slots=True)
class _Match:
    """What there is for a recipient, the highest priority first. owners: users by id, for wblist; until: monotonic."""

    entries: tuple[Entry, ...]
    owners: tuple[tuple[Any, str], ...]
    until: float


class AmavisSource:
    """A source over an amavis database, for one event loop.

    local: whose recipients are looked for by the user's name alone as well; delimiter: Postfix's recipient_delimiter;
    cache_seconds: for how long a recipient is remembered; timeout: seconds for one lookup as a whole.
    """

    def __init__(
        self,
        database: AmavisDatabase,
        *,
        local: LocalDomains,
        delimiter: str = "+",
        cache_seconds: float,
        timeout: float,
        cache_size: int = CACHE_SIZE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._threads = Threads("amavis database", timeout)
        self._local = local
        self._delimiter = delimiter
        self._cache_seconds = cache_seconds
        self._cache_size = cache_size
        self._clock = clock
        self._cache: OrderedDict[str, _Match] = OrderedDict()
        self._warnings = Warnings()

    async def find(self, recipients: Sequence[Sequence[str]], subjects: Sequence[str]) -> Sequence[Found]:
        """What there is for each recipient, in their order. Raises PolicyError.

        The first of a recipient's keys is its whole address, and so is the first subject the sender's: amavis has
        other keys for them.
        """
        addresses = [keys[0] for keys in recipients]
        async with self._threads.in_time():
            matches = await self._matches(dict.fromkeys(addresses))
            listed = await self._lists({rid for one in matches.values() for rid, _ in one.owners}, subjects)
        return [Found(matches[one].entries, _listed(matches[one].owners, listed)) for one in addresses]

    def close(self) -> None:
        """Let go of threads and connections."""
        self._threads.close()
        self._database.close()

    def _keys(self, address: str) -> tuple[str, ...]:
        return amavis_keys(address, self._delimiter, local=self._local.has(address))

    async def _matches(self, addresses: Iterable[str]) -> dict[str, _Match]:
        now = self._clock()
        matches = {one: known for one in addresses if (known := self._cache.get(one)) and now < known.until}
        keys = {one: self._keys(one) for one in addresses if one not in matches}
        if not keys:
            return matches
        rows = await self._threads.run(
            self._database.users, list(dict.fromkeys(key for of in keys.values() for key in of))
        )
        made: dict[Any, Entry] = {}
        for address, users in _users_of(rows, keys).items():
            matches[address] = self._cache[address] = _Match(
                self._entries(users, made), tuple((row.id, row.email) for row in users), now + self._cache_seconds
            )
            self._cache.move_to_end(address)
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)
        return matches

    def _entries(self, users: Sequence[UserRow], made: dict[Any, Entry]) -> tuple[Entry, ...]:
        """made: entries of this lookup by their rows, so that recipients who share a row share its entry."""
        for row in users:
            if row.where not in made:
                made[row.where] = Entry(SOURCE, row.email, settings_of_row(row.values, row.where, self._warnings))
        entries = [made[row.where] for row in users]
        names = [rule_names(row.values.get(RULE_NAMES), row.where, self._warnings) for row in users]
        if first := next((index for index, some in enumerate(names, 1) if some), 0):
            # Names add up, those of every row, and amavis asks its DEFAULT in the end.
            rules = tuple(dict.fromkeys([*(name for some in names for name in some), _DEFAULT_RULES]))
            entry = entries[first - 1]
            settings = tuple(sorted([*entry.settings, ("banned_rules", rules)]))
            shared = (entry.key, rules)
            entries[first - 1] = made.setdefault(shared, replace(entry, settings=settings))
        return tuple(entries)

    async def _lists(self, rids: set[Any], subjects: Sequence[str]) -> Mapping[Any, Sequence[ListRow]]:
        sender = _sender(subjects)
        if sender is None or not rids:
            return {}
        keys = self._keys(sender)
        place = {key: number for number, key in enumerate(keys)}
        found: dict[Any, list[ListRow]] = defaultdict(list)
        for row in await self._threads.run(self._database.lists, rids, keys):
            found[row.rid].append(row)
        for rows in found.values():
            rows.sort(key=lambda row: (-row.priority, place.get(row.email, len(keys))))
        return found


def all_entries(database: AmavisDatabase) -> list[Entry]:
    """What every row of users says by itself, the highest priority first: for people. Raises PolicyError."""
    warnings, entries = Warnings(), []
    for row in sorted(database.users(), key=lambda row: (-row.priority, row.email)):
        settings = dict(settings_of_row(row.values, row.where, warnings))
        if names := rule_names(row.values.get(RULE_NAMES), row.where, warnings):
            settings["banned_rules"] = tuple(dict.fromkeys([*names, _DEFAULT_RULES]))
        entries.append(Entry(SOURCE, row.email, tuple(sorted(settings.items()))))
    return entries


def _users_of(rows: Sequence[UserRow], keys: Mapping[str, Sequence[str]]) -> dict[str, list[UserRow]]:
    """The rows of each recipient, the highest priority first, and of equal ones the most specific.

    keys: of each recipient. A row that no key is equal to was found because the database sees no difference in case.
    """
    exact: dict[str, list[tuple[str, int]]] = defaultdict(list)
    folded: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for address, its in keys.items():
        for number, key in enumerate(its):
            exact[key].append((address, number))
            folded[key.casefold()].append((address, number))
    found: dict[str, list[tuple[int, int, UserRow]]] = {address: [] for address in keys}
    for row in rows:
        for address, number in exact.get(row.email) or folded.get(row.email.casefold()) or ():
            found[address].append((-row.priority, number, row))
    return {address: [row for _, _, row in sorted(some, key=lambda one: one[:2])] for address, some in found.items()}


def _sender(subjects: Sequence[str]) -> str | None:
    """The envelope sender, which is the first subject of a message: "" for the null sender."""
    first = subjects[0] if subjects else ""
    if first == "<>":
        return ""
    if first.startswith("@") or "@" not in first:
        return None
    return first.removesuffix("@")


def _listed(owners: Sequence[tuple[Any, str]], rows: Mapping[Any, Sequence[ListRow]]) -> tuple[ListEntry, ...]:
    """What amavis makes of a recipient's lists: the first hard or neutral entry ends it, scores before it add up.

    An entry that is neutral keeps later sources from deciding as well.
    """
    score, of, about = 0.0, [], []
    for rid, email in owners:
        row = next((row for row in rows.get(rid, ()) if row.wb is not None), None)
        if row is None:
            continue
        says = listing(row.wb, row.where)
        if isinstance(says, bool):
            return (ListEntry(SOURCE, email, row.email, Effect.ALLOW if says else Effect.DENY),)
        of.append(email)
        about.append(row.email)
        if says is None:
            break
        score += says
    if not of:
        return ()
    return (ListEntry(SOURCE, " and ".join(of), " and ".join(about), Effect.SCORE, score),)
