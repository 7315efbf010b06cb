"""A message that kills whoever scans it, among others that have done nothing: it is set apart, and they are served."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from demo.neighbours.filter import Filter
from quarantine.index import Query
from quarantine.store import Quarantine
from tests.door import PATIENCE, Client
from tests.fakes.clamd import FakeClamd
from tests.fakes.next_hop import FakeNextHop
from tests.journey import NOTICE
from tests.workers import workers_of

INNOCENT = 8
ROUNDS = 8
"""How often the sender tries again, at most: the poison needs three, and its isolation a fourth."""


@dataclass
class Deadly(FakeClamd):
    """Kills the worker over one message, the first time when all others are in its hands as well."""

    supervisor: int = 0
    killed: int = 0
    waiting: int = 0

    async def _content(self, reader: asyncio.StreamReader) -> bytes:
        content = await super()._content(reader)
        if content.startswith(b"Subject: poison"):
            while not self.killed and self.waiting < INNOCENT:
                await asyncio.sleep(0.01)
            self.killed += 1
            for worker in workers_of(self.supervisor):
                os.kill(worker, signal.SIGKILL)
        elif not self.killed and content.startswith(b"Subject:"):
            self.waiting += 1
            await asyncio.Event().wait()
        return content


async def send(port: int, name: str) -> bool:
    """Whether the message was taken."""
    try:
        async with Client(*await asyncio.open_connection("127.0.0.1", port)) as client:
            await client.reply()
            await client.say(
                "LHLO x", f"XFORWARD IDENT={name}", "MAIL FROM:<a@b.example>", f"RCPT TO:<{name}@example.org>", "DATA"
            )
            await client.send(f"Subject: {name}\r\n\r\nbody of {name}\r\n.\r\n".encode())
            answer = await client.reply()
            await client.say("QUIT")
    except ConnectionError:
        return False
    return answer.startswith("250 ")


async def test_poison_is_set_apart_and_nobody_else_is_blamed(tmp_path: Path) -> None:
    fake = Deadly()
    names = {"poison", *(f"innocent{number}" for number in range(INNOCENT))}
    async with FakeNextHop() as hop, fake.running() as clamd:
        settings = {"clamav": {"socket": clamd}, "spamassassin": {"enabled": False}, "workers": 1}
        service = Filter(tmp_path, next_hop_port=int(hop.address.rpartition(":")[2]), settings=settings)
        await asyncio.to_thread(service.start)
        try:
            fake.supervisor = service.pid
            waiting = sorted(names)
            for _ in range(ROUNDS):
                async with asyncio.timeout(3 * PATIENCE):
                    taken = await asyncio.gather(*(send(service.port, name) for name in waiting))
                waiting = [name for name, done in zip(waiting, taken, strict=True) if not done]
        finally:
            await asyncio.to_thread(service.stop)
    assert waiting == []
    assert fake.killed == 3
    served = [one.rcpt_tos[0].partition("@")[0] for one in hop.delivered if NOTICE not in one.content]
    assert sorted(served) == sorted(names - {"poison"})
    store = Quarantine(tmp_path / "state" / "quarantine", f"sqlite:///{tmp_path}/state/quarantine.sqlite")
    kept = [store.read(item.id) for item in store.find(Query())]
    assert [record.withheld[0].recipient.address for record in kept] == ["poison@example.org"]
    assert kept[0].findings[0].inspector == "poison"
