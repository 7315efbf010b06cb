"""`contentfilter lists`: senders and clients that somebody allows, denies or scores."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from contentfilter.command import config_option, json_option, load, print_json
from contentfilter.commands import place, view
from contentfilter.commands.complete import complete_effects, complete_keys
from contentfilter.commands.expiry import expires_option, expiry_given
from contentfilter.config import Config
from contentfilter.output import complain, fail
from contentfilter.policy.exchange.content import ListStep
from contentfilter.policy.keys import lookup_keys, written_key
from contentfilter.policy.lists import ListEntry, effect_of, effect_text

_SCORES = {"ignore_unknown_options": True}
"""A negative score looks like an option."""


@click.command(context_settings=_SCORES)
@config_option
@json_option
@expires_option
@click.argument("owner", shell_complete=complete_keys)
@click.argument("subject")
@click.argument("effect", metavar="allow|deny|SCORE", shell_complete=complete_effects)
def add(*, path: Path | None, as_json: bool, expires: float | None, owner: str, subject: str, effect: str) -> None:
    """Put an entry into the database.

    It takes the place of the one about the same subject. allow: the mail is no spam, what else is wrong with it still
    counts. deny: it is spam. SCORE is added to the spam score, such as -2.0.
    """
    config = load(path)
    whose, about = place.owner_given(owner, config), place.subject_given(subject)
    try:
        what = effect_of(effect)
    except ValueError as error:
        fail(str(error), os.EX_DATAERR)
    wanted = ListEntry("sql", whose, about, *what, expiry_given(expires, None))

    def step(before: ListEntry | None) -> Iterator[ListStep]:
        after = ListEntry("sql", whose, about, *what, expiry_given(expires, before.expires if before else None))
        if before != after:
            yield ListStep(whose, about, before, after)

    with place.opened(config) as database:
        steps = place.change(database, lambda: _one(database.listed([whose], [about])), step)
    view.print_steps(steps, as_json=as_json)
    if not steps and not as_json:
        view.say(f"= list {written_key(whose)}: {about}: {effect_text(wanted)} already")
    if wanted.expires is not None and not wanted.holds(time.time()):
        complain("warning: it has expired already")


def _one(found: tuple[ListEntry, ...]) -> ListEntry | None:
    return found[0] if found else None


@click.command()
@config_option
@json_option
@click.argument("owner", shell_complete=complete_keys)
@click.argument("subject")
def remove(path: Path | None, as_json: bool, owner: str, subject: str) -> None:
    """Take an entry out of the database."""
    config = load(path)
    whose, about = place.owner_given(owner, config), place.subject_given(subject)
    with place.opened(config) as database:

        def step(before: ListEntry | None) -> Iterator[ListStep]:
            if before is None:
                there = [one.subject for one in database.listed([whose])]
                fail(_no_entry(config, whose, about, there), os.EX_DATAERR)
            yield ListStep(whose, about, before, None)

        steps = place.change(database, lambda: _one(database.listed([whose], [about])), step)
    view.print_steps(steps, as_json=as_json)


def _no_entry(config: Config, owner: str, subject: str, there: list[str]) -> str:
    files = [one.source for one in config.listed if (one.owner, one.subject) == (owner, subject)]
    if files:
        advice = f"; it stands in {files[0]}, to be edited there"
    else:
        close = difflib.get_close_matches(subject, there[:1000], n=1)
        advice = f"; did you mean {close[0]}?" if close else ""
    return f"{written_key(owner)} has no entry about {subject} in the database{advice}"


@click.command()
@config_option
@json_option
@click.option("--all", "everything", is_flag=True, help="All lists that apply to the recipient OWNER, in order.")
@click.argument("owner", default="", shell_complete=complete_keys)
def show(path: Path | None, as_json: bool, everything: bool, owner: str) -> None:
    """The list entries of the database and of the files.

    Those of OWNER, or of everybody who has some.
    """
    if everything and not owner:
        raise click.UsageError("--all needs a recipient")
    config = load(path)
    owners = _owners(config, owner, everything=everything)
    with place.opened(config) as database:
        found = [
            *_in_order(database.listed(owners), owners),
            *_in_order([one for one in config.listed if owners is None or one.owner in owners], owners),
        ]
    now = time.time()
    if as_json:
        print_json([view.listed_values(one, now) for one in found])
        return
    for one in found:
        view.say(view.listed_line(one, now))


def _in_order(found: Sequence[ListEntry], owners: Sequence[str] | None) -> Sequence[ListEntry]:
    """As lookups have them: one source after the other, in each the most specific owner first."""
    return found if owners is None else sorted(found, key=lambda one: owners.index(one.owner))


def _owners(config: Config, owner: str, *, everything: bool) -> list[str] | None:
    if not owner:
        return None
    if not everything:
        return [place.owner_given(owner, config)]
    domains = config.domains
    return list(lookup_keys(owner, domains.recipient_delimiter, case_sensitive=domains.case_sensitive))
