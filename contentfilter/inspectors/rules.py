"""Local rules: whatever the site's tables say of a message, as findings."""

from __future__ import annotations

from collections.abc import Iterator

from contentfilter.finding import Finding, Kind, RuleAction, RuleHit, Test
from contentfilter.inspectors import Subject
from contentfilter.large_work import in_thread
from contentfilter.rules import DEFAULT_BUDGET, Hit, RuleSet, match

INLINE_SIZE = 16_384
INLINE_PARTS = 20
"""Bytes and parts of a message that is matched at once; a larger one goes to a thread, where RE2 lets others run."""


class RulesInspector:
    """Matches the header, the parts and the text, in every reading.

    budget: characters of text of a message that are matched at most.
    """

    name = "rules"

    def __init__(self, rules: RuleSet, budget: int = DEFAULT_BUDGET) -> None:
        self._rules = rules
        self._budget = budget

    async def inspect(self, subject: Subject) -> tuple[Finding, ...]:
        """One finding for each hit that counts, in the order of the message; what withholds it comes first.

        Text beyond the budget is no failure; a finding with the action INFO says so.
        """
        if not self._rules:
            return ()
        if len(subject.message) <= INLINE_SIZE and len(subject.tree.parts) <= INLINE_PARTS:
            return tuple(self._findings(subject))
        return await in_thread(lambda: tuple(self._findings(subject)))

    def _findings(self, subject: Subject) -> Iterator[Finding]:
        found = match(self._rules, subject.tree, self._budget)
        deciding = found.deciding
        if deciding is not None:
            yield _finding(deciding)
        yield from (_finding(hit) for hit in found.hits if hit is not deciding)
        for part, problem in found.unmatched:
            hit = RuleHit(RuleAction.INFO, self.name, problem)
            yield Finding(Kind.RULE, self.name, problem, part, rule=hit)


def _finding(hit: Hit) -> Finding:
    tests = (Test(hit.rule.text, hit.score),) if hit.rule.action is RuleAction.SCORE else ()
    where = f" in {hit.field}" if hit.field else ""
    return Finding(Kind.RULE, "rules", f"{hit.rule}{where}", hit.part, hit.score, tests, rule=hit.rule)
