"""Evidence: all findings about a message, and what else must be known to judge them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from contentfilter.failure import OnFailure
from contentfilter.finding import Finding, Kind


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a message when recipients are judged.

    size: bytes; virus_scanned: clamd answered for all of it; on_failure: by inspector, "defer" where missing.
    """

    findings: tuple[Finding, ...]
    size: int
    virus_scanned: bool = False
    on_failure: Mapping[str, OnFailure] | None = None

    def mode(self, inspector: str) -> OnFailure:
        """What it means that this inspector could not answer."""
        return (self.on_failure or {}).get(inspector, OnFailure.DEFER)


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
