"""What `contentfilter check` and `contentfilter doctor` show: for people as text, for programs as JSON values.

Whatever a message says about itself goes through :func:`printable`, so that it cannot drive the terminal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from contentfilter.case import Case
from contentfilter.diagnosis import Diagnosis, State
from contentfilter.finding import Finding, Kind
from contentfilter.mime import Part
from contentfilter.policy.entry import Effective
from contentfilter.printable import printable
from contentfilter.score import format_level
from contentfilter.unpack.unpacked import Member
from contentfilter.verdict import Action, Route, Verdict

_COLOURS = {Action.PASS: "green", Action.DISCARD: "red", Action.REJECT: "red", Action.DEFER: "yellow"}
_STATES = {State.WELL: ("ok", "green"), State.ODD: ("!!", "yellow"), State.ILL: ("XX", "red")}


def case_values(case: Case) -> dict[str, Any]:
    """A judged message as values that JSON knows."""
    return {
        "size": len(case.message),
        "score": case.score,
        "parts": [_part_values(part) for part in case.tree.parts],
        "members": [_member_values(member) for member in case.opened.members],
        "signs": [{"name": one.name, "part": one.path, "detail": one.detail} for one in case.opened.signs],
        "ambiguities": [{"name": one.name, "part": one.path, "offset": one.offset} for one in case.tree.ambiguities],
        "limits_exceeded": [*case.tree.exceeded, *case.opened.exceeded],
        "findings": [_finding_values(finding) for finding in case.evidence.findings],
        "virus_scanned": case.evidence.virus_scanned,
        "recipients": [
            {
                "address": recipient.address,
                "category": verdict.category.word,
                "action": verdict.action.value,
                "quarantine": verdict.quarantine,
                "reply": str(verdict.reply) if verdict.reply else None,
                "reasons": list(verdict.reasons),
                "score": verdict.score,
                "listed": str(effective.listing) if effective.listing else None,
                "local": verdict.local,
                "route": _route_values(verdict.route),
                "shadowed": verdict.shadowed.action.value if verdict.shadowed else None,
                "tag_level": _number(effective.policy.tag_level),
                "tag2_level": _number(effective.policy.tag2_level),
                "kill_level": _number(effective.policy.kill_level),
            }
            for recipient, effective, verdict in zip(
                case.envelope.recipients, case.effective, case.verdicts, strict=True
            )
        ],
    }


def _route_values(route: Route) -> dict[str, Any]:
    return {
        "next_hop": route.next_hop,
        "extension": route.extension,
        "redirect": route.redirect,
        "bcc": list(route.bcc),
    }


def _number(level: float) -> float | None:
    return level if math.isfinite(level) else None


def _part_values(part: Part) -> dict[str, Any]:
    return {
        "path": part.path,
        "type": part.declared_type,
        "names": list(part.names),
        "encoding": part.encoding,
        "disposition": part.disposition,
        "size": part.size,
        "readings": list(part.readings),
    }


def _member_values(member: Member) -> dict[str, Any]:
    return {
        "path": member.path,
        "parent": member.parent,
        "type": member.detected_type,
        "declared_type": member.declared_type,
        "names": list(member.names),
        "size": member.size,
        "readings": list(member.readings),
        "without_content": member.why or None,
    }


def _finding_values(finding: Finding) -> dict[str, Any]:
    values: dict[str, Any] = {
        "kind": finding.kind.value,
        "inspector": finding.inspector,
        "name": finding.name,
        "part": finding.part,
    }
    if finding.banned_rules:
        values |= {"banned_rules": list(finding.banned_rules), "text": finding.text}
    if finding.kind is Kind.SPAM or finding.score:
        values |= {"score": finding.score, "tests": {test.name: test.score for test in finding.tests}}
    return values


def case_text(case: Case) -> RenderableType:
    """A judged message for people: the tree of parts, what was found, and each recipient's verdict with the reason."""
    return Group(_tree(case), Text(), _findings(case), Text(), _verdicts(case))


def _tree(case: Case) -> Tree:
    nodes: dict[str, Tree] = {}
    top = Tree(Text(f"message, {len(case.message)} bytes"))
    for part in case.tree.parts:
        nodes[part.path] = nodes.get(part.parent, top).add(_part_line(part))
    for member in case.opened.members:
        nodes[member.path] = nodes.get(member.parent, top).add(_member_line(member))
    for sign in case.opened.signs:
        nodes.get(sign.path, top).add(Text(f"active content: {printable(str(sign))}", style="magenta"))
    for path, why in case.opened.unchecked:
        nodes.get(path, top).add(Text(f"unchecked: {printable(why)}", style="red"))
    for ambiguity in case.tree.ambiguities:
        nodes.get(ambiguity.path, top).add(Text(f"ambiguous: {ambiguity.name}", style="yellow"))
    for limit in (*case.tree.exceeded, *case.opened.exceeded, *filter(None, [case.opened.failed])):
        top.add(Text(f"cut short: {printable(limit)}", style="red"))
    return top


def _part_line(part: Part) -> Text:
    line = Text(f"{part.path} ", style="dim")
    line.append(printable(part.declared_type), style="bold")
    for name in part.names:
        line.append(f' "{printable(name)}"', style="cyan")
    line.append(f", {part.size} bytes", style="default")
    if part.readings:
        line.append(f" (if read otherwise: {', '.join(part.readings)})", style="yellow")
    return line


def _member_line(member: Member) -> Text:
    line = Text(f"{member.path} ", style="dim")
    line.append(printable(member.detected_type) or "name only", style="bold")
    for name in member.names:
        line.append(f' "{printable(name)}"', style="cyan")
    line.append(f", {member.why}" if member.why else f", {member.size} bytes", style="default")
    if member.readings:
        line.append(f" (if read otherwise: {printable(', '.join(member.readings))})", style="yellow")
    return line


def _findings(case: Case) -> Table:
    table = Table(title="Findings", title_justify="left", box=None, pad_edge=False)
    for heading in ("kind", "inspector", "part", "what"):
        table.add_column(heading, overflow="fold")
    differ = len({finding.banned_rules for finding in case.evidence.findings if finding.banned_rules}) > 1
    for finding in case.evidence.findings:
        what = printable(finding.name)
        if finding.kind is Kind.SPAM:
            what = f"score {format_level(finding.score)}: {', '.join(map(str, finding.tests)) or 'no tests'}"
        if differ and finding.banned_rules:
            what += f" (for {', '.join(finding.banned_rules)})"
        table.add_row(finding.kind.value, finding.inspector, finding.part, Text(what))
    if not case.evidence.findings:
        table.add_row("none", "", "", "")
    return table


def _verdicts(case: Case) -> Table:
    table = Table(title="Verdicts", title_justify="left", box=None, pad_edge=False)
    for heading in ("recipient", "category", "action", "quarantine", "because"):
        table.add_column(heading, overflow="fold")
    for (recipient, verdict), effective in zip(case.recipients, case.effective, strict=True):
        table.add_row(
            Text(printable(recipient.address)),
            verdict.category.word,
            Text(verdict.action.value, style=_COLOURS[verdict.action]),
            "yes" if verdict.quarantine else "no",
            Text("\n".join(map(printable, (*verdict.reasons, *_remarks(verdict, effective))))),
        )
    return table


def _remarks(verdict: Verdict, effective: Effective) -> Iterator[str]:
    """What is worth knowing beside the reasons: lists, where the copy goes, and what is only tried."""
    if effective.listing is not None and not any(str(effective.listing) in reason for reason in verdict.reasons):
        yield f"listed: {effective.listing}"
    route = verdict.route
    words = {"redirected to": route.redirect, "extension": route.extension, "by next hop": route.next_hop}
    yield from (f"{word} {value}" for word, value in words.items() if value)
    yield from (f"with BCC to {address}" for address in route.bcc)
    if verdict.shadowed is not None:
        yield f"shadow: would be {verdict.shadowed.action.value}"


def diagnosis_values(diagnoses: Iterable[Diagnosis]) -> list[dict[str, str]]:
    """The doctor's findings as values that JSON knows."""
    return [
        {"about": one.about, "state": one.state.value, "found": one.found, "advice": one.advice} for one in diagnoses
    ]


def show_diagnoses(console: Console, diagnoses: Iterable[Diagnosis]) -> None:
    """The doctor's findings for people, the advice below what it is about."""
    for one in diagnoses:
        word, colour = _STATES[one.state]
        line = Text(f"{word} ", style=colour)
        line.append(f"{one.about}: {printable(one.found)}", style="default")
        console.print(line, soft_wrap=True)
        if one.advice:
            console.print(Text(f"   -> {printable(one.advice)}", style="bold"), soft_wrap=True)
