"""Large contents at clamd: a few at a time, in their order, and nobody is blamed for waiting."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from pathlib import Path

import pytest

from contentfilter.errors import NotInspectedError
from contentfilter.inspectors.clamd import ClamdInspector
from contentfilter.inspectors.clamd_server import ClamdServer, Item, Results
from contentfilter.inspectors.clamd_turns import LARGE, Turns
from contentfilter.patience import paused
from tests.fakes.scanner import scripted_peer
from tests.fakes.subject import subject_of

HEADER = b"Subject: large\r\n\r\n"


class Clamd:
    """Answers scans when it is told to, and knows how many messages it had at the same time."""

    def __init__(self) -> None:
        self.here = self.most = 0
        self.arrived = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.here += 1
        self.most = max(self.most, self.here)
        self.arrived.set()
        await reader.readuntil(b"zEND\0")
        await self.go_on.wait()
        self.here -= 1
        writer.write(b"1: fd[8]: OK\0")
        writer.close()


async def heard_meanwhile(reader: asyncio.StreamReader) -> bytes:
    """What comes before long, b"" if nothing does."""
    try:
        async with asyncio.timeout(0.05):
            return await reader.read(1)
    except TimeoutError:
        return b""


def large(number: int) -> bytes:
    return HEADER + b"%d" % number + b"x" * LARGE


async def scan(inspector: ClamdInspector, raw: bytes) -> None:
    with (subject := subject_of(raw, ())).message:
        await inspector.inspect(subject)


async def test_small_ones_do_not_wait_for_large_ones(tmp_path: Path) -> None:
    clamd = Clamd()
    async with scripted_peer(tmp_path / "clamd.ctl", clamd) as address, asyncio.timeout(20):
        inspector = ClamdInspector(address, cache=0, large_scans=1)
        first = asyncio.create_task(scan(inspector, large(1)))
        await clamd.arrived.wait()
        others = [asyncio.create_task(scan(inspector, large(number))) for number in (2, 3)]
        clamd.arrived.clear()
        small = asyncio.create_task(scan(inspector, HEADER + b"small"))
        await clamd.arrived.wait()
        assert clamd.here == 2  # the first large one, and the small one
        assert not any(one.done() for one in others)
        clamd.go_on.set()
        await asyncio.gather(first, small, *others)
        assert clamd.most == 2


async def test_who_has_waited_in_vain_says_so_and_was_not_let_down_by_clamd() -> None:
    turns = Turns(1, wait=0.01)
    async with turns.turn(nullcontext):
        with pytest.raises(NotInspectedError, match="not its turn") as caught:
            async with turns.turn(nullcontext):
                pass
    assert not caught.value.timed_out
    async with turns.turn(nullcontext):  # the place of the one who gave up is free
        pass


async def test_the_turns_are_in_order_and_given_back_by_who_is_cancelled() -> None:
    turns, order = Turns(1, wait=10), list[int]()

    async def take(number: int) -> None:
        async with turns.turn(nullcontext):
            order.append(number)

    async with turns.turn(nullcontext):
        tasks = [asyncio.create_task(take(number)) for number in range(5)]
        await asyncio.sleep(0)
        tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 2, 3, 4]


async def test_waiting_for_a_turn_does_not_count() -> None:
    """Whoever waits longer than its own limit allows has it all before it afterwards."""
    loop, turns = asyncio.get_running_loop(), Turns(1, wait=10)
    free = asyncio.Event()

    async def hold() -> None:
        async with turns.turn(nullcontext):
            await free.wait()

    holding = asyncio.create_task(hold())
    await asyncio.sleep(0)
    loop.call_later(0.3, free.set)
    async with asyncio.timeout(0.2) as limit:
        async with turns.turn(lambda: paused(limit)):
            pass
        left = limit.when()
    assert left is not None
    assert left > loop.time()
    await holding


async def test_what_all_waited_for_is_scanned_once(tmp_path: Path) -> None:
    asked = list[bytes]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        command = await reader.readuntil(b"\0")
        asked.append(command)
        if command == b"zVERSION\0":
            writer.write(b"ClamAV 1.4.3/1/now\0")
        else:
            await reader.readuntil(b"zEND\0")
            writer.write(b"1: fd[8]: OK\0")
        writer.close()

    async with scripted_peer(tmp_path / "clamd.ctl", answer) as address, asyncio.timeout(20):
        inspector = ClamdInspector(address, large_scans=1)
        await asyncio.gather(*(scan(inspector, large(1)) for _ in range(4)))
    assert asked.count(b"zIDSESSION\0") == 1


@pytest.mark.parametrize("scans", [1, 2, 6])
async def test_few_large_contents_of_a_message_at_a_time(tmp_path: Path, scans: int) -> None:
    """A message has one turn, however many large contents it has: that is for itself and one attachment."""
    at_once = min(2, scans)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"zIDSESSION\0")
        for number in range(1, 5):
            assert await reader.readexactly(len(b"zFILDES\0x")) == b"zFILDES\0x"
            if number < at_once:
                continue
            if number < 4:
                assert not await heard_meanwhile(reader)
            else:
                await reader.readexactly(len(b"zEND\0"))
            writer.write(b"%d: fd[8]: OK\0" % (number - at_once + 1))
        writer.write(b"4: fd[8]: OK\0" * (at_once - 1))
        writer.close()

    items = [Item(str(number), LARGE, lambda: b"x" * LARGE) for number in range(4)]
    async with scripted_peer(tmp_path / "clamd.ctl", answer) as address, asyncio.timeout(20):
        server = ClamdServer(address, connect_timeout=5, timeout=5, turns=Turns(scans, 5))
        assert await server.scan(items, Results())
