"""Who got what: the sum over everything that a recipient can find, and why a sum above one was unavoidable.

DESIGN section 2 allows duplicates only where the next hop has taken the message and that, or our answer, did not reach
the one who had to know. The reasons below are those cases, each judged by what was seen to happen, not by what the
cell was meant to do.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from tests.fakes.next_hop import Raw, Transaction
from tests.faults.mail import Mail
from tests.faults.sender import Delivery


class Reason(Enum):
    """Why a recipient may have a message twice."""

    ANSWER_LOST = "the next hop had taken it, and its answer did not come"
    UNHEARD = "our answer was on its way when the sender went"
    KILLED = "the process was killed between taking and answering"
    FORGOTTEN = "the ledger could not be written"


@dataclass(frozen=True, slots=True)
class Holdings:
    """What recipients hold of one message, by address. taken: by the next hop, once for each copy."""

    taken: Counter[str]
    quarantined: Counter[str]
    reported: Counter[str]

    def count(self, rcpt: str) -> int:
        """Without what the sender was told."""
        return self.taken[rcpt] + self.quarantined[rcpt] + self.reported[rcpt]


@dataclass(frozen=True, slots=True)
class Finding:
    """One recipient who has a message not exactly once."""

    cell: str
    rcpt: str
    problem: str
    reason: Reason | None = None

    def __str__(self) -> str:
        return f"[{self.cell}] {self.rcpt}: {self.problem}"


def copies_of(mail: Mail, transactions: Iterable[Transaction], taking: Sequence[object] = ()) -> Counter[str]:
    """Copies that a next hop took. taking: scripted answers to the final dot that hide that it did."""
    copies: Counter[str] = Counter()
    for one in transactions:
        if is_taken(one, taking) and mail.mark in one.content and not is_report(one):
            copies.update(one.rcpt_tos)
    return copies


def reports_on(mail: Mail, transactions: Iterable[Transaction], taking: Sequence[object] = ()) -> Counter[str]:
    """Recipients whom reports of ours name that the next hop took."""
    named: Counter[str] = Counter()
    for one in transactions:
        if is_taken(one, taking) and mail.mark in one.content and is_report(one):
            found = re.findall(rb"(?i)\r\nFinal-Recipient: *rfc822; *(\S+)", one.content)
            named.update(rcpt for rcpt in mail.rcpts if rcpt.encode() in found)
    return named


def is_report(transaction: Transaction) -> bool:
    """Whether it is a delivery report."""
    return b"\r\nFinal-Recipient:" in transaction.content


def is_taken(transaction: Transaction, taking: Sequence[object]) -> bool:
    """Whether the next hop has the message: a whole 2xx was its answer, or one of these steps."""
    if isinstance(transaction.dot, Raw) or not transaction.delivered:
        return transaction.complete and any(transaction.dot is step for step in taking)
    return True


def judge(cell: str, delivery: Delivery, held: Holdings, excuses: Mapping[Reason, Counter[str]]) -> list[Finding]:
    """What is wrong. excuses: by reason and recipient how many copies too many it explains."""
    findings = []
    for rcpt in delivery.mail.rcpts:
        answer = delivery.answers.get(rcpt, "")
        if not answer:
            heard = "; ".join(attempt.replies.get(rcpt, "nothing") for attempt in delivery.attempts)
            findings.append(Finding(cell, rcpt, f"stuck: not done after {len(delivery.attempts)} attempts: {heard}"))
            continue
        count = held.count(rcpt) + answer.startswith("5")
        what = (
            f"{held.taken[rcpt]} copies, {held.quarantined[rcpt]} in quarantine, {held.reported[rcpt]} reports, "
            f"the sender heard {answer}"
        )
        if count == 0:
            findings.append(Finding(cell, rcpt, f"lost: {what}"))
        findings += _duplicates(cell, rcpt, count - 1, what, excuses)
    return findings


def _duplicates(
    cell: str, rcpt: str, too_many: int, what: str, excuses: Mapping[Reason, Counter[str]]
) -> Iterable[Finding]:
    for reason, by_rcpt in excuses.items():
        explained = min(too_many, by_rcpt[rcpt])
        for _ in range(explained):
            yield Finding(cell, rcpt, f"duplicate: {what}", reason)
        too_many -= max(explained, 0)
    for _ in range(too_many):
        yield Finding(cell, rcpt, f"unexplained duplicate: {what}")


@dataclass
class Tally:
    """Everything that was counted in a run."""

    cells: Counter[str] = field(default_factory=Counter)
    messages: int = 0
    recipients: int = 0
    attempts: int = 0
    lost: int = 0
    stuck: int = 0
    unexplained: int = 0
    explained: Counter[Reason] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, dimension: str, deliveries: Sequence[Delivery], findings: Sequence[Finding]) -> list[str]:
        """Count a cell. Gives what may not be."""
        wrong = [str(one) for one in findings if one.reason is None]
        self.cells[dimension] += 1
        self.messages += len(deliveries)
        self.recipients += sum(len(one.mail.rcpts) for one in deliveries)
        self.attempts += sum(len(one.attempts) for one in deliveries)
        for one in findings:
            if one.reason is not None:
                self.explained[one.reason] += 1
            elif one.problem.startswith("lost"):
                self.lost += 1
            elif one.problem.startswith("stuck"):
                self.stuck += 1
            else:
                self.unexplained += 1
        return wrong

    def lines(self) -> list[str]:
        """The summary."""
        return [
            *(f"{count:6} cells: {dimension}" for dimension, count in self.cells.items()),
            f"{self.cells.total():6} cells in all",
            f"{self.messages:6} messages to {self.recipients} recipients in {self.attempts} attempts",
            f"{self.lost:6} lost",
            f"{self.stuck:6} not done when the fault was gone",
            *(f"{self.explained[reason]:6} duplicates: {reason.value}" for reason in Reason),
            f"{self.unexplained:6} duplicates without an explanation",
            *(f"{count:6} {note}" for note, count in self.notes.items()),
        ]

    def values(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "cells": dict(self.cells),
            "messages": self.messages,
            "recipients": self.recipients,
            "attempts": self.attempts,
            "lost": self.lost,
            "stuck": self.stuck,
            "duplicates": {reason.value: self.explained[reason] for reason in Reason},
            "unexplained": self.unexplained,
            "notes": dict(self.notes),
        }

    def merge(self, values: Mapping[str, Any]) -> None:
        """Add what another process has counted, as its values."""
        self.cells.update(values["cells"])
        self.messages += values["messages"]
        self.recipients += values["recipients"]
        self.attempts += values["attempts"]
        self.lost += values["lost"]
        self.stuck += values["stuck"]
        self.unexplained += values["unexplained"]
        self.explained.update({Reason(reason): count for reason, count in values["duplicates"].items()})
        self.notes.update(values["notes"])

    def write(self, file: Path) -> None:
        """As JSON."""
        file.write_text(json.dumps(self.values(), indent=2) + "\n")
