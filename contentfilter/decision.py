"""Findings and a policy make a verdict; several replies make one. Pure: no I/O, table-tested.

The gravest category that the policy withholds decides. A scanner that could not answer leaves open whether something
graver is there: then the message is deferred, unless `on_failure = "pass"` or the verdict would withhold for
something as grave anyway.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from contentfilter import reply
from contentfilter.envelope import Recipient
from contentfilter.finding import Finding, Kind
from contentfilter.policy.settings import Policy
from contentfilter.reply import Reply
from contentfilter.verdict import Action, Category, Marking, SpamMark, Verdict


class OnFailure(Enum):
    """What it means when an inspector cannot answer."""

    DEFER = "defer"
    PASS = "pass"  # noqa: S105 - not a password


_CATEGORY_OF_KIND = {
    Kind.VIRUS: Category.VIRUS,
    Kind.BANNED: Category.BANNED,
    Kind.UNCHECKED: Category.UNCHECKED,
    Kind.BAD_HEADER: Category.BAD_HEADER,
}

_WORST_OF_INSPECTOR = {
    "clamd": Category.VIRUS,
    "spamd": Category.SPAM,
    "banned": Category.BANNED,
    "header": Category.BAD_HEADER,
}
"""What an inspector that failed might have found. One that is not listed might have found anything."""

_BYPASS_OF_INSPECTOR = {
    "clamd": "bypass_virus_checks",
    "spamd": "bypass_spam_checks",
    "banned": "bypass_banned_checks",
    "header": "bypass_header_checks",
}

_REJECTIONS = {
    Category.VIRUS: reply.REJECTED_VIRUS,
    Category.BANNED: reply.REJECTED_BANNED,
    Category.UNCHECKED: reply.REJECTED_UNCHECKED,
    Category.SPAM: reply.REJECTED_SPAM,
    Category.BAD_HEADER: reply.REJECTED_BAD_HEADER,
    Category.OVERSIZED: reply.REJECTED_OVERSIZED,
}

_ALERTS = {
    Category.VIRUS: "INFECTED, message contains virus: {}",
    Category.BANNED: "BANNED, message contains {}",
    Category.UNCHECKED: "UNCHECKED, contents could not be inspected: {}",
    Category.BAD_HEADER: "BAD HEADER, {}",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a message when recipients are judged.

    size: bytes; virus_scanned: clamd answered for all of it; on_failure: by inspector, "defer" where missing.
    """

    findings: tuple[Finding, ...]
    size: int
    virus_scanned: bool = False
    on_failure: Mapping[str, OnFailure] | None = None


MOST_FINDINGS = 30
"""Findings of one kind by one inspector that are kept; a message may hold thousands of programs."""


def abridged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings, of each inspector and kind the first few and how many more there are. Scores all stay."""
    # What concerns some recipients must not crowd out what concerns others.
    seen: Counter[tuple[str, Kind, tuple[str, ...]]] = Counter()
    kept: list[Finding] = []
    for finding in findings:
        key = finding.inspector, finding.kind, finding.rules
        seen[key] += 1
        if seen[key] <= MOST_FINDINGS or finding.kind in (Kind.SPAM, Kind.FAILURE):
            kept.append(finding)
    more = ((key, count - MOST_FINDINGS) for key, count in seen.items() if key[1] not in (Kind.SPAM, Kind.FAILURE))
    kept.extend(
        Finding(kind, name, f"and {count} more", rules=rules) for (name, kind, rules), count in more if count > 0
    )
    return tuple(kept)


def wants(policy: Policy, inspector: str) -> bool:
    """Whether a recipient with this policy wants the inspector to look."""
    if inspector == "banned" and not policy.banned_rules:
        return False
    key = _BYPASS_OF_INSPECTOR.get(inspector)
    return key is None or not getattr(policy, key)


def decide(evidence: Evidence, policy: Policy, *, local: bool) -> Verdict:
    """The verdict for one recipient. local: whether fields for people (X-Spam, alert, subject tag) are added."""
    findings = [finding for finding in evidence.findings if _concerns(finding, policy)]
    spam = next((finding for finding in findings if finding.kind is Kind.SPAM), None)
    reasons = _present(findings, spam, evidence.size, policy)
    withheld = [category for category in reasons if policy.action(category) is not Action.PASS]
    category = max(withheld, default=max(reasons, default=Category.CLEAN))

    failure = _deciding_failure(findings, evidence, category if withheld else Category.CLEAN)
    if failure is not None:
        return Verdict(category, Action.DEFER, reply=reply.SCANNER_FAILED, reasons=(failure,))

    action = policy.action(category) if withheld else Action.PASS
    copy = action is not Action.DEFER and _wants_copy(policy, category, spam)
    return Verdict(
        category,
        action,
        marking=_marking(reasons, spam, evidence, policy, local=local) if action is Action.PASS else Marking(),
        quarantine=copy,
        reply=_withholding_reply(action, category, copy=copy),
        reasons=tuple(text for key in sorted(reasons, reverse=True) for text in reasons[key]) or ("nothing found",),
    )


def _concerns(finding: Finding, policy: Policy) -> bool:
    if finding.kind is Kind.SPAM and finding.user != policy.spam_user:
        return False
    if finding.user and finding.user != policy.spam_user:
        return False  # a scan for somebody else's preferences failed
    if finding.rules and finding.rules != policy.banned_rules:
        return False
    return wants(policy, finding.inspector)


def _present(findings: Sequence[Finding], spam: Finding | None, size: int, policy: Policy) -> dict[Category, list[str]]:
    """The categories that apply, each with its reasons."""
    present: dict[Category, list[str]] = {}
    for finding in findings:
        category = _CATEGORY_OF_KIND.get(finding.kind)
        if category is not None:
            where = f" in part {finding.part}" if finding.part else ""
            present.setdefault(category, []).append(f"{category.word}: {finding.name}{where}")
    if spam is not None and spam.score >= policy.kill_level:
        present[Category.SPAM] = [f"spam: score {spam.score:g} >= kill_level {policy.kill_level:g}"]
    elif spam is not None and spam.score >= policy.tag2_level:
        present[Category.SPAMMY] = [f"spammy: score {spam.score:g} >= tag2_level {policy.tag2_level:g}"]
    if 0 < policy.message_size_limit < size:
        present[Category.OVERSIZED] = [f"oversized: {size} bytes > message_size_limit {policy.message_size_limit}"]
    return present


def _deciding_failure(findings: Sequence[Finding], evidence: Evidence, withheld_for: Category) -> str | None:
    """The failure because of which nothing can be decided, if there is one."""
    modes = evidence.on_failure or {}
    for finding in findings:
        if finding.kind is not Kind.FAILURE or modes.get(finding.inspector) is OnFailure.PASS:
            continue
        if _WORST_OF_INSPECTOR.get(finding.inspector, Category.VIRUS) > withheld_for:
            return f"{finding.inspector} could not answer: {finding.name}"
    return None


def _wants_copy(policy: Policy, category: Category, spam: Finding | None) -> bool:
    if category is Category.SPAM and spam is not None and spam.score >= policy.quarantine_cutoff_level:
        return False
    return policy.wants_copy(category)


def _withholding_reply(action: Action, category: Category, *, copy: bool) -> Reply | None:
    if action is Action.DISCARD:
        return reply.QUARANTINED if copy else reply.DISCARDED
    if action is Action.REJECT:
        return _REJECTIONS.get(category, reply.REJECTED)
    return reply.DEFERRED if action is Action.DEFER else None


def _marking(
    reasons: Mapping[Category, Sequence[str]], spam: Finding | None, evidence: Evidence, policy: Policy, *, local: bool
) -> Marking:
    scanned = evidence.virus_scanned and not policy.bypass_virus_checks
    if not local:
        return Marking(virus_scanned=scanned)
    mark = None
    tag = ""
    if spam is not None and spam.score >= policy.tag_level:
        flagged = spam.score >= policy.tag2_level
        mark = SpamMark(spam.score, policy.tag_level, policy.tag2_level, flagged, spam.tests, spam.autolearn)
        tag = policy.spam_subject_tag2 if flagged else ""
    return Marking(scanned, mark, _alert(reasons), tag)


def _alert(reasons: Mapping[Category, Sequence[str]]) -> str | None:
    category = max((category for category in reasons if category in _ALERTS), default=None)
    if category is None:
        return None
    first = reasons[category][0].partition(": ")[2]
    return _ALERTS[category].format(first)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one recipient: the verdict, and the reply that is true for this recipient alone."""

    recipient: Recipient
    verdict: Verdict
    reply: Reply

    @property
    def waits_for_nobody(self) -> bool:
        """No copy is kept, or one of a message that was to pass."""
        return not self.verdict.quarantine or self.verdict.action is Action.PASS

    @property
    def refused(self) -> bool:
        """By policy or by the next hop, for good."""
        return self.reply.permanent


def must_wait(verdicts: Iterable[Verdict]) -> bool:
    """Whether a door with a single reply has to defer the message as a whole, before anything is sent.

    Sending to some and answering 4xx would have them served again at every retry.
    """
    return any(verdict.action is Action.DEFER for verdict in verdicts)


def single_reply(outcomes: Sequence[Outcome]) -> tuple[Reply, tuple[Outcome, ...]]:
    """The one reply of an SMTP transaction, and the recipients whom we must then report as failed ourselves.

    One 4xx makes it 4xx. Only 5xx: the sender's server writes the report. 5xx beside 2xx: 250, and a report of ours.
    """
    replies = [outcome.reply for outcome in outcomes]
    waiting = [answer for answer in replies if answer.temporary]
    if waiting:
        alike = len(waiting) == len(replies) and len(set(waiting)) == 1
        return (waiting[0] if alike else reply.MIXED_DEFERRAL), ()
    refused = tuple(outcome for outcome in outcomes if outcome.refused)
    if len(refused) == len(outcomes):
        return replies[0], ()
    delivered = [outcome.reply for outcome in outcomes if _served(outcome)]
    kept = [answer for answer in replies if answer.positive]
    return (delivered or kept)[0], refused


def copy_is_void(outcomes: Sequence[Outcome], answer: Reply | None) -> bool:
    """Whether everybody for whom a quarantine copy was kept will be tried again, so that each retry would add one.

    answer: the one reply of a door that has only one, which brings back all; None where each recipient has one.
    """
    kept_for = [outcome for outcome in outcomes if outcome.verdict.quarantine]
    if answer is not None:
        return bool(kept_for) and answer.temporary
    return bool(kept_for) and all(outcome.reply.temporary for outcome in kept_for)


def as_told(outcomes: Sequence[Outcome], answer: Reply) -> Sequence[Outcome]:
    """What became of the recipients in the light of a single reply: one 4xx, and who is not served yet waits."""
    if not answer.temporary:
        return outcomes
    return [
        Outcome(one.recipient, replace(one.verdict, quarantine=False), one.reply if _served(one) else answer)
        for one in outcomes
    ]


def _served(outcome: Outcome) -> bool:
    return outcome.verdict.action is Action.PASS and outcome.reply.positive


def format_level(level: float) -> str:
    """A score or level for people and header fields; TOML's inf and -inf as amavis users write them."""
    if math.isinf(level):
        return "9999" if level > 0 else "-9999"
    return f"{round(level, 3):g}"
