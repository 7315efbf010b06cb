"""What recipients and administrators are told, and that nothing from a message gets out of the text."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import Sequence
from dataclasses import replace
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter import notifier, reply
from contentfilter.case import Case
from contentfilter.envelope import Client, Envelope, Recipient
from contentfilter.evidence import Evidence
from contentfilter.mail_data import Content
from contentfilter.message import Message
from contentfilter.mime import parse
from contentfilter.notice import MOST_NAMED, Notice, notices
from contentfilter.notifier import AT_ONCE, MOST_PENDING, Notifier
from contentfilter.outcome import Outcome
from contentfilter.policy.entry import Effective
from contentfilter.policy.settings import Policy
from contentfilter.reply import Reply
from contentfilter.verdict import Action, Category, Verdict

ADMIN = "virusalert@x.example"
WITHHELD = Verdict(
    Category.VIRUS, Action.DISCARD, quarantine=True, reply=reply.QUARANTINED, reasons=("virus: Eicar in part 2",)
)


def told(
    *verdicts: Verdict, policy: Policy, subject: str = "hi", mail_from: str = "a@y.example", names: Sequence[str] = ()
) -> list[Notice]:
    """The notices for recipients r0, r1 ... or of these names, each with a verdict of his own and the same policy."""
    raw = b"Subject: " + subject.encode("utf-8", "surrogateescape") + b"\r\n\r\nbody\r\n"
    addresses = [f"{names[at] if names else f'r{at}'}@x.example" for at in range(len(verdicts))]
    recipients = tuple(map(Recipient, addresses))
    envelope = Envelope(mail_from, recipients, client=Client(addr="192.0.2.7", ident="Q1"))
    effective = (Effective(policy),) * len(verdicts)
    case = Case("mailid", envelope, Message(raw), parse(raw), Evidence((), len(raw)), effective, verdicts)
    outcomes = [
        Outcome(one, verdict, verdict.reply or reply.OK) for one, verdict in zip(recipients, verdicts, strict=True)
    ]
    return notices(case, outcomes, "filter.example")


def parsed(notice: Notice) -> EmailMessage:
    message = email.message_from_bytes(notice.content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


@pytest.mark.parametrize(
    ("verdict", "settings", "recipients", "admins"),
    [
        (WITHHELD, {}, 0, 0),
        (WITHHELD, {"warn_virus_recipient": True}, 1, 0),
        (WITHHELD, {"virus_admin": ADMIN}, 0, 1),
        (WITHHELD, {"warn_spam_recipient": True, "spam_admin": ADMIN}, 0, 0),
        (Verdict(Category.UNCHECKED, Action.DISCARD, reply=reply.DISCARDED), {}, 1, 0),
        (Verdict(Category.UNCHECKED, Action.REJECT, reply=reply.REJECTED_UNCHECKED), {}, 1, 0),
        (Verdict(Category.UNCHECKED, Action.PASS), {"unchecked_admin": ADMIN}, 0, 1),
        (Verdict(Category.UNCHECKED, Action.DISCARD, reply=reply.DISCARDED, local=False), {}, 0, 0),
        (Verdict(Category.UNCHECKED, Action.DEFER, reply=reply.DEFERRED), {"unchecked_admin": ADMIN}, 0, 0),
        (Verdict(Category.CLEAN, Action.PASS), {"virus_admin": ADMIN}, 0, 0),
        (Verdict(Category.VIRUS, Action.PASS, shadowed=WITHHELD), {"virus_admin": ADMIN}, 0, 0),
    ],
)
def test_who_is_told(verdict: Verdict, settings: dict[str, object], recipients: int, admins: int) -> None:
    sent = told(verdict, policy=Policy.model_validate(settings))
    whom = [one.recipients[0].address for one in sent]
    assert whom.count("r0@x.example") == recipients
    assert whom.count(ADMIN) == admins
    assert len(whom) == recipients + admins


def test_the_administrator_is_told_before_many_recipients_are() -> None:
    """Each has reasons and a notice of his own, and what is too many is dropped from the end."""
    verdicts = [replace(WITHHELD, reasons=(f"virus: {at}",)) for at in range(3)]
    sent = told(*verdicts, policy=Policy(virus_admin=ADMIN, warn_virus_recipient=True))
    assert [one.recipients[0].address for one in sent] == [ADMIN, "r0@x.example", "r1@x.example", "r2@x.example"]


def test_what_the_recipient_reads() -> None:
    (notice,) = told(WITHHELD, policy=Policy(warn_virus_recipient=True))
    message = parsed(notice)
    assert message["Subject"] == "A message for you was withheld [mailid]"
    assert message["Auto-Submitted"] == "auto-generated"
    text = " ".join(message.get_content().split())
    assert "A message for you was withheld, because it contains a virus." in text
    assert "From: <a@y.example> Subject: hi" in text
    assert "Found: virus: Eicar in part 2 A copy is kept in quarantine." in text
    assert "write to postmaster@filter.example and quote mailid" in text


def test_a_notice_to_many_names_some() -> None:
    sent = told(*[WITHHELD] * 200, policy=Policy(virus_admin=ADMIN, warn_virus_recipient=True))
    assert sorted(len(one.recipients) for one in sent) == [1, 200]
    text = parsed(next(one for one in sent if len(one.recipients) == 1)).get_content()
    assert text.count("@x.example> withheld") == MOST_NAMED
    assert "and 150 more" in text


def test_an_administrator_whose_address_is_not_ascii() -> None:
    (notice,) = told(WITHHELD, policy=Policy(virus_admin="jürgen@x.example"))
    assert notice.smtputf8
    assert "<jürgen@x.example>".encode() in notice.content
    (plain,) = told(WITHHELD, policy=Policy(virus_admin=ADMIN), mail_from="jürgen@y.example")
    assert plain.content.isascii()
    assert not plain.smtputf8


ATTACKS = ("x\r\nBcc: v@z.example", "x\r\n\r\n<b>", "\x1b[2J\u202e", "=?utf-8?q?=0D=0ABcc:_v@z?=", "{host}", "\udcff")
HOSTILE = st.text(max_size=300) | st.sampled_from(ATTACKS)
FIELDS = b"From To Subject Date Message-ID Auto-Submitted Content-Type Content-Transfer-Encoding MIME-Version".split()


@given(HOSTILE, HOSTILE, HOSTILE)
def test_nothing_from_outside_becomes_a_field_or_a_control(subject: str, sender: str, name: str) -> None:
    verdict = Verdict(Category.VIRUS, Action.DISCARD, reply=reply.DISCARDED, reasons=(f"virus: {name}",))
    policy = Policy(virus_admin=ADMIN, warn_virus_recipient=True)
    for notice in told(verdict, policy=policy, subject=subject.replace("\r", "").replace("\n", ""), mail_from=sender):
        assert notice.content.isascii()
        head = notice.content.partition(b"\r\n\r\n")[0]
        names = [line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in (b" ", b"\t")]
        assert sorted(names) == sorted(FIELDS)
        assert max(map(len, notice.content.split(b"\r\n"))) <= 998
        assert notice.content.count(b"\n") == notice.content.count(b"\r\n")
        text = parsed(notice).get_content()
        assert not {character for character in text if ord(character) < 32 and character not in "\r\n"}


class Way:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.sent = 0

    async def send(
        self, envelope: Envelope, recipients: Sequence[Recipient], content: Content, size: int, via: str = ""
    ) -> tuple[Reply, ...]:
        assert envelope.mail_from == ""
        await self.go.wait()
        self.sent += 1
        return (reply.OK,) * len(recipients)


NOTICE = Notice((Recipient("bob@x.example"),), b"x\r\n")


async def test_under_a_flood_notices_are_dropped_and_the_rest_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    way = Way()
    posting = Notifier(way)
    posting.post("mailid", [NOTICE] * (MOST_PENDING + 5))
    posting.post("second", [NOTICE] * 500)
    assert caplog.messages == ["(mailid) and later: 1 notices dropped, 100 are waiting"]
    way.go.set()
    await posting.close()
    assert way.sent == MOST_PENDING
    assert caplog.messages[1:] == ["(mailid) and later: 504 notices dropped, 100 are waiting"]


async def test_a_flood_that_goes_on_is_told_of_again_and_one_that_ends_is_counted_to_its_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notifier, "LINE_SECONDS", 0.01)
    way = Way()
    posting = Notifier(way)
    posting.post("mailid", [NOTICE] * (MOST_PENDING + 5))
    posting.post("second", [NOTICE] * 500)
    async with asyncio.timeout(10):
        while len(caplog.messages) < 2:
            await asyncio.sleep(0)
    assert sum(int(line.split()[3]) for line in caplog.messages) == 505
    posting.post("third", [NOTICE])
    async with asyncio.timeout(10):
        while len(caplog.messages) < 3:
            await asyncio.sleep(0)
    assert caplog.messages[2] == "(third) and later: 1 notices dropped, 100 are waiting"
    way.go.set()
    await posting.close()


async def test_notices_leave_the_next_hop_room_for_mail() -> None:
    class Counting(Way):
        at_once = most = 0

        async def send(
            self, envelope: Envelope, recipients: Sequence[Recipient], content: Content, size: int, via: str = ""
        ) -> tuple[Reply, ...]:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            await asyncio.sleep(0)
            self.at_once -= 1
            return await super().send(envelope, recipients, content, size, via)

    way = Counting()
    way.go.set()
    posting = Notifier(way)
    posting.post("mailid", [NOTICE] * MOST_PENDING)
    await posting.close()
    assert (way.sent, way.most) == (MOST_PENDING, AT_ONCE)


async def test_a_next_hop_that_hangs_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notifier, "PATIENCE", 0.05)
    posting = Notifier(Way())
    posting.post("mailid", [NOTICE])
    async with asyncio.timeout(10):
        await posting.close()
    assert "no notice to <bob@x.example>: not sent in 0.05 s" in caplog.text
