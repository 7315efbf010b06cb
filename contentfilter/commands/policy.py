"""`contentfilter policy keys`, `get` and `list`: what settings there are, and which apply to whom and why."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from contentfilter.command import check_way, config_option, json_option, load, print_json
from contentfilter.commands import place, view
from contentfilter.commands.complete import complete_names
from contentfilter.config import Config
from contentfilter.domains import LocalDomains
from contentfilter.envelope import Client, Envelope, Recipient
from contentfilter.grounds import is_local
from contentfilter.policy import forms
from contentfilter.policy.amavis import all_entries
from contentfilter.policy.describe import settings
from contentfilter.policy.entry import Effective, Entry
from contentfilter.policy.explained import explained
from contentfilter.policy.keys import written_key
from contentfilter.policy.lists import ListEntry

_ANYBODY = "\0"
"""A sender about whom nothing can stand anywhere: the null sender has entries of its own."""


@click.command()
@json_option
def keys(as_json: bool) -> None:
    """Every setting: what it may be, its default, its meaning."""
    if as_json:
        print_json([view.setting_values(one) for one in settings()])
    else:
        view.print_settings(settings())


@click.command()
@config_option
@json_option
@click.option("--explain", is_flag=True, help="Also which entry of which source gave each value, and which lost.")
@click.option("--sender", metavar="ADDRESS", help='For mail of this envelope sender; "" or "<>" is the null sender.')
@click.option("--client", metavar="IP", help="For mail from this IP address.")
@click.option("--listener", metavar="ADDRESS", help="For mail that came in at this one of [listen] addresses.")
@click.option("--local-source", is_flag=True, help="For mail that Postfix took from its own host.")
@click.argument("address", metavar="ADDR")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_names)
def get(*, path: Path | None, as_json: bool, explain: bool, address: str, names: tuple[str, ...], **mail: Any) -> None:
    """The settings that the filter would find for a recipient.

    A * stands before what is not the built-in default. Lists and policy banks depend on the mail: say how it came.
    """
    wanted = [place.name_given(name) for name in names] or [one.name for one in settings()]
    config = load(path)
    envelope = _envelope(config, address, **mail)
    effective = _looked_up(config, envelope)
    local = is_local(effective.policy, by_domain=LocalDomains(config.domains.local).has(address))
    now = time.time()
    about_lists = mail["sender"] is not None or mail["client"] is not None
    listing = effective.listing if about_lists else None
    found = explained(effective, wanted)
    if as_json:
        print_json(
            {
                "address": address,
                "local": local,
                "listing": None if listing is None else view.listed_values(listing, now),
                "settings": [view.explained_values(one, explain=explain) for one in found],
            }
        )
        return
    why = "the setting" if effective.policy.local is not forms.DEFAULTS["local"] else "[domains] local"
    view.say(f"{address} is {'' if local else 'not '}local, by {why}")
    if about_lists:
        view.say(_listing_text(listing, now))
    for one in found:
        for line in view.explained_lines(one, effective.entries[-1], now, explain=explain):
            view.say(line)


def _envelope(
    config: Config, address: str, *, sender: str | None, client: str | None, listener: str | None, local_source: bool
) -> Envelope:
    check_way(config, client, listener)
    return Envelope(
        _ANYBODY if sender is None else sender.removeprefix("<").removesuffix(">"),
        (Recipient(address),),
        client=Client(addr=client, source="LOCAL" if local_source else None),
        listener=listener or "",
    )


def _looked_up(config: Config, envelope: Envelope) -> Effective:
    from contentfilter import assembly  # noqa: PLC0415 - the other commands need not wait for all of it

    with place.ending(), contextlib.closing(assembly.policies_for(config)) as policies:
        return asyncio.run(policies.of_all(envelope))[0]


def _listing_text(listing: ListEntry | None, now: float) -> str:
    if listing is None:
        return "no list has the sender or the client"
    return f"this list entry decides: {view.listed_line(listing, now)}"


_SOURCES = ("sql", "amavis", "file")


@click.command("list")
@config_option
@json_option
@click.option("--source", type=click.Choice(_SOURCES), help="Only what is there.")
@click.option("--expired", is_flag=True, help="Only what has expired.")
@click.argument("pattern", default="")
def list_entries(path: Path | None, as_json: bool, source: str | None, expired: bool, pattern: str) -> None:
    """The entries of every source.

    The database, amavis's if there is one, and the configuration files.

    PATTERN is a part of a key, or with * and ? a whole one: *@example.org.
    """
    config = load(path)
    meant, now = place.matcher(pattern), time.time()
    found = [pair for one in _SOURCES if source in (None, one) for pair in _entries(config, one)]
    shown = [(key, one) for key, one in found if meant(key) and not (expired and one.holds(now))]
    if as_json:
        print_json([view.entry_values(one, now, key) for key, one in shown])
        return
    for key, one in shown:
        view.say(view.entry_line(one, now, key))


def _entries(config: Config, source: str) -> Iterator[tuple[str, Entry]]:
    """The entries of a source, each with its key for people."""
    if source == "file":
        yield from ((written_key(one.key), one) for one in config.entries)
        yield from (("default", one) for one in [config.default_policy] if one.settings)
    elif source == "sql":
        with place.opened(config) as database:
            yield from ((written_key(one.key), one) for one in database.entries().values())
    elif config.policies.amavis_database:
        from contentfilter import assembly  # noqa: PLC0415

        with place.ending(), contextlib.closing(assembly.amavis_database_for(config)) as amavis:
            yield from ((written_key(one.key), one) for one in all_entries(amavis))
