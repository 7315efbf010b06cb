"""A text of many lines against many rules, without looking at the lines that none can hit.

The text goes through in blocks of lines. For each block RE2 tells which patterns occur in it at all (a filter that
first looks for the words that a pattern needs); since every pattern is compiled to match within a line only, that is
no more and no less than the patterns that match some line of the block. Only then, and only these rules, are tried line
by line, in order. Blocks are small so that one that holds the words of a pattern is likely to hold a match.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import re2

from contentfilter.finding import RuleAction
from contentfilter.rules.order import Order, texts_of
from contentfilter.rules.pattern import Match, Pattern, options

BLOCK = 2000
"""Bytes of a block at least; it ends with its line."""

_MOST_TOGETHER = 1000
"""Patterns of one filter: the automaton of their words has to fit into RE2's 8 MB."""

_SENTINEL = b"\x01contentfilter/end\x01"
"""A last line of each block that the filter has to find. RE2's sets answer "nothing" when they run out of memory."""

_SHOWN_BEFORE, _SHOWN = 60, 200


@dataclass(frozen=True, slots=True)
class Condition:
    """An if: a pattern, and whether it has to match."""

    pattern: Pattern
    positive: bool

    def holds(self, line: bytes) -> bool:
        """Whether the block of rules behind it applies to the line."""
        return (self.pattern.search(line) is not None) is self.positive


@dataclass(frozen=True, slots=True)
class Rule:
    """A line of a table. line: its number in the file; conditions: the ifs that it stands in, the outermost first."""

    line: int
    order: Order
    pattern: Pattern
    positive: bool
    conditions: tuple[Condition, ...] = ()

    @property
    def needs(self) -> Pattern | None:
        """A pattern without which the rule cannot hit; None if it may hit any line."""
        if self.positive:
            return self.pattern
        return next((one.pattern for one in reversed(self.conditions) if one.positive), None)


@dataclass(frozen=True, slots=True)
class LineHit:
    """A rule that decides for a line.

    number: of the line in the text, from 0; text: of the rule, with the groups put in; matched: the line, or of a long
    one the piece around the match.
    """

    number: int
    rule: Rule
    text: str
    matched: str


class Scanner:
    """The rules of a table, put together for matching. Safe to use from several threads."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)
        needed: dict[Pattern, list[int]] = {}
        self._always: list[int] = []
        for index, rule in enumerate(rules):
            if rule.needs is None:
                self._always.append(index)
            else:
                needed.setdefault(rule.needs, []).append(index)
        self._filters = tuple(_filters(tuple(needed), needed))

    def hits(self, text: bytes) -> Iterator[LineHit]:
        """The hits in UTF-8 text whose lines end in LF, in order. Empty lines never hit, as in Postfix."""
        number = 0
        for block in _blocks(text):
            candidates = self._candidates(block)
            if any(self._rules[index].order.action is not RuleAction.DUNNO for index in candidates):
                yield from self._decided(block, number, candidates)
            number += block.count(b"\n")

    def _candidates(self, block: bytes) -> list[int]:
        found = set(self._always)
        guarded = block + _SENTINEL
        for one in self._filters:
            found.update(one.candidates(guarded))
        return sorted(found)

    def _decided(self, text: bytes, first: int, candidates: Sequence[int]) -> Iterator[LineHit]:
        for number, line in enumerate(text.split(b"\n"), first):
            if line and (found := self._first(line, candidates)) is not None:
                rule, match = found
                if rule.order.action is not RuleAction.DUNNO:
                    yield _line_hit(number, rule, line, match)

    def _first(self, line: bytes, candidates: Sequence[int]) -> tuple[Rule, Match | None] | None:
        known: dict[int, bool] = {}
        for index in candidates:
            rule = self._rules[index]
            if rule.conditions and not _all_hold(rule.conditions, line, known):
                continue
            match = rule.pattern.search(line)
            if (match is not None) is rule.positive:
                return rule, match
        return None


def _all_hold(conditions: Sequence[Condition], line: bytes, known: dict[int, bool]) -> bool:
    for condition in conditions:
        key = id(condition)
        if key not in known:
            known[key] = condition.holds(line)
        if not known[key]:
            return False
    return True


def _line_hit(number: int, rule: Rule, line: bytes, match: Match | None) -> LineHit:
    start = max(0, match.start() - _SHOWN_BEFORE) if match is not None and len(line) > _SHOWN else 0
    groups = texts_of(match.groups(b"")) if match is not None else ()
    matched = line[start : start + _SHOWN].decode("utf-8", "ignore")
    return LineHit(number, rule, rule.order.text.expand(groups), matched)


def _blocks(text: bytes) -> Iterator[bytes]:
    """Each ends in LF."""
    at = 0
    while at < len(text):
        end = text.find(b"\n", at + BLOCK) + 1
        if not end:
            yield text[at:] + b"\n"
            return
        yield text[at:end]
        at = end


class _Filter:
    """Some patterns, and for each the rules that need it."""

    def __init__(self, patterns: Sequence[Pattern], needed: Mapping[Pattern, Sequence[int]]) -> None:
        """Raises re2.error if they are too much for one."""
        self._rules = [needed[pattern] for pattern in patterns]
        self._all = [index for indices in self._rules for index in indices]
        self._filter = re2.Filter()
        for pattern in patterns:
            self._filter.Add(pattern.expression, options(ignore_case=pattern.ignore_case))
        self._sentinel = self._filter.Add(re2.escape(_SENTINEL), options(ignore_case=False))
        self._filter.Compile()
        self.works = self._sentinel in (self._filter.Match(_SENTINEL) or ())

    def candidates(self, guarded: bytes) -> Iterator[int]:
        """The rules that may hit a line of a block that ends in the sentinel: all if the filter failed."""
        found = self._filter.Match(guarded) or ()
        if self._sentinel not in found:
            yield from self._all
            return
        for number in found:
            if number != self._sentinel:
                yield from self._rules[number]


class _Single:
    """One pattern that no filter takes."""

    def __init__(self, pattern: Pattern, rules: Sequence[int]) -> None:
        self._pattern = pattern
        self._rules = rules

    def candidates(self, guarded: bytes) -> Iterator[int]:
        """As :meth:`_Filter.candidates`."""
        if self._pattern.search(guarded) is not None:
            yield from self._rules


def _filters(patterns: Sequence[Pattern], needed: Mapping[Pattern, Sequence[int]]) -> Iterator[_Filter | _Single]:
    """As few as will do: where they are too much for one, they are halved."""
    if not patterns:
        return
    if len(patterns) <= _MOST_TOGETHER and (whole := _filter(patterns, needed)) is not None:
        yield whole
    elif len(patterns) == 1:
        yield _Single(patterns[0], needed[patterns[0]])
    else:
        half = len(patterns) // 2
        yield from _filters(patterns[:half], needed)
        yield from _filters(patterns[half:], needed)


def _filter(patterns: Sequence[Pattern], needed: Mapping[Pattern, Sequence[int]]) -> _Filter | None:
    try:
        made = _Filter(patterns, needed)
    except re2.error:
        return None
    return made if made.works else None
