"""How settings, entries and lists look to people and to scripts. Addresses in them may be anybody's."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from contentfilter.command import print_json
from contentfilter.config import json_values
from contentfilter.policy import forms
from contentfilter.policy.describe import Setting
from contentfilter.policy.entry import Entry
from contentfilter.policy.exchange.content import EXPIRES, EntryStep, ListStep, Step
from contentfilter.policy.explained import Explained
from contentfilter.policy.keys import written_key
from contentfilter.policy.lists import Effect, ListEntry, effect_text
from contentfilter.printable import printable

_FILE_WIDTH = 250
"""Columns when the output is no terminal: room enough to cut nothing."""


def say(text: str) -> None:
    """One line for people."""
    click.echo(printable(text))


def json_value(value: object) -> Any:
    """A typed value as JSON has it; inf and -inf are words."""
    return json_values(forms.plain(value))


def json_expiry(seconds: float | None) -> str | None:
    """A moment in UTC, ISO 8601."""
    if seconds is None:
        return None
    moment = forms.plain_expiry(seconds)
    if not isinstance(moment, datetime):
        moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat()


def value_text(value: object) -> str:
    """A typed value for people: a text in quotes."""
    if isinstance(value, str):
        return forms.in_quotes(value)
    return repr(value) if isinstance(value, float) else forms.to_text(value)


def expiry_text(seconds: float | None, now: float) -> str:
    """A remark about the end of an entry; nothing if it has none."""
    if seconds is None:
        return ""
    return f", {'until' if now < seconds else 'EXPIRED'} {forms.expiry_to_text(seconds)}"


def setting_values(one: Setting) -> dict[str, Any]:
    """One of `policy keys --json`."""
    return {
        "name": one.name,
        "group": one.group,
        "allowed": one.allowed,
        "choices": list(forms.choices(one.name)),
        "default": json_value(one.default),
        "meaning": one.meaning,
    }


def print_settings(settings: Iterable[Setting]) -> None:
    """A table, group by group."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("KEY", "VALUES", "DEFAULT"):
        table.add_column(heading, no_wrap=True)
    table.add_column("MEANING", overflow="fold")
    group = ""
    for one in settings:
        if one.group != group:
            table.add_row(Text(f"\n{one.group}" if group else one.group, style="bold"))
            group = one.group
        table.add_row(*map(Text, (one.name, one.allowed, value_text(one.default), one.meaning)))
    width = None if sys.stdout.isatty() else _FILE_WIDTH
    Console(width=width, markup=False, highlight=False, emoji=False).print(table)


def entry_values(entry: Entry, now: float, key: str | None = None) -> dict[str, Any]:
    """An entry of `policy list --json`. key: if it is to be called otherwise."""
    return {
        "source": entry.source,
        "key": key or written_key(entry.key),
        "settings": {name: json_value(value) for name, value in entry.settings},
        "expires": json_expiry(entry.expires),
        "expired": not entry.holds(now),
    }


def entry_line(entry: Entry, now: float, key: str | None = None) -> str:
    """An entry with its settings, for people. key: if it is to be called otherwise."""
    settings = " ".join(f"{name}={value_text(value)}" for name, value in entry.settings) or "(sets nothing)"
    return f"{key or written_key(entry.key)}  {settings}  ({entry.source}{expiry_text(entry.expires, now)})"


def listed_values(entry: ListEntry, now: float) -> dict[str, Any]:
    """A list entry of `lists show --json`."""
    return {
        "source": entry.source,
        "owner": written_key(entry.owner),
        "subject": entry.subject,
        "effect": entry.effect.value,
        "score": entry.score if entry.effect is Effect.SCORE else None,
        "expires": json_expiry(entry.expires),
        "expired": not entry.holds(now),
    }


def listed_line(entry: ListEntry, now: float) -> str:
    """A list entry, for people."""
    what = f"{written_key(entry.owner)}  {entry.subject}  {effect_text(entry)}"
    return f"{what}  ({entry.source}{expiry_text(entry.expires, now)})"


def origin_values(entry: Entry | None) -> dict[str, Any] | None:
    """Which entry gave a value; None: the built-in default."""
    if entry is None:
        return None
    return {"source": entry.source, "key": entry.key, "expires": json_expiry(entry.expires)}


def explained_values(one: Explained, *, explain: bool) -> dict[str, Any]:
    """A setting of `policy get --json`."""
    values: dict[str, Any] = {"name": one.name, "value": json_value(one.value), "is_default": not one.differs}
    if explain:
        shadowed = [{**(origin_values(entry) or {}), "value": json_value(value)} for entry, value in one.shadowed]
        values |= {"origin": origin_values(one.origin), "shadowed": shadowed}
    return values


def explained_lines(one: Explained, default: Entry, now: float, *, explain: bool) -> Iterator[str]:
    """A setting of `policy get`, for people. default: the entry that is `[policy.default]`."""
    yield f"{'*' if one.differs else ' '} {one.name} = {value_text(one.value)}"
    if explain:
        yield f"      from {place_text(one.origin, default, now)}"
        for entry, value in one.shadowed:
            yield f"      shadows {value_text(value)} from {place_text(entry, default, now)}"


def place_text(entry: Entry | None, default: Entry, now: float) -> str:
    """Which entry of which source, and when it ends."""
    if entry is None:
        return "the built-in default"
    if entry is default:
        return f"[policy.default] in {entry.source}"
    if entry.source == "bank":
        return f"the policy bank {entry.key}"
    return f"{written_key(entry.key)} in {entry.source}{expiry_text(entry.expires, now)}"


def step_values(step: Step) -> dict[str, Any]:
    """A change, as JSON."""
    what = "added" if step.before is None else "removed" if step.after is None else "changed"
    if isinstance(step, ListStep):
        pair = {"type": "list", "owner": written_key(step.owner), "subject": step.subject}
        return {**pair, "change": what, "before": _listed(step.before), "after": _listed(step.after)}
    names = {"type": "policy", "key": written_key(step.key), "change": what}
    return {**names, "settings": [{"name": name, "before": old, "after": new} for name, old, new in step.values]}


def _listed(entry: ListEntry | None) -> dict[str, Any] | None:
    return None if entry is None else {"effect": effect_text(entry), "expires": json_expiry(entry.expires)}


def step_line(step: Step) -> str:
    """A change, for people: a diff in one line."""
    sign = "+" if step.before is None else "-" if step.after is None else "~"
    if isinstance(step, EntryStep):
        return f"{sign} {written_key(step.key)}: {_values_text(step) or 'sets nothing'}"
    texts = [
        f"{effect_text(one)}{'' if one.expires is None else f' until {forms.expiry_to_text(one.expires)}'}"
        for one in (step.before, step.after)
        if one is not None
    ]
    return f"{sign} list {written_key(step.owner)}: {step.subject}: {' -> '.join(texts)}"


def print_steps(steps: Iterable[Step], *, as_json: bool) -> None:
    """What was changed."""
    if as_json:
        print_json([step_values(one) for one in steps])
        return
    for one in steps:
        say(step_line(one))


def _values_text(step: EntryStep) -> str:
    if step.before is None or step.after is None:
        return ", ".join(f"{name} = {new or old}" for name, old, new in step.values)
    return ", ".join(f"{name}: {_or_not(name, old)} -> {_or_not(name, new)}" for name, old, new in step.values)


def _or_not(name: str, text: str | None) -> str:
    if text is not None:
        return text
    return forms.NEVER if name == EXPIRES else "not set"
