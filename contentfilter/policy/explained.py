"""Why a setting has the value that it has: the entry that gave it, and those below that would have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from contentfilter.policy import forms
from contentfilter.policy.entry import Effective, Entry


@dataclass(frozen=True, slots=True)
class Explained:
    """One setting. origin: None if it is the built-in default; shadowed: those that lost, with what they say."""

    name: str
    value: object
    origin: Entry | None
    shadowed: tuple[tuple[Entry, object], ...]

    @property
    def differs(self) -> bool:
        """Whether it is not the built-in default."""
        return self.value != forms.DEFAULTS[self.name]


def explained(effective: Effective, names: Iterable[str]) -> list[Explained]:
    """These settings of a recipient."""
    found = []
    for name in names:
        saying = [(entry, value) for entry in effective.entries for key, value in entry.settings if key == name]
        origin = effective.origin(name)
        found.append(Explained(name, getattr(effective.policy, name), origin, tuple(saying[1:])))
    return found
