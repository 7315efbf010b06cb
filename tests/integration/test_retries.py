"""Retries as Postfix makes them: nobody is served twice, nobody is forgotten, and a new message is a new message."""

from __future__ import annotations

import asyncio
import email
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from contentfilter.decision import decide
from contentfilter.errors import InspectorError, InspectorTimeoutError, LedgerError
from contentfilter.evidence import Evidence
from contentfilter.finding import Finding, Kind, RuleAction, RuleHit
from contentfilter.identity import Identity
from contentfilter.inspectors import Subject
from contentfilter.policy.settings import Policy
from contentfilter.verdict import Action, Verdict
from quarantine.index import Query
from tests.door import PATIENCE
from tests.fakes.next_hop import Hold, Say, Script
from tests.journey import MESSAGE, NOTICE, SCRIPT, SENDER, Journey, Scripted, journey, silent

HELLO = {"smtp": "EHLO", "lmtp": "LHLO"}
FIRST_LATER: Script = {**SCRIPT, "RCPT:<later@x.example>": [Say("451 4.3.0 not now")]}
"""A next hop that takes later@ the second time."""


async def send(way: Journey, door: str, *rcpts: str, mail_from: str = SENDER) -> str:
    """The codes of the replies."""
    if door == "smtp":
        return (await way.smtp(*rcpts, mail_from=mail_from))[:3]
    return " ".join(answer[:3] for answer in await way.lmtp(*rcpts, mail_from=mail_from))


@pytest.mark.parametrize(
    ("rcpts", "first", "second", "delivered", "kept", "reported"),
    [
        ("pass later", "451", "250", "pass later", "", ""),
        ("later other", "451", "250", "later other", "", ""),
        ("discard later", "451", "250", "later", "discard", ""),
        ("copy later", "451", "250", "copy later", "copy", ""),
        ("reject later", "451", "250", "later", "", "reject"),
        ("keep later", "451", "250", "later", "keep", "keep"),
        ("discard keep copy later", "451", "250", "copy later", "discard keep copy", "keep"),
        ("pass no later", "451", "250", "pass later", "", "no"),
        ("pass discard reject no drop other later", "451", "250", "pass other later", "discard", "reject no"),
    ],
)
async def test_over_smtp_a_retry_serves_the_open_ones(
    tmp_path: Path, rcpts: str, first: str, second: str, delivered: str, kept: str, reported: str
) -> None:
    async with journey(tmp_path, FIRST_LATER) as way:
        assert await send(way, "smtp", *rcpts.split()) == first
        assert way.reports() == []
        assert await send(way, "smtp", *rcpts.split()) == second
        assert way.delivered() == set(delivered.split())
        assert way.kept() == set(kept.split())
        assert _reported(way) == set(reported.split())


def _reported(way: Journey) -> set[str]:
    got = set()
    for report in way.reports():
        for block in email.message_from_bytes(report).get_payload()[1].get_payload()[1:]:
            got.add(block["Final-Recipient"].partition(";")[2].strip().partition("@")[0])
    return got


@pytest.mark.parametrize("rcpts", ["defer", "defer defer", "later", "later later", "pass", "pass reject discard"])
async def test_what_needs_no_ledger_writes_none(tmp_path: Path, rcpts: str) -> None:
    for door in ("smtp", "lmtp"):
        (tmp_path / door).mkdir()
        async with journey(tmp_path / door) as way:
            await send(way, door, *rcpts.split())
            assert not way.ledger.path.exists()


async def test_who_is_deferred_by_policy_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async with journey(tmp_path) as way:
        for _ in range(3):
            assert await send(way, "smtp", "pass", "defer", "discard") == "451"
        assert way.delivered() == {"pass"}
        assert way.kept() == {"discard"}


async def test_a_null_sender_whose_refused_one_waits_for_the_others_is_kept_once(tmp_path: Path) -> None:
    async with journey(tmp_path, FIRST_LATER) as way:
        assert await send(way, "smtp", "pass", "reject", "later", mail_from="") == "451"
        assert way.kept() == set()
        assert await send(way, "smtp", "pass", "reject", "later", mail_from="") == "250"
        assert way.kept() == {"reject"}


@pytest.mark.parametrize("door", ["smtp", "lmtp"])
async def test_a_message_sent_anew_is_served_anew(tmp_path: Path, door: str) -> None:
    """Another queue id, other bytes, or another sender: another message."""
    async with journey(tmp_path, FIRST_LATER) as way:
        await send(way, door, "pass", "later")
        way.ident = "ABC124"
        await send(way, door, "pass", "later")
        way.ident = "ABC123"
        await send(way, door, "pass", "later", mail_from="other@y.example")
        served = [one for one in way.hop.delivered if "pass@x.example" in one.rcpt_tos]
        assert len(served) == 3


async def test_without_a_queue_id_the_bytes_and_the_sender_tell(tmp_path: Path) -> None:
    async with journey(tmp_path, FIRST_LATER) as way:
        way.ident = ""
        assert await send(way, "smtp", "pass", "later") == "451"
        assert await send(way, "smtp", "pass", "later") == "250"
        assert way.delivered() == {"pass", "later"}
        # That retry was the last: whoever sends the same bytes now means another message.
        assert await send(way, "smtp", "pass", "later") == "250"
        assert [one.rcpt_tos for one in way.hop.delivered if "pass@x.example" in one.rcpt_tos][1:] == [
            ["pass@x.example", "later@x.example"]
        ]


@pytest.mark.parametrize("door", ["smtp", "lmtp"])
async def test_without_a_queue_id_who_was_answered_and_left_without_a_word_sends_a_new_message(
    tmp_path: Path, door: str
) -> None:
    """A probe, say, that sends the same bytes every hour and closes without QUIT."""
    async with journey(tmp_path) as way:
        way.ident = ""
        for _ in range(3):
            client = await way.begin(HELLO[door], ["pass"])
            assert [answer[:3] for answer in await client.replies(1)] == ["250"]
            await client.close()
            await way.door.empty()
        assert [one.rcpt_tos for one in way.hop.delivered] == [["pass@x.example"]] * 3


async def test_without_a_queue_id_who_left_before_the_answer_is_believed(tmp_path: Path) -> None:
    hold = Hold("250 2.0.0 Ok: queued as HELD")
    async with journey(tmp_path, {**SCRIPT, "dot": [hold]}) as way:
        way.ident = ""
        client = await way.begin("EHLO", ["pass"])
        await asyncio.wait_for(hold.reached.wait(), PATIENCE)
        await client.close()
        hold.go.set()
        await way.door.empty()
        assert await send(way, "smtp", "pass") == "250"
        assert way.delivered() == {"pass"}
        assert await send(way, "smtp", "pass") == "250"
        assert len(way.hop.delivered) == 2


def waiting(way: Journey, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when somebody had to wait for his turn."""
    event, taken = asyncio.Event(), way.turns._taken

    def noted(descriptor: int, place: int) -> bool:
        free = taken(descriptor, place)
        if not free:
            event.set()
        return free

    monkeypatch.setattr(way.turns, "_taken", noted)
    return event


@pytest.mark.parametrize("manner", ["vanish", "close"])
@pytest.mark.parametrize("door", ["smtp", "lmtp"])
@pytest.mark.parametrize("joins", [True, False])
async def test_who_left_before_the_answer_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str, manner: str, joins: bool
) -> None:
    """joins: the retry comes while the first delivery is in work still."""
    hold = Hold("250 2.0.0 Ok: queued as HELD")
    scanner = Scripted()
    async with journey(tmp_path, {**SCRIPT, "dot": [hold]}, inspectors=[scanner]) as way:
        client = await way.begin(HELLO[door], ["pass", "other", "no"])
        await asyncio.wait_for(hold.reached.wait(), PATIENCE)
        if manner == "vanish":
            client.vanish()
        await client.close()
        if joins:
            waits = waiting(way, monkeypatch)
            retry = asyncio.create_task(send(way, door, "pass", "other", "no"))
            await asyncio.wait_for(waits.wait(), PATIENCE)
            hold.go.set()
        else:
            hold.go.set()
            await way.door.empty()
            retry = asyncio.create_task(send(way, door, "pass", "other", "no"))
        assert await asyncio.wait_for(retry, PATIENCE) == ("250" if door == "smtp" else "250 250 550")
        assert way.delivered() == {"pass", "other"}
        assert len(way.reports()) == (door == "smtp")
        assert len(scanner.asked) == 1, "a retry does not start another scan"


async def test_who_heard_and_said_no_more_is_believed_as_well(tmp_path: Path) -> None:
    """The replies may be in its kernel's buffer: only another command tells that they were read."""
    async with journey(tmp_path) as way:
        client = await way.begin("LHLO", ["pass", "discard"])
        assert [answer[:3] for answer in await client.replies(2)] == ["250", "250"]
        client.vanish()
        await way.door.empty()
        assert await send(way, "lmtp", "discard", "pass") == "250 250"
        assert way.delivered() == {"pass"}
        assert way.kept() == {"discard"}


async def test_an_order_of_recipients_changes_nothing(tmp_path: Path) -> None:
    async with journey(tmp_path) as way:
        client = await way.begin("LHLO", ["pass", "reject", "discard"])
        await client.replies(3)
        client.vanish()
        await way.door.empty()
        assert await send(way, "lmtp", "drop", "discard", "reject", "pass", "other") == "250 250 554 250 250"
        assert way.delivered() == {"pass", "other"}


async def test_transactions_of_one_message_have_each_their_own_answer(tmp_path: Path) -> None:
    """Postfix splits a message for many recipients, and all of it has one queue id."""
    async with journey(tmp_path, FIRST_LATER) as way:
        for rcpt in ("pass", "reject"):
            client = await way.begin("EHLO", [rcpt])
            await client.replies(1)
            client.vanish()
            await way.door.empty()
        assert await send(way, "smtp", "reject") == "554"
        assert await send(way, "smtp", "pass") == "250"
        assert await send(way, "smtp", "discard", "later") == "451"
        assert await send(way, "smtp", "reject", "no") == "554"
        assert way.reports() == []
        assert way.delivered() == {"pass"}


async def test_a_bcc_is_sent_once_however_often_the_message_comes(tmp_path: Path) -> None:
    bcc = Scripted("rules", (Finding(Kind.RULE, "rules", "x", rule=RuleHit(RuleAction.BCC, "x:1", "copy@z.example")),))
    script: Script = {**SCRIPT, "RCPT:<later@x.example>": [Say("451 4.3.0 not now")] * 2}
    for door in ("smtp", "lmtp"):
        (tmp_path / door).mkdir()
        async with journey(tmp_path / door, script, inspectors=[bcc]) as way:
            rcpts = ["pass", "later"]
            for _ in range(3):
                codes = await send(way, door, *rcpts)
                if door == "lmtp":
                    rcpts = ["later"]
            assert codes == "250"
            assert [one.rcpt_tos for one in way.hop.delivered].count(["copy@z.example"]) == 1


async def test_where_the_ledger_cannot_be_written_nobody_is_served_before_a_4xx_that_we_foresee(tmp_path: Path) -> None:
    async with journey(tmp_path) as way:
        way.ledger.path.mkdir()
        assert await send(way, "smtp", "pass", "defer", "discard") == "451"
        assert (way.delivered(), way.kept()) == (set(), set())
        assert await send(way, "smtp", "later", "other", "discard") == "451"
        assert (way.delivered(), way.kept()) == (set(), set())
        way.ledger.path.rmdir()
        assert await send(way, "smtp", "pass", "defer", "discard") == "451"
        assert (way.delivered(), way.kept()) == ({"pass"}, {"discard"})


async def test_a_ledger_that_fails_at_the_last_moment_brings_the_copy_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with journey(tmp_path) as way:
        remember = way.ledger.remember

        def full(identity: object, replies: dict[str, object], additions: Sequence[str] = ()) -> None:
            if replies:
                raise LedgerError("No space left on device")
            remember(identity, replies, additions)  # type: ignore[arg-type]

        monkeypatch.setattr(way.ledger, "remember", full)
        assert await send(way, "smtp", "discard", "later") == "451"
        assert way.kept() == set()


async def test_a_ledger_that_may_have_been_written_leaves_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer would be 250 at the next attempt, for a message that is nowhere."""
    async with journey(tmp_path, FIRST_LATER) as way:
        remember = way.ledger.remember

        def unsure(identity: Any, replies: Any, additions: Sequence[str] = ()) -> None:
            remember(identity, replies, additions)
            raise LedgerError("disk I/O error", unsure=True)

        monkeypatch.setattr(way.ledger, "remember", unsure)
        assert await send(way, "smtp", "discard", "later") == "451"
        assert way.kept() == {"discard"}
        assert await send(way, "smtp", "discard", "later") == "250"
        assert way.kept() == {"discard"}
        assert way.delivered() == {"later"}


# What did harm.


async def test_a_message_that_breaks_us_is_set_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    admin = Policy(unchecked_admin="admin@x.example")
    async with journey(tmp_path, inspectors=[Scripted()], own={"bob": admin}) as way:
        with monkeypatch.context() as broken:
            broken.setattr("contentfilter.judging.decide", _broken)
            assert [await fails(way, "lmtp", "bob", "carol") for _ in range(3)] == ["451 451"] * 3
            assert await send(way, "lmtp", "bob", "carol") == "250 250"
        assert way.delivered() == set()
        (item,) = way.quarantine.find(Query())
        record = way.quarantine.read(item.id)
        assert item.category.word == "unchecked"
        assert record.findings[0].inspector == "poison"
        assert "ZeroDivisionError" in record.findings[0].name
        with way.quarantine.open_message(record) as message:
            assert message.buffer[:] == MESSAGE
        assert "set apart as poison after 3 failures" in caplog.text
        # Another message of the same people is none of this one's business.
        way.ident = "ABC124"
        assert await send(way, "lmtp", "bob", "carol") == "250 250"
        assert way.delivered() == {"bob", "carol"}
    told = sorted(one.rcpt_tos for one in way.hop.delivered if NOTICE in one.content and one.mail_from == "")
    assert told == [["admin@x.example"], ["bob@x.example", "carol@x.example"]]


OTHER = MESSAGE.replace(b"\r\nSubject", NOTICE + b"Subject")
"""A message that does no harm, and that looks like a notice of ours, which nobody counts."""


def _broken(evidence: Evidence, *more: Any, **further: Any) -> Verdict:
    """A defect that only MESSAGE meets."""
    if evidence.size == len(MESSAGE):
        raise ZeroDivisionError
    return decide(evidence, *more, **further)


async def fails(way: Journey, door: str, *rcpts: str) -> str:
    """The codes of the replies, and then another message that fares well."""
    codes = await send(way, door, *rcpts)
    ident, way.ident = way.ident, "OTHER"
    await way.lmtp("other", content=OTHER)
    way.ident = ident
    return codes


async def test_what_did_harm_once_and_then_none_is_forgiven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with journey(tmp_path, inspectors=[Scripted()]) as way:
        with monkeypatch.context() as broken:
            broken.setattr("contentfilter.judging.decide", _broken)
            assert [await fails(way, "lmtp", "pass") for _ in range(2)] == ["451"] * 2
        (entry,) = way.ledger.entries()
        assert entry.strikes == 2
        assert await send(way, "lmtp", "pass") == "250"
        assert way.ledger.entries() == []


async def test_who_waits_to_be_tried_alone_is_not_blamed_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the worker die meanwhile, then by that other one."""
    seen: list[list[bytes]] = []

    class Looking(Scripted):
        async def inspect(self, subject: Subject) -> tuple[Finding, ...]:
            seen.append(way.place.in_work())
            return ()

    async with journey(tmp_path, inspectors=[Looking()]) as way:
        name = Identity(hashlib.sha256(MESSAGE).hexdigest(), SENDER, way.ident).name
        way.ledger.strike([name], "worker ended: SIGSEGV")
        waits = waiting(way, monkeypatch)
        async with way.turns.of_suspect():
            retry = asyncio.create_task(send(way, "lmtp", "pass"))
            await asyncio.wait_for(waits.wait(), PATIENCE)
            assert way.place.in_work() == []
        assert await asyncio.wait_for(retry, PATIENCE) == "250"
        assert seen == [[name]]
        assert way.place.in_work() == []


async def test_a_defect_that_strikes_all_mail_is_no_messages_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with journey(tmp_path, inspectors=[Scripted()]) as way:
        monkeypatch.setattr("contentfilter.judging.decide", _broken)
        for ident in ("A", "B", "C") * 3:
            way.ident = ident
            assert await send(way, "lmtp", "pass") == "451"
        assert [entry.strikes for entry in way.ledger.entries()] == [1]


async def test_whom_nobody_looked_at_is_not_forgiven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scanner = Scripted()
    async with journey(tmp_path, inspectors=[scanner]) as way:
        with monkeypatch.context() as broken:
            broken.setattr("contentfilter.judging.decide", _broken)
            assert await send(way, "lmtp", "pass") == "451"
        scanner.failure = InspectorError("clamd is gone")
        assert await send(way, "lmtp", "pass") == "451"
        (entry,) = way.ledger.entries()
        assert entry.strikes == 1
        scanner.failure = None
        assert await send(way, "lmtp", "pass") == "250"
        assert way.ledger.entries() == []


async def test_transactions_that_suffer_together_count_once(tmp_path: Path) -> None:
    both = asyncio.Barrier(2)

    class Hanging(Scripted):
        async def inspect(self, subject: Subject) -> tuple[Finding, ...]:
            await both.wait()
            raise InspectorTimeoutError("slow")

        async def answers(self) -> bool:
            return True

    async with journey(tmp_path, inspectors=[Hanging()]) as way:
        assert await asyncio.gather(send(way, "lmtp", "pass"), send(way, "lmtp", "drop")) == ["451", "451"]
        (entry,) = way.ledger.entries()
        assert entry.strikes == 1


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError()])
async def test_what_the_machine_did_is_not_the_messages_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    async with journey(tmp_path, inspectors=[Scripted()]) as way:
        monkeypatch.setattr("contentfilter.judging.decide", fails)
        assert [await send(way, "lmtp", "pass") for _ in range(5)] == ["451"] * 5
        assert way.ledger.entries() == []


async def test_a_scanner_that_is_gone_blames_nobody(tmp_path: Path) -> None:
    async with journey(tmp_path, inspectors=[silent()]) as way:
        assert [await send(way, "lmtp", "pass") for _ in range(5)] == ["451"] * 5
        assert way.ledger.entries() == []


@dataclass
class Slow(Scripted):
    """A scanner that takes too long, and answers PING or not."""

    alive: bool = True
    looks_inside: bool = True

    async def answers(self) -> bool:
        return self.alive


@pytest.mark.parametrize("alive", [True, False])
@pytest.mark.parametrize("failure", [InspectorTimeoutError("slow"), InspectorError("gone")])
async def test_a_scanner_that_hangs_over_one_message_only_blames_it(
    tmp_path: Path, alive: bool, failure: Exception
) -> None:
    async with journey(tmp_path, inspectors=[Slow(failure=failure, alive=alive)]) as way:
        codes = [await send(way, "lmtp", "pass") for _ in range(4)]
        guilty = alive and isinstance(failure, InspectorTimeoutError)
        assert codes == ["451"] * 3 + ["250" if guilty else "451"]
        assert way.kept() == ({"pass"} if guilty else set())


async def test_poison_is_withheld_whatever_the_policy_of_unchecked_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lover = Policy(unchecked_lover=True, unchecked_action=Action.PASS)
    async with journey(tmp_path, inspectors=[Scripted(failure=InspectorError("x"))], own={"bob": lover}) as way:
        monkeypatch.setattr("contentfilter.judging.decide", _broken)
        codes = [await fails(way, "smtp", "bob") for _ in range(4)]
        assert codes == ["451", "451", "451", "250"]
        assert way.kept() == {"bob"}
