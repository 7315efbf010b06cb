"""What would have to change for another verdict. Pure.

Every change is tried: it is applied to what the verdict was made of, and the message is judged again. Only what then
fares otherwise is told. One step is better than two, and of several none could be left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import reduce
from itertools import combinations

from contentfilter.explain.basis import Alter, Basis, listed, on_failure, scored, with_setting, without
from contentfilter.failure import OnFailure
from contentfilter.finding import Finding, Kind, RuleAction
from contentfilter.grounds import BYPASS_OF_INSPECTOR
from contentfilter.policy.lists import Effect, ListEntry
from contentfilter.policy.settings import Policy
from contentfilter.score import format_level
from contentfilter.verdict import Action, Category, Verdict

MOST_CHANGES = 8
_MOST_TRIED = 10
"""Steps of which every combination is tried."""
_LESS = 0.001

_CATEGORY_OF_KIND = {
    Kind.VIRUS: Category.VIRUS,
    Kind.BANNED: Category.BANNED,
    Kind.UNCHECKED: Category.UNCHECKED,
    Kind.BAD_HEADER: Category.BAD_HEADER,
}
_WITHHOLDING = (RuleAction.REJECT, RuleAction.DISCARD, RuleAction.HOLD)


class Rank(IntEnum):
    """Which change to name first, where one is as good as the other."""

    LEVEL = 0
    SCORE = 1
    RULE = 2
    LIST = 3
    CATEGORY = 4
    BYPASS = 5
    FINDING = 6


@dataclass(frozen=True, slots=True)
class Step:
    """One change: in words, and done."""

    text: str
    rank: Rank
    apply: Alter


@dataclass(frozen=True, slots=True)
class Change:
    """Steps that together lead to another verdict, and that verdict."""

    steps: tuple[Step, ...]
    verdict: Verdict

    def __str__(self) -> str:
        return ", and ".join(step.text for step in self.steps)


_ORDERS: tuple[Callable[[Step], int], ...] = (
    lambda step: step.rank,
    lambda step: (step.rank - Rank.CATEGORY) % len(Rank),
    lambda step: (step.rank - Rank.BYPASS) % len(Rank),
)
"""What to prefer where it takes many steps."""


def fares_otherwise(before: Verdict, after: Verdict) -> bool:
    """Whether it makes a difference to the recipient: another action, or passed as something else."""
    return _fare(before) != _fare(after)


def _fare(verdict: Verdict) -> tuple[Action, Category | None]:
    return verdict.action, verdict.category if verdict.action is Action.PASS else None


def changes(basis: Basis, *, mail_from: str, local: bool) -> tuple[Change, ...]:
    """The least changes that lead to another verdict, MOST_CHANGES at the most. mail_from: the envelope sender."""
    before = basis.judged(local=local)
    steps = list({step.text: step for step in _steps(basis, before, mail_from or "<>")}.values())

    def tried(chosen: Iterable[Step]) -> Change | None:
        after = reduce(lambda one, step: step.apply(one), chosen, basis).judged(local=local)
        return Change(tuple(chosen), after) if fares_otherwise(before, after) else None

    for count in (1, 2):
        found = [change for chosen in combinations(steps, count) if (change := tried(chosen))]
        if found:
            break
    else:
        found = [change for order in _ORDERS if (change := _least(sorted(steps, key=order), tried))]
    unique = {str(change): change for change in found}.values()
    return tuple(sorted(unique, key=lambda change: sum(step.rank for step in change.steps))[:MOST_CHANGES])


def _least(steps: Sequence[Step], tried: Callable[[Iterable[Step]], Change | None]) -> Change | None:
    """Of all steps together as few as will do; the first ones are preferred. None if all together do not do."""
    change = tried(steps)
    for step in reversed(steps):
        if change is not None:
            change = tried([one for one in change.steps if one is not step]) or change
    if change is None or len(change.steps) > _MOST_TRIED:
        return change
    fewer = (tried(some) for count in range(len(change.steps)) for some in combinations(change.steps, count))
    return next(filter(None, fewer), change)


def _steps(basis: Basis, verdict: Verdict, sender: str) -> Iterator[Step]:
    """Whatever could make a difference, whether it does or not."""
    if verdict.shadowed is not None:
        yield _setting(basis, "shadow", False)
        return
    if verdict.action is Action.PASS:
        yield from _stricter(basis, sender)
        wanted = frozenset({verdict.category})
    else:
        wanted = frozenset(Category)
    yield from _laxer(basis, sender, wanted)


def _laxer(basis: Basis, sender: str, wanted: frozenset[Category]) -> Iterator[Step]:
    """What could let it pass, or pass as something better. wanted: what is to be got rid of."""
    if wanted & {Category.SPAM, Category.SPAMMY}:
        yield from _less_spam(basis, sender, wanted)
    for category in sorted(wanted.intersection(_CATEGORY_OF_KIND.values()), reverse=True):
        if any(_CATEGORY_OF_KIND.get(one.kind) is category for one in basis.findings):
            yield from _tolerated(basis, category)
    if Category.RULE in wanted:
        yield from _without_rules(basis)
    limit = basis.policy.message_size_limit
    if Category.OVERSIZED in wanted and 0 < limit < basis.evidence.size:
        yield _setting(basis, "message_size_limit", basis.evidence.size, "of at least")
        yield _setting(basis, "oversized_action", Action.PASS)
    yield from _answering(basis)


def _less_spam(basis: Basis, sender: str, wanted: frozenset[Category]) -> Iterator[Step]:
    listing, score = basis.effective.listing, basis.score
    denied = listing is not None and listing.effect is Effect.DENY
    if score is None and not denied:
        return
    key = "kill_level" if Category.SPAM in wanted else "tag2_level"
    level = getattr(basis.policy, key)
    if score is not None and not denied and score.points >= level:
        yield _setting(basis, key, score.points + _LESS, "above", exact(score.points))
        if math.isfinite(level):
            now = f"a score below {exact(level)} (it is {exact(score.points)})"
            yield Step(now, Rank.SCORE, scored(level - _LESS - score.points))
        yield from (_without_hit(one) for one in basis.findings if one.kind is Kind.RULE and one.score > 0)
    if listing is not None and listing.effect is not Effect.ALLOW:
        yield Step(f"without the list entry: {listing}", Rank.LIST, listed(None))
    yield _list_entry(basis, sender, Effect.ALLOW)
    if Category.SPAM in wanted:
        if basis.policy.spam_action is Action.REJECT and score is not None:
            yield _setting(basis, "dsn_cutoff_level", score.points + _LESS, "above", exact(score.points))
        yield _setting(basis, "spam_lover", True)
        yield _setting(basis, "spam_action", Action.PASS)
    yield _setting(basis, "bypass_spam_checks", True)


def _tolerated(basis: Basis, category: Category) -> Iterator[Step]:
    found = [one for one in basis.findings if _CATEGORY_OF_KIND.get(one.kind) is category]
    if f"{category.word}_lover" in Policy.model_fields:
        yield _setting(basis, f"{category.word}_lover", True)
    yield _setting(basis, f"{category.word}_action", Action.PASS)
    if category is Category.BANNED:
        # Of other sets nobody knows what they would have found, unless the message was compared with them.
        for sets in (*basis.other_sets, ()):
            yield _setting(basis, "banned_rules", sets)
    if category is Category.UNCHECKED:
        yield _setting(basis, "bypass_unchecked_checks", True)
    for key in {BYPASS_OF_INSPECTOR[one.inspector]: 0 for one in found if one.inspector in BYPASS_OF_INSPECTOR}:
        yield _setting(basis, key, True)
    what = _what(found[0]) if len(found) == 1 else f"the {len(found)} findings of {category.word}"
    yield Step(f"without {what}", Rank.FINDING, without(frozenset(found)))


def _what(finding: Finding) -> str:
    return f"{finding.kind.value}: {finding.name}" + (f" in part {finding.part}" if finding.part else "")


def _without_rules(basis: Basis) -> Iterator[Step]:
    hits = [one for one in basis.findings if one.rule is not None and one.rule.action in _WITHHOLDING]
    yield from map(_without_hit, hits)
    for key in dict.fromkeys(
        BYPASS_OF_INSPECTOR[one.inspector] for one in hits if one.inspector in BYPASS_OF_INSPECTOR
    ):
        yield _setting(basis, key, True)


def _without_hit(finding: Finding) -> Step:
    what = finding.rule.source if finding.rule is not None else finding.name
    score = f" (score {exact(finding.score)})" if finding.score else ""
    return Step(f"without the hit of {what}{score}", Rank.RULE, without(frozenset({finding})))


def _answering(basis: Basis) -> Iterator[Step]:
    """What helps against an inspector that could not answer."""
    silent = [one for one in basis.findings if one.kind is Kind.FAILURE]
    for inspector in dict.fromkeys(one.inspector for one in silent):
        mine = frozenset(one for one in silent if one.inspector == inspector)
        yield Step(f"if {inspector} answered and found nothing", Rank.LEVEL, without(mine))
        # The laxest comes last, so that it counts where all are tried together.
        yield from _other_modes(basis, inspector, basis.mode(inspector).laxer)
        if inspector in BYPASS_OF_INSPECTOR:
            yield _setting(basis, BYPASS_OF_INSPECTOR[inspector], True)


def _stricter(basis: Basis, sender: str) -> Iterator[Step]:
    """What could withhold a message that passes, or have it marked."""
    listing, score, policy = basis.effective.listing, basis.score, basis.policy
    if listing is not None:
        yield Step(f"without the list entry: {listing}", Rank.LIST, listed(None))
    else:
        yield _list_entry(basis, sender, Effect.DENY)
    for key in ("kill_level", "tag2_level"):
        level = getattr(policy, key)
        if score is not None and score.points < level:
            if math.isfinite(level):
                text = f"a score of {exact(level)} or more (it is {exact(score.points)})"
                yield Step(text, Rank.SCORE, scored(level + _LESS - score.points))
            yield _setting(basis, key, score.points, "of at most")
    for category in (Category.VIRUS, Category.BANNED, Category.UNCHECKED, Category.SPAM, Category.BAD_HEADER):
        if policy.action(category) is Action.PASS:
            lover = getattr(policy, f"{category.word}_lover")
            key, value = ("lover", False) if lover else ("action", Action.DISCARD)
            yield _setting(basis, f"{category.word}_{key}", value)
    for key in (*BYPASS_OF_INSPECTOR.values(), "bypass_unchecked_checks"):
        if getattr(policy, key):
            yield _setting(basis, key, False)
    for inspector, mode in (basis.evidence.on_failure or {}).items():
        yield from _other_modes(basis, inspector, mode.stricter)


def _other_modes(basis: Basis, inspector: str, modes: Iterable[OnFailure]) -> Iterator[Step]:
    now = basis.mode(inspector).value
    for mode in modes:
        text = f'on_failure = "{mode.value}" for {inspector} (now "{now}")'
        yield Step(text, Rank.CATEGORY, on_failure(inspector, mode))


def _setting(basis: Basis, key: str, value: object, relation: str = "=", shown: str | None = None) -> Step:
    """A setting that is another. shown: how to write the bound, where the value lies just beyond it."""
    off = key.startswith("bypass_") or value == ()
    rank = Rank.BYPASS if off else Rank.LEVEL if key.endswith("_level") else Rank.CATEGORY
    origin = basis.effective.origin(key)
    whose = f", of {origin}" if origin is not None else ""
    text = f"{key} {relation} {shown or written(value)} (now {written(getattr(basis.policy, key))}{whose})"
    return Step(text, rank, with_setting(key, value))


def written(value: object) -> str:
    """The value of a setting as it stands in a file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return exact(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(written, value))}]"
    return str(getattr(value, "value", value))


def exact(number: float) -> str:
    """A score or level with all its digits."""
    return format_level(number) if math.isinf(number) else repr(float(number)).removesuffix(".0")


def _list_entry(basis: Basis, sender: str, effect: Effect) -> Step:
    article = "an" if effect is Effect.ALLOW else "a"
    instead = f" in place of: {basis.effective.listing}" if basis.effective.listing is not None else ""
    entry = ListEntry("", "", sender, effect)
    return Step(f"{article} {effect.value} entry for {sender}{instead}", Rank.LIST, listed(entry))
