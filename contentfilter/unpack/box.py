"""The worker's side of the box: a few helpers, one job each at a time, replaced when they fail, grow or age.

They are made when they are wanted and ended when nobody has wanted them for a while. A further one is made only where
those that are there stay busy: most jobs take milliseconds, and each helper takes memory.

A job that kills, blocks or corrupts its helper costs that helper and nothing else: what came before stays, the
message's contents are unchecked, and the next job gets a new helper. Only if no helper can be had at all, through no
fault of the message, is that our failure: then the message has to wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from contentfilter.errors import InspectorError
from contentfilter.large_work import in_thread
from contentfilter.mime import Tree
from contentfilter.unpack import wire
from contentfilter.unpack.budget import DEFAULT_BUDGET, Budget
from contentfilter.unpack.choice import Candidate, passwords_of, to_open
from contentfilter.unpack.collector import Collector
from contentfilter.unpack.job import IN_THREAD, gather, submit
from contentfilter.unpack.measures import Measure
from contentfilter.unpack.nursery import COMMAND, PATIENCE, Helper, Nursery, launch, receive, send
from contentfilter.unpack.unpacked import NOTHING, Unpacked

_log = logging.getLogger("contentfilter.unpack")

_GRACE: Final = 3.0
"""Seconds beyond the budget's after which a helper that has not ended the job by itself is killed."""
_LOOK_EVERY: Final = 8
"""Jobs on small messages after which a look is taken at a helper's memory."""
_SOON: Final = 0.1
"""Seconds that a job waits for a helper which has another one, before a further helper is made."""
_LARGE: Final = 1 << 20
"""Bytes from which a message may take a helper a second, by what is in it or by its mere size."""
_TROUBLE: Final = (OSError, TimeoutError, wire.NonsenseError, KeyError, TypeError, ValueError)
"""What comes of a nursery that dies, hangs, or says what has no sense."""


@dataclass(frozen=True, slots=True)
class BoxSettings:
    """directory: where helpers' working directories are made; helpers: how many; jobs_per_helper: then it is replaced.

    memory: bytes of address space of one helper; queue: jobs that may wait for a helper; wait: seconds that they may.
    idle: seconds without a job after which a helper is ended; growth: bytes of memory, beyond what it had when it was
    new, after which it is replaced; command: how a nursery is started that is only ours.
    """

    directory: Path
    helpers: int = 2
    jobs_per_helper: int = 200
    memory: int = 1 << 30
    queue: int = 100
    wait: float = 120.0
    idle: float = 5.0
    growth: int = 32 << 20
    budget: Budget = DEFAULT_BUDGET
    command: tuple[str, ...] = COMMAND


@dataclass(slots=True)
class Box:
    """Opens contents out of reach. Start it or let the first job do so; close it.

    door: of a nursery that somebody keeps for several; None: it has one of its own.
    """

    settings: BoxSettings
    door: socket.socket | None = None
    missing: tuple[str, ...] = ()
    """What this kernel or installation lacks of the confinement."""
    _process: subprocess.Popen[bytes] | None = None
    """Our own nursery."""
    _nursery: Nursery | None = None
    _sweeper: asyncio.Task[None] | None = None
    _idle: list[Helper] = field(default_factory=list)
    _slots: asyncio.Semaphore = field(init=False)
    _large_slots: asyncio.Semaphore = field(init=False)
    """Where there are several helpers, one is left to small messages."""
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _busy: int = 0
    """Helpers that have a job."""
    _ended: asyncio.Event = field(default_factory=asyncio.Event)
    """A job has."""
    _waiting: int = 0

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.settings.helpers)
        self._large_slots = asyncio.Semaphore(max(1, self.settings.helpers - 1))

    async def start(self) -> None:
        """Have a nursery that is ready to fork helpers. Raises InspectorError."""
        async with self._starting:
            await self._have_nursery()

    async def open(self, tree: Tree, size: int) -> Unpacked:
        """Open what has to be opened of a message of this size. Raises InspectorError as :meth:`unpack` does."""
        if size < IN_THREAD:
            parts = to_open(tree)
        else:
            parts = await in_thread(to_open, tree)
        return await self.unpack(parts, size, passwords_of(tree)) if parts else NOTHING

    async def unpack(self, sources: Sequence[Candidate], size: int, passwords: tuple[str, ...] = ()) -> Unpacked:
        """Open these contents of a message of this size, and what is in them.

        Raises InspectorError when no helper can be had within the time.
        """
        if not sources:
            return NOTHING
        if self._waiting >= self.settings.queue:
            raise InspectorError("too many messages wait for a helper that opens containers")
        async with contextlib.AsyncExitStack() as held:
            self._waiting += 1
            try:
                async with asyncio.timeout(self.settings.wait):
                    if size >= _LARGE:
                        await held.enter_async_context(self._large_slots)
                    await held.enter_async_context(self._slots)
            except TimeoutError as error:
                raise InspectorError(f"no helper for opening containers in {self.settings.wait:g} s") from error
            finally:
                self._waiting -= 1
            return await self._with_helper(sources, size, passwords)

    async def _with_helper(self, sources: Sequence[Candidate], size: int, passwords: tuple[str, ...]) -> Unpacked:
        helper = await self._helper()
        helper.jobs += 1
        self._busy += 1
        collector = Collector(self.settings.budget, size, [source.path for source in sources])
        worn = True
        try:
            failed = await self._run(helper, collector, sources, size, passwords)
            worn = bool(failed) or self._is_old(helper, size)
            if failed:
                await self._end(helper)  # before the contents are looked at: it must not write any more
                self._check_whose_fault(helper)
            result = collector.finish(failed)
            worn = worn or bool(result.exceeded)
        except BaseException:
            collector.drop()
            raise
        finally:
            self._busy -= 1
            self._ended.set()
            if not worn:
                self._rest(helper)
            elif helper.pid:
                await asyncio.shield(self._end(helper))
        if failed:
            _log.warning("a helper that opens containers failed: %s", failed)
        return result

    def _is_old(self, helper: Helper, size: int) -> bool:
        """After a job on a message of this size."""
        if helper.jobs >= self.settings.jobs_per_helper:
            return True
        if size < _LARGE and helper.jobs % _LOOK_EVERY:
            return False  # to look takes as long as a hundredth of a job
        return helper.memory - helper.first_memory > self.settings.growth

    def _check_whose_fault(self, helper: Helper) -> None:
        """Raises InspectorError if a helper may have failed because the nursery did, and took all of them along."""
        if helper.nursery is not self._nursery:
            raise InspectorError("the process that helpers are forked from died")

    async def _run(
        self, helper: Helper, collector: Collector, sources: Sequence[Candidate], size: int, passwords: tuple[str, ...]
    ) -> str:
        """Do one job. Returns why it failed, "" if it did not."""
        budget = self.settings.budget
        try:
            async with asyncio.timeout(budget.seconds + _GRACE):
                await submit(helper.channel, sources, size, passwords, budget)
                await gather(helper.channel, collector)
        except TimeoutError:
            return f"the helper that opens containers did not end within {budget.seconds:g} s"
        except wire.NonsenseError as error:
            return f"the helper that opens containers failed: {error}"
        except OSError as error:
            return f"the helper that opens containers died ({error.strerror or error})"
        return ""

    async def _helper(self) -> Helper:
        """One that waits for a job and lives, or will soon, or a new one. Raises InspectorError."""
        return await self._rested() or await self._soon_rested() or await self._made()

    async def _rested(self) -> Helper | None:
        """One that waits for a job and lives, if there is one."""
        while self._idle:
            helper = self._idle.pop()
            if helper.lives:
                return helper
            await self._end(helper)
        return None

    async def _soon_rested(self) -> Helper | None:
        """One that ends another job within a moment, if there is one."""
        async with self._starting:
            pass  # one that is just being made counts as well
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SOON):
                while self._busy and not self._idle:
                    self._ended.clear()
                    await self._ended.wait()
        return await self._rested()

    async def _made(self) -> Helper:
        """A new one. Raises InspectorError."""
        async with self._starting:
            nursery = await self._have_nursery()
            settings = self.settings
            limits = {"memory": settings.memory, "file_size": settings.budget.bytes}
            try:
                return await nursery.fork(settings.directory, **limits)
            except _TROUBLE as error:
                self._leave_nursery()
                raise self._cannot_start(error) from error

    async def _have_nursery(self) -> Nursery:
        """To be called by one at a time. Raises InspectorError."""
        if self._nursery is not None and not self._nursery.lives:
            self._leave_nursery()
        if self._nursery is None:
            try:
                self._nursery = await self._enter()
            except _TROUBLE as error:
                self._leave_nursery()
                raise self._cannot_start(error) from error
            self.missing = self._nursery.missing
            for each in self.missing:
                _log.warning("helpers that open containers run without: %s", each)
        return self._nursery

    async def _enter(self) -> Nursery:
        if self.door is not None:
            return await Nursery.enter(self.door)
        door, inside = wire.pair()
        door.setblocking(False)
        with door:
            with inside:
                self._process = launch(self.settings.command, inside)
            return await Nursery.enter(door)

    def _leave_nursery(self) -> None:
        """Our helpers die with that; so does a nursery that is ours."""
        if self._nursery is not None:
            self._nursery.close()
            self._nursery = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _cannot_start(self, error: Exception) -> InspectorError:
        what = f"cannot start a helper that opens containers, in {self.settings.directory}"
        return InspectorError(f"{what}: {error if isinstance(error, OSError) else repr(error)}")

    def _rest(self, helper: Helper) -> None:
        """Let it wait for the next job, but not for ever."""
        helper.idle_since = time.monotonic()
        self._idle.append(helper)
        if self._sweeper is None or self._sweeper.done():
            self._sweeper = asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        """End those that nobody wants, which are the first: the one that had a job last has the next."""
        while self._idle:
            due = self._idle[0].idle_since + self.settings.idle - time.monotonic()
            if due <= 0:
                await self._end(self._idle.pop(0))
            else:
                await asyncio.sleep(due)

    async def _end(self, helper: Helper) -> None:
        """Kill a helper and all that it started, and remove its directory."""
        pid, helper.pid = helper.pid, 0
        helper.channel.close()
        async with self._starting:
            if self._nursery is helper.nursery:
                try:
                    await helper.nursery.end(pid)
                except _TROUBLE as error:
                    _log.warning("the process that helpers are forked from failed: %r", error)
                    self._leave_nursery()
        await asyncio.to_thread(shutil.rmtree, helper.directory, ignore_errors=True)

    async def measures(self) -> tuple[Measure, ...]:
        """What keeps a helper in its box, as it finds it to hold. Raises InspectorError."""
        helper = await self._helper()
        try:
            async with asyncio.timeout(PATIENCE):
                await send(helper.channel, {"do": "measure"})
                packet = await receive(helper.channel)
            if packet is None:
                raise ConnectionResetError("no word from it")
            found = tuple(Measure(**each) for each in packet[0]["measures"])
        except (OSError, TimeoutError, wire.NonsenseError, KeyError, TypeError) as error:
            await self._end(helper)
            raise InspectorError(f"a helper that opens containers does not say what holds it: {error!r}") from error
        self._rest(helper)
        return found

    async def close(self) -> None:
        """End all helpers. Jobs still running fail."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.wait([self._sweeper])
        while self._idle:
            await self._end(self._idle.pop())
        self._leave_nursery()
