"""The spam score of a message for one recipient: what scanners say, and what local rules and lists add. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from contentfilter.finding import Finding, Kind, Test
from contentfilter.policy.entry import Effective
from contentfilter.policy.lists import Effect

_OF_A_LIST = {Effect.ALLOW: "SENDER_ALLOWED", Effect.DENY: "SENDER_DENIED", Effect.SCORE: "SENDER_SCORED"}
"""How X-Spam-Status names what a list says."""


@dataclass(frozen=True, slots=True)
class SpamScore:
    """points: on SpamAssassin's scale; tests: what they come from."""

    points: float
    tests: tuple[Test, ...] = ()
    autolearn: str = "no"


def spam_score(findings: Sequence[Finding], effective: Effective) -> SpamScore | None:
    """The sum, None if nobody had anything to say. findings: those that concern the recipient."""
    scanned = scanned_score(findings)
    scored = [finding for finding in findings if finding.kind is Kind.RULE and finding.score]
    listing = effective.listing
    if scanned is None and not scored and listing is None:
        return None
    points = sum(finding.score for finding in scored)
    tests = tuple(test for finding in scored for test in finding.tests)
    if scanned is not None:
        points, tests = points + scanned.points, scanned.tests + tests
    if listing is not None:
        added = listing.score if listing.effect is Effect.SCORE else None
        points, tests = points + (added or 0.0), (*tests, Test(_OF_A_LIST[listing.effect], added))
    # Scores have few decimals; their sum in binary is not to fall short of a level for a rounding error.
    return SpamScore(round(points, 6), tests, scanned.autolearn if scanned else "no")


def counting(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The scanners' scores that make up their part: the greatest one, and those that are added to it."""
    scores = [finding for finding in findings if finding.kind is Kind.SPAM]
    greatest = max((one for one in scores if not one.adds), key=lambda one: one.score, default=None)
    return tuple(one for one in scores if one.adds or one is greatest)


def scanned_score(findings: Sequence[Finding]) -> SpamScore | None:
    """The scanners' part, None if none of them gave a score. The tests are those of all."""
    scores = [finding for finding in findings if finding.kind is Kind.SPAM]
    if not scores:
        return None
    points = sum(one.score for one in counting(scores))
    learned = next((one.autolearn for one in scores if one.autolearn != "no"), "no")
    return SpamScore(points, tuple(test for one in scores for test in one.tests), learned)


def format_level(level: float) -> str:
    """A score or level for people and header fields; TOML's inf and -inf as amavis users write them."""
    if math.isinf(level):
        return "9999" if level > 0 else "-9999"
    return f"{round(level, 3):g}"
