"""Findings and a policy make a verdict. Pure: no I/O, table-tested.

The gravest category that the policy withholds decides. A scanner that could not answer leaves open whether something
graver is there: then its `on_failure` says what becomes of the message, unless that is withheld for something as grave
anyway. Of several that could not answer the strictest mode counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from contentfilter import reply
from contentfilter.evidence import Evidence
from contentfilter.failure import OnFailure, strictest
from contentfilter.finding import Finding, Kind, RuleAction, RuleHit
from contentfilter.grounds import Grounds
from contentfilter.marking import marking
from contentfilter.policy.entry import Effective
from contentfilter.policy.lists import Effect
from contentfilter.reply import Reply
from contentfilter.score import format_level
from contentfilter.verdict import Action, Category, Marking, Route, Verdict

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

_REJECTIONS = {
    Category.VIRUS: reply.REJECTED_VIRUS,
    Category.BANNED: reply.REJECTED_BANNED,
    Category.RULE: reply.REJECTED_RULE,
    Category.UNCHECKED: reply.REJECTED_UNCHECKED,
    Category.SPAM: reply.REJECTED_SPAM,
    Category.BAD_HEADER: reply.REJECTED_BAD_HEADER,
    Category.OVERSIZED: reply.REJECTED_OVERSIZED,
}


def decide(evidence: Evidence, effective: Effective, *, local: bool) -> Verdict:
    """The verdict for one recipient. local: whether `[domains] local` has the address."""
    verdict = _judged(Grounds.of(evidence, effective, local=local))
    return _only_tried(verdict) if effective.policy.shadow else verdict


def _judged(grounds: Grounds) -> Verdict:
    reasons = _present(grounds)
    withheld = max((one for one in reasons if _action(grounds, one) is not Action.PASS), default=None)
    mode, silent = _open_failures(grounds, withheld or Category.CLEAN)
    if mode is OnFailure.DEFER:
        return _unanswered(grounds, Action.DEFER, withheld or max(reasons, default=Category.CLEAN), silent)
    if mode is OnFailure.QUARANTINE and (withheld is None or withheld <= Category.UNCHECKED):
        return _unanswered(grounds, Action.DISCARD, Category.UNCHECKED, silent)
    if withheld is None:
        return _passed(grounds, reasons, silent if mode is OnFailure.TAG else ())
    action = _action(grounds, withheld)
    copy = action is not Action.DEFER and _wants_copy(grounds, withheld)
    return Verdict(
        withheld,
        action,
        quarantine=copy,
        reply=_withholding_reply(grounds, action, withheld, copy=copy),
        route=Route(grounds.policy.next_hop),
        reasons=_in_order(reasons),
        local=grounds.local,
        score=grounds.points,
    )


def _passed(grounds: Grounds, reasons: Mapping[Category, Sequence[str]], tagged: Sequence[Finding]) -> Verdict:
    """Nothing is withheld. tagged: the failures that the message is marked with."""
    found = max(reasons, default=Category.CLEAN)
    category = max(found, Category.UNCHECKED) if tagged else found
    unanswered = [f"unchecked: {_what_failed(one)}" for one in tagged]
    told = {**reasons, Category.UNCHECKED: [*unanswered, *reasons.get(Category.UNCHECKED, ())]}
    return Verdict(
        category,
        Action.PASS,
        marking=marking(grounds, reasons, tagged),
        # A copy is for what was found: an outage of a scanner does not fill the quarantine.
        quarantine=_wants_copy(grounds, found),
        route=_route(grounds, category),
        reasons=_in_order(told),
        local=grounds.local,
        score=grounds.points,
    )


def _unanswered(grounds: Grounds, action: Action, category: Category, silent: Sequence[Finding]) -> Verdict:
    """Withheld because scanners could not answer: to be tried again, or with a copy."""
    discarded = action is Action.DISCARD
    return Verdict(
        category,
        action,
        quarantine=discarded,
        reply=reply.QUARANTINED if discarded else reply.SCANNER_FAILED,
        route=Route(grounds.policy.next_hop) if discarded else Route(),
        reasons=tuple(f"unchecked: {_what_failed(one)}" if discarded else _what_failed(one) for one in silent),
        local=grounds.local,
        score=grounds.points,
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


def _present(grounds: Grounds) -> dict[Category, list[str]]:
    """The categories that apply, each with its reasons."""
    present: dict[Category, list[str]] = {}
    for finding in grounds.findings:
        category = _CATEGORY_OF_KIND.get(finding.kind)
        if category is not None:
            where = f" in part {finding.part}" if finding.part else ""
            said = f" ({finding.text})" if finding.text else ""
            present.setdefault(category, []).append(f"{category.word}: {finding.name}{where}{said}")
    withholding = grounds.hits(*_ACTION_OF_RULE)
    if withholding:
        present[Category.RULE] = [
            f"rule: {hit}: {hit.matched}" if hit.matched else f"rule: {hit}" for hit in withholding
        ]
    present |= _spam(grounds)
    size, limit = grounds.evidence.size, grounds.policy.message_size_limit
    if 0 < limit < size:
        why = f"oversized: {size} bytes > message_size_limit {limit}{_by(grounds.effective, 'message_size_limit')}"
        present[Category.OVERSIZED] = [why]
    return present


def _spam(grounds: Grounds) -> dict[Category, list[str]]:
    listing, score, policy = grounds.effective.listing, grounds.score, grounds.policy
    if listing is not None and listing.effect is Effect.DENY:
        return {Category.SPAM: [f"spam: {listing}"]}
    if score is None or (listing is not None and listing.effect is Effect.ALLOW):
        return {}
    for category, key in ((Category.SPAM, "kill_level"), (Category.SPAMMY, "tag2_level")):
        level = getattr(policy, key)
        if score.points >= level:
            why = f"score {format_level(score.points)} >= {key} {format_level(level)}{_by(grounds.effective, key)}"
            return {category: [f"{category.word}: {why}"]}
    return {}


def _by(effective: Effective, key: str) -> str:
    origin = effective.origin(key)
    return f" of {origin}" if origin is not None and origin.key != "default" else ""


def _action(grounds: Grounds, category: Category) -> Action:
    if category is Category.RULE:
        first = grounds.hits(*_ACTION_OF_RULE)[0]
        # REJECT 4.x.x is a refusal for now.
        return Action.DEFER if first.status.startswith("4") else _ACTION_OF_RULE[first.action]
    action = grounds.policy.action(category)
    if category is Category.SPAM and action is Action.REJECT and _beyond(grounds, grounds.policy.dsn_cutoff_level):
        return Action.DISCARD
    return action


def _beyond(grounds: Grounds, level: float) -> bool:
    return grounds.score is not None and grounds.score.points >= level


def _open_failures(grounds: Grounds, withheld_for: Category) -> tuple[OnFailure, list[Finding]]:
    """Of the failures that leave open whether there is something graver the strictest mode, and those that have it."""
    silent = [
        one
        for one in grounds.findings
        if one.kind is Kind.FAILURE and _WORST_OF_INSPECTOR.get(one.inspector, Category.VIRUS) > withheld_for
    ]
    mode = strictest(map(grounds.on_failure, silent))
    return mode, [one for one in silent if grounds.on_failure(one) is mode]


def _what_failed(failure: Finding) -> str:
    return f"{failure.inspector} could not answer: {failure.name}"


def _wants_copy(grounds: Grounds, category: Category) -> bool:
    if category is Category.RULE:
        return grounds.hits(*_ACTION_OF_RULE)[0].action is RuleAction.HOLD
    if category is Category.SPAM and _beyond(grounds, grounds.policy.quarantine_cutoff_level):
        return False
    return grounds.policy.wants_copy(category)


def _withholding_reply(grounds: Grounds, action: Action, category: Category, *, copy: bool) -> Reply | None:
    if action is Action.DISCARD:
        return reply.QUARANTINED if copy else reply.DISCARDED
    if action is Action.PASS:
        return None
    if category is Category.RULE:
        return _reply_of_rule(grounds.hits(RuleAction.REJECT)[0])
    if action is Action.DEFER:
        return reply.DEFERRED
    told = next((one.text for one in grounds.findings if one.kind is Kind.BANNED and one.text), "")
    if category is Category.BANNED and told:
        return reply.REJECTED_BANNED.saying(f"Refused: {_ascii(told)}")
    return _REJECTIONS.get(category, reply.REJECTED)


def _reply_of_rule(hit: RuleHit) -> Reply:
    usual = reply.DEFERRED if hit.status.startswith("4") else reply.REJECTED_RULE
    return replace(usual, enhanced=hit.status or usual.enhanced, text=_ascii(hit.text) or usual.text)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")


def _route(grounds: Grounds, category: Category) -> Route:
    if not grounds.rules:
        return Route(grounds.policy.next_hop, grounds.policy.extension(category) if grounds.local else "")
    redirects = [hit.text for hit in grounds.hits(RuleAction.REDIRECT)]
    return Route(
        # Whoever it is redirected to need not be known where the recipient is at home.
        next_hop="" if redirects else grounds.policy.next_hop,
        extension=grounds.policy.extension(category) if grounds.local and not redirects else "",
        redirect=redirects[-1] if redirects else "",
        bcc=tuple(dict.fromkeys(hit.text for hit in grounds.hits(RuleAction.BCC))),
    )
