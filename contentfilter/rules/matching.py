"""Tables against a message: which rules hit, and how far we looked. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from contentfilter.finding import RuleAction, RuleHit
from contentfilter.folding import fold_field
from contentfilter.mime import Tree
from contentfilter.printable import printable
from contentfilter.rules.hits import Hit, RuleHits
from contentfilter.rules.scanner import LineHit
from contentfilter.rules.table import Table, TableKind
from contentfilter.rules.view import Excerpt, excerpts

DEFAULT_BUDGET = 2_000_000
"""Characters of text of one message that are matched."""

_MOST_OF_A_RULE = 5
_MOST_REMARKS = 100
"""WARN and INFO: hits of one rule, and of all, that are told. What decides is never left out."""

_MOST_CUT = 10
"""Parts of which it is told that not all of them was matched."""

_LONGEST_TEXT = 400
"""Characters of a text for a reply or the log."""


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The tables of a site, in any order, at most one of each kind."""

    tables: tuple[Table, ...] = ()

    def of(self, kind: TableKind) -> Table | None:
        """The table of this kind, if there is one with rules in it."""
        return next((table for table in self.tables if table.kind is kind and table.rules), None)

    def __bool__(self) -> bool:
        return any(table.rules for table in self.tables)


def match(rules: RuleSet, tree: Tree, budget: int = DEFAULT_BUDGET) -> RuleHits:
    """What the rules say of a message. budget: characters of text that are matched at most. Never raises.

    Linear time: RE2 takes each pattern over each line once, and what is matched is bounded.
    """
    tables = {kind: table for kind in TableKind if (table := rules.of(kind)) is not None}
    ledger = _Ledger()
    cut: list[Excerpt] = []
    for excerpt in excerpts(tree, frozenset(tables), budget):
        if excerpt.truncated:
            cut.append(excerpt)
        if any(map(ledger.take, _hits(tables[excerpt.kind], excerpt))):
            break
    return RuleHits(ledger.hits, tuple(_unmatched(cut)))


def _unmatched(cut: Sequence[Excerpt]) -> Iterator[tuple[str, str]]:
    for one in cut[:_MOST_CUT]:
        yield one.part, f"only the first {len(one.text)} characters were matched by {one.kind.value}"
    if len(cut) > _MOST_CUT:
        yield "", f"nor were all characters of {len(cut) - _MOST_CUT} further parts"


def _hits(table: Table, excerpt: Excerpt) -> Iterator[Hit]:
    for line_hit in table.hits(excerpt.text.encode("utf-8", "replace")):
        field = excerpt.fields[line_hit.number] if excerpt.fields else None
        rule_hit = _rule_hit(table, line_hit)
        if rule_hit.action.edits:
            # Of a header that was not read to its end, or reads otherwise to others, nothing is changed.
            if field is None or not excerpt.own or excerpt.truncated:
                continue
            rule_hit = _edit(rule_hit, line_hit, field.start, field.end)
        part = "" if excerpt.kind is TableKind.HEADER_CHECKS else excerpt.part
        name = printable(field.name) if field is not None else ""
        yield Hit(rule_hit, part, name, line_hit.rule.order.score)


def _rule_hit(table: Table, hit: LineHit) -> RuleHit:
    order = hit.rule.order
    text = printable(hit.text[:_LONGEST_TEXT])
    source = f"{table.kind.value}:{hit.rule.line}"
    return RuleHit(order.action, source, text, order.status, printable(hit.matched))


def _edit(rule_hit: RuleHit, hit: LineHit, start: int, end: int) -> RuleHit:
    order = hit.rule.order
    line = fold_field(order.field, hit.text).decode("ascii") if order.field else ""
    text = f"{order.field}: {rule_hit.text}" if order.field else ""
    return RuleHit(order.action, rule_hit.source, text, "", rule_hit.matched, start, end, line)


class _Ledger:
    """Collects hits; which of them count again, and which end it."""

    def __init__(self) -> None:
        self._kept: dict[object, Hit] = {}
        self._counts: Counter[str] = Counter()
        self._remarks = 0

    @property
    def hits(self) -> tuple[Hit, ...]:
        return tuple(self._kept.values())

    def take(self, hit: Hit) -> bool:
        """True if nothing further is to be matched."""
        rule = hit.rule
        if rule.action in (RuleAction.WARN, RuleAction.INFO):
            self._remark(hit)
        elif rule.action.edits:
            self._kept[rule.start] = hit
        elif rule.action is RuleAction.REDIRECT:
            # The last one counts, so it goes to the end.
            self._kept.pop(rule.source, None)
            self._kept[rule.source] = hit
        else:
            key = rule.text if rule.action is RuleAction.SCORE else rule.source
            self._kept.setdefault((rule.action, key), hit)
        return rule.action.ends

    def _remark(self, hit: Hit) -> None:
        self._counts[hit.rule.source] += 1
        if self._counts[hit.rule.source] <= _MOST_OF_A_RULE and self._remarks < _MOST_REMARKS:
            self._remarks += 1
            self._kept[hit.rule.source, self._counts[hit.rule.source]] = hit
