"""Settings and lists that stand in configuration files, as `[policy."user@dom"]` and `[list."@dom"]`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

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
        return [
            Found(
                tuple(self._entries[key] for key in keys if key in self._entries),
                tuple(
                    self._listed[key][subject]
                    for key in keys
                    if key in self._listed
                    for subject in subjects
                    if subject in self._listed[key]
                ),
            )
            for keys in recipients
        ]

    def close(self) -> None:
        """Nothing is held."""
