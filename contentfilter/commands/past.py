"""The bodies of `contentfilter explain` and `contentfilter replay`: what looks back at messages that were handled."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import click
from rich.console import Console

from contentfilter import assembly
from contentfilter.config import Config
from contentfilter.errors import QuarantineError
from contentfilter.explain import hindsight, replay_view, view
from contentfilter.explain.replay import Replayed, Tally, ids, replay
from contentfilter.handled import Group, Handled
from contentfilter.printable import printable
from quarantine.command import exit_code, progress_bar
from quarantine.index import Query
from quarantine.store import Progress, Quarantine

_NAME = re.compile(r"[!-~]{1,100}")
_FILE_WIDTH = 250
"""Columns when the output is no terminal: room enough to break no line that matters."""


class CommandError(Exception):
    """The command ends with this text and exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(printable(message))
        self.code = code


def explain_message(config: Config, name: str, rcpts: Sequence[str], *, as_json: bool) -> None:
    """Show why a message fared as it did. name: its id, or a queue id. Raises CommandError."""
    if not _NAME.fullmatch(name):
        raise CommandError(f'"{name[:100]}" is no id as in the mail log', os.EX_DATAERR)
    chosen = [(one, _chosen(one, rcpts)) for one in _found(config, name)]
    if not any(groups for _, groups in chosen):
        raise CommandError(_nobody(chosen[0][0], rcpts), os.EX_NOINPUT)
    chosen = [(one, groups) for one, groups in chosen if groups]
    if as_json:
        _print_json([view.values(one, groups) for one, groups in chosen])
        return
    console = _console()
    if len(chosen) == 1:
        view.show(console, *chosen[0])
        return
    view.show_matches(console, [one for one, _ in chosen])
    click.echo(f"{len(chosen)} messages have this queue id: explain one by its own id", err=True)


def _found(config: Config, name: str) -> list[Handled]:
    try:
        found = hindsight.find(config, name)
    except OSError as error:
        code = os.EX_NOPERM if isinstance(error, PermissionError) else os.EX_IOERR
        raise CommandError(f"the history cannot be read: {error}{_advice(code)}", code) from error
    except QuarantineError as error:
        raise _of_quarantine(error) from error
    if not found:
        days = config.history.keep_days
        kept = (
            f"which is kept for {days} days ([history] keep_days)" if days else "which is off ([history] keep_days = 0)"
        )
        raise CommandError(f'no message "{name}" in the history, {kept}, nor in the quarantine', os.EX_NOINPUT)
    return found


def _of_quarantine(error: QuarantineError) -> CommandError:
    code = exit_code(error)
    return CommandError(f"{error}{_advice(code)}", code)


def _advice(code: int) -> str:
    return "; only the filter's user and root may" if code == os.EX_NOPERM else ""


def _chosen(handled: Handled, rcpts: Sequence[str]) -> list[Group]:
    return view.for_recipients(handled, rcpts)


def _nobody(handled: Handled, rcpts: Sequence[str]) -> str:
    some = [address for group in handled.groups for address in group.recipients]
    more = len(some) - 5 + handled.left_out
    others = ", ".join(some[:5]) + (f" and {more} more" if more > 0 else "")
    return f"nothing is known of {', '.join(rcpts)} for message {handled.id}; its recipients: {others}"


def replay_quarantine(config: Config, query: Query, limit: int | None, *, changed: bool, as_json: bool) -> int:
    """Judge items again; the exit code. changed: show only those that fare otherwise. Raises CommandError."""
    quarantine = Quarantine(config.quarantine.directory, config.quarantine.database)
    with closing(quarantine), progress_bar("Judging") as progress:
        try:
            wanted = ids(quarantine, query, limit)
            tally = asyncio.run(_replay(config, quarantine, wanted, _Output(changed, as_json), progress))
        except QuarantineError as error:
            raise _of_quarantine(error) from error
    return os.EX_OK if tally.complete else os.EX_TEMPFAIL


class _Output:
    """Writes one result after the other: there may be more than fit into memory."""

    def __init__(self, changed: bool, as_json: bool) -> None:
        self._only_changed = changed
        self._console = None if as_json else _console()
        self._first = True
        if as_json:
            click.echo('{"items": [')

    def item(self, item: Replayed) -> None:
        """One item."""
        if self._only_changed and item.judged and not item.changed:
            return
        if self._console is None:
            self._json(replay_view.values(item))
        else:
            replay_view.show(self._console, item)

    def unread(self, mail_id: str, problem: str) -> None:
        """One that cannot be read."""
        if self._console is None:
            self._json(replay_view.unread_values(mail_id, problem))
        else:
            replay_view.show_unread(self._console, mail_id, problem)

    def end(self, tally: Tally) -> None:
        """The sum."""
        if self._console is None:
            click.echo(f'], "summary": {json.dumps(replay_view.tally_values(tally), allow_nan=False)}}}')
        else:
            replay_view.show_tally(self._console, tally)

    def _json(self, values: Any) -> None:
        click.echo(("" if self._first else ",") + json.dumps(values, allow_nan=False))
        self._first = False


async def _replay(
    config: Config, quarantine: Quarantine, wanted: Sequence[str], output: _Output, progress: Progress
) -> Tally:
    tally = Tally()
    async with assembly.onlooker_for(config) as pipeline:
        done = 0
        async for mail_id, result in replay(pipeline, quarantine, wanted):
            done += 1
            progress(done, len(wanted))
            if isinstance(result, Replayed):
                tally.count(result)
                output.item(result)
            elif result is not None:
                tally.unread.append(mail_id)
                output.unread(mail_id, str(result))
    output.end(tally)
    return tally


def _print_json(values: Any) -> None:
    click.echo(json.dumps(values, indent=2, allow_nan=False))


def _console() -> Console:
    width = None if sys.stdout.isatty() else _FILE_WIDTH
    return Console(width=width, markup=False, highlight=False, emoji=False)
