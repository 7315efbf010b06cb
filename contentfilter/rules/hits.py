"""What hit, and what it means for the header."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from contentfilter.finding import RuleAction, RuleHit
from contentfilter.message import Replacement


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule that hit.

    part: the path of the part, "" for the message's own header; field: the name of the header field, "" for a line of
    text; score: points, for SCORE.
    """

    rule: RuleHit
    part: str = ""
    field: str = ""
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class RuleHits:
    """All hits in a message, in the order of its lines.

    unmatched: what was not looked at because it was too much, for people, each with the part it is about.
    """

    hits: tuple[Hit, ...] = ()
    unmatched: tuple[tuple[str, str], ...] = ()

    @property
    def deciding(self) -> Hit | None:
        """The hit that withholds the message: REJECT or DISCARD, whichever was reached first, else the first HOLD."""
        actions = (RuleAction.REJECT, RuleAction.DISCARD)
        ending = next((hit for hit in self.hits if hit.rule.action in actions), None)
        return ending or next((hit for hit in self.hits if hit.rule.action is RuleAction.HOLD), None)


def header_edits(hits: Iterable[RuleHit]) -> tuple[Replacement, ...]:
    """The changes that these hits make in the message's header, in its order; they do not overlap.

    A field is hit once, so there is one change for it at most: IGNORE removes it, REPLACE puts another in its place,
    PREPEND puts one before it.
    """
    edits = []
    for hit in hits:
        if hit.action.edits and hit.start is not None and hit.end is not None:
            end = hit.start if hit.action is RuleAction.PREPEND else hit.end
            edits.append(Replacement(hit.start, end, hit.replacement.encode("ascii")))
    return tuple(sorted(edits, key=lambda edit: edit.start))
