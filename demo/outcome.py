"""What became of a message, compared with what had to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from email.message import Message as ParsedMessage
from typing import Any

from demo.messages import Passes, Scene, Withheld
from demo.neighbours.postfix import DeliveredMail
from demo.stage import Stage

_FIELDS = ("X-Virus-Scanned", "X-Spam-Flag", "X-Spam-Status")
_VERDICT = re.compile(r"\) ((?:Passed|Blocked|Deferred|Rejected) [A-Z-]+(?: \([^)]*\))?),")


@dataclass(frozen=True, slots=True)
class Outcome:
    """A line of the table. problem: what is not as it had to be, "" if all is well."""

    title: str
    recipient: str
    verdict: str
    arrived: tuple[str, ...] = ()
    quarantine_id: str = ""
    problem: str = ""


Items = Sequence[Mapping[str, Any]]
"""What `quarantine list --json` says."""


def outcome(stage: Stage, scene: Scene, recipient: str, items: Items) -> Outcome:
    """What became of this message for this recipient, once Postfix's queue is empty. items: what is in quarantine."""
    expected = scene.expected[recipient]
    begun = Outcome(scene.title, recipient, _verdict(stage, scene, recipient))
    arrived = [mail for mail in stage.postfix.mail(recipient) if mail.header["Message-ID"] == scene.message_id]
    if isinstance(expected, Passes):
        return _passed(begun, arrived, expected)
    held = [item for item in items if item["subject"] == scene.message["Subject"] and recipient in item["rcpt_tos"]]
    return _withheld(begun, arrived, held, expected)


def _verdict(stage: Stage, scene: Scene, recipient: str) -> str:
    """The words of the filter's own log."""
    for line in stage.filter.log_lines():
        if scene.message_id in line and f"<{recipient}>" in line and (match := _VERDICT.search(line)):
            return match[1]
    return "not in the filter's log"


def _passed(begun: Outcome, arrived: Sequence[DeliveredMail], expected: Passes) -> Outcome:
    if len(arrived) != 1:
        return replace(begun, problem=f"it has arrived {len(arrived)} times")
    header = arrived[0].header
    fields = tuple(f"{name}: {' '.join(header[name].split())}" for name in _FIELDS if name in header)
    fields += (f"Subject: {header['Subject']}",) if expected.subject_tag else ()
    return replace(begun, arrived=fields, problem=_flaw(header, expected))


def _flaw(header: ParsedMessage, expected: Passes) -> str:
    if "X-Virus-Scanned" not in header:
        return "no X-Virus-Scanned"
    if header["X-Spam-Flag"] != expected.flag:
        return f"X-Spam-Flag is {header['X-Spam-Flag']}, not {expected.flag}"
    if not header["Subject"].startswith(expected.subject_tag):
        return "the subject is not tagged"
    return ""


def _withheld(begun: Outcome, arrived: Sequence[DeliveredMail], held: Items, expected: Withheld) -> Outcome:
    if arrived:
        return replace(begun, problem="it has arrived")
    if len(held) != 1:
        return replace(begun, problem=f"it is in quarantine {len(held)} times")
    category = held[0]["category"]
    problem = "" if category == expected.category else f"it is in quarantine as {category}, not {expected.category}"
    return replace(begun, quarantine_id=held[0]["id"], problem=problem)
