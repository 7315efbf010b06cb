"""What `contentfilter explain` shows: for people as text, for programs as JSON values.

Whatever a message says about itself goes through :func:`printable`, so that it cannot drive the terminal.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from contentfilter.explain.counterfactual import exact, written
from contentfilter.explain.explanation import Addend, Explanation, Setting, explain
from contentfilter.finding import Finding, Kind
from contentfilter.handled import Group, Handled
from contentfilter.printable import printable
from contentfilter.stored import finding_values, plain
from contentfilter.verdict import Action, Verdict
from quarantine.record import iso_date

_COLOURS = {Action.PASS: "green", Action.DISCARD: "red", Action.REJECT: "red", Action.DEFER: "yellow"}
_MOST_SHOWN = 20
"""Addresses that are written out."""


def explanation_of(handled: Handled, group: Group) -> Explanation | None:
    """Why these recipients' message fared as it did; None if their settings are not known any more."""
    if group.effective is None:
        return None
    others = [one.effective.policy for one in handled.groups if one.effective is not None]
    return explain(handled.evidence, group.effective, group.verdict, mail_from=handled.mail_from, others=others)


def for_recipients(handled: Handled, wanted: Collection[str]) -> list[Group]:
    """The groups, with only the recipients that are wanted, without regard to case; nothing wanted means all."""
    if not wanted:
        return list(handled.groups)
    folded = {address.casefold() for address in wanted}
    kept = []
    for group in handled.groups:
        recipients = tuple(address for address in group.recipients if address.casefold() in folded)
        if recipients:
            kept.append(Group(recipients, group.verdict, group.effective, group.reply, group.states))
    return kept


def values(handled: Handled, groups: Sequence[Group]) -> dict[str, Any]:
    """A message and these groups as values that JSON knows."""
    return {
        "id": handled.id,
        "time": iso_date(handled.time),
        "mail_from": handled.mail_from,
        "client": handled.client.addr,
        "queue_id": handled.queue_id or None,
        "message_id": handled.message_id,
        "subject": handled.subject,
        "size": handled.size,
        "findings": [_json_finding(one) for one in handled.findings],
        "left_out": handled.left_out,
        "groups": [_group_values(handled, group) for group in groups],
    }


def _json_finding(finding: Finding) -> dict[str, Any]:
    found = finding_values(finding)
    if "score" in found:
        found["score"] = _number(found["score"])
    if "tests" in found:
        found["tests"] = [[name, _number(score)] for name, score in found["tests"]]
    return found


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _group_values(handled: Handled, group: Group) -> dict[str, Any]:
    told = explanation_of(handled, group)
    shadowed = group.verdict.shadowed
    return {
        "recipients": list(group.recipients),
        "category": group.verdict.category.word,
        "action": group.verdict.action.value,
        "quarantine": group.verdict.quarantine,
        "shadowed": shadowed.action.value if shadowed else None,
        "reasons": list(group.verdict.reasons),
        "reply": group.reply or None,
        "states": dict(group.states),
        "score": _number(group.verdict.score),
        "explanation": _explanation_values(told) if told else None,
    }


def _explanation_values(told: Explanation) -> dict[str, Any]:
    return {
        "score": [
            {"what": one.what, "points": _number(one.points), "tests": [str(test) for test in one.tests]}
            for one in told.addends
        ],
        "threshold": _setting_values(told.threshold) if told.threshold else None,
        "settings": [_setting_values(one) for one in told.settings],
        "list_entry": str(told.listing) if told.listing else None,
        "rules": [{"source": one.source, "action": one.action.value, "text": one.text} for one in told.rules],
        "ignored": [_json_finding(one) for one in told.ignored],
        "changes": [
            {"steps": [step.text for step in change.steps], **_outcome_values(change.verdict)}
            for change in told.changes
        ],
        "again": _outcome_values(told.again) if told.again else None,
    }


def _outcome_values(verdict: Verdict) -> dict[str, Any]:
    return {"category": verdict.category.word, "action": verdict.action.value, "quarantine": verdict.quarantine}


def _setting_values(one: Setting) -> dict[str, Any]:
    origin = {"source": one.origin.source, "key": one.origin.key} if one.origin else None
    return {"key": one.key, "value": plain(one.value), "origin": origin}


def show_matches(console: Console, matches: Sequence[Handled]) -> None:
    """Messages of one queue id, one a line."""
    for one in matches:
        fates = ", ".join(dict.fromkeys(outcome(group.verdict) for group in one.groups))
        line = f"{one.id}  {_local_time(one.time)}  <{one.mail_from}>  {one.count} recipients: {fates}"
        console.print(Text(printable(line)), soft_wrap=True)


def show(console: Console, handled: Handled, groups: Sequence[Group]) -> None:
    """A message and these groups for people."""
    for name, value in _facts(handled):
        console.print(Text(f"{name + ':':<13}{printable(value)}"), soft_wrap=True)
    for finding in handled.findings:
        console.print(Text(f"{'Found:':<13}{printable(finding_text(finding))}"), soft_wrap=True)
    for group in groups:
        console.print()
        _show_group(console, handled, group)
    if handled.left_out:
        console.print(Text(f"\n{handled.left_out} more recipients were too many to be kept in the history"))


def _facts(handled: Handled) -> Iterator[tuple[str, str]]:
    client = handled.client
    yield "Id", handled.id
    yield "Time", _local_time(handled.time)
    yield "From", f"<{handled.mail_from}>"
    if client.addr:
        yield "Client", f"{client.name or 'unknown'} [{client.addr}]"
    if handled.queue_id:
        yield "Queue-ID", handled.queue_id
    if handled.message_id:
        yield "Message-ID", handled.message_id
    if handled.subject:
        yield "Subject", handled.subject
    yield "Size", f"{handled.size} bytes"


def _local_time(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def finding_text(finding: Finding) -> str:
    """A finding in a line: who reports what, and where."""
    what = finding.name
    if finding.kind is Kind.SPAM:
        what = f"score {exact(finding.score)}"
    elif finding.rule is not None:
        what = f"{finding.rule.source} {finding.rule.action.value} {finding.rule.text}".rstrip()
    score = f", score {exact(finding.score)}" if finding.score and finding.kind is not Kind.SPAM else ""
    part = f" in part {finding.part}" if finding.part else ""
    return f"{finding.kind.value} by {finding.inspector}: {what}{part}{score}"


def outcome(verdict: Verdict) -> str:
    """A verdict in a few words: "spam, discard, kept in quarantine"."""
    kept = ", kept in quarantine" if verdict.quarantine else ""
    shadowed = f" (shadow: would have been {outcome(verdict.shadowed)})" if verdict.shadowed else ""
    return f"{verdict.category.word}, {verdict.action.value}{kept}{shadowed}"


def _show_group(console: Console, handled: Handled, group: Group) -> None:
    addresses = ", ".join(f"<{printable(one)}>" for one in group.recipients[:_MOST_SHOWN])
    more = len(group.recipients) - _MOST_SHOWN
    heading = Text(addresses + (f" and {more} more" if more > 0 else ""), style="bold")
    heading.append(f": {outcome(group.verdict)}", style=_COLOURS[group.verdict.action])
    console.print(heading, soft_wrap=True)
    table = Table(box=None, show_header=False, pad_edge=True, padding=(0, 1))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, value in _rows(handled, group):
        table.add_row(name, Text(printable(value)))
    console.print(table)


def _rows(handled: Handled, group: Group) -> Iterator[tuple[str, str]]:
    yield from _headed("because", group.verdict.reasons)
    if group.reply:
        yield "answered", group.reply
    for state in dict.fromkeys(group.states.values()):
        whose = [address for address, one in group.states.items() if one == state]
        yield "quarantine", f"{state}" if len(whose) == len(group.recipients) else f"{state} for {', '.join(whose)}"
    told = explanation_of(handled, group)
    if told is None:
        yield "settings", "not known: the record was written by an older version"
        return
    yield from _headed("score", _score_lines(told))
    yield from _headed("rules", (f"{one.source} {one.action.value} {one.text}".rstrip() for one in told.rules))
    if told.listing:
        yield "list", str(told.listing)
    yield from _headed("settings", map(_setting_line, told.settings))
    yield from _headed("left out", map(finding_text, told.ignored))
    if told.again:
        yield "now", f"this program would decide otherwise today: {outcome(told.again)}"
    yield from _headed("otherwise", (f"{change}  ->  {outcome(change.verdict)}" for change in told.changes))


def _headed(name: str, lines: Iterator[str] | Sequence[str]) -> Iterator[tuple[str, str]]:
    for index, line in enumerate(lines):
        yield ("" if index else name), line


def _score_lines(told: Explanation) -> Iterator[str]:
    if told.score is None:
        return
    yield exact(told.score) + (
        f", {_compared(told)}" if told.threshold and told.threshold.key.endswith("level") else ""
    )
    yield from map(_addend_line, told.addends)


def _compared(told: Explanation) -> str:
    level = told.threshold
    if level is None or told.score is None or not isinstance(level.value, float):
        return ""
    relation = "which reaches" if told.score >= level.value else "which is below"
    return f"{relation} {_setting_line(level)}"


def _addend_line(one: Addend) -> str:
    tests = f" [{', '.join(map(str, one.tests))}]" if one.tests else ""
    return f"{exact(one.points)} from {one.what}{tests}"


def _setting_line(one: Setting) -> str:
    return f"{one.key} = {written(one.value)} ({one.origin or 'built-in default'})"
