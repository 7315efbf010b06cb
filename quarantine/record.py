"""A quarantined item: what was withheld, from whom, why, and everything that is needed to let it go.

A record is kept beside the message as readable JSON. It is the truth about the item; the SQL index only repeats what
is searched for and can be rebuilt from the records.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from contentfilter.envelope import Client, Envelope, Recipient
from contentfilter.failure import OnFailure
from contentfilter.finding import Finding, Kind, RuleAction, RuleHit, Test
from contentfilter.message import Message
from contentfilter.policy.entry import Effective, Entry
from contentfilter.stored import Entries, effective_of, effective_values, entry_of
from contentfilter.verdict import Action, Category

VERSION = 1


class State(Enum):
    """What became of an item, or of it for one recipient. A deleted item leaves nothing behind."""

    PENDING = "pending"
    RELEASED = "released"
    DELIVERED = "delivered"
    """The message went on at once; policy asked for a copy all the same."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """One recipient for whom the item is kept, as a rule instead of delivery.

    changed_at: when the state last changed, seconds since the epoch; next_hop: where a release for this recipient
    goes, "" for the site's next hop. quarantine: whether the verdict asked for the copy; score: the recipient's;
    local: one of ours; effective: the settings that decided, None in records of older versions.
    """

    recipient: Recipient
    category: Category
    action: Action
    reasons: tuple[str, ...] = ()
    state: State = State.PENDING
    changed_at: float | None = None
    next_hop: str = ""
    quarantine: bool = True
    score: float | None = None
    local: bool = True
    effective: Effective | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One item. withheld is not empty.

    time: when the message came, seconds since the epoch; subject: decoded; size in bytes and digest (SHA-256, hex) of
    the raw message; queue_id: Postfix's, "" if unknown; client, body, smtputf8, ret, envid and listener: from the
    envelope, so that a release uses the original one. on_failure: what a silent inspector meant, by inspector.
    """

    id: str
    time: float
    mail_from: str
    withheld: tuple[Withheld, ...]
    size: int
    digest: str
    subject: str = ""
    message_id: str = ""
    score: float | None = None
    findings: tuple[Finding, ...] = ()
    queue_id: str = ""
    client: Client = field(default_factory=Client)
    body: str | None = None
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None
    listener: str = ""
    on_failure: Mapping[str, OnFailure] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        mail_id: str,
        envelope: Envelope,
        message: Message,
        withheld: tuple[Withheld, ...],
        *,
        findings: tuple[Finding, ...] = (),
        on_failure: Mapping[str, OnFailure] | None = None,
        score: float | None = None,
        subject: str = "",
        message_id: str = "",
    ) -> Record:
        """The record of a message that came in this envelope and is withheld from some of its recipients."""
        return cls(
            id=mail_id,
            time=envelope.received_at,
            mail_from=envelope.mail_from,
            withheld=withheld,
            size=len(message),
            digest=message.digest,
            subject=subject,
            message_id=message_id,
            score=score,
            findings=findings,
            queue_id=envelope.client.ident or "",
            client=envelope.client,
            body=envelope.body,
            smtputf8=envelope.smtputf8,
            ret=envelope.ret,
            envid=envelope.envid,
            listener=envelope.listener,
            on_failure=on_failure or {},
        )

    @property
    def category(self) -> Category:
        """The gravest category among the recipients."""
        return max(withheld.category for withheld in self.withheld)

    @property
    def state(self) -> State:
        """Pending as long as one recipient is, else released if one is."""
        states = {withheld.state for withheld in self.withheld}
        return next(state for state in State if state in states)

    def released(self, positions: Iterable[int], at: float) -> Record:
        """The record after the recipients at these positions got the message. at: seconds since the epoch."""
        chosen = frozenset(positions)
        withheld = tuple(
            replace(one, state=State.RELEASED, changed_at=at) if position in chosen else one
            for position, one in enumerate(self.withheld)
        )
        return replace(self, withheld=withheld)

    def envelope(self, recipients: tuple[Recipient, ...]) -> Envelope:
        """The original envelope, for these recipients."""
        return Envelope(
            mail_from=self.mail_from,
            recipients=recipients,
            body=self.body,
            smtputf8=self.smtputf8,
            ret=self.ret,
            envid=self.envid,
            client=self.client,
            listener=self.listener,
            received_at=self.time,
        )

    def to_mapping(self) -> dict[str, Any]:
        """The record as values that JSON knows, with the version of the form and with what follows from the rest."""
        entries = Entries()
        values = asdict(replace(self, withheld=(), on_failure={}))
        values["withheld"] = [_withheld_values(one, entries) for one in self.withheld]
        values["entries"] = entries.values()
        values["on_failure"] = {name: mode.value for name, mode in self.on_failure.items()}
        values["findings"] = [_finding_values(one) for one in self.findings]
        derived = {"date": iso_date(self.time), "category": self.category.word, "state": self.state.value}
        return {"version": VERSION, **derived, **values}

    def to_json(self) -> str:
        """Readable text. ASCII only, so that nothing in it drives the terminal of who looks at the file."""
        return json.dumps(self.to_mapping(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Record:
        """What :meth:`to_json` wrote. Raises ValueError for anything else."""
        try:
            return _record(json.loads(text))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a quarantine record: {error!r}") from error


def iso_date(time: float) -> str:
    """A time in seconds since the epoch as ISO 8601, in UTC, to the second."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _withheld_values(one: Withheld, entries: Entries) -> dict[str, Any]:
    words = {"category": one.category.word, "action": one.action.value, "state": one.state.value}
    settings = None if one.effective is None else effective_values(one.effective, entries)
    return {**asdict(replace(one, effective=None)), **words, "effective": settings}


def _finding_values(one: Finding) -> dict[str, Any]:
    values = {**asdict(one), "kind": one.kind.value}
    if one.rule is not None:
        values["rule"] = {**asdict(one.rule), "action": one.rule.action.value}
    return values


def _record(values: Mapping[str, Any]) -> Record:
    if values["version"] != VERSION:
        raise ValueError(f"a quarantine record of version {values['version']!r}, this program reads {VERSION}")
    derived = {"version", "date", "category", "state", "entries"}
    rest = {key: value for key, value in values.items() if key not in derived}
    entries = [entry_of(one) for one in values.get("entries", ())]
    rest["withheld"] = tuple(_withheld(one, entries) for one in values["withheld"])
    rest["on_failure"] = {name: OnFailure(mode) for name, mode in values.get("on_failure", {}).items()}
    rest["findings"] = tuple(_finding(one) for one in values["findings"])
    rest["client"] = Client(**values["client"])
    record = Record(**rest)
    if not record.withheld:
        raise ValueError("a quarantine record without recipients")
    return record


def _withheld(values: Mapping[str, Any], entries: Sequence[Entry]) -> Withheld:
    recipient = dict(values["recipient"])
    recipient["notify"] = tuple(recipient["notify"])
    return Withheld(
        recipient=Recipient(**recipient),
        category=Category[values["category"].upper()],
        action=Action(values["action"]),
        reasons=tuple(values["reasons"]),
        state=State(values["state"]),
        changed_at=values["changed_at"],
        # Not in records of earlier versions:
        next_hop=values.get("next_hop", ""),
        quarantine=values.get("quarantine", True),
        score=values.get("score"),
        local=values.get("local", True),
        effective=effective_of(settings, entries) if (settings := values.get("effective")) is not None else None,
    )


def _finding(values: Mapping[str, Any]) -> Finding:
    tests = tuple(Test(**test) for test in values["tests"])
    # Records that were written before there were local rules and sets of banned rules lack the keys.
    sets = tuple(values.get("banned_rules", ()))
    rule = values.get("rule")
    if rule is not None:
        rule = RuleHit(**{**rule, "action": RuleAction(rule["action"])})
    return Finding(**{**values, "kind": Kind(values["kind"]), "tests": tests, "rule": rule, "banned_rules": sets})
