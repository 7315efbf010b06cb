"""Local rules as an inspector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from contentfilter.envelope import Envelope
from contentfilter.finding import Finding, Kind, RuleAction, Test
from contentfilter.inspectors import Subject
from contentfilter.inspectors import rules as module
from contentfilter.inspectors.rules import RulesInspector
from contentfilter.message import Message
from contentfilter.mime import parse
from contentfilter.rules import RuleSet, TableKind
from contentfilter.rules import parse as parse_table

RAW = b"Subject: cheap pills\r\nX-Mailer: m\r\n\r\nbuy them\r\nor not\r\n"
TABLES = {
    TableKind.HEADER_CHECKS: "/^Subject:.*pills/ SCORE 2.5 PILLS\n/^X-Mailer/ IGNORE",
    TableKind.BODY_CHECKS: "/buy/ WARN tempting\n/or not/ REJECT 5.7.2 no",
}


async def findings(raw: bytes, budget: int = 10_000) -> tuple[Finding, ...]:
    tables = tuple(parse_table(text, kind.value, kind) for kind, text in TABLES.items())
    inspector = RulesInspector(RuleSet(tables), budget)
    assert inspector.name == "rules"
    return await inspector.inspect(Subject("id", Envelope("", ()), Message(raw), parse(raw)))


async def test_hits_become_findings_and_what_withholds_comes_first() -> None:
    found = await findings(RAW)
    assert {(one.kind, one.inspector) for one in found} == {(Kind.RULE, "rules")}
    assert [(one.name, one.part) for one in found] == [
        ("body_checks:2: REJECT 5.7.2 no", "1"),
        ("header_checks:1: SCORE PILLS in Subject", ""),
        ("header_checks:2: IGNORE in X-Mailer", ""),
        ("body_checks:1: WARN tempting", "1"),
    ]
    assert (found[1].score, found[1].tests) == (2.5, (Test("PILLS", 2.5),))
    assert [one.score for one in found if one is not found[1]] == [0, 0, 0]
    rule = found[2].rule
    assert rule is not None
    assert (rule.action, rule.start, rule.end) == (RuleAction.IGNORE, 22, 35)


async def test_the_budget_is_told() -> None:
    found = await findings(RAW, 8)
    assert found[-1].name == "only the first 8 characters were matched by body_checks"
    assert found[-1].rule is not None
    assert found[-1].rule.action is RuleAction.INFO


@pytest.mark.parametrize("limit", ["INLINE_SIZE", "INLINE_PARTS"])
async def test_a_large_message_is_matched_in_a_thread_with_the_same_result(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = await findings(RAW)
    monkeypatch.setattr(module, limit, 0)
    threads: list[object] = []
    in_thread = module.in_thread

    async def watched(work: Callable[[], Any]) -> Any:
        threads.append(work)
        return await in_thread(work)

    monkeypatch.setattr(module, "in_thread", watched)
    assert await findings(RAW) == at_once
    assert len(threads) == 1


async def test_without_rules_nothing_is_found() -> None:
    subject = Subject("id", Envelope("", ()), Message(RAW), parse(RAW))
    assert await RulesInspector(RuleSet()).inspect(subject) == ()
