"""Too much at once: who waits, who is told to come again, and that slow and idle clients are in nobody's way."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from contentfilter import reply
from contentfilter.envelope import Envelope
from contentfilter.intake import Capacity, CapacityLimits
from contentfilter.message import Message
from contentfilter.reply import Reply
from tests.door import PATIENCE, Client, Door, Gate, Keeper, descriptors, open_door

ENVELOPE = ("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "RCPT TO:<e@f>", "DATA")
BUSY = "451 4.3.2 The content filter is busy, try again later"
STORAGE = "452 4.3.1 Insufficient storage in the content filter, try again later"
OK = "250 2.0.0 Ok"


def capacity(**limits: Any) -> Capacity:
    return Capacity(CapacityLimits(**{"messages": 1, "mail_wait": 0.05, "slot_wait": PATIENCE, **limits}))


async def begin(client: Client, body: bytes = b"body\r\n") -> None:
    """A whole message, up to the point where it is our turn."""
    assert (await client.say("LHLO x", *ENVELOPE))[-1].startswith("354")
    await client.send(body + b".\r\n")


async def deliver(door: Door) -> list[str]:
    """What a client that is not slow hears of its message."""
    async with await door.greeted() as client:
        await begin(client)
        answers = await client.replies(2)
        await given_back(client)
        return answers


async def given_back(client: Client) -> None:
    """Wait until nothing is held for the message that was answered: the next command is read when it is closed."""
    assert await client.say("NOOP") == [OK]


async def until(slots: Capacity, waiting: int) -> None:
    """Wait until so many whole messages wait for their turn."""
    async with asyncio.timeout(PATIENCE):
        while slots.waiting != waiting:
            await asyncio.sleep(0.001)


async def test_mail_is_put_off_and_so_is_what_was_sent_behind_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    async with (
        open_door(tmp_path, gate, capacity=capacity()) as door,
        await door.greeted() as worker,
        await door.greeted() as client,
    ):
        await begin(worker)
        await gate.entered.wait()
        await client.say("LHLO x", "XFORWARD NAME=relay.example.net")
        for _ in range(30):  # more than the errors that are forgiven: it is no fault of the client's
            assert await client.say(*ENVELOPE) == [BUSY] * 4
        assert await client.say("RSET", "RCPT TO:<c@d>") == [OK, str(reply.MAIL_FIRST)]
        gate.opened.set()
        assert await worker.replies(2) == [OK] * 2
        await begin(client)
        assert await client.replies(2) == [OK] * 2
    assert caplog.text.count("full, new mail has to wait: 1 messages (6 bytes) in work") == 1
    assert caplog.text.count("451") == 0
    assert len(caplog.records) <= 2  # the RCPT above, and that it is full


async def test_mail_that_is_put_off_keeps_what_xforward_told(tmp_path: Path) -> None:
    gate, seen = Gate(), list[str | None]()

    async def handler(envelope: Envelope, message: Message) -> Sequence[Reply]:
        seen.append(envelope.client.name)
        return await gate(envelope, message)

    async with (
        open_door(tmp_path, handler, capacity=capacity()) as door,
        await door.greeted() as worker,
        await door.greeted() as client,
    ):
        await begin(worker)
        await gate.entered.wait()
        assert (await client.say("LHLO x", "XFORWARD NAME=relay.example.net", "MAIL FROM:<a@b>"))[2] == BUSY
        gate.opened.set()
        await worker.replies(2)
        assert (await client.say(*ENVELOPE))[-1].startswith("354")
        await client.send(b".\r\n")
        assert await client.replies(2) == [OK] * 2
    assert seen == [None, "relay.example.net"]


async def test_mail_waits_for_room(tmp_path: Path) -> None:
    gate = Gate()
    async with (
        open_door(tmp_path, gate, capacity=capacity(mail_wait=PATIENCE)) as door,
        await door.greeted() as worker,
        await door.greeted() as client,
    ):
        await begin(worker)
        await gate.entered.wait()
        await client.say("LHLO x")
        asking = asyncio.create_task(client.say(*ENVELOPE))
        async with await door.greeted() as other:
            await other.say("NOOP", "QUIT")
        assert not asking.done()
        gate.opened.set()
        assert [line[:3] for line in await asking] == ["250", "250", "250", "354"]


async def test_a_declared_size_has_to_fit_and_one_that_is_too_large_for_all_goes_alone(tmp_path: Path) -> None:
    gate = Gate()
    slots = capacity(messages=10, bytes=1000)
    async with (
        open_door(tmp_path, gate, capacity=slots) as door,
        await door.greeted() as worker,
        await door.greeted() as client,
    ):
        await begin(worker, b"x" * 498 + b"\r\n")
        await gate.entered.wait()
        await client.say("LHLO x")
        assert await client.say("MAIL FROM:<a@b> SIZE=501") == [BUSY]
        assert await client.say("MAIL FROM:<a@b> SIZE=500", "RSET") == ["250 2.1.0 Ok", OK]
        gate.opened.set()
        await worker.replies(2)
        assert await client.say("MAIL FROM:<a@b> SIZE=5000", "RSET") == ["250 2.1.0 Ok", OK]
        await begin(client, b"x" * 4998 + b"\r\n")
        assert await client.replies(2) == [OK] * 2


async def test_a_whole_message_waits_for_its_turn_and_then_is_told_to_come_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    slots = capacity(slot_wait=0.05)
    async with (
        open_door(tmp_path, gate, capacity=slots) as door,
        await door.greeted() as worker,
        await door.greeted() as client,
    ):
        assert (await client.say("LHLO x", *ENVELOPE))[-1].startswith("354")
        await begin(worker)
        await gate.entered.wait()
        await client.send(b"body\r\n.\r\n")
        assert await client.replies(2) == [BUSY] * 2
        gate.opened.set()
        await worker.replies(2)
        await begin(client)
        assert await client.replies(2) == [OK] * 2
    assert gate.outcome == ["finished 6"] * 2
    assert caplog.text.count("full, ") == len(caplog.records) == 1


async def test_turns_are_taken_in_the_order_of_coming(tmp_path: Path) -> None:
    gate, slots = Gate(), capacity()
    async with open_door(tmp_path, gate, capacity=slots) as door:
        clients = [await door.greeted() for _ in range(4)]
        for client in clients:
            assert (await client.say("LHLO x", *ENVELOPE))[-1].startswith("354")
        for waiting, client in enumerate(clients):
            await client.send(b"x" * waiting + b"\r\n.\r\n")
            if not waiting:
                await gate.entered.wait()
            await until(slots, waiting)
        gate.opened.set()
        for client in clients:
            assert await client.replies(2) == [OK] * 2
            await client.close()
    assert gate.outcome == [f"finished {size}" for size in (2, 3, 4, 5)]


async def test_the_message_of_a_client_that_gave_up_waiting_is_not_worked_on(tmp_path: Path) -> None:
    gate, slots = Gate(), capacity()
    async with open_door(tmp_path, gate, capacity=slots) as door, await door.greeted() as worker:
        client = await door.greeted()
        assert (await client.say("LHLO x", *ENVELOPE))[-1].startswith("354")
        await begin(worker)
        await gate.entered.wait()
        await client.send(b"another\r\n.\r\n")
        await until(slots, 1)
        client.vanish()
        async with await door.greeted() as other:
            await other.say("NOOP", "QUIT")
        gate.opened.set()
        await worker.replies(2)
        await worker.say("QUIT")
        await worker.rest()
        await door.empty()
        assert (slots.messages, slots.waiting) == (0, 0)
    assert gate.outcome == ["finished 6"]


async def test_drain_waits_for_turns_and_cuts_off_who_has_none_in_time(tmp_path: Path) -> None:
    gate, slots = Gate(), capacity()
    async with open_door(tmp_path, gate, capacity=slots) as door:
        clients = [await door.greeted() for _ in range(2)]
        for client in clients:
            assert (await client.say("LHLO x", *ENVELOPE))[-1].startswith("354")
        for client in clients:
            await client.send(b"body\r\n.\r\n")
        await gate.entered.wait()
        await until(slots, 1)
        await asyncio.wait_for(door.listener.drain(0.05), PATIENCE)
        for client in clients:
            assert await client.rest() == f"{reply.SHUTTING_DOWN}\r\n".encode()
            await client.close()
    assert (slots.messages, slots.bytes, slots.waiting) == (0, 0, 0)
    assert (slots.holdings.memory, slots.holdings.spooled) == (0, 0)
    assert gate.outcome == ["cancelled"]


async def test_a_full_spool_refuses_data_and_what_grows_beyond_it(tmp_path: Path) -> None:
    gate, slots = Gate(), capacity(messages=10, spool=1000)
    async with (
        open_door(tmp_path, gate, capacity=slots, memory_threshold=1) as door,
        await door.greeted() as worker,
        await door.greeted() as early,
        await door.greeted() as growing,
    ):
        await early.say("LHLO x", *ENVELOPE[:-1])
        assert (await growing.say("LHLO x", *ENVELOPE))[-1].startswith("354")
        files = descriptors()
        await begin(worker, b"x" * 998 + b"\r\n")
        await gate.entered.wait()
        assert await early.say("DATA", "DATA") == [STORAGE] * 2
        await growing.send(b"too much\r\n.\r\n")
        assert await growing.replies(2) == [STORAGE] * 2
        assert descriptors() == files + 2  # of the one that is worked on: its file, and the memory map's own
        gate.opened.set()
        assert await worker.replies(2) == [OK] * 2
        assert await early.say("RSET") == [OK]
        await begin(growing)
        assert await growing.replies(2) == [OK] * 2
        await given_back(growing)
        assert slots.holdings.spooled == 0
    assert gate.outcome == ["finished 1000", "finished 6"]


async def test_when_memory_is_taken_even_a_small_message_goes_to_its_file(tmp_path: Path) -> None:
    gate, kinds = Gate(), list[type]()

    async def handler(envelope: Envelope, message: Message) -> Sequence[Reply]:
        kinds.append(type(message.buffer))
        return await gate(envelope, message)

    slots = capacity(messages=10, memory=1000)
    async with open_door(tmp_path, handler, capacity=slots) as door:
        async with await door.greeted() as first:
            await begin(first, b"x" * 990 + b"\r\n")
            await gate.entered.wait()
            assert slots.holdings.memory == 992
            async with await door.greeted() as second:
                await begin(second, b"x" * 20 + b"\r\n")
                async with asyncio.timeout(PATIENCE):
                    while len(kinds) < 2:
                        await asyncio.sleep(0.001)
                assert (slots.holdings.memory, slots.holdings.spooled) == (992, 22)
                gate.opened.set()
                assert await second.replies(2) == [OK] * 2
                await given_back(second)
            assert await first.replies(2) == [OK] * 2
        assert await deliver(door) == [OK] * 2
        assert (slots.holdings.memory, slots.holdings.spooled) == (0, 0)
    assert kinds == [bytes, mmap.mmap, bytes]


async def test_who_still_sends_holds_no_slot(tmp_path: Path) -> None:
    async with open_door(tmp_path, Keeper(), capacity=capacity()) as door:
        slow = [await door.greeted() for _ in range(5)]
        for client in slow:
            await client.say("LHLO x", *ENVELOPE)
            await client.send(b"slo")
        assert await deliver(door) == [OK] * 2
        for client in slow:
            await client.send(b"w\r\n.\r\n")
            assert await client.replies(2) == [OK] * 2
            await client.close()


async def test_who_does_not_read_our_replies_holds_no_slot(tmp_path: Path) -> None:
    replies = 2000

    async def handler(envelope: Envelope, message: Message) -> Sequence[Reply]:
        if len(envelope.recipients) == replies:
            return [reply.OK.saying("x" * 5000)] * replies
        return [reply.OK] * len(envelope.recipients)

    slots = capacity()
    async with open_door(tmp_path, handler, capacity=slots) as door:
        client = await door.greeted()
        await client.say("LHLO x", "MAIL FROM:<a@b>")
        for _ in range(replies):
            await client.say("RCPT TO:<c@d>")
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        client.writer.write(b"DATA\r\nbody\r\n.\r\n")
        async with asyncio.timeout(PATIENCE):
            while not slots.holdings.memory:
                await asyncio.sleep(0.001)
        assert await deliver(door) == [OK] * 2
        assert slots.holdings.memory  # it has not taken all of them yet
        client.vanish()


async def test_a_message_that_only_dribbles_is_cut_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keeper = Keeper()
    async with (
        open_door(tmp_path, keeper, data_timeout=0.3, min_data_rate=1_000_000) as door,
        await door.greeted() as client,
    ):
        await client.say("LHLO x", *ENVELOPE)
        ended = asyncio.create_task(client.rest())
        with contextlib.suppress(ConnectionError):
            while not ended.done():
                await client.send(b"x\r\n")
                await asyncio.sleep(0.01)
        assert await ended == b"421 4.4.2 Timeout, closing the connection\r\n"
        await door.empty()
    assert keeper.taken == []
    assert "timeout in state DATA after " in caplog.text


async def test_a_message_that_comes_slowly_but_steadily_is_taken(tmp_path: Path) -> None:
    keeper = Keeper()
    async with open_door(tmp_path, keeper, data_timeout=1.0, min_data_rate=1) as door, await door.greeted() as client:
        await client.say("LHLO x", *ENVELOPE)
        for _ in range(15):
            await client.send(b"x\r\n")
            await asyncio.sleep(0.1)
        await client.send(b".\r\n")
        assert await client.replies(2) == [OK] * 2
    assert len(keeper.taken) == 1


async def test_the_longest_idle_connection_gives_way(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    crowded = f"{reply.TOO_MANY_CONNECTIONS}\r\n".encode()
    async with open_door(tmp_path, gate, max_connections=3, spare_idle=0.001) as door:
        busy, idle, fresh = [await door.greeted() for _ in range(3)]
        await begin(busy)
        await gate.entered.wait()
        await idle.say("LHLO x")
        await fresh.say("LHLO x", "NOOP")
        await asyncio.sleep(0.01)
        newcomer = await door.greeted()
        assert await idle.rest() == crowded
        assert await fresh.say("NOOP") == [OK]
        # Now those who are left have their messages under way: nobody is cut off.
        for client in (fresh, newcomer):
            await client.say("LHLO x", *ENVELOPE)
        await asyncio.sleep(0.01)
        for _ in range(5):
            async with await door.connect() as late:
                assert await late.rest() == crowded
        gate.opened.set()
        for client in (fresh, newcomer):
            await client.send(b"body\r\n.\r\n")
        for client in (busy, fresh, newcomer):
            assert await client.replies(2) == [OK] * 2
            await client.close()
        await idle.close()
    assert [record.message for record in caplog.records] == [
        "full, idle connections give way or new ones are turned away: 3 connections"
    ]


async def test_one_reply_for_smtp(tmp_path: Path) -> None:
    gate, slots = Gate(), capacity(slot_wait=0.05)
    async with (
        open_door(tmp_path, gate, capacity=slots) as door,
        await door.greeted() as worker,
        await door.greeted() as client,
    ):
        assert (await client.say("EHLO x", *ENVELOPE))[-1].startswith("354")
        await begin(worker)
        await gate.entered.wait()
        await client.send(b"body\r\n.\r\n")
        assert await client.reply() == BUSY
        assert await client.say("NOOP") == [OK]
        gate.opened.set()
        assert await worker.replies(2) == [OK] * 2
