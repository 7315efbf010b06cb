"""Settings and lists that stand in configuration files, as `[policy."user@dom"]` and `[list."@dom"]`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from contentfilter.gradually import gradually
from contentfilter.policy.entry import Entry, Found
from contentfilter.policy.lists import ListEntry


class TomlSource:
    """The entries of one loaded configuration, under canonical keys."""

    def __init__(self, entries: Iterable[Entry], listed: Iterable[ListEntry] = ()) -> None:
        self._entries = {entry.key: entry for entry in entries}
        self._listed: dict[str, dict[str, ListEntry]] = defaultdict(dict)
        for one in listed:
            self._listed[one.owner][one.subject] = one

    async def find(self, recipients: Sequence[Sequence[str]], subjects: Sequence[str]) -> Sequence[Found]:
        """What there is for each recipient, in their order."""
        # Owners with lists are few, and many recipients have them in common.
        owners = {key for keys in recipients for key in keys if key in self._listed}
        listed = {owner: self._of(owner, subjects) for owner in owners}

        def found(keys: Sequence[str]) -> Found:
            return Found(
                tuple([self._entries[key] for key in keys if key in self._entries]),
                tuple([entry for key in keys for entry in listed.get(key, ())]),
            )

        return await gradually(found, recipients)

    def _of(self, owner: str, subjects: Sequence[str]) -> Sequence[ListEntry]:
        its = self._listed[owner]
        return [its[subject] for subject in subjects if subject in its]

    def close(self) -> None:
        """Nothing is held."""
