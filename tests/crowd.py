"""Clients that are in the way: idle ones, and slow ones whose message comes a few bytes at a time.

For a process of its own: `python -m tests.crowd PORT IDLE SLOW` says "ready" when all of them are there, and goes when
its standard input ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tests.door import Client

PAUSE = 0.2
"""Seconds between two pieces of a slow message."""

PIECE = b"slow\r\n"


@dataclass
class Crowd:
    """Who is there. The slow ones are in the middle of DATA."""

    idle: list[Client]
    slow: list[Client]
    _dribbling: asyncio.Task[None]

    async def finish(self) -> list[str]:
        """Have the slow ones end their messages after all: what they hear of them."""
        self._dribbling.cancel()
        await asyncio.wait([self._dribbling])
        for client in self.slow:
            await client.send(b"\r\n.\r\n")
        return [await client.reply() for client in self.slow]


@contextlib.asynccontextmanager
async def crowd(port: int, *, idle: int, slow: int) -> AsyncIterator[Crowd]:
    """A crowd at 127.0.0.1 for the time of the block."""
    clients = [Client(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(idle + slow)]
    async with contextlib.AsyncExitStack() as stack:
        for client in clients:
            await stack.enter_async_context(client)
        for number, client in enumerate(clients):
            greeting = await client.reply()
            assert greeting.startswith("220 "), f"client {number}: {greeting}"
            await client.say("LHLO crowd.example")
        for client in clients[idle:]:
            got = await client.say("MAIL FROM:<slow@example.net>", "RCPT TO:<bob@example.org>", "DATA")
            assert got[-1].startswith("354 "), got
            await client.send(b"From: slow@example.net\r\nSubject: slow\r\n\r\n")
        dribbling = asyncio.create_task(_dribble(clients[idle:]))
        try:
            yield Crowd(clients[:idle], clients[idle:], dribbling)
        finally:
            dribbling.cancel()
            await asyncio.wait([dribbling])


async def _dribble(clients: list[Client]) -> None:
    while True:
        for client in clients:
            await client.send(PIECE)
            # One after the other: a slow link does not keep step with another.
            await asyncio.sleep(PAUSE / len(clients))


async def _stand_there(port: int, idle: int, slow: int) -> None:
    async with crowd(port, idle=idle, slow=slow):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_stand_there(*map(int, sys.argv[1:4])))
