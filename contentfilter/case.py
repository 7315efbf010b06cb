"""A case: one message and all that is known and decided about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from contentfilter.envelope import Envelope, Recipient
from contentfilter.evidence import Evidence
from contentfilter.finding import Kind
from contentfilter.message import Message
from contentfilter.mime import Tree
from contentfilter.policy.entry import Effective
from contentfilter.reply import Reply
from contentfilter.score import scanned_score
from contentfilter.unpack.unpacked import NOTHING, Unpacked
from contentfilter.verdict import Action, Marking, Verdict


@dataclass(frozen=True, slots=True)
class Copy:
    """What the copies of one group have in common: what is written into them and where they go."""

    marking: Marking
    next_hop: str = ""
    bcc: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One message and all that is known of it. effective and verdicts stand in the order of the envelope's recipients.

    harm: what it did to the filter while it was judged, "" for none.
    Whoever has a case closes what was opened for it.
    """

    mail_id: str
    envelope: Envelope
    message: Message
    tree: Tree
    evidence: Evidence
    effective: tuple[Effective, ...]
    verdicts: tuple[Verdict, ...]
    opened: Unpacked = NOTHING
    harm: str = ""

    @property
    def score(self) -> float | None:
        """The spam score by the configured preferences, or the first there is; None if nobody scored."""
        scores = [finding for finding in self.evidence.findings if finding.kind is Kind.SPAM]
        user = min((one.user for one in scores), key=bool, default="")
        scanned = scanned_score([one for one in scores if one.user == user])
        return scanned.points if scanned is not None else None

    @property
    def recipients(self) -> list[tuple[Recipient, Verdict]]:
        """Each recipient with his verdict."""
        return list(zip(self.envelope.recipients, self.verdicts, strict=True))

    def text(self, name: str) -> str:
        """The decoded value of a field of the header, "" if it has none."""
        field = self.tree.header.get(name)
        return field.text if field else ""

    def groups(self, replies: Sequence[Reply | None]) -> dict[Copy, list[int]]:
        """The recipients still to be served, by what their copy of the message looks like and where it goes."""
        groups: dict[Copy, list[int]] = {}
        # A marking may be long, and is looked at once for all who share a verdict.
        of_verdict: dict[int, list[int]] = {}
        for index, verdict in enumerate(self.verdicts):
            if verdict.action is not Action.PASS or replies[index] is not None:
                continue
            if id(verdict) not in of_verdict:
                marking = verdict.marking
                if verdict.quarantine:
                    marking = replace(marking, quarantine_id=self.mail_id)
                copy = Copy(marking, verdict.route.next_hop, verdict.route.bcc)
                of_verdict[id(verdict)] = groups.setdefault(copy, [])
            of_verdict[id(verdict)].append(index)
        return groups
