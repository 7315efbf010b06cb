"""What happens to the daemon and its neighbours while mail flows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from demo.neighbours.clamd import Clamd
from demo.neighbours.daemon import StartError
from demo.neighbours.filter import Filter
from tests.workers import workers_of


class Trouble:
    """Kills workers, reloads, stops and starts clamd, each by chance. kills: when; calm(): no more of it."""

    def __init__(self, service: Filter, clamd: Clamd, chance: random.Random) -> None:
        self.kills: list[float] = []
        self.counts: Counter[str] = Counter()
        self._service = service
        self._clamd = clamd
        self._chance = chance
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()

    def start(self) -> None:
        """Begin."""
        for act, pauses in ((self._kill, (15, 45)), (self._reload, (15, 50)), (self._silence, (20, 70))):
            self._tasks.append(asyncio.create_task(self._repeat(act, *pauses)))

    async def calm(self) -> None:
        """Let what was begun come to its end, clamd back included."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)

    async def _repeat(self, act: Callable[[], Awaitable[None]], shortest: float, longest: float) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._chance.uniform(shortest, longest)):
                    await self._stopping.wait()
                return
            await act()

    async def _kill(self) -> None:
        supervisor = self._service.pid
        children = sorted(workers_of(supervisor))
        if children:
            with contextlib.suppress(ProcessLookupError):
                self.kills.append(time.time())
                os.kill(self._chance.choice(children), signal.SIGKILL)
                self.counts["workers killed"] += 1

    async def _reload(self) -> None:
        self._service.reload()
        self.counts["reloads"] += 1

    async def _silence(self) -> None:
        await asyncio.to_thread(self._clamd.stop)
        await asyncio.sleep(self._chance.uniform(2, 6))
        await self._start_clamd()
        self.counts["clamd killed and started"] += 1

    async def _start_clamd(self) -> None:
        """On a machine under full load it may take longer than it is given; then once more."""
        for _ in range(5):
            with contextlib.suppress(StartError):
                await asyncio.to_thread(self._clamd.start)
                return
        self.counts["clamd did not come back"] += 1
