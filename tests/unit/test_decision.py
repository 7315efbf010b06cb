"""Findings and policy in, verdict out: the whole of it as tables."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from contentfilter import reply
from contentfilter.decision import decide as decide_effective
from contentfilter.envelope import Recipient
from contentfilter.evidence import Evidence
from contentfilter.failure import OnFailure
from contentfilter.finding import Finding, Kind, RuleAction, RuleHit, Test
from contentfilter.message import Replacement
from contentfilter.outcome import Outcome, as_told, must_wait, single_reply
from contentfilter.policy.entry import Effective, Entry
from contentfilter.policy.lists import Effect, ListEntry
from contentfilter.policy.settings import Policy
from contentfilter.reply import Reply
from contentfilter.score import format_level
from contentfilter.verdict import Action, Category, Marking, Route, Verdict

VIRUS = Finding(Kind.VIRUS, "clamd", "Eicar-Test-Signature", "2")
BANNED = Finding(Kind.BANNED, "banned", ".exe: a.exe", "3")
UNCHECKED = Finding(Kind.UNCHECKED, "mime", "depth")
BAD_HEADER = Finding(Kind.BAD_HEADER, "header", "8bit: Subject")
CLAMD_FAILED = Finding(Kind.FAILURE, "clamd", "timeout")
SPAMD_FAILED = Finding(Kind.FAILURE, "spamd", "timeout")
BANNED_FAILED = Finding(Kind.FAILURE, "banned", "unforeseen error")


def decide(evidence: Evidence, policy: Policy, *, local: bool, listing: ListEntry | None = None) -> Verdict:
    return decide_effective(evidence, Effective(policy, (), listing), local=local)


def listed(effect: Effect, score: float = 0.0) -> ListEntry:
    return ListEntry("test", "@.", "@bad.example", effect, score)


FOR_US = Finding(Kind.BANNED, "banned", ".exe: a.exe", "3", banned_rules=("ours", "default"))
FAILED_FOR_US = Finding(Kind.FAILURE, "banned", "no such set", banned_rules=("ours", "default"))


@pytest.mark.parametrize(
    ("finding", "rules", "category", "action"),
    [
        (FOR_US, ("ours", "default"), "banned", "discard"),
        (FOR_US, ("default", "ours"), "clean", "pass"),
        (FOR_US, ("ours",), "clean", "pass"),
        (FOR_US, (), "clean", "pass"),
        (FAILED_FOR_US, ("ours", "default"), "clean", "defer"),
        (FAILED_FOR_US, ("default",), "clean", "pass"),
        (BANNED_FAILED, ("ours", "default"), "clean", "defer"),
        (BANNED_FAILED, (), "clean", "pass"),
    ],
)
def test_banned_rules_concern_those_who_combine_them_so(
    finding: Finding, rules: tuple[str, ...], category: str, action: str
) -> None:
    verdict = decide(Evidence((finding,), 100), Policy(banned_rules=rules), local=True)
    assert (verdict.category.word, verdict.action.value) == (category, action)


def spam(score: float, user: str = "") -> Finding:
    return Finding(Kind.SPAM, "spamd", "spam score", score=score, tests=(Test("A", score),), user=user)


def rule(action: str, text: str = "", status: str = "") -> Finding:
    return Finding(
        Kind.RULE, "rules", f"{action} body_checks:1", rule=RuleHit(RuleAction[action], "body_checks:1", text, status)
    )


def score(points: float) -> Finding:
    hit = RuleHit(RuleAction.SCORE, "body_checks:2")
    return Finding(Kind.RULE, "rules", "SCORE body_checks:2", score=points, tests=(Test("B", points),), rule=hit)


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
        # Lovers get what they love, and are still protected from the rest.
        ([VIRUS], {"virus_lover": True, "virus_quarantine": False}, "virus", "pass", False),
        ([VIRUS, BANNED], {"virus_lover": True}, "banned", "discard", True),
        ([BANNED], {"banned_lover": True}, "banned", "pass", True),
        ([UNCHECKED, spam(99)], {"unchecked_lover": True}, "spam", "discard", True),
        ([spam(99)], {"spam_lover": True, "spam_action": Action.REJECT}, "spam", "pass", True),
        ([BAD_HEADER], {"bad_header_lover": True, "bad_header_action": Action.REJECT}, "bad_header", "pass", False),
        ([UNCHECKED], {"bypass_unchecked_checks": True}, "clean", "pass", False),
        # No bounce to a forged sender.
        ([spam(19.9)], {"spam_action": Action.REJECT, "dsn_cutoff_level": 20}, "spam", "reject", True),
        ([spam(20)], {"spam_action": Action.REJECT, "dsn_cutoff_level": 20}, "spam", "discard", True),
        ([spam(20)], {"spam_action": Action.DEFER, "dsn_cutoff_level": 20}, "spam", "defer", False),
        ([VIRUS, spam(99)], {"virus_action": Action.REJECT, "dsn_cutoff_level": 20}, "virus", "reject", True),
        ([spam(6.5)], {"spammy_quarantine": True}, "spammy", "pass", True),
        ([], {"clean_quarantine": True}, "clean", "pass", True),
        # Local rules.
        ([rule("REJECT")], {}, "rule", "reject", False),
        ([rule("DISCARD")], {}, "rule", "discard", False),
        ([rule("HOLD")], {}, "rule", "discard", True),
        ([rule("HOLD"), rule("REJECT")], {}, "rule", "discard", True),
        ([rule("WARN"), rule("INFO"), rule("BCC", "a@b.example")], {}, "clean", "pass", False),
        ([rule("REJECT"), VIRUS], {}, "virus", "discard", True),
        ([rule("REJECT"), BANNED], {}, "banned", "discard", True),
        ([rule("REJECT"), UNCHECKED, spam(99)], {}, "rule", "reject", False),
        ([rule("REJECT")], {"bypass_rule_checks": True}, "clean", "pass", False),
        # Scores of rules add up with the scanner's, and count without it.
        ([spam(3), score(3.2)], {}, "spammy", "pass", False),
        ([spam(3), score(3.9)], {}, "spam", "discard", True),
        ([spam(9), score(-5)], {}, "clean", "pass", False),
        ([score(4), score(2.9)], {}, "spam", "discard", True),
        ([score(99)], {"bypass_spam_checks": True}, "clean", "pass", False),
        ([spam(3), score(99)], {"bypass_rule_checks": True}, "clean", "pass", False),
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


CLAMD_ALERT = "UNCHECKED, clamd could not answer"
REFUSING: dict[str, object] = dict.fromkeys(("banned_action", "unchecked_action", "bad_header_action"), Action.REJECT)
BOTH_ALERT = "UNCHECKED, clamd and spamd could not answer"


@pytest.mark.parametrize(
    ("findings", "modes", "settings", "action", "category", "copy", "alert"),
    [
        # Withheld with a copy, whatever the recipient says of unchecked mail.
        ([CLAMD_FAILED], "quarantine", {}, "discard", "unchecked", True, None),
        ([CLAMD_FAILED], "quarantine", {"unchecked_action": Action.PASS}, "discard", "unchecked", True, None),
        ([CLAMD_FAILED], "quarantine", {"unchecked_lover": True}, "discard", "unchecked", True, None),
        ([CLAMD_FAILED], "quarantine", {"unchecked_quarantine": False}, "discard", "unchecked", True, None),
        ([CLAMD_FAILED], "quarantine", {"bypass_virus_checks": True}, "pass", "clean", False, None),
        ([SPAMD_FAILED], "pass quarantine", {}, "discard", "unchecked", True, None),
        ([SPAMD_FAILED], "pass quarantine", {"bypass_spam_checks": True}, "pass", "clean", False, None),
        # A lesser reason to withhold does not let it go, nor does one as grave; a graver one decides.
        ([CLAMD_FAILED, spam(99)], "quarantine", {"spam_quarantine": False}, "discard", "unchecked", True, None),
        ([CLAMD_FAILED, UNCHECKED], "quarantine", REFUSING, "discard", "unchecked", True, None),
        ([CLAMD_FAILED, BANNED], "quarantine", REFUSING, "reject", "banned", True, None),
        ([CLAMD_FAILED, VIRUS], "quarantine", {"virus_action": Action.REJECT}, "reject", "virus", True, None),
        ([SPAMD_FAILED, UNCHECKED], "pass quarantine", REFUSING, "reject", "unchecked", True, None),
        ([SPAMD_FAILED, BAD_HEADER], "pass quarantine", REFUSING, "discard", "unchecked", True, None),
        # Marked, and no copy of what is only not inspected.
        ([CLAMD_FAILED], "tag", {}, "pass", "unchecked", False, CLAMD_ALERT),
        ([CLAMD_FAILED], "tag", {"unchecked_action": Action.REJECT}, "pass", "unchecked", False, CLAMD_ALERT),
        ([CLAMD_FAILED], "tag", {"bypass_virus_checks": True}, "pass", "clean", False, None),
        ([CLAMD_FAILED, SPAMD_FAILED], "tag tag", {}, "pass", "unchecked", False, BOTH_ALERT),
        ([CLAMD_FAILED, SPAMD_FAILED], "tag pass", {}, "pass", "unchecked", False, CLAMD_ALERT),
        ([CLAMD_FAILED, BAD_HEADER], "tag", {}, "pass", "unchecked", False, CLAMD_ALERT),
        ([CLAMD_FAILED, spam(99)], "tag", {}, "discard", "spam", True, None),
        ([CLAMD_FAILED, VIRUS], "tag", {"virus_lover": True}, "pass", "virus", True,
         f"INFECTED, message contains virus: Eicar-Test-Signature in part 2; {CLAMD_ALERT}"),
        ([CLAMD_FAILED, UNCHECKED], "tag", {"unchecked_lover": True}, "pass", "unchecked", True,
         f"UNCHECKED, contents could not be inspected: depth; {CLAMD_ALERT}"),
        # Of several the strictest.
        ([CLAMD_FAILED, SPAMD_FAILED], "tag defer", {}, "defer", "clean", False, None),
        ([CLAMD_FAILED, SPAMD_FAILED], "tag quarantine", {}, "discard", "unchecked", True, None),
        ([CLAMD_FAILED, SPAMD_FAILED], "quarantine tag", {}, "discard", "unchecked", True, None),
        ([CLAMD_FAILED, SPAMD_FAILED], "quarantine defer", {}, "defer", "clean", False, None),
        ([CLAMD_FAILED, SPAMD_FAILED], "pass pass", {}, "pass", "clean", False, None),
        ([CLAMD_FAILED, BANNED_FAILED], "quarantine", {}, "defer", "clean", False, None),
        # Who cannot find anything as grave has no say.
        ([CLAMD_FAILED, SPAMD_FAILED, BANNED], "pass defer", {}, "discard", "banned", True, None),
    ],
)  # fmt: skip
def test_what_becomes_of_what_a_scanner_could_not_look_at(
    findings: list[Finding], modes: str, settings: dict[str, object],
    action: str, category: str, copy: bool, alert: str | None,
) -> None:  # fmt: skip
    on_failure = dict(zip(("clamd", "spamd"), map(OnFailure, modes.split()), strict=False))
    evidence = Evidence(tuple(findings), 1000, on_failure=on_failure)
    policy = Policy.model_validate(settings)
    verdict = decide(evidence, policy, local=True)
    assert (verdict.action.value, verdict.category.word, verdict.quarantine) == (action, category, copy)
    assert verdict.marking.alert == alert
    if action == "discard" and category == "unchecked":
        assert verdict.reply == reply.QUARANTINED
        assert "could not answer: timeout" in verdict.reasons[0]
    if alert is not None:
        assert any("could not answer: timeout" in reason for reason in verdict.reasons)
        assert decide(evidence, policy, local=False).marking.alert is None


def test_quarantining_waits_for_nobody_whom_the_failure_does_not_concern() -> None:
    failed = Finding(Kind.FAILURE, "spamd", "timeout", user="bob")
    evidence = Evidence((failed,), 1000, on_failure={"spamd": OnFailure.QUARANTINE})
    assert decide(evidence, Policy(spam_user="bob"), local=True).action is Action.DISCARD
    assert decide(evidence, Policy(spam_user="alice"), local=True).action is Action.PASS


def test_tagged_mail_goes_where_unchecked_mail_goes() -> None:
    evidence = Evidence((CLAMD_FAILED,), 1000, on_failure={"clamd": OnFailure.TAG})
    policy = Policy(addr_extension_unchecked="unchecked")
    assert decide(evidence, policy, local=True).route == Route(extension="unchecked")
    assert decide(evidence, policy, local=False).route == Route()


@pytest.mark.parametrize(
    ("findings", "listing", "category", "tests"),
    [
        ([spam(99)], listed(Effect.ALLOW), "clean", "A=99 SENDER_ALLOWED"),
        ([spam(6.5)], listed(Effect.ALLOW), "clean", "A=6.5 SENDER_ALLOWED"),
        ([VIRUS, spam(99)], listed(Effect.ALLOW), "virus", ""),
        ([BANNED], listed(Effect.ALLOW), "banned", ""),
        ([UNCHECKED], listed(Effect.ALLOW), "unchecked", ""),
        ([spam(-3)], listed(Effect.DENY), "spam", ""),
        ([], listed(Effect.DENY), "spam", ""),
        ([SPAMD_FAILED], listed(Effect.DENY), "spam", ""),
        ([spam(5)], listed(Effect.SCORE, 1.2), "spammy", "A=5 SENDER_SCORED=1.2"),
        ([spam(5)], listed(Effect.SCORE, 1.9), "spam", ""),
        ([spam(7)], listed(Effect.SCORE, -4), "clean", "A=7 SENDER_SCORED=-4"),
        ([], listed(Effect.SCORE, 7), "spam", ""),
    ],
)
def test_lists(findings: list[Finding], listing: ListEntry, category: str, tests: str) -> None:
    verdict = decide(Evidence(tuple(findings), 1000), Policy(), local=True, listing=listing)
    assert verdict.category.word == category
    if tests:
        assert verdict.marking.spam is not None
        assert " ".join(map(str, verdict.marking.spam.tests)) == tests
        assert verdict.marking.spam.flagged is (category == "spammy")


def test_a_denied_sender_is_flagged_where_spam_passes() -> None:
    verdict = decide(Evidence((), 1000), Policy(spam_lover=True), local=True, listing=listed(Effect.DENY))
    assert (verdict.category, verdict.action) == (Category.SPAM, Action.PASS)
    assert verdict.marking.spam is not None
    assert verdict.marking.spam.flagged
    assert verdict.reasons == ("spam: deny @bad.example, listed for @. in test",)


def test_the_reason_names_the_entry_that_set_the_level() -> None:
    own = Entry("policy.toml", "bob@x.example", (("kill_level", 3.0),))
    verdict = decide_effective(Evidence((spam(4),), 1000), Effective(Policy(kill_level=3.0), (own,)), local=True)
    assert verdict.reasons == ("spam: score 4 >= kill_level 3 of bob@x.example in policy.toml",)


@pytest.mark.parametrize(
    ("setting", "by_domain", "local"),
    [("auto", True, True), ("auto", False, False), ("yes", False, True), ("no", True, False)],
)
def test_who_is_local(setting: str, by_domain: bool, local: bool) -> None:
    policy = Policy.model_validate({"local": setting})
    assert (decide(Evidence((spam(5),), 1000), policy, local=by_domain).marking.spam is not None) is local


def test_shadow_passes_everything_unmarked_and_says_what_would_have_been_done() -> None:
    policy = Policy(shadow=True, addr_extension_virus="virus")
    verdict = decide(Evidence((VIRUS, spam(99)), 1000, virus_scanned=True), policy, local=True)
    assert (verdict.category, verdict.action, verdict.quarantine) == (Category.VIRUS, Action.PASS, False)
    assert (verdict.marking, verdict.route, verdict.reply) == (Marking(), Route(), None)
    assert verdict.shadowed is not None
    assert (verdict.shadowed.action, verdict.shadowed.quarantine) == (Action.DISCARD, True)
    deferred = decide(Evidence((CLAMD_FAILED,), 1000), policy, local=True)
    assert (deferred.action, deferred.shadowed.action if deferred.shadowed else None) == (Action.PASS, Action.DEFER)


@pytest.mark.parametrize(
    ("findings", "settings", "route"),
    [
        ([], {"addr_extension_spam": "spam"}, Route()),
        ([spam(6.5)], {"addr_extension_spam": "spam"}, Route(extension="spam")),
        ([spam(9)], {"addr_extension_spam": "spam", "spam_lover": True}, Route(extension="spam")),
        ([BAD_HEADER], {"addr_extension_bad_header": "badh"}, Route(extension="badh")),
        ([UNCHECKED], {"addr_extension_unchecked": "u", "unchecked_lover": True}, Route(extension="u")),
        ([], {"next_hop": "unix:/x"}, Route(next_hop="unix:/x")),
        ([VIRUS], {"next_hop": "unix:/x"}, Route(next_hop="unix:/x")),
        ([rule("REDIRECT", "a@b.example"), rule("REDIRECT", "c@d.example")], {}, Route(redirect="c@d.example")),
        ([rule("REDIRECT", "a@b.example")], {"next_hop": "unix:/x"}, Route(redirect="a@b.example")),
        (
            [rule("REDIRECT", "a@b.example"), spam(6.5)],
            {"addr_extension_spam": "spam"},
            Route(redirect="a@b.example"),
        ),
        ([rule("BCC", "a@b.example"), rule("BCC", "a@b.example")], {}, Route(bcc=("a@b.example",))),
        ([rule("BCC", "a@b.example"), VIRUS], {}, Route()),
        ([rule("BCC", "a@b.example")], {"bypass_rule_checks": True}, Route()),
    ],
)
def test_route(findings: list[Finding], settings: dict[str, object], route: Route) -> None:
    verdict = decide(Evidence(tuple(findings), 1000), Policy.model_validate(settings), local=True)
    assert verdict.route == route


def test_the_text_of_a_banned_rule_is_what_sender_and_recipient_are_told() -> None:
    told = replace(BANNED, text="Programme nur in Archiven \u2013 bitte packen")
    policy = Policy(banned_action=Action.REJECT)
    verdict = decide(Evidence((BANNED, told), 1000), policy, local=True)
    assert str(verdict.reply) == "554 5.7.0 Refused: Programme nur in Archiven ? bitte packen"
    assert verdict.reasons[1].endswith(" in part 3 (Programme nur in Archiven \u2013 bitte packen)")


@pytest.mark.parametrize(
    ("text", "status", "action", "answer"),
    [
        ("", "", "reject", "550 5.7.1 Refused: the message content is not accepted here"),
        ("no backscatter", "", "reject", "550 5.7.1 no backscatter"),
        ("no backscatter", "5.7.28", "reject", "550 5.7.28 no backscatter"),
        ("bitte später", "4.7.1", "defer", "451 4.7.1 bitte sp?ter"),
    ],
)
def test_reply_of_a_rule(text: str, status: str, action: str, answer: str) -> None:
    verdict = decide(Evidence((rule("REJECT", text, status),), 1000), Policy(), local=True)
    assert (verdict.action.value, str(verdict.reply)) == (action, answer)


def test_edits_of_rules_go_into_the_copy_of_whom_they_concern() -> None:
    hit = RuleHit(RuleAction.IGNORE, "header_checks:3", start=10, end=20)
    evidence = Evidence((Finding(Kind.RULE, "rules", "IGNORE header_checks:3", rule=hit),), 1000)
    assert decide(evidence, Policy(), local=False).marking.edits == (Replacement(10, 20, b""),)
    assert decide(evidence, Policy(bypass_rule_checks=True), local=False).marking.edits == ()


@pytest.mark.parametrize(
    ("points", "tag"), [(1.9, ""), (2.0, "[?] "), (6.1, "[?] "), (6.2, "[SPAM] "), (20, "[BLATANT] ")]
)
def test_three_subject_tags(points: float, tag: str) -> None:
    policy = Policy(
        kill_level=math.inf,
        tag3_level=20.0,
        spam_subject_tag="[?] ",
        spam_subject_tag2="[SPAM] ",
        spam_subject_tag3="[BLATANT] ",
    )
    assert decide(Evidence((spam(points),), 1000), policy, local=True).marking.subject_tag == tag


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


@pytest.mark.parametrize("remembered", [False, True])
def test_one_4xx_makes_all_wait_but_those_who_are_served(remembered: bool) -> None:
    given = outcomes((PASS, OK), (WITH_COPY, reply.QUARANTINED), (REJECT, reply.REJECTED_SPAM), (PASS, NO))
    assert as_told(given, OK, remembered=remembered) == given
    sent, kept, *others = as_told(given, reply.MIXED_DEFERRAL, remembered=remembered)
    assert sent == given[0]
    assert (kept == given[1]) is remembered
    waiting = others if remembered else [kept, *others]
    assert all(one.reply == reply.MIXED_DEFERRAL and not one.verdict.quarantine for one in waiting)


@pytest.mark.parametrize(
    ("given", "earlier", "answer", "reported"),
    [
        ([(REJECT, reply.REJECTED_SPAM)], [OK], OK, [0]),
        ([(PASS, LATER)], [OK], reply.MIXED_DEFERRAL, []),
        ([(DISCARD, reply.DISCARDED), (REJECT, reply.REJECTED_SPAM)], [OK], reply.DISCARDED, [1]),
        ([(PASS, OK)], [reply.QUARANTINED], OK, []),
    ],
)
def test_one_reply_where_others_were_served_before(
    given: list[tuple[Verdict, Reply]], earlier: list[Reply], answer: Reply, reported: list[int]
) -> None:
    all_outcomes = outcomes(*given)
    got, refused = single_reply(all_outcomes, earlier)
    assert got == answer
    assert [all_outcomes.index(outcome) for outcome in refused] == reported


def test_whom_a_policy_defers_brings_back_all() -> None:
    assert must_wait([PASS, Verdict(Category.CLEAN, Action.DEFER, reply=reply.DEFERRED)])
    assert not must_wait([PASS, DISCARD, REJECT])


@pytest.mark.parametrize(
    ("level", "text"), [(6.2, "6.2"), (6.0, "6"), (-1.25, "-1.25"), (float("inf"), "9999"), (float("-inf"), "-9999")]
)
def test_levels_as_people_know_them(level: float, text: str) -> None:
    assert format_level(level) == text
