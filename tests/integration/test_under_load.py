"""Clients that never pause, while the filter is reloaded, its workers are killed, and it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from demo.neighbours.daemon import free_port
from demo.neighbours.filter import Filter
from tests.fakes.next_hop import FakeNextHop, Hang
from tests.journey import MESSAGE
from tests.workers import workers_of

PATIENCE = 60.0
CLIENTS = 8
NO_SCANNERS: dict[str, Any] = {"clamav": {"enabled": False}, "spamassassin": {"enabled": False}, "workers": 2}


class BrokenError(Exception):
    """The dialog was cut off or refused: a client that has the message still, and sends it again."""


@dataclass
class Hammer:
    """Clients that each send one message after another, on a connection of its own for every message.

    accepted: messages by number; refused: connections; broken: how dialogs ended early, by the message's number.
    """

    connect: Callable[[], Any]
    accepted: set[int] = field(default_factory=set)
    refused: list[int] = field(default_factory=list)
    broken: list[tuple[int, str]] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(10**9)))
    _stopped: bool = False

    @contextlib.asynccontextmanager
    async def swung(self) -> AsyncIterator[None]:
        """Within the block. At its end every message that was begun is sent, again and again until it is accepted."""
        async with asyncio.timeout(PATIENCE * 2), asyncio.TaskGroup() as clients:
            for _ in range(CLIENTS):
                clients.create_task(self._client())
            try:
                yield
            finally:
                self._stopped = True

    async def more(self, count: int) -> None:
        """Wait until so many more messages are accepted."""
        wanted = len(self.accepted) + count
        async with asyncio.timeout(PATIENCE):
            while len(self.accepted) < wanted:
                await asyncio.sleep(0.01)  # counted by tasks that need not know of us

    async def _client(self) -> None:
        while not self._stopped:
            number = next(self._numbers)
            while number not in self.accepted:
                try:
                    await self._send(number)
                except ConnectionRefusedError:
                    self.refused.append(number)
                    await asyncio.sleep(0.05)
                except (BrokenError, OSError, EOFError) as error:
                    self.broken.append((number, f"{type(error).__name__} {error}"))

    async def _send(self, number: int) -> None:
        reader, writer = await self.connect()
        try:
            for line, wanted in (
                ("", "220"), ("LHLO client.example", "250"), (f"MAIL FROM:<{number}@y.example>", "250"),
                ("RCPT TO:<b@example.org>", "250"), ("DATA", "354"), (MESSAGE.decode() + ".", "250"),
            ):  # fmt: skip
                if line:
                    writer.write(line.encode() + b"\r\n")
                reply = await self._reply(reader)
                if not reply.startswith(wanted):
                    raise BrokenError(reply)
            self.accepted.add(number)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    @staticmethod
    async def _reply(reader: asyncio.StreamReader) -> str:
        while True:
            line = (await reader.readline()).decode()
            if not line:
                raise BrokenError("closed without a word")
            if line[3:4] != "-":
                return line.rstrip()


def workers(service: Filter) -> set[int]:
    return workers_of(service.pid)


async def wait_for(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.02)  # another process's doing, of which no event tells us


def copies(hop: FakeNextHop) -> Counter[int]:
    """How often each message was delivered."""
    return Counter(int(one.mail_from.partition("@")[0]) for one in hop.delivered)


@pytest.fixture
async def hop() -> AsyncIterator[FakeNextHop]:
    async with FakeNextHop() as running:
        yield running


@pytest.fixture(params=["tcp", "unix"])
async def hammered(
    request: pytest.FixtureRequest, hop: FakeNextHop, tmp_path: Path
) -> AsyncIterator[tuple[Filter, Hammer]]:
    """A filter, and clients that connect to it in either way."""
    port, door = free_port(), str(tmp_path / "door")
    settings = {**NO_SCANNERS, "listen": {"addresses": [f"127.0.0.1:{port}", f"unix:{door}"]}}
    service = Filter(
        tmp_path / "filter", port=port, next_hop_port=int(hop.address.rpartition(":")[2]), settings=settings
    )
    await asyncio.to_thread(service.start)
    await wait_for(lambda: any(" ready: " in line for line in service.log_lines()))
    if request.param == "tcp":
        yield service, Hammer(lambda: asyncio.open_connection("127.0.0.1", port))
    else:
        yield service, Hammer(lambda: asyncio.open_unix_connection(door))
    await asyncio.to_thread(service.stop)


async def test_reloads_refuse_break_and_defer_nothing(hammered: tuple[Filter, Hammer], hop: FakeNextHop) -> None:
    service, hammer = hammered
    async with hammer.swung():
        for done in range(1, 4):
            await hammer.more(20)
            before = workers(service)
            service.reload()
            await wait_for(lambda: sum(line.endswith(" reloaded") for line in service.log_lines()) == done)  # noqa: B023
            await wait_for(lambda: not before & workers(service))  # noqa: B023 - with all that they had in hand
        await hammer.more(20)
    assert hammer.refused == []
    assert hammer.broken == []
    assert set(copies(hop).values()) == {1}
    assert copies(hop).keys() == hammer.accepted


async def test_kills_refuse_and_lose_nothing_and_only_what_was_in_flight_comes_twice(
    hammered: tuple[Filter, Hammer], hop: FakeNextHop
) -> None:
    service, hammer = hammered
    killed: set[int] = set()
    async with hammer.swung():
        for turn in range(3):
            await hammer.more(20)
            before = workers(service)
            for pid in sorted(before)[: 1 + turn % 2]:  # one, both, one
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            await wait_for(lambda: not killed & workers(service) and len(workers(service)) == 2)
        await hammer.more(20)
    assert len(killed) == 4
    assert hammer.refused == []
    assert hammer.accepted <= copies(hop).keys()  # nothing lost
    twice = {number for number, count in copies(hop).items() if count > 1}
    assert twice <= {number for number, _ in hammer.broken}
    assert len(hammer.broken) <= len(killed) * CLIENTS


async def test_at_the_deadline_of_a_stop_who_is_stuck_hears_421(hop: FakeNextHop, tmp_path: Path) -> None:
    """One whose next hop hangs, one that has sent half a message, and one that reads nothing: none of them holds it."""
    hop.script["dot"] = [Hang()]
    settings = {**NO_SCANNERS, "drain_timeout": 0.5}
    service = Filter(tmp_path, next_hop_port=int(hop.address.rpartition(":")[2]), settings=settings)
    await asyncio.to_thread(service.start)

    async def begun(message: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(b"LHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n")
        assert (await reader.readuntil(b"354 End data with <CR><LF>.<CR><LF>\r\n")).endswith(b"\r\n")
        writer.write(message)
        return reader, writer

    waits = await begun(MESSAGE + b".\r\n")
    await wait_for(lambda: any(one.raw for one in hop.transactions))
    half = await begun(MESSAGE)
    deaf = await asyncio.open_connection("127.0.0.1", service.port, limit=1)
    deaf[1].write(b"HELP\r\n" * 200_000)  # whose answers nobody takes
    assert await asyncio.to_thread(service.stop) == 0
    for reader, writer in (waits, half):
        assert (await asyncio.wait_for(reader.read(), PATIENCE)).startswith(b"421 4.3.2 ")
        writer.close()
    deaf[1].close()
    for _, writer in (waits, half, deaf):
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    assert not any("did not finish in time" in line for line in service.log_lines())
