"""What counts as an answer of Rspamd, and what it comes to on SpamAssassin's scale."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter.envelope import Envelope, Recipient
from contentfilter.finding import Finding, Kind, RuleAction, RuleHit
from contentfilter.inspectors.rspamd_answer import MOST_SYMBOLS, Answer, AnswerError, Scale, reason
from contentfilter.message import Message
from contentfilter.stored import finding_of, finding_values
from contentfilter.verdict import Action, Category
from quarantine.record import Record, State, Withheld

WITHHELD = Withheld(Recipient("bob@example.org"), Category.SPAM, Action.DISCARD, (), State.PENDING)

SYMBOL = {"name": "BAD_SUBJECT", "score": 3.5, "metric_score": 3.5, "options": ["x"]}


def reply(**changes: Any) -> bytes:
    values = {"is_skipped": False, "score": 7.5, "required_score": 15.0, "action": "add header", "symbols": {}}
    return json.dumps({**values, **changes}).encode()


def test_an_answer() -> None:
    symbols = {"ONE": {"score": 1}, "BAD_SUBJECT": SYMBOL, "GOOD": {"score": -2.0}}
    assert Answer.parse(reply(symbols=symbols, milter={"add_headers": {"X-Evil": "1"}})) == Answer(
        7.5, "add header", (("BAD_SUBJECT", 3.5), ("GOOD", -2.0), ("ONE", 1.0))
    )


def test_a_score_in_whole_points_and_no_symbols() -> None:
    assert Answer.parse(b'{"score": 3, "action": "no action"}') == Answer(3.0, "no action")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "EOF"),
        (b"pong\r\n", "JSON"),
        (b"null", "it"),
        (b"[]", "it"),
        (b'"reject"', "it"),
        (b"{}", "score"),
        (b'{"error": "timeout"}', "score"),
        (b'{"score": 1.0}', "action"),
        (b'{"action": "no action"}', "score"),
        (reply()[:-1], "EOF"),
        (reply() + b"{}", "trailing"),
        (reply(score=None), "score"),
        (reply(score="1.0"), "score"),
        (reply(score=True), "score"),
        (reply(score=[1.0]), "score"),
        (reply(score=math.nan), "score"),
        (reply(score=math.inf), "score"),
        (reply(score=1e300), "score"),
        (reply(score=-1e300), "score"),
        (b'{"score": 1e999, "action": "no action"}', "score"),
        (b'{"score": ' + b"9" * 5000 + b', "action": "no action"}', "out of range"),
        (reply(action=""), "action"),
        (reply(action=None), "action"),
        (reply(action=4), "action"),
        (reply(action={"reject": True}), "action"),
        (reply(action="x" * 10_000), "action"),
        (reply(symbols=[]), "symbols"),
        (reply(symbols="A,B"), "symbols"),
        (reply(symbols={"A": 1.0}), "symbols.A"),
        (reply(symbols={"A": {}}), "symbols.A.score"),
        (reply(symbols={"A": {"score": "1"}}), "symbols.A.score"),
        (reply(symbols={"A": {"score": math.nan}}), "symbols.A.score"),
        (reply(symbols={"A": {"score": 1e308}}), "symbols.A.score"),
        (b'{"score": 1.0, "action": "no action", "x": ' + b"[" * 100_000, "recursion"),
        (b'{"score": 1.0, "action": "no \xff"}', "unicode"),
    ],
)
def test_anything_else_is_no_answer(text: bytes, why: str) -> None:
    with pytest.raises(AnswerError) as caught:
        Answer.parse(text)
    assert why.lower() in str(caught.value).lower()
    assert len(str(caught.value)) < 300


@given(
    st.binary()
    | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_whatever_comes_is_an_answer_or_none(text: bytes) -> None:
    try:
        answer = Answer.parse(text)
    except AnswerError:
        return
    assert math.isfinite(answer.score)
    assert answer.action


@given(st.dictionaries(st.text(), st.fixed_dictionaries({"score": st.floats(-1e6, 1e6)})))
def test_no_name_of_a_symbol_can_break_out_of_the_list_of_tests(symbols: dict[str, dict[str, float]]) -> None:
    found = Scale().findings(Answer.parse(reply(symbols=symbols)), "")
    names = {test.name for test in found[0].tests}
    assert all(
        name and set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") for name in names
    )


def test_of_many_symbols_the_weightiest_are_kept() -> None:
    symbols = {f"S{number}": {"score": number - 5000} for number in range(10_000)}
    kept = Answer.parse(reply(symbols=symbols)).symbols
    assert len(kept) == MOST_SYMBOLS
    assert min(abs(score) for _, score in kept) >= 4900


MEANINGS = {"reject": 15.0, "add header": 6.2, "soft reject": "defer", "greylist": "ignore"}


@pytest.mark.parametrize(
    ("factor", "score", "action", "points", "tests"),
    [
        (1.0, 7.5, "add header", 7.5, "A=5"),
        (0.9, 7.5, "add header", 6.75, "A=4.5"),
        (0.8, 7.5, "add header", 6.2, "A=4 RSPAMD_ADD_HEADER=0.2"),
        (1.0, 0.0, "reject", 15.0, "A=5 RSPAMD_REJECT=15"),
        (1.0, -3.0, "reject", 15.0, "A=5 RSPAMD_REJECT=18"),
        (1.0, 40.0, "reject", 40.0, "A=5"),
        (2.0, 4.0, "greylist", 8.0, "A=10"),
        (1.0, 4.0, "no action", 4.0, "A=5"),
        (1.0, 4.0, "something of the site's own", 4.0, "A=5"),
        (0.9, -0.0, "no action", 0.0, "A=4.5"),
    ],
)
def test_points_and_what_an_action_adds(factor: float, score: float, action: str, points: float, tests: str) -> None:
    (finding,) = Scale(factor, MEANINGS).findings(Answer(score, action, (("A", 5.0),)), "bob")
    assert (finding.kind, finding.inspector, finding.user, finding.score) == (Kind.SPAM, "rspamd", "bob", points)
    assert math.copysign(1, finding.score) == math.copysign(1, points)
    assert " ".join(map(str, finding.tests)) == tests
    if action in ("reject", "add header") and len(finding.tests) > 1:
        assert finding.score == pytest.approx(score * factor + (finding.tests[1].score or 0))


def test_an_action_may_have_the_message_wait() -> None:
    spam, rule = Scale(1.0, MEANINGS, adds=True).findings(Answer(4.0, "soft reject"), "bob")
    assert spam == Finding(Kind.SPAM, "rspamd", "spam score", score=4.0, user="bob", adds=True)
    hit = RuleHit(RuleAction.REJECT, "rspamd", status="4.7.1", matched="soft reject")
    assert rule == Finding(Kind.RULE, "rspamd", "soft reject", user="bob", rule=hit)


def test_what_follows_is_the_same_when_it_is_read_from_history_or_quarantine() -> None:
    found = Scale(0.9, MEANINGS, adds=True).findings(Answer(4.0, "soft reject", (("A", 4.0),)), "bob")
    for finding in found:
        again = finding_of(json.loads(json.dumps(finding_values(finding))))
        assert (again.kind, again.score, again.tests, again.adds, again.user) == (
            finding.kind, finding.score, finding.tests, finding.adds, "bob",
        )  # fmt: skip
    record = Record.of("id", Envelope("", ()), Message(b""), (WITHHELD,), findings=found)
    assert Record.from_json(record.to_json()).findings == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b'{"error": "message is too large"}', "message is too large"),
        (b'{"error": 1}', ""),
        (b"[]", ""),
        (b"<html>", ""),
        (b"\xff", ""),
        (b"[" * 100_000, ""),
        (b'{"error": "' + b"x" * 1000 + b'"}', "x" * 200),
    ],
)
def test_the_reason_of_an_error(text: bytes, told: str) -> None:
    assert reason(text) == told
