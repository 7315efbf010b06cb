"""The group `contentfilter ledger`: who already has a message that may come again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from contentfilter.command import config_option, json_option, load, print_json
from contentfilter.config import Config
from contentfilter.errors import LedgerError
from contentfilter.ledger import Entry, Ledger
from contentfilter.output import complain, fail
from contentfilter.printable import printable


@click.group("ledger")
def ledger_group() -> None:
    """Show and forget who already has a message that may come again.

    It has a line for each recipient who was served while others were not, or whose sender may not have heard that;
    a retry of that message does not serve them again. And one for each message over which the filter failed.

    Exit codes: 66 no such message, 75 the ledger cannot be used now, 78 the configuration is wrong.
    """


@ledger_group.command()
@config_option
@json_option
def show(path: Path | None, as_json: bool) -> None:
    """List what stands in it, the newest first."""
    entries = _entries(path)
    if as_json:
        print_json([_values(entry) for entry in entries])
        return
    for entry in entries:
        click.echo(_line(entry))
    if not entries:
        click.echo("the ledger is empty", err=True)


@ledger_group.command()
@config_option
@click.option("--all", "everything", is_flag=True, help="All of it.")
@click.argument("messages", metavar="MESSAGE...", nargs=-1)
def forget(path: Path | None, everything: bool, messages: tuple[str, ...]) -> None:
    """Have a message served anew when it comes again: to all its recipients, and looked at once more.

    MESSAGE is its name in contentfilter ledger show, or the queue id that it has in Postfix.
    """
    if everything == bool(messages):
        raise click.UsageError("name messages, or say --all")
    entries = _entries(path)
    chosen = {entry.identity for entry in entries if everything or {entry.identity, entry.ident} & set(messages)}
    unknown = [one for one in messages if not any(one in (entry.identity, entry.ident) for entry in entries)]
    try:
        lines = _ledger(load(path)).forget([bytes.fromhex(name) for name in sorted(chosen)])
    except LedgerError as error:
        fail(str(error), os.EX_TEMPFAIL)
    click.echo(f"{lines} forgotten")
    _end_if_unknown(unknown)


def _end_if_unknown(unknown: Sequence[str]) -> None:
    for one in unknown:
        complain(f"the ledger knows no message {one}")
    if unknown:
        raise SystemExit(os.EX_NOINPUT)


def _entries(path: Path | None) -> list[Entry]:
    try:
        return _ledger(load(path)).entries()
    except LedgerError as error:
        fail(str(error), os.EX_TEMPFAIL)


def _ledger(config: Config) -> Ledger:
    from contentfilter import assembly  # noqa: PLC0415 - the other commands need not wait for all of it

    return assembly.ledger_for(config)


def _values(entry: Entry) -> dict[str, Any]:
    return {**asdict(entry), "reply": None if entry.reply is None else str(entry.reply)}


def _line(entry: Entry) -> str:
    when = datetime.fromtimestamp(entry.time).astimezone().isoformat(" ", "seconds")
    if entry.reply is None:
        return f"{entry.identity}  {when}  {entry.strikes} failures, at last: {printable(entry.harm)}"
    words = f"{entry.ident or '-'}  <{entry.mail_from}> -> <{entry.address}>  {entry.reply}"
    return f"{entry.identity}  {when}  {printable(words)}"
