"""Attachments of a kind that is not accepted: by the rules that each recipient's policy names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from contentfilter.errors import InspectorError
from contentfilter.finding import Finding, Kind
from contentfilter.inspectors import Content, Subject
from contentfilter.inspectors.banned_contents import Contents, OverBudgetError
from contentfilter.inspectors.banned_matching import Decision, Matcher
from contentfilter.inspectors.banned_rules import RuleSet
from contentfilter.large_work import in_thread

INLINE_LEAVES = 8
"""Up to so many leaves are judged at once; more go to a thread. Detecting one takes up to a millisecond of CPU."""

INLINE_COMPARISONS = 1000
"""Up to so many comparisons of contents and names with rules are made at once: about a millisecond."""

_LONG_NAME = 128
_FORMS_OF_LONG_NAME = 50
"""A name longer than that may be cut in many places, and each form counts."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """What one set says of a message.

    decisions: by the content's number; incomplete: not all contents could be compared; failure: why there is no answer.
    """

    decisions: Mapping[int, Decision] = field(default_factory=dict)
    incomplete: bool = False
    failure: str = ""


class BannedInspector:
    """Looks at every part of the tree, in every reading, and at what is in containers. sets: all that there are."""

    name = "banned"

    def __init__(self, sets: Iterable[RuleSet]) -> None:
        self._sets = {rules.name: Matcher.of(rules) for rules in sets}

    async def inspect(self, subject: Subject) -> tuple[Finding, ...]:
        """For each of subject.banned_rules a finding for each content that is banned, or a failure.

        A set that there is not leaves open what is banned: that is a failure as well, never an empty result.
        """
        if self._is_little(subject):
            return tuple(self._findings(subject))
        return await in_thread(lambda: tuple(self._findings(subject)))

    def _is_little(self, subject: Subject) -> bool:
        contents: tuple[Content, ...] = (*subject.tree.parts, *subject.opened.members)
        if sum(one.is_leaf for one in contents) > INLINE_LEAVES:
            return False
        rules = sum(len(matcher.tests) for matcher in self._asked(subject))
        forms = [_FORMS_OF_LONG_NAME if len(name) > _LONG_NAME else 1 for one in contents for name in one.names]
        return (len(contents) + sum(forms)) * rules <= INLINE_COMPARISONS

    def _asked(self, subject: Subject) -> tuple[Matcher, ...]:
        """The sets that somebody wants, each once."""
        names = dict.fromkeys(name for names in subject.banned_rules for name in names)
        return tuple(self._sets[name] for name in names if name in self._sets)

    def _findings(self, subject: Subject) -> Iterator[Finding]:
        asked = self._asked(subject)
        with Contents(
            subject,
            minds_places=any(matcher.minds_places for matcher in asked),
            minds_text=any(matcher.minds_text for matcher in asked),
        ) as contents:
            judged = {matcher.rules.name: _judged(matcher, contents) for matcher in asked}
            for names in dict.fromkeys(subject.banned_rules):
                yield from self._findings_for(names, judged, contents)

    def _findings_for(
        self, names: tuple[str, ...], judged: Mapping[str, _Judged], contents: Contents
    ) -> Iterator[Finding]:
        """What the sets of one recipient say, asked one after the other."""
        unknown = next((name for name in names if name not in judged), None)
        if unknown is not None:
            yield Finding(Kind.FAILURE, self.name, no_such_set(unknown, self._sets), banned_rules=names)
            return
        failure = next((judged[name].failure for name in names if judged[name].failure), "")
        if failure:
            yield Finding(Kind.FAILURE, self.name, failure, banned_rules=names)
            return
        by_set = [judged[name].decisions for name in names]
        for number in sorted({number for decisions in by_set for number in decisions}):
            decision = next(decisions[number] for decisions in by_set if number in decisions)
            if not decision.allow:
                path = contents.all[number].path
                yield Finding(Kind.BANNED, self.name, decision.what, path, banned_rules=names, text=decision.text)
        if any(judged[name].incomplete for name in names):
            yield Finding(
                Kind.UNCHECKED, self.name, "more parts and names than banned rules look at", banned_rules=names
            )


def _judged(matcher: Matcher, contents: Contents) -> _Judged:
    decisions: dict[int, Decision] = {}
    try:
        for number, one in enumerate(contents.all):
            decision = matcher.decide(one)
            if decision is not None:
                decisions[number] = decision
    except OverBudgetError:
        return _Judged(decisions, incomplete=True)
    except InspectorError as error:
        return _Judged(failure=str(error))
    return _Judged(decisions)


def no_such_set(name: str, known: Iterable[str]) -> str:
    """What is wrong with the name of a set, and what would be right."""
    known = sorted(known)
    close: Sequence[str] = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
    return f"there is no set of banned rules called {name}; {hint}"
