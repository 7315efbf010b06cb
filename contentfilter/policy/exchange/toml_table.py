"""TOML: the tables [policy."…"] and [list."…"], in the form that `[policies] file` has as well."""

from __future__ import annotations

import difflib
import tomllib
from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Any

import tomli_w

from contentfilter.policy import forms
from contentfilter.policy.entry import Entry
from contentfilter.policy.exchange.content import EXPIRES, Content
from contentfilter.policy.exchange.reading import Reading
from contentfilter.policy.keys import written_key
from contentfilter.policy.lists import Effect, ListEntry, canonical_subject, checked_score

_LIST_KEYS = ("allow", "deny", "score", EXPIRES)


def write_toml(what: Content) -> str:
    """Everything, sorted."""
    by_owner: dict[str, list[ListEntry]] = defaultdict(list)
    for pair in sorted(what.listed):
        by_owner[pair[0]].append(what.listed[pair])
    tables = {
        "policy": {written_key(key): _entry_values(what.entries[key]) for key in sorted(what.entries)},
        "list": {written_key(owner): _list_values(entries) for owner, entries in by_owner.items()},
    }
    return tomli_w.dumps({name: table for name, table in tables.items() if table})


def _entry_values(entry: Entry) -> dict[str, Any]:
    values: dict[str, Any] = {name: forms.plain(value) for name, value in entry.settings}
    return values if entry.expires is None else {**values, EXPIRES: forms.plain_expiry(entry.expires)}


def _list_values(entries: list[ListEntry]) -> dict[str, Any]:
    ends = {one.subject: forms.plain_expiry(one.expires) for one in entries if one.expires is not None}
    alike = len(ends) == len(entries) and len(set(map(str, ends.values()))) == 1
    values = {
        "allow": [one.subject for one in entries if one.effect is Effect.ALLOW],
        "deny": [one.subject for one in entries if one.effect is Effect.DENY],
        EXPIRES: next(iter(ends.values())) if alike else ends,
        "score": {one.subject: one.score for one in entries if one.effect is Effect.SCORE},
    }
    return {name: value for name, value in values.items() if value}


def read_toml(text: str, reading: Reading) -> None:
    """Put what stands in the text, and what is wrong with it, into the reading."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reading.complain("", f"is not TOML, or is cut off: {error}")
        return
    except RecursionError:
        reading.complain("", "is nested too deeply")
        return
    lines = _Lines(text)
    for name, table in tables.items():
        if name == "bank":
            reading.complain("[bank]", "policy banks stand in the configuration file, not in the database")
        elif name not in ("policy", "list"):
            reading.complain(f"[{name}]", "unknown table; known here: policy, list")
        elif not isinstance(table, dict):
            reading.complain(name, f'must be tables such as [{name}."bob@example.org"]')
        else:
            for written, values in table.items():
                _read_table(lines.place(name, written), name, written, values, reading)


class _Lines:
    """Where tables begin. The parser does not tell, so that it is looked for: for people, who want to find it."""

    def __init__(self, text: str) -> None:
        self._numbers: dict[str, int] = {}
        for number, line in enumerate(text.split("\n"), 1):
            if line.lstrip().startswith("["):
                self._numbers.setdefault(line.partition("]")[0].strip(), number)

    def place(self, name: str, key: str) -> str:
        quoted = tomli_w.dumps({"v": key}).partition(" = ")[2].strip()
        number = self._numbers.get(f"[{name}.{quoted}", self._numbers.get(f"[{name}.{key}"))
        table = f"[{name}.{quoted}]"
        return table if number is None else f"line {number}: {table}"


def _read_table(where: str, name: str, written: str, values: object, reading: Reading) -> None:
    key = reading.key(where, written)
    if key is None:
        return
    if not isinstance(values, dict):
        reading.complain(where, "must be a table")
    elif name == "policy":
        _read_entry(where, key, values, reading)
    else:
        _read_list(where, key, values, reading)


def _read_entry(where: str, key: str, values: dict[str, Any], reading: Reading) -> None:
    before = len(reading.problems)
    settings: list[tuple[str, object]] = []
    expires: float | None = None
    for name, value in values.items():
        try:
            if name == EXPIRES:
                expires = forms.expiry(value)
            else:
                settings.append((forms.known_name(name), forms.typed(name, value)))
        except ValueError as error:
            reading.complain(where, name, str(error))
    if len(reading.problems) == before:
        reading.put_entry(where, key, settings, expires)


def _read_list(where: str, owner: str, values: dict[str, Any], reading: Reading) -> None:
    before = len(reading.problems)
    for name in values:
        if name not in _LIST_KEYS:
            close = difflib.get_close_matches(name, _LIST_KEYS, n=1)
            advice = f"did you mean {close[0]}?" if close else f"known here: {', '.join(_LIST_KEYS)}"
            reading.complain(where, name, f"unknown key; {advice}")
    entries: list[tuple[str, tuple[Effect, float]]] = []
    for text, what in _listed(where, values, reading):
        subject = reading.subject(where, owner, text)
        if subject is not None:
            entries.append((subject, what))
    ends = _ends(where, values.get(EXPIRES), {subject for subject, _ in entries}, reading)
    if len(reading.problems) == before:
        for subject, what in entries:
            reading.put_listed(where, owner, subject, what, ends.get(subject))


def _listed(where: str, values: dict[str, Any], reading: Reading) -> Iterator[tuple[str, tuple[Effect, float]]]:
    for effect in (Effect.ALLOW, Effect.DENY):
        subjects = values.get(effect.value, [])
        if not isinstance(subjects, list) or not all(isinstance(one, str) for one in subjects):
            reading.complain(where, effect.value, 'must be a list such as ["a", "b"]')
            continue
        yield from ((subject, (effect, 0.0)) for subject in subjects)
    scores = values.get("score", {})
    if not isinstance(scores, dict):
        reading.complain(where, "score", 'must be a table such as { "@news.example" = -2.0 }')
        return
    for subject, score in scores.items():
        if isinstance(score, bool) or not isinstance(score, int | float):
            reading.complain(where, "score", subject, f"must be a number, not {score!r}")
            continue
        try:
            yield subject, (Effect.SCORE, checked_score(float(score)))
        except (ValueError, OverflowError) as error:
            reading.complain(where, "score", subject, str(error))


def _ends(where: str, expires: object, subjects: Collection[str], reading: Reading) -> dict[str, float]:
    """When each of the subjects ends, for those that do."""
    ends: dict[str, float] = {}
    given = expires if isinstance(expires, dict) else dict.fromkeys(subjects, expires) if expires is not None else {}
    for text, moment in given.items():
        try:
            subject = canonical_subject(text)
            if subject not in subjects:
                reading.complain(where, EXPIRES, text, "stands neither in allow nor in deny nor in score")
            ends[subject] = forms.expiry(moment)
        except ValueError as error:
            reading.complain(where, EXPIRES, str(error))
            if not isinstance(expires, dict):
                break
    return ends
