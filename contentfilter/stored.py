"""What history and quarantine keep of a decision, as values that JSON knows, and back. Pure.

Recipients have most of their entries in common, so entries stand once, in a table that the recipients' settings refer
to by number. What a later version of the program wrote and this one does not know is left out when it is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from enum import Enum
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from contentfilter.finding import Finding, Kind, RuleAction, RuleHit, Test
from contentfilter.policy.entry import Effective, Entry, Settings, merged
from contentfilter.policy.lists import Effect, ListEntry
from contentfilter.policy.settings import Policy

LONGEST_TEXT = 300
"""Characters that are kept of a text that strangers wrote."""
MOST_TESTS = 200

_DEFAULTS = {name: getattr(Policy(), name) for name in Policy.model_fields}
_OF_A_HIT = ("source", "text", "status")
"""What explains a hit; where in the message it edits is of no use later."""


class Entries:
    """A table of entries, each of them once."""

    def __init__(self) -> None:
        self._numbers: dict[Entry, int] = {}

    def numbers(self, entries: Iterable[Entry]) -> list[int]:
        """The places of the entries, which are added where they are missing."""
        return [self._numbers.setdefault(entry, len(self._numbers)) for entry in entries]

    def __len__(self) -> int:
        return len(self._numbers)

    def cut(self, length: int) -> None:
        """Forget the entries from a place on."""
        for entry in list(self._numbers)[length:]:
            del self._numbers[entry]

    def values(self, start: int = 0) -> list[dict[str, Any]]:
        """The entries from a place on."""
        return [_entry_values(entry) for entry in list(self._numbers)[start:]]


def effective_values(effective: Effective, entries: Entries) -> dict[str, Any]:
    """A recipient's settings. Their entries go into the table."""
    values: dict[str, Any] = {"entries": entries.numbers(effective.entries)}
    if effective.listing is not None:
        values["listing"] = _listing_values(effective.listing)
    return values


def effective_of(values: Mapping[str, Any], entries: Sequence[Entry]) -> Effective:
    """A recipient's settings again, out of what :func:`effective_values` made. Raises ValueError."""
    try:
        chosen = tuple(entries[number] for number in values["entries"])
        listing = values.get("listing")
        return Effective(merged(chosen), chosen, None if listing is None else _listing_of(listing))
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"not a recipient's settings: {error!r}") from error


@lru_cache(maxsize=4096)
def _entry_values(entry: Entry) -> dict[str, Any]:
    """Shared by all who ask: nobody changes it."""
    values: dict[str, Any] = {"source": entry.source, "key": entry.key}
    values["settings"] = {name: plain(value) for name, value in entry.settings}
    return values


def entry_of(values: Mapping[str, Any]) -> Entry:
    """An entry again. Raises ValueError."""
    try:
        settings = [(name, value) for name, value in values["settings"].items() if name in _DEFAULTS]
        return Entry(values["source"], values["key"], _typed(settings))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not an entry: {error!r}") from error


def _typed(settings: Iterable[tuple[str, Any]]) -> Settings:
    values = {name: float(value) if isinstance(_DEFAULTS[name], float) else value for name, value in settings}
    try:
        policy = Policy.model_validate(values)
    except ValidationError as error:
        raise ValueError(f"not settings: {error.errors()[0]['loc']}") from error
    return tuple((name, getattr(policy, name)) for name in values)


def plain(value: object) -> Any:
    """The value of a setting as JSON has it. JSON has no infinity: a level is a number, "inf" or "-inf"."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _listing_values(listing: ListEntry) -> dict[str, Any]:
    return {
        "source": listing.source,
        "owner": listing.owner,
        "subject": listing.subject,
        "effect": listing.effect.value,
        "score": listing.score,
    }


def _listing_of(values: Mapping[str, Any]) -> ListEntry:
    effect = Effect(values["effect"])
    return ListEntry(values["source"], values["owner"], values["subject"], effect, float(values["score"]))


def finding_values(finding: Finding) -> dict[str, Any]:
    """A finding, without what it says nothing about."""
    values: dict[str, Any] = {"kind": finding.kind.value}
    for name in _PLAIN_FIELDS:
        value = getattr(finding, name)
        if value != _FINDING_DEFAULTS[name]:
            values[name] = _short(value)
    if finding.tests:
        values["tests"] = [[_short(test.name), test.score] for test in finding.tests[:MOST_TESTS]]
    if finding.rule is not None:
        hit: dict[str, Any] = {"action": finding.rule.action.value}
        hit |= {name: _short(getattr(finding.rule, name)) for name in _OF_A_HIT if getattr(finding.rule, name, "")}
        values["rule"] = hit
    return values


def finding_of(values: Mapping[str, Any]) -> Finding:
    """A finding again. Raises ValueError."""
    try:
        known = {name: _tuples(values[name]) for name in _PLAIN_FIELDS if name in values}
        tests = tuple(Test(name, score) for name, score in values.get("tests", ()))
        hit = values.get("rule")
        return Finding(kind=Kind(values["kind"]), tests=tests, rule=None if hit is None else _hit_of(hit), **known)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a finding: {error!r}") from error


def _hit_of(values: Mapping[str, Any]) -> RuleHit:
    names = {field.name for field in fields(RuleHit)}
    known = {name: value for name, value in values.items() if name in names and name != "action"}
    return RuleHit(action=RuleAction(values["action"]), **known)


_FINDING_DEFAULTS = {field.name: field.default for field in fields(Finding)}
_PLAIN_FIELDS = tuple(name for name in _FINDING_DEFAULTS if name not in {"kind", "tests", "rule"})


def _short(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_short(item) for item in value]
    return value[:LONGEST_TEXT] if isinstance(value, str) else value


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
