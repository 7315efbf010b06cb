"""A message that was handled, as it can be explained later: what was found, and what was decided for whom and why.

In the history it is one line of JSON of a bounded length. Recipients who fared alike share a group, and groups share
their entries, so that a message to thousands stays small. Text from strangers is escaped as JSON does it, in ASCII.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from contentfilter.case import Case
from contentfilter.envelope import Client
from contentfilter.evidence import Evidence
from contentfilter.failure import OnFailure
from contentfilter.finding import Finding
from contentfilter.outcome import Outcome
from contentfilter.policy.entry import Effective
from contentfilter.reply import Reply
from contentfilter.stored import (
    LONGEST_TEXT,
    Entries,
    effective_of,
    effective_values,
    entry_of,
    finding_of,
    finding_values,
)
from contentfilter.verdict import Action, Category, Verdict

LONGEST_LINE = 524_288
"""Bytes. 2,000 recipients of usual addresses fit; what does not is counted."""
_LONGEST_FINDINGS = 65_536
_MOST_REASONS = 30
_OF_CLIENT = tuple(one.name for one in fields(Client))

_encode: Callable[[Any], str] = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


@dataclass(frozen=True, slots=True)
class Group:
    """Recipients who fared alike. reply: what was answered for them, "" if unknown.

    effective: None where it is not known any more; states: what became of their copy in quarantine, by address.
    """

    recipients: tuple[str, ...]
    verdict: Verdict
    effective: Effective | None = None
    reply: str = ""
    states: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Handled:
    """One message. time: when it came, seconds since the epoch; size: bytes; on_failure: by inspector.

    left_out: recipients who were too many to be kept.
    """

    id: str
    time: float
    mail_from: str
    groups: tuple[Group, ...]
    size: int
    findings: tuple[Finding, ...] = ()
    on_failure: Mapping[str, OnFailure] = field(default_factory=dict)
    client: Client = field(default_factory=Client)
    message_id: str = ""
    subject: str = ""
    left_out: int = 0

    @classmethod
    def of(cls, case: Case, outcomes: Sequence[Outcome]) -> Handled:
        """Of a case and what became of its recipients, in their order."""
        alike: dict[tuple[int, int, Reply], list[int]] = {}
        for index, outcome in enumerate(outcomes):
            key = id(case.effective[index]), id(case.verdicts[index]), outcome.reply
            alike.setdefault(key, []).append(index)
        groups = tuple(
            Group(
                tuple(outcomes[index].recipient.address for index in members),
                case.verdicts[members[0]],
                case.effective[members[0]],
                str(reply),
            )
            for (_, _, reply), members in alike.items()
        )
        return cls(
            id=case.mail_id,
            time=case.envelope.received_at,
            mail_from=case.envelope.mail_from,
            groups=groups,
            size=len(case.message),
            findings=case.evidence.findings,
            on_failure=case.evidence.on_failure or {},
            client=case.envelope.client,
            message_id=case.text("message-id"),
            subject=case.text("subject"),
        )

    @property
    def queue_id(self) -> str:
        """Postfix's, "" if unknown."""
        return self.client.ident or ""

    @property
    def evidence(self) -> Evidence:
        """What the verdicts were made of."""
        return Evidence(self.findings, self.size, on_failure=self.on_failure)

    def goes_by(self, name: str) -> bool:
        """Whether this is the message's id, or the queue id that it came with or went on with."""
        queued = f"queued as {name}"
        return name in (self.id, self.queue_id) or any(group.reply.endswith(queued) for group in self.groups)

    @property
    def count(self) -> int:
        """How many recipients it names."""
        return sum(len(group.recipients) for group in self.groups)

    def to_line(self) -> bytes:
        """One line of JSON with its line end, LONGEST_LINE bytes at the most."""
        entries = Entries()
        groups = [{**_group_values(group, entries), "to": group.recipients} for group in self.groups]
        findings = [finding_values(one) for one in self.findings]
        head = _head(self)
        line = _encode(
            {**head, "findings": findings, "entries": entries.values(), "groups": groups, "left_out": self.left_out}
        )
        return (line if len(line) < LONGEST_LINE else _shortened(self, head)).encode("ascii") + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Handled:
        """What :meth:`to_line` made. Raises ValueError for anything else."""
        try:
            return _handled(json.loads(line))
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a line of the history: {error!r}") from error


def _head(handled: Handled) -> dict[str, Any]:
    head: dict[str, Any] = {
        "id": handled.id,
        "time": datetime.fromtimestamp(handled.time, UTC).isoformat(timespec="milliseconds"),
        "mail_from": handled.mail_from,
        "client": {name: value[:LONGEST_TEXT] for name in _OF_CLIENT if (value := getattr(handled.client, name))},
        "message_id": handled.message_id[:LONGEST_TEXT],
        "subject": handled.subject[:LONGEST_TEXT],
        "size": handled.size,
    }
    if handled.on_failure:
        head["on_failure"] = {name: mode.value for name, mode in handled.on_failure.items()}
    return head


def _shortened(handled: Handled, head: Mapping[str, Any]) -> str:
    """The line with as many recipients as fit."""
    start = _encode(head)[:-1] + f',"findings":{_bounded(handled.findings)}'
    room = LONGEST_LINE - len(start) - 100
    entries, groups, left_out = Entries(), [], handled.left_out
    for group in handled.groups:
        known = len(entries)
        values = _group_values(group, entries)
        cost = len(_encode(entries.values(known))) + len(_encode({**values, "to": []}))
        kept = _that_fit(group.recipients, room - cost)
        left_out += len(group.recipients) - len(kept)
        if kept:
            groups.append(_encode({**values, "to": kept}))
            room -= cost + sum(map(_cost, kept))
        else:
            entries.cut(known)
    return f'{start},"entries":{_encode(entries.values())},"groups":[{",".join(groups)}],"left_out":{left_out}}}'


def _bounded(findings: Sequence[Finding]) -> str:
    """The findings as JSON, the last ones left out where they are too long."""
    text = _encode([finding_values(one) for one in findings])
    while len(text) > _LONGEST_FINDINGS:
        findings = findings[: len(findings) // 2]
        text = _encode([finding_values(one) for one in findings])
    return text


def _that_fit(recipients: Sequence[str], room: int) -> Sequence[str]:
    for count, recipient in enumerate(recipients):
        room -= _cost(recipient)
        if room < 0:
            return recipients[:count]
    return recipients


def _cost(recipient: str) -> int:
    return len(_encode(recipient)) + 1


def _group_values(group: Group, entries: Entries) -> dict[str, Any]:
    values = {"verdict": verdict_values(group.verdict), "reply": group.reply[:LONGEST_TEXT]}
    return values if group.effective is None else values | effective_values(group.effective, entries)


def verdict_values(verdict: Verdict) -> dict[str, Any]:
    """What explains a verdict."""
    values: dict[str, Any] = {
        "category": verdict.category.word,
        "action": verdict.action.value,
        "quarantine": verdict.quarantine,
        "reasons": [reason[:LONGEST_TEXT] for reason in verdict.reasons[:_MOST_REASONS]],
        "local": verdict.local,
        "score": verdict.score,
    }
    if verdict.shadowed is not None:
        values["shadowed"] = verdict_values(verdict.shadowed)
    return values


def verdict_of(values: Mapping[str, Any]) -> Verdict:
    """A verdict again, as far as it was kept. Raises KeyError, ValueError."""
    shadowed = values.get("shadowed")
    return Verdict(
        Category[values["category"].upper()],
        Action(values["action"]),
        quarantine=values["quarantine"],
        reasons=tuple(values["reasons"]),
        local=values["local"],
        score=values["score"],
        shadowed=None if shadowed is None else verdict_of(shadowed),
    )


def _handled(values: Mapping[str, Any]) -> Handled:
    entries = [entry_of(one) for one in values["entries"]]
    return Handled(
        id=values["id"],
        time=datetime.fromisoformat(values["time"]).timestamp(),
        mail_from=values["mail_from"],
        groups=tuple(
            Group(
                tuple(one["to"]),
                verdict_of(one["verdict"]),
                effective_of(one, entries) if "entries" in one else None,
                one["reply"],
            )
            for one in values["groups"]
        ),
        size=values["size"],
        findings=tuple(finding_of(one) for one in values["findings"]),
        on_failure={name: OnFailure(mode) for name, mode in values.get("on_failure", {}).items()},
        client=Client(**values["client"]),
        message_id=values["message_id"],
        subject=values["subject"],
        left_out=values["left_out"],
    )
