"""Why a verdict, and what else would have led to another: every change that is told is tried here again."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import reduce
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contentfilter.decision import decide
from contentfilter.evidence import Evidence
from contentfilter.explain.basis import Basis
from contentfilter.explain.counterfactual import MOST_CHANGES, Change, changes, exact, fares_otherwise
from contentfilter.explain.explanation import Explanation, explain
from contentfilter.failure import OnFailure
from contentfilter.finding import Finding, Kind, RuleAction, RuleHit, Test
from contentfilter.policy.entry import Effective, Entry, merged
from contentfilter.policy.lists import Effect, ListEntry
from contentfilter.policy.settings import Policy
from contentfilter.verdict import Action, Category, Verdict

VIRUS = Finding(Kind.VIRUS, "clamd", "Eicar", "1.2")
BANNED = Finding(Kind.BANNED, "banned", ".exe: a.exe", "2")
UNCHECKED = Finding(Kind.UNCHECKED, "mime", "depth")
BAD_HEADER = Finding(Kind.BAD_HEADER, "header", "8bit: Subject")
CLAMD_FAILED = Finding(Kind.FAILURE, "clamd", "timeout")
SPAMD_FAILED = Finding(Kind.FAILURE, "spamd", "timeout")
REJECTING = Finding(Kind.RULE, "rules", "no thanks", rule=RuleHit(RuleAction.REJECT, "header_checks:3", "no thanks"))
HOLDING = Finding(Kind.RULE, "rules", "look at it", rule=RuleHit(RuleAction.HOLD, "body_checks:7"))
SCORING = Finding(
    Kind.RULE, "rules", "PILLS", score=3, tests=(Test("PILLS", 3),),
    rule=RuleHit(RuleAction.SCORE, "body_checks:12", "PILLS"),
)  # fmt: skip
ALLOW = ListEntry("sql", "bob@example.org", "@y.example", Effect.ALLOW)
DENY = ListEntry("sql", "@example.org", "@y.example", Effect.DENY)
PLUS_TWO = ListEntry("contentfilter.toml", "@.", "@y.example", Effect.SCORE, 2.0)
SENDER = "alice@y.example"


def spam(score: float, user: str = "") -> Finding:
    return Finding(Kind.SPAM, "spamd", "spam score", score=score, tests=(Test("A", score),), user=user)


def rspamd(score: float, adds: bool = False) -> Finding:
    return Finding(Kind.SPAM, "rspamd", "spam score", score=score, tests=(Test("B", score),), adds=adds)


WAITING = Finding(
    Kind.RULE, "rspamd", "soft reject", rule=RuleHit(RuleAction.REJECT, "rspamd", status="4.7.1", matched="soft reject")
)


def basis_of(
    findings: list[Finding],
    values: dict[str, object] | None = None,
    listing: ListEntry | None = None,
    on_failure: dict[str, OnFailure] | None = None,
) -> Basis:
    policy = Policy.model_validate(values or {})
    entry = Entry("sql", "bob@example.org", tuple((key, getattr(policy, key)) for key in values or {}))
    return Basis(Evidence(tuple(findings), 1000, on_failure=on_failure), Effective(merged((entry,)), (entry,), listing))


def told(basis: Basis) -> Explanation:
    verdict = decide(basis.evidence, basis.effective, local=True)
    return explain(basis.evidence, basis.effective, verdict, mail_from=SENDER)


def texts(basis: Basis) -> list[str]:
    return [re.sub(r" \(now .*?\)", "", str(change)) for change in told(basis).changes]


@pytest.mark.parametrize(
    ("basis", "wanted"),
    [
        (
            basis_of([spam(7.2)], {"kill_level": 5.0}),
            [
                "kill_level above 7.2",
                "a score below 5 (it is 7.2)",
                "an allow entry for alice@y.example",
                "spam_lover = true",
                "spam_action = pass",
                "bypass_spam_checks = true",
            ],
        ),
        (
            basis_of([spam(4.2), SCORING], {"kill_level": 5.0}),
            ["kill_level above 7.2", "a score below 5 (it is 7.2)", "without the hit of body_checks:12 (score 3)"],
        ),
        (basis_of([spam(6.0)], {}, PLUS_TWO), ["without the list entry: score +2 @y.example, listed for @."]),
        (basis_of([spam(0)], {}, DENY), ["without the list entry: deny", "an allow entry for", "spam_lover = true"]),
        (
            basis_of([VIRUS]),
            ["virus_lover = true", "virus_action = pass", "bypass_virus_checks = true", "without virus: Eicar in part"],
        ),
        (basis_of([BANNED]), ["banned_lover = true", "banned_action = pass", "bypass_banned_checks = true"]),
        (basis_of([UNCHECKED]), ["unchecked_lover = true", "bypass_unchecked_checks = true", "without unchecked"]),
        # It takes both.
        (basis_of([VIRUS, spam(9)]), ["kill_level above 9, and virus_lover = true"]),
        (
            basis_of([VIRUS, BANNED, UNCHECKED]),
            ["virus_lover = true, and banned_lover = true, and unchecked_lover = true"],
        ),
        (
            basis_of([VIRUS, BANNED, UNCHECKED, HOLDING, REJECTING, spam(30)], {}, DENY),
            [
                (
                    "spam_lover = true, and virus_lover = true, and banned_lover = true, and unchecked_lover = true, "
                    "and bypass_rule_checks = true"
                )
            ],
        ),
        (basis_of([REJECTING]), ["without the hit of header_checks:3", "bypass_rule_checks = true"]),
        (
            basis_of([CLAMD_FAILED]),
            [
                "if clamd answered and found nothing",
                'on_failure = "quarantine" for clamd',
                'on_failure = "tag" for clamd',
                'on_failure = "pass" for clamd',
            ],
        ),
        (
            basis_of([CLAMD_FAILED], on_failure={"clamd": OnFailure.QUARANTINE}),
            ["if clamd answered and found nothing", 'on_failure = "tag" for clamd', 'on_failure = "pass" for clamd'],
        ),
        (
            basis_of([CLAMD_FAILED], on_failure={"clamd": OnFailure.TAG}),
            [
                "if clamd answered and found nothing",
                'on_failure = "defer" for clamd',
                'on_failure = "quarantine" for clamd',
                'on_failure = "pass" for clamd',
            ],
        ),
        (basis_of([], {"message_size_limit": 10}), ["message_size_limit of at least 1000", "oversized_action = pass"]),
        (basis_of([VIRUS], {"shadow": True}), ["shadow = false"]),
        # What passes: what would have withheld or marked it.
        (
            basis_of([spam(5.6)]),
            ["tag2_level of at most 5.6", "a score of 6.9 or more (it is 5.6)", "a deny entry for alice@y.example"],
        ),
        (basis_of([spam(99)], {}, ALLOW), ["without the list entry: allow @y.example"]),
        (basis_of([VIRUS], {"virus_lover": True}), ["virus_lover = false"]),
        (basis_of([VIRUS], {"virus_action": Action.PASS}), ["virus_action = discard"]),
        (basis_of([VIRUS], {"bypass_virus_checks": True}), ["bypass_virus_checks = false"]),
        (basis_of([SPAMD_FAILED], on_failure={"spamd": OnFailure.PASS}), ['on_failure = "defer" for spamd']),
        (basis_of([spam(6.5)]), ["tag2_level above 6.5", "kill_level of at most 6.5", "a score below 6.2"]),
        (basis_of([spam(50)], {"spam_action": Action.REJECT, "dsn_cutoff_level": 20.0}), ["dsn_cutoff_level above 50"]),
    ],
)
def test_what_would_have_to_change(basis: Basis, wanted: list[str]) -> None:
    got = texts(basis)
    for one in wanted:
        assert any(text.startswith(one) for text in got), f"{one!r} is not among {got}"
    assert len(got) <= MOST_CHANGES


@pytest.mark.parametrize(
    ("basis", "unwanted"),
    [
        (basis_of([VIRUS, spam(9)]), r"^(virus_lover = true|kill_level above 9)$"),  # one alone does not do
        (basis_of([spam(9), SCORING]), "body_checks"),  # it is spam without those 3 points as well
        (basis_of([VIRUS]), "spam|level|entry for"),
        (basis_of([]), "lover|bypass"),
        (basis_of([BANNED, CLAMD_FAILED]), "^without banned"),  # clamd still has not answered
        # Nothing that the recipient says of unchecked mail helps against a quarantine for silence.
        (basis_of([CLAMD_FAILED], on_failure={"clamd": OnFailure.QUARANTINE}), "unchecked|lover"),
    ],
)
def test_nothing_is_told_that_would_not_help(basis: Basis, unwanted: str) -> None:
    assert not [text for text in texts(basis) if re.search(unwanted, text)]


@pytest.mark.parametrize("score", [7.2, 7.123456, 5.0, 1e6])
def test_the_bound_of_a_level_is_exact(score: float) -> None:
    (text,) = [text for text in texts(basis_of([spam(score)], {"kill_level": 5.0})) if text.startswith("kill_level")]
    bound = float(text.removeprefix("kill_level above "))
    at, above = (basis_of([spam(score)], {"kill_level": level}) for level in (bound, bound + 1e-5))
    assert decide(at.evidence, at.effective, local=True).action is Action.DISCARD
    assert decide(above.evidence, above.effective, local=True).action is Action.PASS


def test_sets_of_banned_rules_are_told_only_where_it_is_known_what_follows_from_them() -> None:
    mine = replace(BANNED, banned_rules=("default", "engineers"))
    strict = replace(BANNED, banned_rules=("strict",))
    basis = basis_of([mine, strict], {"banned_rules": ("default", "engineers")})
    verdict = decide(basis.evidence, basis.effective, local=True)
    others = [Policy(banned_rules=("strict",)), Policy(banned_rules=("engineers",)), basis.policy]
    others.append(Policy(banned_rules=("unasked",), bypass_banned_checks=True))
    explanation = explain(basis.evidence, basis.effective, verdict, mail_from=SENDER, others=others)
    told_of = [str(change).partition(" (")[0] for change in explanation.changes]
    assert [text for text in told_of if text.startswith("banned_rules")] == [
        "banned_rules = [engineers]",
        "banned_rules = []",
    ]
    assert explanation.ignored == (strict,)


def test_a_deferral_says_what_would_end_it() -> None:
    change = next(one for one in told(basis_of([BANNED, CLAMD_FAILED])).changes)
    assert str(change) == "if clamd answered and found nothing"
    assert (change.verdict.action, change.verdict.category) == (Action.DISCARD, Category.BANNED)


def test_the_origin_of_a_setting_is_told_with_it() -> None:
    explanation = told(basis_of([spam(7.2)], {"kill_level": 5.0}))
    assert str(explanation.changes[0]) == "kill_level above 7.2 (now 5, of bob@example.org in sql)"
    assert explanation.threshold is not None
    assert (explanation.threshold.key, explanation.threshold.value) == ("kill_level", 5.0)
    assert str(explanation.threshold.origin) == "bob@example.org in sql"


def test_a_score_is_taken_apart() -> None:
    explanation = told(basis_of([spam(4.2), SCORING], {}, PLUS_TWO))
    assert [(one.what, one.points) for one in explanation.addends] == [
        ("spamd", 4.2),
        ("body_checks:12", 3),
        (str(PLUS_TWO), 2.0),
    ]
    assert explanation.score == 9.2
    assert [hit.source for hit in explanation.rules] == ["body_checks:12"]
    assert explanation.listing is PLUS_TWO


@pytest.mark.parametrize(
    ("findings", "addends", "score", "change"),
    [
        ([spam(4.2), rspamd(8)], [("rspamd", 8)], 8, "a score below 6.9 (it is 8)"),
        ([spam(8.5), rspamd(8)], [("spamd", 8.5)], 8.5, "a score below 6.9 (it is 8.5)"),
        ([spam(8), rspamd(8)], [("spamd", 8)], 8, "a score below 6.9 (it is 8)"),
        ([spam(4.2), rspamd(8, True)], [("spamd", 4.2), ("rspamd", 8)], 12.2, "a score below 6.9 (it is 12.2)"),
        ([rspamd(8, True)], [("rspamd", 8)], 8, "a score below 6.9 (it is 8)"),
        ([spam(1), rspamd(2)], [("rspamd", 2)], 2, "a score of 6.9 or more (it is 2)"),
        ([spam(1), rspamd(2, True)], [("spamd", 1), ("rspamd", 2)], 3, "a score of 6.9 or more (it is 3)"),
    ],
)
def test_a_score_of_two_scanners(
    findings: list[Finding], addends: list[tuple[str, float]], score: float, change: str
) -> None:
    explanation = told(basis_of(findings))
    assert [(one.what, one.points) for one in explanation.addends] == addends
    assert explanation.score == score
    assert change in [str(one) for one in explanation.changes]


def test_what_rspamd_would_have_come_again_is_explained() -> None:
    basis = basis_of([rspamd(1), WAITING])
    explanation = told(basis)
    assert basis.judged(local=True).reasons == ("rule: rspamd: REJECT 4.7.1: soft reject",)
    assert {str(one) for one in explanation.changes} == {
        "without the hit of rspamd", "bypass_spam_checks = true (now false)",
    }  # fmt: skip


def test_what_does_not_concern_the_recipient_is_told_apart() -> None:
    basis = basis_of([VIRUS, spam(9, "alice"), spam(1)], {"bypass_virus_checks": True})
    explanation = told(basis)
    assert set(explanation.ignored) == {VIRUS, spam(9, "alice")}
    assert basis.findings == (spam(1),)
    assert ("bypass_virus_checks", True) in [(one.key, one.value) for one in explanation.settings]


def test_a_verdict_that_this_program_would_not_come_to_is_not_explained_away() -> None:
    basis = basis_of([spam(1)])
    explanation = explain(
        basis.evidence, basis.effective, Verdict(Category.SPAM, Action.DISCARD, quarantine=True), mail_from=""
    )
    assert explanation.changes == ()
    assert explanation.again is not None
    assert explanation.again.action is Action.PASS


LEVEL = st.sampled_from([float("-inf"), -1.0, 0.0, 2.0, 4.999999, 5.0, 6.9, 20.0, float("inf")])
ACTION = st.sampled_from(Action)
BASES = st.builds(
    basis_of,
    st.lists(
        st.sampled_from(
            [VIRUS, BANNED, UNCHECKED, BAD_HEADER, CLAMD_FAILED, SPAMD_FAILED, REJECTING, HOLDING, SCORING]
            + [spam(score, user) for score in (-3.0, 2.000001, 5.0, 7.2, 30.0) for user in ("", "bob")]
            + [rspamd(score, adds) for score in (-1.0, 3.0, 8.0) for adds in (False, True)]
            + [WAITING, Finding(Kind.FAILURE, "rspamd", "timeout")]
        ),
        max_size=6,
        unique=True,
    ),
    st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(("tag2_level", "kill_level", "dsn_cutoff_level", "quarantine_cutoff_level"), LEVEL),
            **dict.fromkeys(("virus_action", "banned_action", "spam_action", "bad_header_action"), ACTION),
            **dict.fromkeys(("virus_lover", "spam_lover", "bypass_virus_checks", "bypass_spam_checks"), st.booleans()),
            **dict.fromkeys(("bypass_rule_checks", "bypass_unchecked_checks", "shadow"), st.booleans()),
            "message_size_limit": st.sampled_from([0, 999, 1000]),
            "spam_user": st.sampled_from(["", "bob"]),
        },
    ),
    st.sampled_from([None, ALLOW, DENY, PLUS_TWO]),
    st.dictionaries(st.sampled_from(["clamd", "spamd"]), st.sampled_from(OnFailure)),
)


def applied(basis: Basis, change: Change) -> Verdict:
    after = reduce(lambda one, step: step.apply(one), change.steps, basis)
    return decide(after.evidence, after.effective, local=True)


@given(BASES)
@settings(max_examples=300, deadline=None)
def test_each_change_leads_to_another_verdict_and_no_part_of_it_does(basis: Basis) -> None:
    before = decide(basis.evidence, basis.effective, local=True)
    found = changes(basis, mail_from=SENDER, local=True)
    assert len(found) <= MOST_CHANGES
    for change in found:
        assert fares_otherwise(before, applied(basis, change)), str(change)
        assert applied(basis, change) == change.verdict
        for count in range(1, len(change.steps)):
            for steps in combinations(change.steps, count):
                assert not fares_otherwise(before, applied(basis, replace(change, steps=steps)))


@given(BASES)
@settings(max_examples=300, deadline=None)
def test_who_does_not_get_a_message_is_told_what_would_help(basis: Basis) -> None:
    before = decide(basis.evidence, basis.effective, local=True)
    if before.action is not Action.PASS:
        assert changes(basis, mail_from=SENDER, local=True)


@given(BASES)
def test_the_parts_of_a_score_add_up(basis: Basis) -> None:
    explanation = told(basis)
    verdict = decide(basis.evidence, basis.effective, local=True)
    assert explanation.score == verdict.score
    if explanation.score is not None:
        assert sum(one.points for one in explanation.addends) == pytest.approx(explanation.score)


@pytest.mark.parametrize(
    ("number", "text"), [(5.0, "5"), (7.123456, "7.123456"), (float("inf"), "9999"), (-0.5, "-0.5")]
)
def test_exact(number: float, text: str) -> None:
    assert exact(number) == text
