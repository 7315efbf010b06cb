"""Entries: what a source of policies holds under a key. An entry sets some settings and leaves the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from contentfilter.policy.lists import ListEntry
from contentfilter.policy.settings import Policy

Settings = tuple[tuple[str, object], ...]
"""Keys with their values, sorted by key. Two entries may set different keys and yet be equal policies."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. source: for people ("sql", "amavis", "bank", or a file's name); key: as in lookups ("@example.org").

    expires: seconds since the epoch from which on the entry is as if it were not there; None: never.
    """

    source: str
    key: str
    settings: Settings
    expires: float | None = None

    def holds(self, now: float) -> bool:
        """Whether it has not expired at this time, in seconds since the epoch."""
        return self.expires is None or now < self.expires

    def __str__(self) -> str:
        return f"{self.key} in {self.source}"


@dataclass(frozen=True, slots=True)
class Found:
    """What one source has for one recipient: entries and list entries, those that win first."""

    entries: tuple[Entry, ...] = ()
    listed: tuple[ListEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Effective:
    """The settings of one recipient, and where they come from.

    policy: equal settings are the same object; entries: those that hold, the winning ones first;
    listing: the list entry about sender or client that decides, None if there is none.
    """

    policy: Policy
    entries: tuple[Entry, ...] = ()
    listing: ListEntry | None = None

    def origin(self, key: str) -> Entry | None:
        """The entry that gave the value of a key of the policy; None: it is the built-in default."""
        return next((entry for entry in self.entries if any(name == key for name, _ in entry.settings)), None)


def settings_of(policy: Policy, without: Iterable[str] = ()) -> Settings:
    """What an entry read as a table of settings sets."""
    keys = sorted(policy.model_fields_set.difference(without))
    return tuple((key, getattr(policy, key)) for key in keys)


@lru_cache(maxsize=4096)
def _merged(settings: tuple[Settings, ...]) -> Policy:
    values = dict(_BUILT_IN)
    for one in reversed(settings):
        values.update(one)
    return Policy.model_construct(**values)


_BUILT_IN = {name: getattr(Policy(), name) for name in Policy.model_fields}


def merged(entries: Sequence[Entry]) -> Policy:
    """One policy out of entries: per key the first that sets it, else the built-in default."""
    return _merged(tuple(entry.settings for entry in entries))
