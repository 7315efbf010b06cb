"""What a verdict is made of, and the ways to alter it. Pure: an altered basis is another one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from contentfilter.decision import decide
from contentfilter.evidence import Evidence
from contentfilter.failure import OnFailure
from contentfilter.finding import Finding, Kind
from contentfilter.grounds import concerns, wants
from contentfilter.policy.entry import Effective
from contentfilter.policy.lists import ListEntry
from contentfilter.policy.settings import Policy
from contentfilter.score import SpamScore, counting, spam_score
from contentfilter.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Basis:
    """What a verdict is made of.

    other_sets: sets of banned rules that the message was compared with for other recipients: what follows from them
    is known, even if it is nothing.
    """

    evidence: Evidence
    effective: Effective
    other_sets: tuple[tuple[str, ...], ...] = ()

    @property
    def policy(self) -> Policy:
        """The settings."""
        return self.effective.policy

    @property
    def score(self) -> SpamScore | None:
        """As the decision has it."""
        if not wants(self.policy, "spamd"):
            return None
        return spam_score(self.findings, self.effective)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Those that concern the recipient."""
        return tuple(one for one in self.evidence.findings if concerns(one, self.policy))

    def mode(self, inspector: str) -> OnFailure:
        """What it meant, or would have meant, that this inspector could not answer."""
        return self.evidence.mode(inspector)

    def judged(self, *, local: bool) -> Verdict:
        """The verdict."""
        return decide(self.evidence, self.effective, local=local)


Alter = Callable[[Basis], Basis]


def with_setting(key: str, value: object) -> Alter:
    """Another value of a setting."""

    def apply(basis: Basis) -> Basis:
        policy = basis.policy.model_copy(update={key: value})
        return replace(basis, effective=replace(basis.effective, policy=policy))

    return apply


def listed(entry: ListEntry | None) -> Alter:
    """Another list entry decides, or none."""
    return lambda basis: replace(basis, effective=replace(basis.effective, listing=entry))


def without(findings: frozenset[Finding]) -> Alter:
    """These findings are not there."""

    def apply(basis: Basis) -> Basis:
        rest = tuple(one for one in basis.evidence.findings if one not in findings)
        return replace(basis, evidence=replace(basis.evidence, findings=rest))

    return apply


def scored(more: float) -> Alter:
    """So many points more, of the scanner, or of the first rule that gives any."""

    def apply(basis: Basis) -> Basis:
        giving = list(counting(basis.findings)) or [one for one in basis.findings if one.score]
        first = giving[:1]
        findings = basis.evidence.findings
        # Of other scores that only the greatest made not count, none may be greater then.
        most = first[0].score + more if first and not first[0].adds else math.inf
        rivals = [one for one in basis.findings if one.kind is Kind.SPAM and not one.adds and one not in first]

        def moved(one: Finding) -> Finding:
            if one in first:
                return replace(one, score=one.score + more)
            return replace(one, score=min(one.score, most)) if one in rivals else one

        return replace(basis, evidence=replace(basis.evidence, findings=tuple(map(moved, findings))))

    return apply


def on_failure(inspector: str, mode: OnFailure) -> Alter:
    """What it means if an inspector cannot answer."""

    def apply(basis: Basis) -> Basis:
        modes = {**(basis.evidence.on_failure or {}), inspector: mode}
        return replace(basis, evidence=replace(basis.evidence, on_failure=modes))

    return apply
