"""The grounds of a decision: what of the evidence concerns one recipient, by his policy. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from contentfilter.evidence import Evidence
from contentfilter.failure import OnFailure
from contentfilter.finding import Finding, Kind, RuleAction, RuleHit
from contentfilter.policy.entry import Effective
from contentfilter.policy.settings import Local, Policy
from contentfilter.score import SpamScore, spam_score

BYPASS_OF_INSPECTOR = {
    "clamd": "bypass_virus_checks",
    "spamd": "bypass_spam_checks",
    "rspamd": "bypass_spam_checks",
    "banned": "bypass_banned_checks",
    "rules": "bypass_rule_checks",
    "header": "bypass_header_checks",
}
"""The setting by which a recipient does without an inspector."""


def wants(policy: Policy, inspector: str) -> bool:
    """Whether a recipient with this policy wants the inspector to look."""
    if inspector == "banned" and not policy.banned_rules:
        return False
    key = BYPASS_OF_INSPECTOR.get(inspector)
    return key is None or not getattr(policy, key)


def is_local(policy: Policy, *, by_domain: bool) -> bool:
    """Whether a recipient is one of ours. by_domain: what `[domains] local` says."""
    return by_domain if policy.local is Local.AUTO else policy.local is Local.YES


def concerns(finding: Finding, policy: Policy) -> bool:
    """Whether a finding counts for a recipient with this policy."""
    if finding.kind is Kind.UNCHECKED and policy.bypass_unchecked_checks:
        return False
    # Rspamd may also have a message come again, and says so for the one user whom it was asked for.
    of_one_user = finding.kind is Kind.SPAM or (finding.kind is Kind.RULE and finding.inspector == "rspamd")
    if of_one_user and finding.user != policy.spam_user:
        return False
    if finding.user and finding.user != policy.spam_user:
        return False  # a scan for somebody else's preferences failed
    if finding.banned_rules and finding.banned_rules != policy.banned_rules:
        return False
    return wants(policy, finding.inspector)


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a verdict for one recipient rests on: the findings that concern him, and what they come to.

    rules: the local rules that have hit, the deciding one first; score: None if nobody scored, or he wants no score;
    local: whether he is one of ours.
    """

    findings: tuple[Finding, ...]
    rules: tuple[RuleHit, ...]
    score: SpamScore | None
    evidence: Evidence
    effective: Effective
    local: bool

    @classmethod
    def of(cls, evidence: Evidence, effective: Effective, *, local: bool) -> Grounds:
        """What of the evidence concerns a recipient. local: whether `[domains] local` has the address."""
        policy = effective.policy
        findings = tuple(finding for finding in evidence.findings if concerns(finding, policy))
        score = spam_score(findings, effective) if wants(policy, "spamd") else None
        rules = tuple(finding.rule for finding in findings if finding.rule is not None)
        return cls(findings, rules, score, evidence, effective, is_local(policy, by_domain=local))

    @property
    def policy(self) -> Policy:
        """The settings."""
        return self.effective.policy

    @property
    def points(self) -> float | None:
        """The score as a number."""
        return self.score.points if self.score is not None else None

    def on_failure(self, failure: Finding) -> OnFailure:
        """What it means that this inspector could not answer."""
        return self.evidence.mode(failure.inspector)

    def hits(self, *actions: RuleAction) -> list[RuleHit]:
        """The local rules that ask for one of these actions, the deciding one first."""
        return [hit for hit in self.rules if hit.action in actions]
