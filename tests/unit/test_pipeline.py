"""What the journey hands from step to step; what becomes of the recipients is in test_reply_table."""

from __future__ import annotations

import asyncio
import base64
import email
import email.utils
import gc
import logging
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from contentfilter import judging, pipeline, refused, reply
from contentfilter.decision import decide
from contentfilter.domains import LocalDomains
from contentfilter.envelope import Client, Envelope, Protocol, Recipient
from contentfilter.errors import FilterError, InspectorError, PolicyError
from contentfilter.failure import OnFailure
from contentfilter.finding import Finding, Kind, RuleAction, RuleHit
from contentfilter.inquiry import Terms
from contentfilter.inspectors import Inspector, Subject
from contentfilter.intake.parameters import parse_rcpt
from contentfilter.judging import Site
from contentfilter.mail_data import Content
from contentfilter.message import Message
from contentfilter.mime import Limits, Part, Tree
from contentfilter.pipeline import Pipeline
from contentfilter.policy.entry import Found
from contentfilter.policy.lookup import Policies
from contentfilter.policy.settings import Policy
from contentfilter.reply import Reply
from contentfilter.routes import outgoing
from contentfilter.unpack.unpacked import NOTHING, Unpacked
from contentfilter.verdict import Action, Category, Route, Verdict
from quarantine.record import Record, State
from tests.journey import HOST, MESSAGE, Scripted, Unopened, silent
from tests.policies import entry, policies_of

BOB, CAROL, FAR = Recipient("bob@x.example"), Recipient("carol@x.example"), Recipient("far@elsewhere.example")
ENVELOPE = Envelope("a@y.example", (BOB,), protocol=Protocol.LMTP, client=Client(addr="192.0.2.7", ident="Q1"))
OK = Reply(250, "2.0.0", "Ok")
VIRUS = Finding(Kind.VIRUS, "clamd", "Eicar", "1.2")


@dataclass
class Way:
    """Takes everything, or answers as told; keeps what went out."""

    answers: dict[str, Reply] = field(default_factory=dict)
    sent: list[tuple[Envelope, list[str], bytes, int]] = field(default_factory=list)

    async def send(
        self, envelope: Envelope, recipients: Sequence[Recipient], content: Content, size: int, via: str = ""
    ) -> tuple[Reply, ...]:
        raw = b"".join(bytes(piece) for piece in content())
        self.sent.append((envelope, [one.address for one in recipients], raw, size))
        return tuple(self.answers.get(one.address, OK) for one in recipients)


@dataclass
class Keeper:
    """A quarantine that is a list."""

    kept: list[Record] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)

    def keep(self, record: Record, message: Message) -> None:
        self.kept.append(record)

    def withdraw(self, mail_id: str, keeping: Collection[str] = ()) -> None:
        self.withdrawn.append(mail_id)


@dataclass
class Set:
    pipeline: Pipeline
    way: Way
    keeper: Keeper

    async def handle(self, envelope: Envelope = ENVELOPE, raw: bytes = MESSAGE) -> tuple[Reply, ...]:
        with Message(raw) as message:
            return await self.pipeline.handle(envelope, message)


def made(
    *inspectors: Inspector,
    policies: dict[str, Policy] | None = None,
    default: Policy | None = None,
    answers: dict[str, Reply] | None = None,
    timeout: float = 10.0,
    limits: Limits | None = None,
) -> Set:
    site = Site(
        hostname=HOST,
        local=LocalDomains(["x.example"]),
        inspect_timeout=timeout,
        send_timeout=20.0,
        max_hops=100,
        max_passes=3,
        mime_limits=limits or Limits(),
        on_failure={"clamd": OnFailure.PASS},
    )
    way, keeper = Way(answers or {}), Keeper()
    lookup = policies_of(default or Policy(), policies)
    return Set(Pipeline(site, lookup, inspectors, way, keeper, box=Unopened()), way, keeper)


def field_of(raw: bytes, name: str) -> str | None:
    value = email.message_from_bytes(raw)[name]
    return None if value is None else str(value)


@pytest.mark.parametrize(
    ("inspector", "claimed"),
    [
        (Scripted("clamd"), True),
        (Scripted("clamd", findings=(Finding(Kind.UNCHECKED, "clamd", "Heuristics.Encrypted.Zip"),)), False),
        (Scripted("clamd", findings=(VIRUS, Finding(Kind.FAILURE, "clamd", "part 2"))), False),
        (Scripted("spamd"), False),
    ],
)
async def test_only_a_whole_scan_is_claimed(inspector: Scripted, claimed: bool) -> None:
    passing = Policy(virus_action=Action.PASS, unchecked_action=Action.PASS)
    it = made(inspector, default=passing)
    await it.handle()
    ((_, _, raw, _),) = it.way.sent
    assert (field_of(raw, "X-Virus-Scanned") is not None) is claimed


@pytest.mark.parametrize(
    ("minutes", "mode", "answer", "alert"),
    [
        (9, OnFailure.TAG, 451, None),
        (11, OnFailure.TAG, 250, "UNCHECKED, clamd could not answer"),
        (9, OnFailure.QUARANTINE, 451, None),
        (11, OnFailure.QUARANTINE, 250, None),
        (11, OnFailure.DEFER, 451, None),
    ],
)
async def test_a_silent_scanner_has_some_time_to_come_back(
    minutes: int, mode: OnFailure, answer: int, alert: str | None
) -> None:
    it = made(silent("clamd"))
    it.pipeline._judging._terms = Terms(10.0, on_failure={"clamd": mode}, failure_grace={"clamd": 600.0})
    came = ENVELOPE.received_at - minutes * 60
    received = f"Received: by mx.example (Postfix); {email.utils.formatdate(came)}\r\n".encode()
    (got,) = await it.handle(raw=received + MESSAGE)
    assert got.code == answer
    assert [record.on_failure["clamd"] for record in it.keeper.kept] == [mode] * (answer == 250 and alert is None)
    assert len(it.way.sent) == (alert is not None)
    for _, _, raw, _ in it.way.sent:
        assert field_of(raw, "X-Contentfilter-Alert") == alert
        assert field_of(raw, "X-Virus-Scanned") is None


async def test_a_scanner_that_takes_too_long_has_failed() -> None:
    class Slow(Scripted):
        async def inspect(self, subject: Subject) -> tuple[Finding, ...]:
            await asyncio.Event().wait()
            return ()

    it = made(Slow("spamd"), timeout=0.01)
    assert await it.handle() == (reply.SCANNER_FAILED,)
    assert it.way.sent == []


async def test_a_scanner_that_waits_for_its_turn_is_given_the_time() -> None:
    """And none too much: what it does afterwards is limited as ever."""

    class Waiting(Scripted):
        looks_inside = True

        async def answers(self) -> bool:
            return False

        async def inspect(self, subject: Subject) -> tuple[Finding, ...]:
            with subject.pause():
                await asyncio.sleep(0.2)
            return await super().inspect(subject)

    class Hanging(Waiting):
        async def inspect(self, subject: Subject) -> tuple[Finding, ...]:
            await super().inspect(subject)
            await asyncio.Event().wait()
            return ()

    waiting = made(Waiting("spamd"), timeout=0.1)
    await waiting.handle()
    assert len(waiting.way.sent) == 1
    hanging = made(Hanging("spamd"), timeout=0.1)
    assert await hanging.handle() == (reply.SCANNER_FAILED,)


async def test_who_asks_another_process_has_asked_before_we_look_ourselves() -> None:
    """What we find out meanwhile costs a message no time then."""
    order: list[str] = []
    it = made(
        Looking("banned", log=order), Asking("clamd", log=order), Asking("spamd", looks_inside=False, log=order),
        Looking("header", log=order),
    )  # fmt: skip
    it.pipeline._box = Opener(order)
    await it.handle()
    assert order[:4] == ["spamd asked", "containers opened", "clamd asked", "banned looks"]
    assert order[4] == "header looks"
    assert sorted(order[5:]) == ["clamd answered", "spamd answered"]


async def test_who_was_asked_early_is_given_up_when_containers_cannot_be_opened() -> None:
    order: list[str] = []
    it = made(Asking("spamd", looks_inside=False, log=order))
    it.pipeline._box = Opener(order, InspectorError("no helper"))
    with pytest.raises(InspectorError, match="no helper"):
        await it.handle()
    assert order == ["spamd asked", "spamd given up"]


@dataclass
class Asking(Scripted):
    """One that asks another process, and takes a moment. looks_inside: as inspectors have it."""

    looks_inside: bool = True
    log: list[str] = field(default_factory=list)

    async def answers(self) -> bool:
        return True

    async def inspect(self, subject: Subject) -> tuple[Finding, ...]:
        self.log.append(f"{self.name} asked")
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.log.append(f"{self.name} given up")
            raise
        self.log.append(f"{self.name} answered")
        return ()


@dataclass
class Looking(Scripted):
    """One that looks itself."""

    log: list[str] = field(default_factory=list)

    async def inspect(self, subject: Subject) -> tuple[Finding, ...]:
        self.log.append(f"{self.name} looks")
        return ()


class Opener:
    """A box that takes a moment, or fails."""

    def __init__(self, log: list[str], failure: Exception | None = None) -> None:
        self._log, self._failure = log, failure

    async def open(self, tree: Tree, size: int) -> Unpacked:
        await asyncio.sleep(0)
        if self._failure is not None:
            raise self._failure
        self._log.append("containers opened")
        return NOTHING


async def test_groups_that_are_not_sent_in_time_come_again(caplog: pytest.LogCaptureFixture) -> None:
    """Postfix gives up on us after a while, and would send to everybody again."""

    class Slow(Way):
        async def send(
            self, envelope: Envelope, recipients: Sequence[Recipient], content: Content, size: int, via: str = ""
        ) -> tuple[Reply, ...]:
            if recipients == [CAROL]:
                await asyncio.Event().wait()
            return await super().send(envelope, recipients, content, size, via)

    it = made(
        Scripted("spamd", findings=(Finding(Kind.SPAM, "spamd", "spam score", score=5.0),)),
        policies={"carol@x.example": Policy(tag_level=1.0), "dave@x.example": Policy(tag_level=1.5)},
    )
    it.pipeline._site = replace(it.pipeline._site, send_timeout=0.05)
    it.pipeline._delivery._way = Slow()
    replies = await it.handle(replace(ENVELOPE, recipients=(BOB, CAROL, Recipient("dave@x.example"))))
    assert [answer.code for answer in replies] == [250, 451, 451]
    assert "not sent to 1 recipients in time" in caplog.text


async def test_attachments_are_not_held_while_the_message_is_sent() -> None:
    held: list[int] = []

    def attachments() -> int:
        return sum(isinstance(each, Part) and each.decoded == b"unlike any other" for each in gc.get_objects())

    class Looking(Way):
        async def send(
            self, envelope: Envelope, recipients: Sequence[Recipient], content: Content, size: int, via: str = ""
        ) -> tuple[Reply, ...]:
            held.append(attachments())
            return await super().send(envelope, recipients, content, size, via)

    class Opening(Unopened):
        async def open(self, tree: Tree, size: int) -> Unpacked:
            held.append(attachments())
            return await super().open(tree, size)

    it = made()
    it.pipeline._delivery._way, it.pipeline._box = Looking(), Opening()
    encoded = base64.encodebytes(b"unlike any other").replace(b"\n", b"\r\n")
    await it.handle(raw=b"Content-Transfer-Encoding: base64\r\n" + MESSAGE.partition(b"body")[0] + encoded)
    assert held == [1, 0]


async def test_who_is_cut_off_before_the_answer_leaves_no_copy() -> None:
    reached = asyncio.Event()

    class Hanging(Way):
        async def send(
            self, envelope: Envelope, recipients: Sequence[Recipient], content: Content, size: int, via: str = ""
        ) -> tuple[Reply, ...]:
            reached.set()
            await asyncio.Event().wait()
            return ()

    it = made(Scripted("clamd", findings=(VIRUS,)), default=Policy(virus_action=Action.PASS))
    it.pipeline._delivery._way = Hanging()
    task = asyncio.create_task(it.handle())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert it.keeper.withdrawn == [it.keeper.kept[0].id]


async def test_a_copy_that_is_just_being_kept_is_withdrawn_only_once_it_is_there() -> None:
    """A thread does not end because nobody waits for it any more."""
    began, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @dataclass
    class Slow(Keeper):
        def keep(self, record: Record, message: Message) -> None:
            loop.call_soon_threadsafe(began.set)
            assert go.wait(20.0)
            super().keep(record, message)

        def withdraw(self, mail_id: str, keeping: Collection[str] = ()) -> None:
            assert [record.id for record in self.kept] == [mail_id]
            super().withdraw(mail_id, keeping)

    it = made(Scripted("clamd", findings=(VIRUS,)), default=Policy(virus_action=Action.DISCARD))
    slow = Slow()
    it.pipeline._copies._quarantine = slow
    task = asyncio.create_task(it.handle())
    await began.wait()
    task.cancel()
    assert not (await asyncio.wait([task], timeout=0.1))[0]  # time enough for a withdrawal that does not wait
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.withdrawn == [slow.kept[0].id]


async def test_thousands_of_findings_are_told_in_few_words() -> None:
    many = tuple(Finding(Kind.BANNED, "banned", f".exe: {n}.exe", f"1.{n}") for n in range(3000))
    it = made(Scripted("banned", findings=many), Scripted("clamd", findings=(VIRUS,)))
    await it.handle(replace(ENVELOPE, recipients=(BOB, CAROL) * 500))
    (record,) = it.keeper.kept
    assert len(record.findings) == 32
    assert record.findings[-1].name == "and 2970 more"
    assert len({id(one.reasons) for one in record.withheld}) == 1


async def test_what_exceeds_a_limit_is_unchecked() -> None:
    it = made(limits=Limits(parts=2))
    parts = b"".join(b"--b\r\n\r\nx\r\n" for _ in range(5))
    await it.handle(raw=b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + parts + b"--b--\r\n")
    assert it.way.sent == []
    (record,) = it.keeper.kept
    assert record.category is Category.UNCHECKED


async def test_the_record_tells_everything() -> None:
    score = Finding(Kind.SPAM, "spamd", "spam score", score=99.5)
    it = made(Scripted("clamd", findings=(VIRUS,)), Scripted("spamd", findings=(score,)))
    raw = MESSAGE.replace(b"Subject: hi", b"Subject: =?utf-8?q?h=C3=AD?=\r\nMessage-ID: <1@y>")
    await it.handle(raw=raw)
    (record,) = it.keeper.kept
    assert (record.subject, record.message_id, record.score, record.queue_id) == ("hí", "<1@y>", 99.5, "Q1")
    assert set(record.findings) == {VIRUS, score}
    (one,) = record.withheld
    assert (one.recipient, one.category, one.action, one.state) == (BOB, Category.VIRUS, Action.DISCARD, State.PENDING)
    assert one.reasons == ("virus: Eicar in part 1.2", "spam: score 99.5 >= kill_level 6.9")


async def test_a_copy_of_what_passes_has_its_id_in_the_header_and_waits_for_nobody() -> None:
    it = made(Scripted("clamd", findings=(VIRUS,)), default=Policy(virus_action=Action.PASS))
    await it.handle()
    (record,) = it.keeper.kept
    ((_, _, raw, _),) = it.way.sent
    assert field_of(raw, "X-Quarantine-ID") == record.id
    assert record.withheld[0].state is State.DELIVERED


async def test_fields_for_people_are_for_local_people() -> None:
    score = Finding(Kind.SPAM, "spamd", "spam score", score=5.0)
    it = made(Scripted("spamd", findings=(score,)))
    await it.handle(replace(ENVELOPE, recipients=(BOB, FAR)))
    marked = {tuple(to): field_of(raw, "X-Spam-Score") for _, to, raw, _ in it.way.sent}
    assert marked == {("bob@x.example",): "5", ("far@elsewhere.example",): None}


async def test_the_size_we_announce_is_the_size_we_send() -> None:
    it = made(default=Policy(tag_level=float("-inf"), tag2_level=0.0, spam_subject_tag2="[S] "))
    foreign = b"X-Spam-Status: No\r\n" * 20
    scored = made(
        Scripted("spamd", findings=(Finding(Kind.SPAM, "spamd", "spam score", score=5.0),)),
        default=Policy(spam_subject_tag2="[S] ", tag2_level=1.0),
    )
    for one in (it, scored):
        await one.handle(raw=foreign + MESSAGE)
        ((_, _, raw, size),) = one.way.sent
        assert size == len(raw)
        assert b"X-Spam-Status: No\r\n" not in raw


async def test_no_foreign_copy_hides_behind_a_limit() -> None:
    it = made(default=Policy(unchecked_action=Action.PASS), limits=Limits(fields=3))
    await it.handle(raw=b"A: b\r\n" * 10 + b"X-Spam-Flag: NO\r\n" + MESSAGE)
    ((_, _, raw, _),) = it.way.sent
    assert field_of(raw, "X-Spam-Flag") is None


async def test_the_report_gives_back_no_virus() -> None:
    rejecting = {"carol@x.example": Policy(virus_action=Action.REJECT, virus_quarantine=False)}
    passing = Policy(virus_action=Action.PASS, virus_quarantine=False)
    it = made(Scripted("clamd", findings=(VIRUS,)), policies=rejecting, default=passing)
    envelope = replace(ENVELOPE, recipients=(BOB, CAROL), protocol=Protocol.ESMTP, ret="FULL")
    assert await it.handle(envelope, MESSAGE) == (OK,)
    _, (sent, to, report, size) = it.way.sent
    assert (sent.mail_from, to, size) == ("", ["a@y.example"], len(report))
    assert b"carol@x.example" in report
    assert b"bob@x.example" not in report
    assert b"\r\nbody\r\n" not in report
    assert b"hi" in report  # the subject, so that people know which message it is about


async def test_a_report_of_what_the_next_hop_refused_gives_back_the_message() -> None:
    it = made(answers={"carol@x.example": Reply(550, "5.1.1", "who?")})
    envelope = replace(ENVELOPE, recipients=(BOB, CAROL), protocol=Protocol.ESMTP, ret="FULL", smtputf8=True)
    await it.handle(envelope)
    _, (sent, _, report, _) = it.way.sent
    assert b"\r\nbody\r\n" in report
    assert sent.smtputf8


async def test_each_preference_is_asked_for_once_and_only_for_those_who_want_scores() -> None:
    spamd = Scripted("spamd")
    policies = {
        "bob@x.example": Policy(spam_user="bob"),
        "carol@x.example": Policy(spam_user="carol", bypass_spam_checks=True),
    }
    it = made(spamd, policies=policies)
    await it.handle(replace(ENVELOPE, recipients=(BOB, CAROL, BOB, FAR)))
    assert spamd.asked[0].spam_users == ("bob", "")


async def test_each_combination_of_banned_rules_is_asked_for_once_and_only_for_those_who_want_it() -> None:
    inspector = Scripted("banned")
    policies = {
        "bob@x.example": Policy(banned_rules=("a", "b")),
        "carol@x.example": Policy(banned_rules=("c",), bypass_banned_checks=True),
    }
    it = made(inspector, policies=policies)
    await it.handle(replace(ENVELOPE, recipients=(BOB, CAROL, BOB, FAR)))
    assert inspector.asked[0].banned_rules == (("a", "b"), ("default",))


async def test_who_wants_no_banned_rules_does_not_have_them_asked() -> None:
    inspector = Scripted("banned")
    it = made(inspector, default=Policy(banned_rules=()))
    await it.handle()
    assert not inspector.asked


async def test_many_findings_for_one_do_not_crowd_out_those_for_another() -> None:
    banned = Finding(Kind.BANNED, "banned", "x", banned_rules=("a",))
    findings = (*(replace(banned, part=str(number)) for number in range(100)), replace(banned, banned_rules=("b",)))
    policies = {"bob@x.example": Policy(banned_rules=("b",)), "carol@x.example": Policy(banned_rules=("c",))}
    it = made(Scripted("banned", findings=findings), policies=policies)
    with Message(MESSAGE) as message:
        case = await it.pipeline.judge("id", replace(ENVELOPE, recipients=(BOB, CAROL)), message)
    assert [verdict.category for verdict in case.verdicts] == [Category.BANNED, Category.CLEAN]


async def test_a_failure_beside_findings_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    failed = Finding(Kind.FAILURE, "spamd", "timeout", user="bob")
    it = made(Scripted("spamd", findings=(failed,)))
    await it.handle()
    assert "spamd could not answer: timeout" in caplog.text


async def test_the_score_in_the_log_is_the_general_one(caplog: pytest.LogCaptureFixture) -> None:
    scores = tuple(
        Finding(Kind.SPAM, "spamd", "spam score", score=score, user=user) for user, score in (("bob", 1.0), ("", 2.0))
    )
    it = made(Scripted("spamd", findings=scores))
    with caplog.at_level(logging.INFO, "contentfilter"):
        await it.handle()
    assert "Hits: 2," in caplog.text


async def test_what_cannot_be_decided_is_logged_and_raised(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        async def find(self, recipients: Sequence[Sequence[str]], subjects: Sequence[str]) -> Sequence[Found]:
            raise PolicyError("the database is away")

    it = made()
    site_policies = Policies(entry("default", Policy()), [Broken()])
    it.pipeline._policies = site_policies
    with pytest.raises(FilterError) as caught:
        await it.handle()
    assert caught.value.reply == reply.POLICY_FAILED
    assert "Deferred, [192.0.2.7] <a@y.example> -> <bob@x.example>, Queue-ID: Q1, reply: 451 4.3.5" in caplog.text


async def test_a_mistake_of_an_inspector_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    it = made(Scripted("banned", failure=ZeroDivisionError("oops")))
    assert await it.handle() == (reply.SCANNER_FAILED,)
    assert "unforeseen error while asking banned" in caplog.text
    assert "ZeroDivisionError: oops" in caplog.text


async def test_in_smtp_the_log_says_what_was_told(caplog: pytest.LogCaptureFixture) -> None:
    discarding = {"carol@x.example": Policy(virus_action=Action.DISCARD, virus_quarantine=True)}
    passing = Policy(virus_action=Action.PASS, virus_quarantine=False)
    it = made(
        Scripted("clamd", findings=(VIRUS,)),
        policies=discarding,
        default=passing,
        answers={"bob@x.example": Reply(451, "4.0.0", "later")},
    )
    with caplog.at_level(logging.INFO, "contentfilter"):
        await it.handle(replace(ENVELOPE, recipients=(BOB, CAROL), protocol=Protocol.ESMTP))
    assert it.keeper.withdrawn == [it.keeper.kept[0].id]
    assert "Blocked" not in caplog.text
    assert "quarantine:" not in caplog.text
    assert "Deferred INFECTED" in caplog.text


async def test_verdicts_that_take_long_are_made_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A header of two thousand fields that a rule removes, to as many recipients, is seconds of work."""
    threads: list[int] = []

    def noted(*args: Any, **more: Any) -> Verdict:
        threads.append(threading.get_ident())
        return decide(*args, **more)

    monkeypatch.setattr(judging, "decide", noted)
    hits = [
        Finding(Kind.RULE, "rules", "x", rule=RuleHit(RuleAction.IGNORE, "x:1", start=at, end=at + 1))
        for at in range(judging.DECIDE_IN_THREAD)
    ]
    it = made(Scripted("rules", findings=tuple(hits)), policies={"carol@x.example": Policy(bypass_rule_checks=True)})
    assert await it.handle(replace(ENVELOPE, recipients=(BOB, CAROL, FAR, BOB))) == (OK,) * 4
    assert len(threads) == 3
    assert threading.get_ident() not in threads


async def test_what_was_opened_is_closed_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []

    class Opened(Unpacked):
        def close(self) -> None:
            closed.append(True)

    class Box:
        async def open(self, tree: Tree, size: int) -> Unpacked:
            return Opened()

    def broken(*_: object, **more: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(judging, "decide", broken)
    it = made()
    it.pipeline._box = Box()
    with pytest.raises(FilterError, match="ZeroDivisionError"):
        await it.handle()
    assert closed == [True]


def asks(action: RuleAction, text: str) -> Scripted:
    """The local rules, one of which hits and asks for this."""
    return Scripted("rules", findings=(Finding(Kind.RULE, "rules", "x", rule=RuleHit(action, "x:1", text)),))


LATER = Reply(451, "4.3.0", "later")


@pytest.mark.parametrize(
    ("protocol", "answers", "copies"),
    [
        (Protocol.LMTP, {}, 1),
        (Protocol.LMTP, {"carol@x.example": LATER}, 1),
        (Protocol.LMTP, {"bob@x.example": LATER, "carol@x.example": LATER}, 0),
        (Protocol.LMTP, {"bob@x.example": Reply(550, "5.1.1", "no"), "carol@x.example": LATER}, 0),
        (Protocol.ESMTP, {}, 1),
        (Protocol.ESMTP, {"carol@x.example": LATER}, 0),
    ],
)
async def test_what_is_tried_again_adds_no_bcc_each_time(
    protocol: Protocol, answers: dict[str, Reply], copies: int
) -> None:
    it = made(asks(RuleAction.BCC, "archive@x.example"), answers=answers)
    await it.handle(replace(ENVELOPE, recipients=(BOB, CAROL), protocol=protocol))
    assert [rcpts for _, rcpts, _, _ in it.way.sent].count(["archive@x.example"]) == copies
    assert it.way.sent[0][1] == ["bob@x.example", "carol@x.example"]


async def test_a_bcc_that_does_not_end_changes_no_reply(caplog: pytest.LogCaptureFixture) -> None:
    class Slow(Way):
        async def send(
            self, envelope: Envelope, recipients: Sequence[Recipient], content: Content, size: int, via: str = ""
        ) -> tuple[Reply, ...]:
            if recipients[0] != BOB:
                await asyncio.Event().wait()
            return await super().send(envelope, recipients, content, size, via)

    it = made(asks(RuleAction.BCC, "archive@x.example"))
    it.pipeline._site = replace(it.pipeline._site, send_timeout=0.05)
    it.pipeline._delivery._way = Slow()
    assert await it.handle() == (OK,)
    assert "no BCC to <archive@x.example>" in caplog.text


@pytest.mark.parametrize("first", [OK, LATER])
async def test_groups_that_are_redirected_to_one_address_give_it_one_copy(first: Reply) -> None:
    spam = Scripted("spamd", findings=(Finding(Kind.SPAM, "spamd", "spam score", score=5.0),))
    it = made(
        asks(RuleAction.REDIRECT, "help@x.example"),
        spam,
        policies={"carol@x.example": Policy(tag_level=1.0)},
        answers={"help@x.example": first},
    )
    assert await it.handle(replace(ENVELOPE, recipients=(BOB, CAROL))) == (first, first)
    assert [rcpts for _, rcpts, _, _ in it.way.sent] == [["help@x.example"]] * (1 if first is OK else 2)


async def test_a_mistake_while_sending_to_one_group_leaves_the_others_their_replies() -> None:
    class Mistaken(Way):
        async def send(
            self, envelope: Envelope, recipients: Sequence[Recipient], content: Content, size: int, via: str = ""
        ) -> tuple[Reply, ...]:
            if CAROL in recipients:
                raise ZeroDivisionError
            return await super().send(envelope, recipients, content, size, via)

    it = made(
        Scripted("spamd", findings=(Finding(Kind.SPAM, "spamd", "spam score", score=5.0),)),
        policies={"carol@x.example": Policy(tag_level=1.0)},
    )
    it.pipeline._delivery._way = Mistaken()
    assert await it.handle(replace(ENVELOPE, recipients=(BOB, CAROL))) == (OK, reply.INTERNAL)


async def test_a_notice_that_cannot_be_written_changes_no_reply(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(pipeline, "notices", broken)
    assert await made().handle() == (OK,)
    assert "unforeseen error while writing notices" in caplog.text


async def test_a_redirect_tells_those_who_want_to_be_told_of_a_failure() -> None:
    quiet = Recipient("carol@x.example", notify=("NEVER",))
    it = made(asks(RuleAction.REDIRECT, "help@x.example"))
    went: list[Recipient] = []

    class Noting(Way):
        async def send(
            self, envelope: Envelope, recipients: Sequence[Recipient], content: Content, size: int, via: str = ""
        ) -> tuple[Reply, ...]:
            went.extend(recipients)
            return await super().send(envelope, recipients, content, size, via)

    it.pipeline._delivery._way = Noting()
    await it.handle(replace(ENVELOPE, recipients=(BOB, quiet)))
    await it.handle(replace(ENVELOPE, recipients=(quiet, BOB)))
    assert went == [Recipient("help@x.example", orcpt="rfc822;bob@x.example")] * 2


async def test_a_report_that_cannot_be_written_leaves_a_copy(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In SMTP somebody is served already, and would be served at each retry."""

    def broken(*_: object, **more: object) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr(refused, "failure_report", broken)
    it = made(answers={"carol@x.example": Reply(550, "5.1.1", "no")})
    (answer,) = await it.handle(replace(ENVELOPE, recipients=(BOB, CAROL), protocol=Protocol.ESMTP))
    assert answer == OK
    assert [one.recipient for record in it.keeper.kept for one in record.withheld] == [CAROL]
    assert "unforeseen error while reporting to the sender" in caplog.text


async def test_whom_a_rule_adds_is_reached_by_the_next_hop_of_the_site() -> None:
    ways: list[tuple[str, str]] = []

    class Noting(Way):
        async def send(
            self, envelope: Envelope, recipients: Sequence[Recipient], content: Content, size: int, via: str = ""
        ) -> tuple[Reply, ...]:
            ways.extend((one.address, via) for one in recipients)
            return await super().send(envelope, recipients, content, size, via)

    it = made(asks(RuleAction.BCC, "archive@x.example"), default=Policy(next_hop="unix:/bob"))
    it.pipeline._delivery._way = Noting()
    await it.handle()
    assert ways == [("bob@x.example", "unix:/bob"), ("archive@x.example", "")]


@pytest.mark.parametrize(
    ("address", "orcpt"),
    [
        ("bob+x=y@x.example", "rfc822;bob+2Bx+3Dy@x.example"),
        ("jürgen+a=\u20ac@x.example", "utf-8;j\\x{FC}rgen\\x{2B}a\\x{3D}\\x{20AC}@x.example"),
    ],
)
def test_an_address_that_changes_keeps_its_original(address: str, orcpt: str) -> None:
    """RFC 3461 section 4.2, RFC 6533 section 3."""
    assert outgoing(Recipient(address), Route(redirect="help@x.example"), "+").orcpt == orcpt
    assert parse_rcpt(f"TO:<help@x.example> ORCPT={orcpt}".encode()).orcpt == orcpt
