"""`contentfilter policy set` and `unset`: change one entry of the database."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import click

from contentfilter.command import config_option, json_option, load
from contentfilter.commands import place, view
from contentfilter.commands.complete import complete_assignments, complete_keys, complete_names
from contentfilter.commands.expiry import expires_option, expiry_given
from contentfilter.config import Config
from contentfilter.output import complain, fail
from contentfilter.policy import forms
from contentfilter.policy.entry import Entry
from contentfilter.policy.exchange.content import EXPIRES, EntryStep
from contentfilter.policy.keys import written_key


@click.command("set")
@config_option
@json_option
@expires_option
@click.argument("key", metavar="ENTRY", shell_complete=complete_keys)
@click.argument("assignments", metavar="NAME=VALUE...", nargs=-1, shell_complete=complete_assignments)
def set_values(path: Path | None, as_json: bool, expires: float | None, key: str, assignments: tuple[str, ...]) -> None:
    """Set values of an entry in the database, and leave its others.

    ENTRY is "bob@example.org", "@example.org" for a domain, "@.example.org" for it and all below, "bob@" for the user
    of that name in every domain, "@." for everybody. Lists have commas: banned_rules=strict,default.
    """
    if not assignments and expires is None:
        raise click.UsageError("nothing to set: say NAME=VALUE or --expires")
    config = load(path)
    where = place.key_given(key, config)
    values = dict(_assignment(one) for one in assignments)
    rules = values.get("banned_rules")
    if isinstance(rules, tuple) and (problem := config.objection(rules)):
        fail(f"banned_rules: {problem}", os.EX_DATAERR)

    def step(before: Entry | None) -> Iterator[EntryStep]:
        if before is None and not values:
            fail(f'"{key}": no such entry in the database, and no NAME=VALUE to begin one', os.EX_DATAERR)
        kept, end = (before.settings, before.expires) if before else ((), None)
        merged = tuple(sorted({**dict(kept), **values}.items()))
        after = Entry("sql", where, merged, expiry_given(expires, end))
        if before is None or (before.settings, before.expires) != (after.settings, after.expires):
            yield EntryStep(where, before, after)

    with place.opened(config) as database:
        steps = place.change(database, lambda: database.entries([where]).get(where), step)
        after = database.entries([where]).get(where)
    view.print_steps(steps, as_json=as_json)
    if not as_json:
        changed = {name for one in steps for name, _, _ in one.values}
        for name in sorted(values.keys() - changed):
            view.say(f"= {written_key(where)}: {name} is {view.value_text(values[name])} already")
        if not steps and expires is not None:
            view.say(f"= {written_key(where)}: expires is {forms.expiry_to_text(expiry_given(expires, None))} already")
    _warn(config, where, set(values), after)


def _assignment(text: str) -> tuple[str, object]:
    name, sign, value = text.partition("=")
    if not sign:
        raise click.UsageError(f'"{text}" must be NAME=VALUE, such as kill_level=6.5')
    if name == EXPIRES:
        raise click.UsageError(f"{EXPIRES} is no setting of its own: write --expires {value or '2026-12-31'}")
    try:
        return name, forms.from_text(forms.known_name(name), value)
    except ValueError as error:
        fail(f"{name}: {error}", os.EX_DATAERR)


def _warn(config: Config, key: str, names: set[str], entry: Entry | None) -> None:
    """What keeps the change from doing what somebody may expect of it, as far as that is known at no cost."""
    if entry is not None and not entry.holds(time.time()):
        complain(f"warning: {written_key(key)} expired {forms.expiry_to_text(entry.expires)}: nothing in it applies")
    for bank in config.banks:
        above = sorted(names & dict(bank.settings).keys())
        if above:
            complain(f"warning: [bank.{bank.name}] also sets {', '.join(above)}, and wins for the mail it is about")


@click.command()
@config_option
@json_option
@click.argument("key", metavar="ENTRY", shell_complete=complete_keys)
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_names)
def unset(path: Path | None, as_json: bool, key: str, names: tuple[str, ...]) -> None:
    """Take values out of an entry, or all of it."""
    config = load(path)
    where = place.key_given(key, config)
    wanted = [place.name_given(name) for name in names]

    def step(before: Entry | None) -> Iterator[EntryStep]:
        if before is None:
            fail(_no_entry(config, key, where), os.EX_DATAERR)
        there = dict(before.settings)
        missing = [name for name in wanted if name not in there]
        if missing:
            fail(f"{written_key(where)}: {', '.join(missing)} not set there; set: {', '.join(there)}", os.EX_DATAERR)
        left = tuple((name, value) for name, value in before.settings if name not in wanted) if wanted else ()
        yield EntryStep(where, before, Entry("sql", where, left, before.expires) if left else None)

    with place.opened(config) as database:
        steps = place.change(database, lambda: database.entries([where]).get(where), step)
    view.print_steps(steps, as_json=as_json)


def _no_entry(config: Config, key: str, where: str) -> str:
    files = [one.source for one in config.entries if one.key == where]
    advice = f"; it stands in {files[0]}, to be edited there" if files else ""
    return f'"{key}": no such entry in the database{advice}'
