"""Findings and a policy make a verdict. Pure: no I/O, table-tested.

The gravest category that the policy withholds decides. A scanner that could not answer leaves open whether something
graver is there: then its `on_failure` says what becomes of the message, unless that is withheld for something as grave
anyway. Of several that could not answer the strictest mode counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from contentfilter import reply
from contentfilter.failure import OnFailure, strictest
from contentfilter.finding import Finding, Kind, RuleAction, RuleHit
from contentfilter.policy.entry import Effective
from contentfilter.policy.lists import Effect
from contentfilter.policy.settings import Local, Policy
from contentfilter.reply import Reply
from contentfilter.rules.hits import header_edits
from contentfilter.score import SpamScore, format_level, spam_score
from contentfilter.verdict import Action, Category, Marking, Route, SpamMark, Verdict

_CATEGORY_OF_KIND = {
    Kind.VIRUS: Category.VIRUS,
    Kind.BANNED: Category.BANNED,
    Kind.UNCHECKED: Category.UNCHECKED,
    Kind.BAD_HEADER: Category.BAD_HEADER,
}

_ACTION_OF_RULE = {
    RuleAction.REJECT: Action.REJECT,
    RuleAction.DISCARD: Action.DISCARD,
    RuleAction.HOLD: Action.DISCARD,
}
"""The rules that withhold. HOLD is a discard with a copy in quarantine."""

_WORST_OF_INSPECTOR = {
    "clamd": Category.VIRUS,
    "spamd": Category.SPAM,
    "rspamd": Category.SPAM,
    "banned": Category.BANNED,
    "rules": Category.RULE,
    "header": Category.BAD_HEADER,
}
"""What an inspector that failed might have found. One that is not listed might have found anything."""

BYPASS_OF_INSPECTOR = {
    "clamd": "bypass_virus_checks",
    "spamd": "bypass_spam_checks",
    "rspamd": "bypass_spam_checks",
    "banned": "bypass_banned_checks",
    "rules": "bypass_rule_checks",
    "header": "bypass_header_checks",
}
"""The setting by which a recipient does without an inspector."""

_REJECTIONS = {
    Category.VIRUS: reply.REJECTED_VIRUS,
    Category.BANNED: reply.REJECTED_BANNED,
    Category.RULE: reply.REJECTED_RULE,
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

_KEPT_WHOLE = frozenset({Kind.SPAM, Kind.FAILURE, Kind.RULE})
"""Kinds of which each finding counts, and of which their inspectors make no more than a few."""


def abridged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings, of each inspector and kind the first few and how many more there are. What adds up all stays."""
    # What concerns some recipients must not crowd out what concerns others.
    seen: Counter[tuple[str, Kind, tuple[str, ...]]] = Counter()
    kept: list[Finding] = []
    for finding in findings:
        key = finding.inspector, finding.kind, finding.banned_rules
        seen[key] += 1
        if seen[key] <= MOST_FINDINGS or finding.kind in _KEPT_WHOLE:
            kept.append(finding)
    more = ((key, count - MOST_FINDINGS) for key, count in seen.items() if key[1] not in _KEPT_WHOLE)
    kept.extend(
        Finding(kind, name, f"and {count} more", banned_rules=sets) for (name, kind, sets), count in more if count > 0
    )
    return tuple(kept)


def wants(policy: Policy, inspector: str) -> bool:
    """Whether a recipient with this policy wants the inspector to look."""
    if inspector == "banned" and not policy.banned_rules:
        return False
    key = BYPASS_OF_INSPECTOR.get(inspector)
    return key is None or not getattr(policy, key)


def is_local(policy: Policy, *, by_domain: bool) -> bool:
    """Whether a recipient is one of ours. by_domain: what `[domains] local` says."""
    return by_domain if policy.local is Local.AUTO else policy.local is Local.YES


@dataclass(frozen=True, slots=True)
class _Case:
    """One recipient's view: the findings that concern him, and what they come to."""

    findings: tuple[Finding, ...]
    rules: tuple[RuleHit, ...]
    score: SpamScore | None
    evidence: Evidence
    effective: Effective
    local: bool

    @property
    def policy(self) -> Policy:
        return self.effective.policy

    @property
    def points(self) -> float | None:
        return self.score.points if self.score is not None else None

    def on_failure(self, failure: Finding) -> OnFailure:
        """What it means that this inspector could not answer."""
        return (self.evidence.on_failure or {}).get(failure.inspector, OnFailure.DEFER)

    def hits(self, *actions: RuleAction) -> list[RuleHit]:
        """The local rules that ask for one of these actions, the deciding one first."""
        return [hit for hit in self.rules if hit.action in actions]


def decide(evidence: Evidence, effective: Effective, *, local: bool) -> Verdict:
    """The verdict for one recipient. local: whether `[domains] local` has the address."""
    policy = effective.policy
    findings = tuple(finding for finding in evidence.findings if concerns(finding, policy))
    score = spam_score(findings, effective) if wants(policy, "spamd") else None
    rules = tuple(finding.rule for finding in findings if finding.rule is not None)
    case = _Case(findings, rules, score, evidence, effective, is_local(policy, by_domain=local))
    verdict = _judged(case)
    return _only_tried(verdict) if policy.shadow else verdict


def _judged(case: _Case) -> Verdict:
    reasons = _present(case)
    withheld = max((one for one in reasons if _action(case, one) is not Action.PASS), default=None)
    mode, silent = _open_failures(case, withheld or Category.CLEAN)
    if mode is OnFailure.DEFER:
        return _unanswered(case, Action.DEFER, withheld or max(reasons, default=Category.CLEAN), silent)
    if mode is OnFailure.QUARANTINE and (withheld is None or withheld <= Category.UNCHECKED):
        return _unanswered(case, Action.DISCARD, Category.UNCHECKED, silent)
    if withheld is None:
        return _passed(case, reasons, silent if mode is OnFailure.TAG else ())
    action = _action(case, withheld)
    copy = action is not Action.DEFER and _wants_copy(case, withheld)
    return Verdict(
        withheld,
        action,
        quarantine=copy,
        reply=_withholding_reply(case, action, withheld, copy=copy),
        route=Route(case.policy.next_hop),
        reasons=_in_order(reasons),
        local=case.local,
        score=case.points,
    )


def _passed(case: _Case, reasons: Mapping[Category, Sequence[str]], tagged: Sequence[Finding]) -> Verdict:
    """Nothing is withheld. tagged: the failures that the message is marked with."""
    found = max(reasons, default=Category.CLEAN)
    category = max(found, Category.UNCHECKED) if tagged else found
    unanswered = [f"unchecked: {_what_failed(one)}" for one in tagged]
    told = {**reasons, Category.UNCHECKED: [*unanswered, *reasons.get(Category.UNCHECKED, ())]}
    return Verdict(
        category,
        Action.PASS,
        marking=_marking(case, reasons, tagged),
        # A copy is for what was found: an outage of a scanner does not fill the quarantine.
        quarantine=_wants_copy(case, found),
        route=_route(case, category),
        reasons=_in_order(told),
        local=case.local,
        score=case.points,
    )


def _unanswered(case: _Case, action: Action, category: Category, silent: Sequence[Finding]) -> Verdict:
    """Withheld because scanners could not answer: to be tried again, or with a copy."""
    discarded = action is Action.DISCARD
    return Verdict(
        category,
        action,
        quarantine=discarded,
        reply=reply.QUARANTINED if discarded else reply.SCANNER_FAILED,
        route=Route(case.policy.next_hop) if discarded else Route(),
        reasons=tuple(f"unchecked: {_what_failed(one)}" if discarded else _what_failed(one) for one in silent),
        local=case.local,
        score=case.points,
    )


def _in_order(reasons: Mapping[Category, Sequence[str]]) -> tuple[str, ...]:
    return tuple(text for key in sorted(reasons, reverse=True) for text in reasons[key]) or ("nothing found",)


def _only_tried(verdict: Verdict) -> Verdict:
    """Passed unmarked, whatever would have been done."""
    return replace(
        verdict,
        action=Action.PASS,
        marking=Marking(),
        quarantine=False,
        reply=None,
        route=Route(verdict.route.next_hop),
        shadowed=verdict,
    )


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


def _present(case: _Case) -> dict[Category, list[str]]:
    """The categories that apply, each with its reasons."""
    present: dict[Category, list[str]] = {}
    for finding in case.findings:
        category = _CATEGORY_OF_KIND.get(finding.kind)
        if category is not None:
            where = f" in part {finding.part}" if finding.part else ""
            said = f" ({finding.text})" if finding.text else ""
            present.setdefault(category, []).append(f"{category.word}: {finding.name}{where}{said}")
    withholding = case.hits(*_ACTION_OF_RULE)
    if withholding:
        present[Category.RULE] = [
            f"rule: {hit}: {hit.matched}" if hit.matched else f"rule: {hit}" for hit in withholding
        ]
    present |= _spam(case)
    size, limit = case.evidence.size, case.policy.message_size_limit
    if 0 < limit < size:
        why = f"oversized: {size} bytes > message_size_limit {limit}{_by(case.effective, 'message_size_limit')}"
        present[Category.OVERSIZED] = [why]
    return present


def _spam(case: _Case) -> dict[Category, list[str]]:
    listing, score, policy = case.effective.listing, case.score, case.policy
    if listing is not None and listing.effect is Effect.DENY:
        return {Category.SPAM: [f"spam: {listing}"]}
    if score is None or (listing is not None and listing.effect is Effect.ALLOW):
        return {}
    for category, key in ((Category.SPAM, "kill_level"), (Category.SPAMMY, "tag2_level")):
        level = getattr(policy, key)
        if score.points >= level:
            why = f"score {format_level(score.points)} >= {key} {format_level(level)}{_by(case.effective, key)}"
            return {category: [f"{category.word}: {why}"]}
    return {}


def _by(effective: Effective, key: str) -> str:
    origin = effective.origin(key)
    return f" of {origin}" if origin is not None and origin.key != "default" else ""


def _action(case: _Case, category: Category) -> Action:
    if category is Category.RULE:
        first = case.hits(*_ACTION_OF_RULE)[0]
        # REJECT 4.x.x is a refusal for now.
        return Action.DEFER if first.status.startswith("4") else _ACTION_OF_RULE[first.action]
    action = case.policy.action(category)
    if category is Category.SPAM and action is Action.REJECT and _beyond(case, case.policy.dsn_cutoff_level):
        return Action.DISCARD
    return action


def _beyond(case: _Case, level: float) -> bool:
    return case.score is not None and case.score.points >= level


def _open_failures(case: _Case, withheld_for: Category) -> tuple[OnFailure, list[Finding]]:
    """Of the failures that leave open whether there is something graver the strictest mode, and those that have it."""
    silent = [
        one
        for one in case.findings
        if one.kind is Kind.FAILURE and _WORST_OF_INSPECTOR.get(one.inspector, Category.VIRUS) > withheld_for
    ]
    mode = strictest(map(case.on_failure, silent))
    return mode, [one for one in silent if case.on_failure(one) is mode]


def _what_failed(failure: Finding) -> str:
    return f"{failure.inspector} could not answer: {failure.name}"


def _wants_copy(case: _Case, category: Category) -> bool:
    if category is Category.RULE:
        return case.hits(*_ACTION_OF_RULE)[0].action is RuleAction.HOLD
    if category is Category.SPAM and _beyond(case, case.policy.quarantine_cutoff_level):
        return False
    return case.policy.wants_copy(category)


def _withholding_reply(case: _Case, action: Action, category: Category, *, copy: bool) -> Reply | None:
    if action is Action.DISCARD:
        return reply.QUARANTINED if copy else reply.DISCARDED
    if action is Action.PASS:
        return None
    if category is Category.RULE:
        return _reply_of_rule(case.hits(RuleAction.REJECT)[0])
    if action is Action.DEFER:
        return reply.DEFERRED
    told = next((one.text for one in case.findings if one.kind is Kind.BANNED and one.text), "")
    if category is Category.BANNED and told:
        return reply.REJECTED_BANNED.saying(f"Refused: {_ascii(told)}")
    return _REJECTIONS.get(category, reply.REJECTED)


def _reply_of_rule(hit: RuleHit) -> Reply:
    usual = reply.DEFERRED if hit.status.startswith("4") else reply.REJECTED_RULE
    return replace(usual, enhanced=hit.status or usual.enhanced, text=_ascii(hit.text) or usual.text)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")


def _marking(case: _Case, reasons: Mapping[Category, Sequence[str]], tagged: Sequence[Finding]) -> Marking:
    scanned = case.evidence.virus_scanned and not case.policy.bypass_virus_checks
    edits = header_edits(case.rules)
    if not case.local:
        return Marking(scanned, edits=edits)
    mark = _spam_mark(case)
    return Marking(scanned, mark, _alert(reasons, tagged), _subject_tag(case, mark), edits=edits)


def _spam_mark(case: _Case) -> SpamMark | None:
    score, policy, listing = case.score, case.policy, case.effective.listing
    denied = listing is not None and listing.effect is Effect.DENY
    allowed = listing is not None and listing.effect is Effect.ALLOW
    if score is None or not (denied or score.points >= policy.tag_level):
        return None
    flagged = denied or (score.points >= policy.tag2_level and not allowed)
    return SpamMark(score.points, policy.tag_level, policy.tag2_level, flagged, score.tests, score.autolearn)


def _subject_tag(case: _Case, mark: SpamMark | None) -> str:
    if mark is None:
        return ""
    policy = case.policy
    listing = case.effective.listing
    if mark.flagged and mark.score >= policy.tag3_level and policy.spam_subject_tag3:
        return policy.spam_subject_tag3
    if mark.flagged and policy.spam_subject_tag2:
        return policy.spam_subject_tag2
    return "" if listing is not None and listing.effect is Effect.ALLOW else policy.spam_subject_tag


def _alert(reasons: Mapping[Category, Sequence[str]], tagged: Sequence[Finding]) -> str | None:
    category = max((category for category in reasons if category in _ALERTS), default=None)
    # Who could not answer, and not why: addresses of scanners are nothing for strangers' eyes.
    silent = " and ".join(dict.fromkeys(one.inspector for one in tagged))
    if silent and (category is None or category < Category.UNCHECKED):
        return f"UNCHECKED, {silent} could not answer"
    if category is None:
        return None
    first = reasons[category][0].partition(": ")[2]
    return _ALERTS[category].format(first) + (f"; UNCHECKED, {silent} could not answer" if silent else "")


def _route(case: _Case, category: Category) -> Route:
    if not case.rules:
        return Route(case.policy.next_hop, case.policy.extension(category) if case.local else "")
    redirects = [hit.text for hit in case.hits(RuleAction.REDIRECT)]
    return Route(
        # Whoever it is redirected to need not be known where the recipient is at home.
        next_hop="" if redirects else case.policy.next_hop,
        extension=case.policy.extension(category) if case.local and not redirects else "",
        redirect=redirects[-1] if redirects else "",
        bcc=tuple(dict.fromkeys(hit.text for hit in case.hits(RuleAction.BCC))),
    )
