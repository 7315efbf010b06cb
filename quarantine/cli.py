"""The command `quarantine`: look, let go, delete, keep in order."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from contentfilter import output
from contentfilter.config import Config
from contentfilter.errors import FilterError
from contentfilter.next_hop import NextHop, NextHopSettings
from contentfilter.printable import printable
from contentfilter.routes import Routes
from contentfilter.verdict import Category
from quarantine import command, view
from quarantine.command import Address, Age, Moment, Size, SysexitsGroup, common_options
from quarantine.durable import UMASK
from quarantine.expire import Limits
from quarantine.expire import expire as expire_items
from quarantine.index import Query
from quarantine.record import State
from quarantine.release import Manner, Outcome
from quarantine.release import release as release_item
from quarantine.store import Quarantine
from quarantine.visible import visible_text

_PAGE = 50
_CATEGORIES = [category.word for category in sorted(Category, reverse=True)]


@click.group(cls=SysexitsGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("contentfilter"), prog_name="quarantine")
def cli() -> None:
    """Withheld messages: look at them, release them, delete them."""


@cli.command("list")
@click.option("--recipient", help="user@domain, @domain, or a part of the address.")
@click.option("--sender", help='The same for the envelope sender; "<>" is the null sender.')
@click.option("--category", "categories", multiple=True, type=click.Choice(_CATEGORIES), help="May be repeated.")
@click.option("--since", type=Moment(), help="7d, 12h, 2026-11-21, 2026-11-21T08:00: not older than that.")
@click.option("--until", type=Moment(end_of_day=True), help="Not newer than that; a date includes the day.")
@click.option("--older-than", type=Age(), help="7d, 12h.")
@click.option("--subject", help="Text in the subject, in whatever case.")
@click.option(
    "--state",
    type=click.Choice([state.value for state in State]),
    help="pending: withheld from somebody still; released: sent on since; delivered: a copy of what passed.",
)
@click.option("--limit", type=click.IntRange(1), help=f"Items on a page: {_PAGE}, with --json all.")
@click.option("--page", type=click.IntRange(1), default=1, show_default=True, help="Which page.")
@common_options
def list_items(path: Path | None, as_json: bool, limit: int | None, page: int, **filters: Any) -> None:
    """List items, newest first."""
    query = _query(filters)
    size = limit or (None if as_json and page == 1 else _PAGE)
    with command.opened(command.load(path)) as quarantine:
        items = quarantine.find(query, size, (page - 1) * (size or 0))
        if as_json:
            view.print_json([view.summary_values(item) for item in items])
        count = 0 if as_json else quarantine.count(query)
        if quarantine.incomplete:
            command.complain("the index is just being rebuilt from the files: some items may not be listed yet")
    if as_json:
        return
    if items:
        view.print_list(items)
    pages = -(-count // (size or _PAGE))
    tail = f", page {page} of {pages}" if pages > 1 else ""
    click.echo(f"{count} item{'' if count == 1 else 's'}{tail}", err=True)


def _query(filters: dict[str, Any]) -> Query:
    ends = [filters["until"]] if filters["until"] is not None else []
    if filters["older_than"] is not None:
        ends.append(time.time() - filters["older_than"])
    return Query(
        recipient=filters["recipient"],
        sender=filters["sender"],
        categories=frozenset(Category[word.upper()] for word in filters["categories"]),
        since=filters["since"],
        until=min(ends, default=None),
        subject=filters["subject"],
        state=State(filters["state"]) if filters["state"] else None,
    )


@cli.command()
@click.argument("mail_id", metavar="ID")
@click.option("--raw", is_flag=True, help="The exact bytes, nothing else.")
@click.option("--text", is_flag=True, help="What a reader would see.")
@common_options
def show(path: Path | None, as_json: bool, mail_id: str, raw: bool, text: bool) -> None:
    """Show an item: envelope, findings and reasons, header."""
    if raw + text + as_json > 1:
        raise click.UsageError("--raw, --text and --json exclude each other")
    if raw and sys.stdout.isatty():
        raise click.UsageError("--raw could drive your terminal: send it to a file, or through cat -v")
    (mail_id,) = command.ids_of([mail_id])
    with command.opened(command.load(path)) as quarantine:
        record = quarantine.read(mail_id)
        if as_json:
            view.print_json(record.to_mapping())
            return
        with quarantine.open_message(record) as message:
            if raw:
                sys.stdout.buffer.write(message.buffer)
                sys.stdout.buffer.flush()
            elif text:
                view.print_text(visible_text(message))
            else:
                view.print_record(record, message)


@cli.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--to", type=Address(), help="Send it there instead. The recipients then still wait.")
@click.option("--as-attachment", is_flag=True, help="Attached to a note from the postmaster.")
@click.option("--again", is_flag=True, help="Also to those who have it already, as far as we know.")
@common_options
def release(path: Path | None, as_json: bool, ids: tuple[str, ...], to: str | None, **how: bool) -> None:
    """Send items on to those from whom they were withheld. "-" reads ids from standard input."""
    wanted = command.ids_of(ids)
    config = command.load(path)
    manner = Manner(config.hostname, to, how["as_attachment"], how["again"])
    with command.opened(config) as quarantine:
        outcomes = asyncio.run(_release_all(quarantine, config, wanted, manner))
    if as_json:
        view.print_json([_release_values(mail_id, outcome) for mail_id, outcome in outcomes])
    for mail_id, outcome in outcomes:
        _tell_release(mail_id, outcome, quiet=as_json)
    _leave([_release_code(outcome) for _, outcome in outcomes])


async def _release_all(
    quarantine: Quarantine, config: Config, ids: Sequence[str], manner: Manner
) -> list[tuple[str, Outcome | FilterError]]:
    table = config.next_hop
    settings = NextHopSettings(
        table.address, config.hostname, table.connect_timeout, table.command_timeout, table.data_timeout
    )
    way = Routes(NextHop(settings), lambda address: NextHop(replace(settings, address=address)))
    outcomes: list[tuple[str, Outcome | FilterError]] = []
    try:
        with command.progress_bar("Releasing") as progress:
            for number, mail_id in enumerate(ids, 1):
                outcomes.append((mail_id, await _release_one(quarantine, way, mail_id, manner)))
                progress(number, len(ids))
    finally:
        await way.close()
    return outcomes


async def _release_one(quarantine: Quarantine, way: Routes, mail_id: str, manner: Manner) -> Outcome | FilterError:
    try:
        return await release_item(quarantine, way, mail_id, manner)
    except FilterError as error:
        return error


def _release_code(outcome: Outcome | FilterError) -> int:
    if isinstance(outcome, FilterError):
        return command.exit_code(outcome)
    if any(not reply.permanent for reply in outcome.failures):
        return os.EX_TEMPFAIL
    return os.EX_UNAVAILABLE if outcome.failures else os.EX_OK


def _release_values(mail_id: str, outcome: Outcome | FilterError) -> dict[str, Any]:
    if isinstance(outcome, FilterError):
        return {"id": mail_id, "sent": [], "already": [], "error": str(outcome)}
    sent = [{"recipient": to, "released": reply.positive, "reply": str(reply)} for to, reply in outcome.sent]
    return {"id": mail_id, "sent": sent, "already": list(outcome.already), "error": None}


def _tell_release(mail_id: str, outcome: Outcome | FilterError, *, quiet: bool) -> None:
    if isinstance(outcome, FilterError):
        command.complain(str(outcome))
        return
    if quiet:
        return
    for address, reply in outcome.sent:
        word = "released to" if reply.positive else "NOT released to"
        click.echo(printable(f"{mail_id} {word} <{address}>: {reply}"))
    if not outcome.sent:
        click.echo(f"{mail_id} nobody waits for it any more; --again sends it once more")


@cli.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@common_options
def delete(path: Path | None, as_json: bool, ids: tuple[str, ...], yes: bool) -> None:
    """Delete items for good. "-" reads ids from standard input."""
    wanted = command.ids_of(ids)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("nobody can be asked here: say --yes to delete")
        click.confirm(f"Delete {len(wanted)} item{'' if len(wanted) == 1 else 's'} for good?", abort=True, err=True)
    problems: dict[str, FilterError] = {}
    with command.opened(command.load(path)) as quarantine, command.progress_bar("Deleting") as progress:
        for number, mail_id in enumerate(wanted, 1):
            try:
                quarantine.delete(mail_id)
            except FilterError as error:
                problems[mail_id] = error
            progress(number, len(wanted))
    _tell_deletion(wanted, problems, as_json=as_json)
    _leave([command.exit_code(error) for error in problems.values()])


def _tell_deletion(wanted: Sequence[str], problems: dict[str, FilterError], *, as_json: bool) -> None:
    if as_json:
        errors = {mail_id: str(error) for mail_id, error in problems.items()}
        rows = [{"id": one, "deleted": one not in problems, "error": errors.get(one)} for one in wanted]
        view.print_json(rows)
    for mail_id in wanted:
        if mail_id in problems:
            command.complain(str(problems[mail_id]))
        elif not as_json:
            click.echo(f"{mail_id} deleted")


@cli.command()
@click.option("--keep-days", type=click.FloatRange(0, min_open=True), help="Else [quarantine] keep_days.")
@click.option("--max-size", type=Size(), help="500M, 20G; 0: no limit. Else [quarantine] max_size.")
@click.option("--dry-run", "-n", is_flag=True, help="Only say what would go.")
@click.option("--clock-is-right", is_flag=True, help="Delete although the clock has leapt since the last run.")
@common_options
def expire(
    *,
    path: Path | None,
    as_json: bool,
    keep_days: float | None,
    max_size: int | None,
    dry_run: bool,
    clock_is_right: bool,
) -> None:
    """Delete what is too old or too much.

    First what is older than --keep-days, then the oldest above --max-size, and what crashes left behind. For a daily
    timer: conf/quarantine-expire.timer runs it.

    Exit 75: the clock is 90 days and more ahead of the last run, or before it, and nothing was deleted.
    """
    config = command.load(path)
    limits = Limits(
        config.quarantine.keep_days if keep_days is None else keep_days,
        config.quarantine.max_size if max_size is None else max_size,
    )
    now = time.time()
    with command.opened(config) as quarantine, command.progress_bar("Expiring") as progress:
        command.check_clock(config, now, only_tell=dry_run or clock_is_right)
        done = expire_items(quarantine, limits, now, progress, dry_run=dry_run)
        if not dry_run:
            command.note_expiry(config, now)
    if as_json:
        ids = [one.id for one in done.expired]
        values = {"expired": ids, "busy": done.busy, "leftovers": done.leftovers, "kept_bytes": done.kept}
        view.print_json({**values, "dry_run": dry_run})
        return
    for mail_id in done.busy:
        command.complain(f"item {mail_id} is in use and stays for now")
    freed = view.size_text(sum(one.stored for one in done.expired))
    verb = "would be deleted" if dry_run else "deleted"
    click.echo(f"{len(done.expired)} items ({freed}) and {len(done.leftovers)} leftover files {verb}")


@cli.command()
@common_options
def reindex(path: Path | None, as_json: bool) -> None:
    """Make the index agree with the files. Safe while the filter runs."""
    with command.opened(command.load(path)) as quarantine, command.progress_bar("Indexing") as progress:
        done = quarantine.reindex(progress)
    if as_json:
        lists = {"damaged": done.damaged, "gone": done.gone, "busy": done.busy, "leftovers": done.leftovers}
        view.print_json({"indexed": done.indexed, "rebuilt": done.rebuilt, **lists})
    else:
        if done.rebuilt:
            click.echo("the old index could not be used and was replaced")
        click.echo(f"{done.indexed} items indexed, {len(done.gone)} rows without files removed")
    for mail_id in done.damaged:
        command.complain(f"item {mail_id} is damaged and was left out")
    if done.leftovers:
        command.complain(f"{len(done.leftovers)} files left over from a crash; quarantine expire removes them")
    _leave([os.EX_DATAERR] if done.damaged else [])


def _leave(codes: Sequence[int]) -> None:
    code = max(codes, default=os.EX_OK)
    if code != os.EX_OK:
        raise SystemExit(code)


def main() -> None:
    """The entry point."""
    os.umask(UMASK)
    output.make_whole()
    cli()
