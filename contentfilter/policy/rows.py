"""Rows of the policy database and what they say.

People write into databases by hand. A row that says nothing sensible is an error that names it: passing over it would
be a guess, and might mean a laxer rule than somebody wanted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from contentfilter.errors import PolicyError
from contentfilter.policy.entry import Entry, Settings
from contentfilter.policy.keys import canonical_key
from contentfilter.policy.lists import Effect, ListEntry, canonical_subject, checked_score
from contentfilter.policy.values import from_json, to_json

SOURCE = "sql"
BATCH = 400
"""Values in one condition: SQLite takes 999 parameters in a statement at the least, and some have two conditions."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What stands under some keys at one moment. owners: those of the keys that have list entries."""

    generation: int
    entries: dict[str, Entry]
    owners: frozenset[str]


def can_be_stored(text: str) -> bool:
    """Whether a database can hold this text at all: PostgreSQL has no NUL, and undecodable bytes are no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def storable(values: Iterable[str]) -> list[str]:
    """Without those that no database could hold: nothing stands under them."""
    return [value for value in dict.fromkeys(values) if can_be_stored(value)]


def batches(values: Sequence[str] | None) -> Iterator[Sequence[str] | None]:
    """Parts that fit into a statement; None, which is no condition, stays as it is."""
    yield from (None,) if values is None else stretches(values)


def stretches(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """Parts that fit into a statement."""
    return (values[start : start + BATCH] for start in range(0, len(values), BATCH))


def checked_key(key: str) -> str:
    """The same key, which lookups find as it is. Raises ValueError for any other."""
    # "john.doe" is the user of that name in a database, where "john.doe" by a person's hand may be a domain.
    if canonical_key(key if "@" in key else f"{key}@", case_sensitive=True) != key or not can_be_stored(key):
        raise ValueError(f"no lookup would find {key!r}")
    return key


def checked_subject(subject: str) -> str:
    """The same subject, which lookups find as it is. Raises ValueError for any other."""
    if canonical_subject(subject) != subject or not can_be_stored(subject):
        raise ValueError(f"no lookup would find {subject!r}")
    return subject


def entry_row(key: str, settings: Settings, expires: float | None, now: float) -> dict[str, Any]:
    """An entry as a row of policy_entry. Raises ValueError."""
    row = {"key": checked_key(key), "settings": to_json(settings), "expires": expires, "updated_at": now}
    _entry(row["key"], row["settings"], expires)
    return row


def listed_row(entry: ListEntry, now: float) -> dict[str, Any]:
    """A list entry as a row of policy_list. Raises ValueError."""
    row = {
        "owner": entry.owner,
        "subject": entry.subject,
        "effect": entry.effect.value,
        "score": entry.score,
        "expires": entry.expires,
    }
    _listed(**row)
    return row | {"updated_at": now}


def entry_of(row: Any) -> Entry:
    """What a row of policy_entry says. Raises PolicyError that names the row."""
    try:
        return _entry(row.key, row.settings, row.expires)
    except ValueError as error:
        raise PolicyError(f"policy_entry: key {row.key!r}: {error}") from error


def listed_of(row: Any) -> ListEntry:
    """What a row of policy_list says. Raises PolicyError that names the row."""
    try:
        return _listed(row.owner, row.subject, row.effect, row.score, row.expires)
    except ValueError as error:
        raise PolicyError(f"policy_list: owner {row.owner!r}, subject {row.subject!r}: {error}") from error


def _entry(key: object, settings: object, expires: object) -> Entry:
    text = _text("settings", settings)
    try:
        read = from_json(text)
    except ValueError as error:
        raise ValueError(f"settings: {error}") from error
    return Entry(SOURCE, checked_key(_text("key", key)), read, _expiry(expires))


def _listed(owner: object, subject: object, effect: object, score: object, expires: object) -> ListEntry:
    try:
        what = Effect(effect)
    except ValueError:
        words = ", ".join(repr(one.value) for one in Effect)
        raise ValueError(f"effect: must be one of {words}, not {effect!r}") from None
    number = checked_score(_number("score", score))
    if number and what is not Effect.SCORE:
        raise ValueError(f"score: must be 0 beside the effect {what.value!r}, not {number:g}")
    return ListEntry(
        SOURCE,
        checked_key(_text("owner", owner)),
        checked_subject(_text("subject", subject)),
        what,
        number,
        _expiry(expires),
    )


def _text(column: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{column}: must be text, not {value!r}")  # noqa: TRY004 - SQLite's columns take any type
    return value


def _number(column: str, value: object) -> float:
    if not isinstance(value, float | int):
        raise ValueError(f"{column}: must be a number, not {value!r}")  # noqa: TRY004
    return float(value)


def _expiry(value: object) -> float | None:
    if value is None:
        return None
    number = _number("expires", value)
    if math.isnan(number):
        raise ValueError("expires: must be seconds since the epoch, not nan")
    return number
