"""What `contentfilter replay` shows: for people as text, for programs as JSON values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from contentfilter.explain.replay import Rejudged, Replayed, Tally, fate
from contentfilter.printable import printable
from contentfilter.verdict import Verdict
from quarantine.record import iso_date

_MOST_SETTINGS = 10


def values(item: Replayed) -> dict[str, Any]:
    """An item as values that JSON knows."""
    record = item.record
    return {
        "id": record.id,
        "time": iso_date(record.time),
        "mail_from": record.mail_from,
        "subject": record.subject,
        "changed": item.changed,
        "judged": item.judged,
        "recipients": [
            {
                "address": one.address,
                "before": _verdict_values(one.before),
                "now": _verdict_values(one.now) if one.now else None,
                "changed": one.changed,
                "problem": one.problem or None,
                "settings": list(one.settings),
            }
            for one in item.recipients
        ],
    }


def _verdict_values(verdict: Verdict) -> dict[str, Any]:
    return {
        "category": verdict.category.word,
        "action": verdict.action.value,
        "quarantine": verdict.quarantine,
        "shadowed": verdict.shadowed.action.value if verdict.shadowed else None,
        "reasons": list(verdict.reasons),
    }


def unread_values(mail_id: str, problem: str) -> dict[str, Any]:
    """An item that cannot be read, as values that JSON knows."""
    return {"id": mail_id, "changed": False, "judged": False, "problem": problem, "recipients": []}


def tally_values(tally: Tally) -> dict[str, Any]:
    """The sum of all as values that JSON knows."""
    return {
        "messages": tally.items,
        "recipients": tally.recipients,
        "changed": tally.changed,
        "unjudged": tally.unjudged,
        "unreadable": tally.unread,
        "changes": [
            {"before": before, "now": now, "recipients": count} for (before, now), count in tally.changes.most_common()
        ],
    }


def show(console: Console, item: Replayed) -> None:
    """An item for people: a line for the message, and one for each recipient."""
    record = item.record
    subject = f'  "{record.subject}"' if record.subject else ""
    heading = f"{record.id}  {iso_date(record.time)}  <{record.mail_from}>{subject}"
    console.print(Text(printable(heading), style="bold"), soft_wrap=True)
    for one in item.recipients:
        for line, style in _lines(one):
            console.print(Text(printable(line), style=style), soft_wrap=True)


def _lines(one: Rejudged) -> Iterator[tuple[str, str]]:
    if one.now is None:
        yield f"  <{one.address}>: NOT JUDGED, {one.problem}", "yellow"
        return
    if not one.changed:
        yield f"  <{one.address}>: as before, {fate(one.before)}", "dim"
        return
    yield f"  <{one.address}>: {fate(one.before)}  ->  {fate(one.now)}", "cyan"
    if one.before.reasons != one.now.reasons:
        yield from ((f"    before: {reason}", "default") for reason in one.before.reasons)
    yield from ((f"    now:    {reason}", "default") for reason in one.now.reasons)
    yield from ((f"    {setting}", "default") for setting in one.settings[:_MOST_SETTINGS])
    if one.now.shadowed:
        yield f"    now:    shadow mode; without it {fate(one.now.shadowed)}", "default"


def show_unread(console: Console, mail_id: str, problem: str) -> None:
    """An item that cannot be read, for people."""
    console.print(Text(f"{mail_id}  NOT JUDGED, {printable(problem)}", style="yellow"), soft_wrap=True)


def show_tally(console: Console, tally: Tally) -> None:
    """The sum of all for people."""
    table = Table(title="Changes", title_justify="left", box=None, pad_edge=False)
    for heading in ("recipients", "before", "now"):
        table.add_column(heading, justify="right" if heading == "recipients" else "left")
    for (before, now), count in tally.changes.most_common():
        table.add_row(str(count), before, now)
    if tally.changes:
        console.print(table)
    same = tally.recipients - tally.changed - tally.unjudged
    parts = [f"{tally.changed} would fare otherwise", f"{same} as before"]
    if tally.unjudged:
        parts.append(f"{tally.unjudged} could not be judged")
    console.print(f"{tally.items} messages, {tally.recipients} recipients: {', '.join(parts)}", highlight=False)
    if tally.unread:
        console.print(f"{len(tally.unread)} messages cannot be read", highlight=False)
