"""Why a message fared as it did for one recipient, out of what was found and the settings that applied. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from contentfilter.evidence import Evidence
from contentfilter.explain.basis import Basis
from contentfilter.explain.counterfactual import Change, changes, fares_otherwise
from contentfilter.finding import Finding, Kind, RuleHit, Test
from contentfilter.grounds import BYPASS_OF_INSPECTOR, concerns, wants
from contentfilter.policy.entry import Effective, Entry
from contentfilter.policy.lists import Effect, ListEntry
from contentfilter.policy.settings import Policy
from contentfilter.score import counting
from contentfilter.verdict import Category, Verdict


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting that mattered. origin: the entry that gave it, None for the built-in default."""

    key: str
    value: object
    origin: Entry | None = None


@dataclass(frozen=True, slots=True)
class Addend:
    """A part of the spam score. what: who gave it."""

    what: str
    points: float
    tests: tuple[Test, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that led to a verdict, and what would have led to another.

    ignored: findings that the recipient's settings leave out; threshold: the level or limit that was reached, or the
    next one that was not; rules: lines that hit;
    again: the verdict that this program would come to now, where that is another one, as after an update.
    """

    ignored: tuple[Finding, ...]
    score: float | None
    addends: tuple[Addend, ...]
    threshold: Setting | None
    settings: tuple[Setting, ...]
    listing: ListEntry | None
    rules: tuple[RuleHit, ...]
    changes: tuple[Change, ...]
    again: Verdict | None = None


def explain(
    evidence: Evidence,
    effective: Effective,
    verdict: Verdict,
    *,
    mail_from: str,
    others: Iterable[Policy] = (),
) -> Explanation:
    """The explanation of a verdict. mail_from: the envelope sender, "" for the null sender.

    others: the policies of the message's other recipients.
    """
    sets = {one.banned_rules for one in others if wants(one, "banned")}
    basis = Basis(evidence, effective, tuple(sorted(sets - {effective.policy.banned_rules})))
    again = basis.judged(local=verdict.local)
    same = not fares_otherwise(verdict, again)
    score = basis.score
    return Explanation(
        tuple(one for one in evidence.findings if not concerns(one, effective.policy)),
        score.points if score is not None else None,
        tuple(_addends(basis)) if score is not None else (),
        _threshold(basis, again),
        tuple(_setting(effective, key) for key in dict.fromkeys(_keys(basis, again))),
        effective.listing,
        tuple(one.rule for one in basis.findings if one.rule is not None),
        changes(basis, mail_from=mail_from, local=verdict.local) if same else (),
        None if same else again,
    )


def _setting(effective: Effective, key: str) -> Setting:
    return Setting(key, getattr(effective.policy, key), effective.origin(key))


def _addends(basis: Basis) -> Iterator[Addend]:
    for one in counting(basis.findings):
        yield Addend(one.inspector, one.score, one.tests)
    for one in basis.findings:
        if one.kind is Kind.RULE and one.score:
            yield Addend(one.rule.source if one.rule is not None else one.name, one.score, one.tests)
    listing = basis.effective.listing
    if listing is not None and listing.effect is Effect.SCORE:
        yield Addend(str(listing), listing.score)


def _threshold(basis: Basis, verdict: Verdict) -> Setting | None:
    category = (verdict.shadowed or verdict).category
    listing = basis.effective.listing
    if category is Category.OVERSIZED:
        return _setting(basis.effective, "message_size_limit")
    if basis.score is None or (listing is not None and listing.effect is not Effect.SCORE):
        return None
    if category is Category.SPAM:
        return _setting(basis.effective, "kill_level")
    if category is Category.SPAMMY or basis.score.points < basis.policy.tag2_level:
        return _setting(basis.effective, "tag2_level")
    return _setting(basis.effective, "kill_level")


def _keys(basis: Basis, verdict: Verdict) -> Iterator[str]:
    """The settings without which the verdict cannot be understood."""
    policy = basis.policy
    present = {_WORDS[one.kind] for one in basis.findings if one.kind in _WORDS}
    category = (verdict.shadowed or verdict).category
    if basis.score is not None:
        yield from ("tag2_level", "kill_level")
        for key in ("dsn_cutoff_level", "quarantine_cutoff_level"):
            if math.isfinite(getattr(policy, key)):
                yield key
    # What is unchecked because somebody could not answer follows from on_failure, not from these settings.
    of_category = {category.word} if category is not Category.UNCHECKED else set()
    for word in sorted(present | of_category):
        yield from (key for key in (f"{word}_action", f"{word}_quarantine") if key in Policy.model_fields)
        if getattr(policy, f"{word}_lover", False):
            yield f"{word}_lover"
    if "banned" in present:
        yield "banned_rules"
    yield from (key for key in (*BYPASS_OF_INSPECTOR.values(), "bypass_unchecked_checks") if getattr(policy, key))
    yield from (key for key in ("message_size_limit", "spam_user", "shadow") if getattr(policy, key))


_WORDS = {
    Kind.VIRUS: "virus",
    Kind.BANNED: "banned",
    Kind.UNCHECKED: "unchecked",
    Kind.BAD_HEADER: "bad_header",
}
