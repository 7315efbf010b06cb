"""Markings: what a message that passes says of itself in the header of one recipient's copy. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contentfilter.finding import Finding
from contentfilter.grounds import Grounds
from contentfilter.policy.lists import Effect
from contentfilter.rules.hits import header_edits
from contentfilter.verdict import Category, Marking, SpamMark

_ALERTS = {
    Category.VIRUS: "INFECTED, message contains virus: {}",
    Category.BANNED: "BANNED, message contains {}",
    Category.UNCHECKED: "UNCHECKED, contents could not be inspected: {}",
    Category.BAD_HEADER: "BAD HEADER, {}",
}


def marking(grounds: Grounds, reasons: Mapping[Category, Sequence[str]], tagged: Sequence[Finding]) -> Marking:
    """What is written into the header. reasons: by category; tagged: the failures that the message is marked with."""
    scanned = grounds.evidence.virus_scanned and not grounds.policy.bypass_virus_checks
    edits = header_edits(grounds.rules)
    if not grounds.local:
        return Marking(scanned, edits=edits)
    mark = _spam_mark(grounds)
    return Marking(scanned, mark, _alert(reasons, tagged), _subject_tag(grounds, mark), edits=edits)


def _spam_mark(grounds: Grounds) -> SpamMark | None:
    score, policy, listing = grounds.score, grounds.policy, grounds.effective.listing
    denied = listing is not None and listing.effect is Effect.DENY
    allowed = listing is not None and listing.effect is Effect.ALLOW
    if score is None or not (denied or score.points >= policy.tag_level):
        return None
    flagged = denied or (score.points >= policy.tag2_level and not allowed)
    return SpamMark(score.points, policy.tag_level, policy.tag2_level, flagged, score.tests, score.autolearn)


def _subject_tag(grounds: Grounds, mark: SpamMark | None) -> str:
    if mark is None:
        return ""
    policy = grounds.policy
    listing = grounds.effective.listing
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
