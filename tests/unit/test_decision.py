"""Findings and policy in, verdict out: the whole of it as tables."""

from __future__ import annotations

import pytest

from contentfilter import reply
from contentfilter.decision import Evidence, OnFailure
from contentfilter.decision import decide as decide_effective
from contentfilter.envelope import Recipient
from contentfilter.finding import Finding, Kind, Test
from contentfilter.outcome import Outcome, as_told, copy_is_void, must_wait, single_reply
from contentfilter.policy.entry import Effective
from contentfilter.policy.lists import ListEntry
from contentfilter.policy.settings import Policy
from contentfilter.reply import Reply
from contentfilter.score import format_level
from contentfilter.verdict import Action, Category, Verdict

VIRUS = Finding(Kind.VIRUS, "clamd", "Eicar-Test-Signature", "2")
BANNED = Finding(Kind.BANNED, "banned", ".exe: a.exe", "3")
UNCHECKED = Finding(Kind.UNCHECKED, "mime", "depth")
BAD_HEADER = Finding(Kind.BAD_HEADER, "header", "8bit: Subject")
CLAMD_FAILED = Finding(Kind.FAILURE, "clamd", "timeout")
SPAMD_FAILED = Finding(Kind.FAILURE, "spamd", "timeout")
BANNED_FAILED = Finding(Kind.FAILURE, "banned", "unforeseen error")


def decide(evidence: Evidence, policy: Policy, *, local: bool, listing: ListEntry | None = None) -> Verdict:
    return decide_effective(evidence, Effective(policy, (), listing), local=local)


def spam(score: float, user: str = "") -> Finding:
    return Finding(Kind.SPAM, "spamd", "spam score", score=score, tests=(Test("A", score),), user=user)


@pytest.mark.parametrize(
    ("findings", "settings", "category", "action", "copy"),
    [
        ([], {}, "clean", "pass", False),
        ([VIRUS], {}, "virus", "discard", True),
        ([VIRUS, BANNED, UNCHECKED, BAD_HEADER, spam(99)], {}, "virus", "discard", True),
        ([BANNED, UNCHECKED, spam(99)], {}, "banned", "discard", True),
        ([UNCHECKED, spam(99)], {}, "unchecked", "discard", True),
        ([BAD_HEADER], {}, "bad_header", "pass", False),
        (
            [BAD_HEADER],
            {"bad_header_action": Action.REJECT, "bad_header_quarantine": True},
            "bad_header",
            "reject",
            True,
        ),
        # Levels: at the level counts as above.
        ([spam(6.1)], {}, "clean", "pass", False),
        ([spam(6.2)], {}, "spammy", "pass", False),
        ([spam(6.9)], {}, "spam", "discard", True),
        ([spam(6.9)], {"kill_level": float("inf")}, "spammy", "pass", False),
        ([spam(1)], {"kill_level": 1}, "spam", "discard", True),
        ([spam(25)], {"quarantine_cutoff_level": 25}, "spam", "discard", False),
        ([spam(24.9)], {"quarantine_cutoff_level": 25}, "spam", "discard", True),
        # The cutoff is about spam only.
        ([VIRUS, spam(99)], {"quarantine_cutoff_level": 25}, "virus", "discard", True),
        # Who lets the gravest pass is still protected from the rest.
        ([VIRUS, spam(99)], {"virus_action": Action.PASS}, "spam", "discard", True),
        ([VIRUS, spam(1)], {"virus_action": Action.PASS}, "virus", "pass", True),
        ([VIRUS], {"virus_action": Action.REJECT, "virus_quarantine": False}, "virus", "reject", False),
        ([VIRUS], {"virus_action": Action.DEFER}, "virus", "defer", False),
        # Bypass: as if nobody had looked.
        ([VIRUS], {"bypass_virus_checks": True}, "clean", "pass", False),
        ([BANNED], {"bypass_banned_checks": True}, "clean", "pass", False),
        ([spam(99)], {"bypass_spam_checks": True}, "clean", "pass", False),
        ([BAD_HEADER], {"bypass_header_checks": True}, "clean", "pass", False),
        ([CLAMD_FAILED], {"bypass_virus_checks": True}, "clean", "pass", False),
        # Each recipient's own preferences give the score.
        ([spam(99, "alice"), spam(1, "bob")], {"spam_user": "bob"}, "clean", "pass", False),
        ([spam(99, "alice"), spam(1, "bob")], {"spam_user": "alice"}, "spam", "discard", True),
        ([], {"message_size_limit": 999}, "oversized", "reject", False),
        ([], {"message_size_limit": 1000}, "clean", "pass", False),
    ],
)
def test_verdict(findings: list[Finding], settings: dict[str, object], category: str, action: str, copy: bool) -> None:
    verdict = decide(Evidence(tuple(findings), size=1000), Policy.model_validate(settings), local=True)
    assert (verdict.category.word, verdict.action.value, verdict.quarantine) == (category, action, copy)
    assert verdict.reasons


@pytest.mark.parametrize(
    ("findings", "on_failure", "action", "category"),
    [
        ([CLAMD_FAILED], {}, "defer", "clean"),
        ([CLAMD_FAILED], {"clamd": OnFailure.DEFER}, "defer", "clean"),
        ([CLAMD_FAILED], {"clamd": OnFailure.PASS}, "pass", "clean"),
        ([SPAMD_FAILED], {"spamd": OnFailure.PASS}, "pass", "clean"),
        ([SPAMD_FAILED], {"spamd": OnFailure.DEFER}, "defer", "clean"),
        ([BANNED_FAILED], {}, "defer", "clean"),
        # What is withheld for something graver than the silent scanner could find needs no answer from it.
        ([VIRUS, SPAMD_FAILED], {}, "discard", "virus"),
        ([VIRUS, BANNED_FAILED], {}, "discard", "virus"),
        # But a lesser reason to withhold, or one that passes, leaves the question open.
        ([BANNED, CLAMD_FAILED], {}, "defer", "banned"),
        ([BAD_HEADER, SPAMD_FAILED], {}, "defer", "bad_header"),
        ([Finding(Kind.FAILURE, "newcomer", "died")], {}, "defer", "clean"),
    ],
)
def test_a_silent_scanner_has_not_said_clean(
    findings: list[Finding], on_failure: dict[str, OnFailure], action: str, category: str
) -> None:
    verdict = decide(Evidence(tuple(findings), 1000, on_failure=on_failure), Policy(), local=True)
    assert (verdict.action.value, verdict.category.word) == (action, category)
    if action == "defer":
        assert verdict.reply == reply.SCANNER_FAILED
        assert not verdict.quarantine


@pytest.mark.parametrize(
    ("score", "flagged", "tag"),
    [(1.9, None, ""), (2.0, False, ""), (6.19, False, ""), (6.2, True, "***SPAM*** ")],
)
def test_spam_marks(score: float, flagged: bool | None, tag: str) -> None:
    policy = Policy(spam_subject_tag2="***SPAM*** ")
    marking = decide(Evidence((spam(score),), 1000), policy, local=True).marking
    assert (marking.spam.flagged if marking.spam else None) == flagged
    assert marking.subject_tag == tag
    if marking.spam:
        assert (marking.spam.score, marking.spam.tagged_above, marking.spam.required) == (score, 2.0, 6.2)


def test_only_local_recipients_see_what_is_for_people() -> None:
    evidence = Evidence((spam(6.5), BAD_HEADER), 1000, virus_scanned=True)
    remote = decide(evidence, Policy(spam_subject_tag2="X "), local=False).marking
    assert (remote.virus_scanned, remote.spam, remote.alert, remote.subject_tag) == (True, None, None, "")


@pytest.mark.parametrize(
    ("scanned", "bypass", "claimed"), [(True, False, True), (False, False, False), (True, True, False)]
)
def test_no_claim_of_a_scan_that_did_not_happen(scanned: bool, bypass: bool, claimed: bool) -> None:
    evidence = Evidence((), 1000, virus_scanned=scanned)
    assert decide(evidence, Policy(bypass_virus_checks=bypass), local=True).marking.virus_scanned is claimed


@pytest.mark.parametrize(
    ("finding", "settings", "alert"),
    [
        (VIRUS, {"virus_action": Action.PASS}, "INFECTED, message contains virus: Eicar-Test-Signature in part 2"),
        (BANNED, {"banned_action": Action.PASS}, "BANNED, message contains .exe: a.exe in part 3"),
        (UNCHECKED, {"unchecked_action": Action.PASS}, "UNCHECKED, contents could not be inspected: depth"),
        (BAD_HEADER, {}, "BAD HEADER, 8bit: Subject"),
    ],
)
def test_alert_of_what_passes_all_the_same(finding: Finding, settings: dict[str, object], alert: str) -> None:
    verdict = decide(Evidence((finding,), 1000), Policy.model_validate(settings), local=True)
    assert verdict.marking.alert == alert


@pytest.mark.parametrize(
    ("action", "copy", "answer"),
    [
        (Action.DISCARD, True, reply.QUARANTINED),
        (Action.DISCARD, False, reply.DISCARDED),
        (Action.REJECT, True, reply.REJECTED_VIRUS),
        (Action.DEFER, True, reply.DEFERRED),
        (Action.PASS, False, None),
    ],
)
def test_reply_of_a_verdict(action: Action, copy: bool, answer: Reply | None) -> None:
    policy = Policy(virus_action=action, virus_quarantine=copy)
    assert decide(Evidence((VIRUS,), 1000), policy, local=True).reply == answer


OK = Reply(250, "2.0.0", "queued as ABC")
LATER = Reply(451, "4.3.0", "later")
BUSY = Reply(452, "4.3.1", "full")
NO = Reply(550, "5.1.1", "no such user")
PASS, DISCARD, REJECT = (
    Verdict(Category.CLEAN, Action.PASS),
    Verdict(Category.VIRUS, Action.DISCARD, reply=reply.QUARANTINED),
    Verdict(Category.SPAM, Action.REJECT, reply=reply.REJECTED_SPAM),
)
WITH_COPY = Verdict(Category.VIRUS, Action.DISCARD, quarantine=True, reply=reply.QUARANTINED)


def outcomes(*pairs: tuple[Verdict, Reply]) -> list[Outcome]:
    return [Outcome(Recipient(f"r{i}@example.org"), verdict, answer) for i, (verdict, answer) in enumerate(pairs)]


@pytest.mark.parametrize(
    ("given", "answer", "reported"),
    [
        ([(PASS, OK)], OK, []),
        ([(PASS, OK), (DISCARD, reply.QUARANTINED)], OK, []),
        ([(DISCARD, reply.QUARANTINED), (PASS, OK)], OK, []),
        ([(DISCARD, reply.QUARANTINED)], reply.QUARANTINED, []),
        ([(REJECT, reply.REJECTED_SPAM)] * 2, reply.REJECTED_SPAM, []),
        ([(REJECT, reply.REJECTED_SPAM), (PASS, OK)], OK, [0]),
        ([(REJECT, reply.REJECTED_SPAM), (DISCARD, reply.DISCARDED)], reply.DISCARDED, [0]),
        ([(PASS, NO), (PASS, OK), (REJECT, reply.REJECTED_SPAM)], OK, [0, 2]),
        ([(PASS, NO), (REJECT, reply.REJECTED_SPAM)], NO, []),
        ([(PASS, LATER)] * 2, LATER, []),
        ([(PASS, LATER), (PASS, BUSY)], reply.MIXED_DEFERRAL, []),
        ([(PASS, OK), (PASS, LATER)], reply.MIXED_DEFERRAL, []),
        ([(REJECT, reply.REJECTED_SPAM), (PASS, LATER)], reply.MIXED_DEFERRAL, []),
        ([(DISCARD, reply.DISCARDED), (PASS, LATER), (PASS, NO)], reply.MIXED_DEFERRAL, []),
    ],
)
def test_one_reply_for_all(given: list[tuple[Verdict, Reply]], answer: Reply, reported: list[int]) -> None:
    all_outcomes = outcomes(*given)
    got, refused = single_reply(all_outcomes)
    assert got == answer
    assert [all_outcomes.index(outcome) for outcome in refused] == reported


@pytest.mark.parametrize(
    ("given", "answer", "void"),
    [
        ([(PASS, LATER)], LATER, False),
        ([(WITH_COPY, reply.QUARANTINED), (PASS, LATER)], reply.MIXED_DEFERRAL, True),
        ([(WITH_COPY, reply.QUARANTINED), (REJECT, reply.REJECTED_SPAM)], reply.MIXED_DEFERRAL, True),
        ([(WITH_COPY, reply.QUARANTINED), (PASS, LATER)], None, False),
        ([(WITH_COPY, LATER), (PASS, OK)], None, True),
        ([(WITH_COPY, LATER), (WITH_COPY, reply.QUARANTINED)], None, False),
        ([(WITH_COPY, reply.QUARANTINED)], reply.QUARANTINED, False),
    ],
)
def test_a_copy_is_taken_back_when_all_come_again(
    given: list[tuple[Verdict, Reply]], answer: Reply | None, void: bool
) -> None:
    assert copy_is_void(outcomes(*given), answer) is void


def test_one_4xx_makes_all_wait_but_those_who_have_it() -> None:
    given = outcomes((PASS, OK), (WITH_COPY, reply.QUARANTINED), (REJECT, reply.REJECTED_SPAM), (PASS, NO))
    assert as_told(given, OK) == given
    told = as_told(given, reply.MIXED_DEFERRAL)
    assert [one.reply for one in told] == [OK] + [reply.MIXED_DEFERRAL] * 3
    assert not any(one.verdict.quarantine for one in told)


def test_nothing_is_sent_for_a_single_reply_that_must_be_4xx() -> None:
    assert must_wait([PASS, Verdict(Category.CLEAN, Action.DEFER, reply=reply.DEFERRED)])
    assert not must_wait([PASS, DISCARD, REJECT])


@pytest.mark.parametrize(
    ("level", "text"), [(6.2, "6.2"), (6.0, "6"), (-1.25, "-1.25"), (float("inf"), "9999"), (float("-inf"), "-9999")]
)
def test_levels_as_people_know_them(level: float, text: str) -> None:
    assert format_level(level) == text
