"""One message, each recipient by a policy of his own: lovers, extensions, lists, banks, next hops, notices."""

from __future__ import annotations

import asyncio
import email
import ipaddress
import logging
from pathlib import Path

import pytest

from contentfilter.domains import LocalDomains
from contentfilter.finding import Finding, Kind, RuleAction, RuleHit, Test
from contentfilter.policy.banks import Bank
from contentfilter.policy.lists import Effect, ListEntry
from contentfilter.policy.settings import Policy
from contentfilter.verdict import Action
from quarantine.index import Query
from tests.fakes.next_hop import FakeNextHop, Transaction
from tests.journey import MESSAGE, Journey, Scripted, journey
from tests.policies import policies_of

VIRUS = Finding(Kind.VIRUS, "clamd", "Test-Virus")
SPAM = Finding(Kind.SPAM, "spamd", "spam score", score=7.0, tests=(Test("A", 7.0),))


def scanners(*findings: Finding) -> list[Scripted]:
    names = dict.fromkeys(finding.inspector for finding in findings)
    return [Scripted(name, tuple(one for one in findings if one.inspector == name)) for name in names]


def rule(action: RuleAction, text: str = "", **edit: int | str) -> Finding:
    return Finding(
        Kind.RULE, "rules", f"{action.value} by a rule", rule=RuleHit(action, "header_checks:1", text, **edit)
    )  # type: ignore[arg-type]


def to(way: Journey, address: str) -> Transaction:
    """The one transaction that had this recipient."""
    (one,) = [each for each in way.hop.delivered if address in each.rcpt_tos]
    return one


async def told(way: Journey, count: int = 1) -> list[Transaction]:
    """The notices, of which there are so many in the end."""
    async with asyncio.timeout(20):
        while len(found := [one for one in way.hop.delivered if one.mail_from == ""]) < count:
            await asyncio.sleep(0.005)
    return found


FIVE = {
    "alice@x.example": Policy(),
    "bob@x.example": Policy(kill_level=9.0, addr_extension_spam="spam", spam_subject_tag2="***SPAM*** "),
    "carol@x.example": Policy(spam_action=Action.REJECT, spam_quarantine=False),
    "dave@x.example": Policy(spam_lover=True, spam_quarantine=False, bypass_rule_checks=True),
    "erin@x.example": Policy(bypass_spam_checks=True),
}


@pytest.mark.parametrize("door", ["lmtp", "smtp"])
async def test_five_policies_five_outcomes(tmp_path: Path, door: str) -> None:
    names = ("alice", "bob", "carol", "dave", "erin")
    async with journey(tmp_path, inspectors=scanners(SPAM), policies=policies_of(Policy(), FIVE)) as way:
        if door == "lmtp":
            codes = [answer[:9] for answer in await way.lmtp(*names)]
            assert codes == ["250 2.7.0", "250 2.0.0", "554 5.7.0", "250 2.0.0", "250 2.0.0"]
        else:
            assert (await way.smtp(*names))[:3] == "250"
            assert len(way.reports()) == 1
        assert way.kept() == {"alice"}
        assert way.delivered() == {"bob+spam", "dave", "erin"}
        bob, dave, erin = (to(way, f"{name}@x.example") for name in ("bob+spam", "dave", "erin"))
        assert b"Subject: ***SPAM*** hi\r\n" in bob.content
        assert bob.rcpt_parameters == [["ORCPT=rfc822;bob@x.example"]]
        assert b"X-Spam-Flag: YES\r\n" in dave.content
        assert b"Subject: hi\r\n" in dave.content
        assert b"X-Spam" not in erin.content
        assert all(one.content.endswith(b"\r\n\r\nbody\r\n") for one in (bob, dave, erin))


@pytest.mark.parametrize(
    ("address", "extended"),
    [
        ("bob", "bob+spam@x.example"),
        ("bob+lists", "bob+spam@x.example"),
        ("+odd", "+odd+spam@x.example"),
        ('"b,o+b"', '"b,o+b"@x.example'),
    ],
)
async def test_an_extension_replaces_the_one_that_is_there(tmp_path: Path, address: str, extended: str) -> None:
    default = Policy(kill_level=9.0, addr_extension_spam="spam")
    async with journey(tmp_path, inspectors=scanners(SPAM), policies=policies_of(default)) as way:
        await way.lmtp(address)
        assert [one.rcpt_tos for one in way.hop.delivered] == [[extended]]


async def test_an_orcpt_that_came_in_stays(tmp_path: Path) -> None:
    default = Policy(kill_level=9.0, addr_extension_spam="spam")
    async with journey(tmp_path, inspectors=scanners(SPAM), policies=policies_of(default)) as way:
        await way.lmtp("bob ORCPT=rfc822;old@x.example NOTIFY=NEVER")
        assert to(way, "bob+spam@x.example").rcpt_parameters == [["NOTIFY=NEVER", "ORCPT=rfc822;old@x.example"]]


LISTS = [
    ListEntry("test", "alice@x.example", "@y.example", Effect.ALLOW),
    ListEntry("test", "@x.example", "192.0.2.0/24", Effect.SCORE, -4.0),
    ListEntry("test", "bob@x.example", "sender@y.example", Effect.DENY),
]


async def test_lists_of_recipient_and_domain(tmp_path: Path) -> None:
    lookup = policies_of(Policy(kill_level=8.0, tag_level=-99.0), listed=LISTS)
    async with journey(tmp_path, inspectors=scanners(SPAM), policies=lookup) as way:
        await way.lmtp("alice", "bob", "carol")
        assert way.kept() == {"bob"}
        assert b"X-Spam-Flag: NO" in to(way, "alice@x.example").content
        assert b"A=7, SENDER_ALLOWED]" in to(way, "alice@x.example").content.replace(b"\r\n\t", b" ")
        assert b"X-Spam-Score: 3\r\n" in to(way, "carol@x.example").content


async def test_an_allowed_sender_may_not_send_a_virus(tmp_path: Path) -> None:
    lookup = policies_of(Policy(), listed=LISTS)
    async with journey(tmp_path, inspectors=scanners(VIRUS), policies=lookup) as way:
        await way.lmtp("alice")
        assert (way.delivered(), way.kept()) == (set(), {"alice"})


BANKS = [
    Bank("tcp", (("spam_subject_tag2", "[tcp] "),), listeners=("tcp",)),
    Bank("other", (("spam_subject_tag2", "[other] "),), listeners=("unix",)),
    Bank("ours", (("kill_level", 99.0),), networks=(ipaddress.ip_network("192.0.2.0/24"),)),
    Bank("theirs", (("kill_level", -99.0),), networks=(ipaddress.ip_network("198.51.100.0/24"),)),
    Bank("y", (("addr_extension_spam", "y"),), senders=LocalDomains([".y.example"])),
    Bank("z", (("addr_extension_spam", "z"),), senders=LocalDomains(["z.example"])),
]


async def test_banks_lie_over_the_recipients_policy(tmp_path: Path) -> None:
    lookup = policies_of(Policy(), {"bob@x.example": Policy(kill_level=1.0)}, banks=BANKS)
    async with journey(tmp_path, inspectors=scanners(SPAM), policies=lookup) as way:
        await way.lmtp("bob")
        assert b"Subject: [tcp] hi\r\n" in to(way, "bob+y@x.example").content


async def test_no_bank_means_the_null_sender(tmp_path: Path) -> None:
    async with journey(tmp_path, inspectors=scanners(SPAM), policies=policies_of(Policy(), banks=BANKS)) as way:
        await way.lmtp("bob", mail_from="")
        assert way.delivered() == {"bob"}


async def test_a_next_hop_of_ones_own(tmp_path: Path) -> None:
    async with FakeNextHop({"RCPT:<carol@x.example>": "550 5.1.1 unknown"}) as other:
        policies = policies_of(
            Policy(virus_action=Action.PASS, virus_quarantine=False),
            {"bob@x.example": Policy(next_hop=other.address), "carol@x.example": Policy(next_hop=other.address)},
        )
        async with journey(tmp_path, inspectors=scanners(VIRUS), policies=policies) as way:
            answers = await way.lmtp("alice", "bob", "carol")
            assert [answer[:3] for answer in answers] == ["250", "250", "550"]
            assert way.delivered() == {"alice"}
            assert [one.rcpt_tos for one in other.delivered] == [["bob@x.example"]]


async def test_the_quarantine_remembers_the_next_hop_of_ones_own(tmp_path: Path) -> None:
    policies = policies_of(Policy(), {"bob@x.example": Policy(next_hop="unix:/store")})
    async with journey(tmp_path, inspectors=scanners(VIRUS), policies=policies) as way:
        await way.lmtp("alice", "bob")
        (summary,) = way.quarantine.find(Query())
        kept = {one.recipient.address: one.next_hop for one in way.quarantine.read(summary.id).withheld}
    assert kept == {"alice@x.example": "", "bob@x.example": "unix:/store"}


async def test_a_message_that_is_redirected_arrives_once_and_answers_for_all(tmp_path: Path) -> None:
    hits = scanners(rule(RuleAction.REDIRECT, "help@x.example"))
    policies = policies_of(Policy(), {"dave@x.example": Policy(bypass_rule_checks=True)})
    async with journey(tmp_path, inspectors=hits, policies=policies) as way:
        answers = await way.lmtp("alice", "bob", "dave")
        assert [answer[:3] for answer in answers] == ["250"] * 3
        assert sorted(rcpt for one in way.hop.delivered for rcpt in one.rcpt_tos) == [
            "dave@x.example",
            "help@x.example",
        ]


async def test_a_redirect_that_is_refused_is_refused_for_all(tmp_path: Path) -> None:
    hits = scanners(rule(RuleAction.REDIRECT, "no@x.example"))
    async with journey(tmp_path, inspectors=hits, policies=policies_of(Policy())) as way:
        assert [answer[:3] for answer in await way.lmtp("alice", "bob")] == ["550", "550"]


@pytest.mark.parametrize("bcc", ["archive@x.example", "no@x.example"])
async def test_a_bcc_changes_nothing_for_the_recipients(
    tmp_path: Path, bcc: str, caplog: pytest.LogCaptureFixture
) -> None:
    hits = scanners(rule(RuleAction.BCC, bcc), SPAM)
    policies = policies_of(Policy(kill_level=9.0), {"bob@x.example": Policy(tag_level=9.0)})
    async with journey(tmp_path, inspectors=hits, policies=policies) as way:
        assert [answer[:3] for answer in await way.lmtp("alice", "bob")] == ["250", "250"]
        got = [rcpt for one in way.hop.delivered for rcpt in one.rcpt_tos]
        assert sorted(got) == sorted(["alice@x.example", "bob@x.example", *(["archive@x.example"] * ("no" not in bcc))])
    assert ("no BCC to <no@x.example>: 550 5.1.1" in caplog.text) is (bcc == "no@x.example")


async def test_rules_edit_the_header_of_those_who_want_rules(tmp_path: Path) -> None:
    start = MESSAGE.index(b"Subject: hi\r\n")
    end = start + len(b"Subject: hi\r\n")
    hits = scanners(
        rule(RuleAction.REPLACE, start=start, end=end, replacement="Subject: bye\r\n"),
        rule(RuleAction.PREPEND, start=start, end=start, replacement="X-Seen: 1\r\n"),
        rule(RuleAction.IGNORE, start=0, end=MESSAGE.index(b"To:")),
        SPAM,
    )
    policies = policies_of(
        Policy(kill_level=9.0, spam_subject_tag2="[S] "), {"dave@x.example": Policy(bypass_rule_checks=True)}
    )
    async with journey(tmp_path, inspectors=hits, policies=policies) as way:
        await way.lmtp("alice", "dave")
        alice, dave = to(way, "alice@x.example").content, to(way, "dave@x.example").content
        assert alice.endswith(
            b"To: c@d.example\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nX-Seen: 1\r\nSubject: [S] bye\r\n\r\nbody\r\n"
        )
        assert dave.endswith(MESSAGE.replace(b"Subject: ", b"Subject: [S] "))


@pytest.mark.parametrize(
    ("limit", "size", "answer"),
    [(1000, 1001, "552 5.3.4"), (1000, 1000, "250 2.1.5"), (0, 10**7, "250 2.1.5"), (1000, 0, "250 2.1.5")],
)
async def test_the_size_limit_of_a_recipient_is_told_at_rcpt(
    tmp_path: Path, limit: int, size: int, answer: str
) -> None:
    policies = policies_of(Policy(), {"bob@x.example": Policy(message_size_limit=limit)})
    async with journey(tmp_path, policies=policies) as way, await way.door.greeted() as client:
        said = await client.say(
            "LHLO mx.example",
            f"MAIL FROM:<a@y.example> SIZE={size}",
            "RCPT TO:<bob@x.example>",
            "RCPT TO:<al@x.example>",
        )
        assert [line[:9] for line in said[2:]] == [answer, "250 2.1.5"]
        (start,) = await client.say("DATA")
        assert start[:3] == "354"
        await client.send(MESSAGE + b".\r\n")
        assert len(await client.replies(1 if answer[0] == "5" else 2)) == 2 - (answer[0] == "5")


async def test_who_discards_what_is_too_large_is_not_asked_at_rcpt(tmp_path: Path) -> None:
    policies = policies_of(Policy(message_size_limit=10, oversized_action=Action.DISCARD, virus_lover=True))
    async with journey(tmp_path, policies=policies) as way, await way.door.greeted() as client:
        said = await client.say("LHLO mx.example", "MAIL FROM:<a@y.example> SIZE=99", "RCPT TO:<bob@x.example>")
        assert said[2][:9] == "250 2.1.5"


async def test_shadow_mode(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    policies = policies_of(Policy(shadow=True), {"bob@x.example": Policy(shadow=False, virus_quarantine=False)})
    with caplog.at_level(logging.INFO, "contentfilter"):
        async with journey(tmp_path, inspectors=scanners(VIRUS, SPAM), policies=policies) as way:
            assert [answer[:9] for answer in await way.lmtp("alice", "bob")] == ["250 2.0.0", "250 2.7.0"]
            assert (way.delivered(), way.kept()) == ({"alice"}, set())
            assert to(way, "alice@x.example").content.partition(b"From: ")[0].startswith(b"Received: ")
    assert "Passed INFECTED (Test-Virus) [shadow: Blocked], " in caplog.text
    assert "Blocked INFECTED (Test-Virus), " in caplog.text


async def test_notices_to_recipients_and_administrators(tmp_path: Path) -> None:
    policies = policies_of(
        Policy(virus_admin="virusalert@x.example"),
        {
            "alice@x.example": Policy(warn_virus_recipient=True),
            "bob@x.example": Policy(warn_virus_recipient=True),
            "carol@x.example": Policy(virus_lover=True, warn_virus_recipient=True, virus_quarantine=False),
            "dave@x.example": Policy(warn_virus_recipient=True, local="no"),
        },
    )
    async with journey(tmp_path, inspectors=scanners(VIRUS), policies=policies) as way:
        await way.lmtp("alice", "bob", "carol", "dave", "erin")
        warning, alert = sorted(await told(way, 2), key=lambda one: len(one.rcpt_tos), reverse=True)
        assert warning.rcpt_tos == ["alice@x.example", "bob@x.example"]
        assert warning.rcpt_parameters == [["NOTIFY=NEVER"]] * 2
        parsed = email.message_from_bytes(warning.content, policy=email.policy.default)
        assert parsed["Auto-Submitted"] == "auto-generated"
        assert "virus: Test-Virus" in parsed.get_content()
        assert "bob" not in parsed.as_string()  # nobody learns who else was meant
        assert alert.rcpt_tos == ["virusalert@x.example"]
        text = email.message_from_bytes(alert.content, policy=email.policy.default).get_content()
        assert "<carol@x.example> delivered\r\n" in text
        assert "<dave@x.example> withheld, kept in quarantine\r\n" in text


async def test_only_who_is_served_is_told_while_others_come_again(tmp_path: Path) -> None:
    policies = policies_of(
        Policy(virus_admin="virusalert@x.example", warn_virus_recipient=True),
        {"later@x.example": Policy(virus_lover=True)},
    )
    async with journey(tmp_path, inspectors=scanners(VIRUS), policies=policies) as way:
        assert (await way.smtp("alice", "later"))[:3] == "451"
    told = sorted(one.rcpt_tos for one in way.hop.delivered if one.mail_from == "")
    assert told == [["alice@x.example"], ["virusalert@x.example"]]  # alice's copy is kept for good


async def test_a_notice_that_nobody_takes_changes_no_reply(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    policies = policies_of(Policy(virus_admin="no@x.example"))
    async with journey(tmp_path, inspectors=scanners(VIRUS), policies=policies) as way:
        assert [answer[:3] for answer in await way.lmtp("alice")] == ["250"]
    assert "no notice to <no@x.example>: 550 5.1.1" in caplog.text
