"""How items look to people and to scripts. Everything that came from outside is made fit for the terminal first."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from contentfilter.message import Message
from contentfilter.printable import printable
from quarantine.index import Summary
from quarantine.record import Record, Withheld, iso_date

_HEADINGS = {"ID": 17, "TIME": 16, "CATEGORY": 10, "STATE": 9, "SCORE": 6, "SIZE": 7}
_ONLY_WIDE = frozenset({"STATE", "SCORE", "SIZE"})
_FREE = ("FROM", "TO", "SUBJECT")
_WIDE = 140
"""Columns from which a list also shows state, score and size."""
_FILE_WIDTH = 250
"""Columns when the output is no terminal: room enough to cut nothing that matters."""
_LONGEST_HEADER = 65_536


def summary_values(item: Summary) -> dict[str, Any]:
    """An item of `list --json`: the keys are a contract."""
    return {
        "id": item.id,
        "time": iso_date(item.time),
        "category": item.category.word,
        "state": item.state.value,
        "mail_from": item.mail_from,
        "rcpt_tos": list(item.rcpt_tos),
        "subject": item.subject,
        "size": item.size,
        "score": item.score if item.score is not None and math.isfinite(item.score) else None,
    }


def print_json(values: object) -> None:
    """One JSON document, in ASCII: safe in any terminal and any pipe."""
    click.echo(json.dumps(values, indent=2))


def print_list(items: Sequence[Summary]) -> None:
    """A table as wide as the terminal."""
    console = _console()
    wide = console.width >= _WIDE
    headings = _HEADINGS if wide else {name: width for name, width in _HEADINGS.items() if name not in _ONLY_WIDE}
    if not wide:
        headings["TIME"] = len("21 Nov 12:00")
    # Ids and dates are shown whole; what strangers wrote shares the rest of the line.
    rest = console.width - sum(width + 1 for width in headings.values()) - len(_FREE)
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name, width in headings.items():
        table.add_column(name, no_wrap=True, width=width, justify="right" if name in {"SCORE", "SIZE"} else "left")
    for name in _FREE:
        table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=max(1, rest // len(_FREE)))
    for item in items:
        table.add_row(*map(Text, _cells(item, wide=wide)))
    console.print(table)


def _cells(item: Summary, *, wide: bool) -> Iterator[str]:
    moment = datetime.fromtimestamp(item.time).astimezone()
    yield item.id
    yield moment.strftime("%Y-%m-%d %H:%M" if wide else "%d %b %H:%M")
    yield item.category.word
    if wide:
        yield item.state.value
        yield "" if item.score is None else f"{item.score:.1f}"
        yield size_text(item.size)
    yield printable(item.mail_from) or "<>"
    more = f" +{len(item.rcpt_tos) - 1}" if len(item.rcpt_tos) > 1 else ""
    yield f"{printable(item.rcpt_tos[0])}{more}" if item.rcpt_tos else ""
    yield printable(item.subject)


def size_text(size: int) -> str:
    """A number of bytes, short: "3.4 kB"."""
    number = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def print_record(record: Record, message: Message) -> None:
    """Envelope, recipients with reasons, findings, and the header."""
    for name, value in _facts(record):
        click.echo(f"{name + ':':<14}{printable(value)}")
    click.echo("Recipients:")
    for one in record.withheld:
        click.echo(f"  {printable(_recipient_line(one))}")
        for reason in one.reasons:
            click.echo(f"    {printable(reason)}")
    if record.findings:
        click.echo("Findings:")
    for finding in record.findings:
        place = f" in part {finding.part}" if finding.part else ""
        tests = f" [{', '.join(map(str, finding.tests))}]" if finding.tests else ""
        click.echo(printable(f"  {finding.inspector}: {finding.kind.value}: {finding.name}{place}{tests}"))
    click.echo("Header:")
    click.echo("\n".join(f"  {line}" for line in _header_lines(message)))


def _facts(record: Record) -> Iterator[tuple[str, str]]:
    client = record.client
    yield "Id", record.id
    yield "Time", datetime.fromtimestamp(record.time).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    yield "Category", record.category.word
    yield "State", record.state.value
    if record.score is not None:
        yield "Score", f"{record.score:g}"
    yield "Size", f"{record.size} bytes"
    yield "From", f"<{record.mail_from}>"
    yield "Subject", record.subject
    yield "Message-ID", record.message_id
    yield "Queue-ID", record.queue_id
    yield "Client", f"{client.name or 'unknown'} [{client.addr or 'unknown'}] helo={client.helo or 'unknown'}"
    parameters = {"BODY": record.body, "RET": record.ret, "ENVID": record.envid}
    given = [f"{name}={value}" for name, value in parameters.items() if value] + ["SMTPUTF8"] * record.smtputf8
    yield "Parameters", " ".join(given) or "none"
    yield "SHA-256", record.digest


def _recipient_line(one: Withheld) -> str:
    when = f" {iso_date(one.changed_at)}" if one.changed_at is not None else ""
    return f"<{one.recipient.address}>  {one.category.word}, {one.action.value}: {one.state.value}{when}"


def _header_lines(message: Message) -> list[str]:
    header = message.buffer[: min(message.header_end, _LONGEST_HEADER)]
    lines = header.decode("utf-8", "backslashreplace").split("\r\n")
    return [printable(line, keep="\t") for line in lines if line]


def print_text(text: str) -> None:
    """Running text of a stranger."""
    click.echo(printable(text, keep="\n\t"))


def _console() -> Console:
    width = None if sys.stdout.isatty() else _FILE_WIDTH
    return Console(width=width, markup=False, highlight=False, emoji=False)
