"""How the scores of several scanners, of rules and of lists come together."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter.decision import decide
from contentfilter.evidence import Evidence
from contentfilter.failure import OnFailure
from contentfilter.finding import Finding, Kind, RuleAction, RuleHit, Test
from contentfilter.policy.entry import Effective
from contentfilter.policy.settings import Policy
from contentfilter.score import counting, scanned_score, spam_score

NOBODY = Effective(Policy())
SCORING = Finding(
    Kind.RULE, "rules", "SCORE", score=1.5, tests=(Test("R", 1.5),), rule=RuleHit(RuleAction.SCORE, "x:1")
)
WAITING = Finding(Kind.RULE, "rspamd", "soft reject", rule=RuleHit(RuleAction.REJECT, "rspamd", status="4.7.1"))


def scored(inspector: str, score: float, *, adds: bool = False, autolearn: str = "no") -> Finding:
    test = Test(inspector.upper(), score)
    return Finding(Kind.SPAM, inspector, "spam score", score=score, tests=(test,), autolearn=autolearn, adds=adds)


@pytest.mark.parametrize(
    ("findings", "points", "tests"),
    [
        ([], None, ""),
        ([scored("spamd", 3)], 3, "SPAMD=3"),
        ([scored("rspamd", 4)], 4, "RSPAMD=4"),
        ([scored("rspamd", 4, adds=True)], 4, "RSPAMD=4"),
        ([scored("spamd", 3), scored("rspamd", 4)], 4, "SPAMD=3 RSPAMD=4"),
        ([scored("spamd", 3), scored("rspamd", 2)], 3, "SPAMD=3 RSPAMD=2"),
        ([scored("spamd", -3), scored("rspamd", -1)], -1, "SPAMD=-3 RSPAMD=-1"),
        ([scored("spamd", 3), scored("rspamd", 3)], 3, "SPAMD=3 RSPAMD=3"),
        ([scored("spamd", 3), scored("rspamd", 4, adds=True)], 7, "SPAMD=3 RSPAMD=4"),
        ([scored("spamd", -3), scored("rspamd", 4, adds=True)], 1, "SPAMD=-3 RSPAMD=4"),
        ([scored("spamd", 3), scored("rspamd", 4), SCORING], 5.5, "SPAMD=3 RSPAMD=4 R=1.5"),
        ([SCORING], 1.5, "R=1.5"),
    ],
)
def test_the_greater_counts_or_both(findings: list[Finding], points: float | None, tests: str) -> None:
    score = spam_score(findings, NOBODY)
    assert (score.points if score else None) == points
    assert " ".join(map(str, score.tests if score else ())) == tests


def test_what_spamassassin_learned_is_told_whoever_comes_first() -> None:
    findings = [scored("rspamd", 4), scored("spamd", 3, autolearn="ham")]
    score = scanned_score(findings)
    assert score is not None
    assert score.autolearn == "ham"


@given(st.lists(st.builds(scored, st.just("spamd"), st.integers(-9, 9), adds=st.booleans())))
def test_the_part_of_the_scanners_is_that_of_those_that_count(findings: list[Finding]) -> None:
    whole = scanned_score(findings)
    greatest = max((one.score for one in findings if not one.adds), default=0)
    wanted = greatest + sum(one.score for one in findings if one.adds)
    assert (whole.points if whole else None) == (wanted if findings else None)
    assert sum(one.score for one in counting(findings)) == wanted


def failed(inspector: str) -> Finding:
    return Finding(Kind.FAILURE, inspector, "timeout")


@pytest.mark.parametrize(
    ("findings", "modes", "settings", "action", "category"),
    [
        # One scanner is silent, the other has an answer: the mode of the silent one counts.
        ([scored("spamd", 1), failed("rspamd")], "pass pass", {}, "pass", "clean"),
        ([scored("spamd", 1), failed("rspamd")], "pass defer", {}, "defer", "clean"),
        ([scored("spamd", 1), failed("rspamd")], "defer pass", {}, "pass", "clean"),
        ([failed("spamd"), scored("rspamd", 1)], "defer pass", {}, "defer", "clean"),
        ([failed("spamd"), scored("rspamd", 1)], "tag pass", {}, "pass", "unchecked"),
        ([failed("spamd"), failed("rspamd")], "pass quarantine", {}, "discard", "unchecked"),
        # What one of them takes for spam is spam, whatever the other would have said.
        ([scored("spamd", 99), failed("rspamd")], "pass defer", {}, "discard", "spam"),
        ([failed("spamd"), scored("rspamd", 99)], "defer pass", {}, "discard", "spam"),
        # Who does without checks for spam does without both.
        ([scored("spamd", 99), scored("rspamd", 99)], "pass pass", {"bypass_spam_checks": True}, "pass", "clean"),
        ([failed("rspamd")], "pass defer", {"bypass_spam_checks": True}, "pass", "clean"),
        ([scored("rspamd", 1), WAITING], "pass pass", {"bypass_spam_checks": True}, "pass", "clean"),
        # An action of Rspamd's that means defer.
        ([scored("rspamd", 1), WAITING], "pass pass", {}, "defer", "rule"),
        ([scored("rspamd", 1), WAITING], "pass pass", {"bypass_rule_checks": True}, "defer", "rule"),
    ],
)
def test_two_scanners_and_what_becomes_of_the_message(
    findings: list[Finding], modes: str, settings: dict[str, bool], action: str, category: str
) -> None:
    on_failure = dict(zip(("spamd", "rspamd"), map(OnFailure, modes.split()), strict=True))
    verdict = decide(Evidence(tuple(findings), 100, on_failure=on_failure), Effective(Policy(**settings)), local=True)
    assert (verdict.action.value, verdict.category.word) == (action, category)


@pytest.mark.parametrize(
    ("user", "spam_user", "action"),
    [("", "", "defer"), ("bob", "bob", "defer"), ("", "bob", "pass"), ("bob", "", "pass"), ("alice", "bob", "pass")],
)
def test_a_deferral_by_rspamd_is_that_users_for_whom_it_was_asked(user: str, spam_user: str, action: str) -> None:
    findings = (replace(WAITING, user=user), replace(scored("rspamd", 1), user=spam_user))
    verdict = decide(Evidence(findings, 100), Effective(Policy(spam_user=spam_user)), local=True)
    assert verdict.action.value == action


def test_the_fields_list_the_tests_of_both() -> None:
    findings = (scored("spamd", 3), scored("rspamd", 6.5))
    verdict = decide(Evidence(findings, 100), NOBODY, local=True)
    mark = verdict.marking.spam
    assert mark is not None
    assert (mark.score, mark.flagged, mark.tests) == (6.5, True, (Test("SPAMD", 3), Test("RSPAMD", 6.5)))
