"""The worker's side of the box: a few helpers, one job each at a time, replaced when they fail and when they are old.

A job that kills, blocks or corrupts its helper costs that helper and nothing else: what came before stays, the
message's contents are unchecked, and the next job gets a new helper. Only if no helper can be had at all, through no
fault of the message, is that our failure: then the message has to wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from contentfilter.errors import InspectorError
from contentfilter.large_work import in_thread, made_in_thread
from contentfilter.mime import Tree
from contentfilter.unpack import wire
from contentfilter.unpack.budget import DEFAULT_BUDGET, Budget
from contentfilter.unpack.choice import Candidate, passwords_of, to_open
from contentfilter.unpack.collector import Collector
from contentfilter.unpack.measures import Measure
from contentfilter.unpack.store import Place, Store
from contentfilter.unpack.unpacked import NOTHING, Unpacked

_log = logging.getLogger("contentfilter.unpack")

COMMAND: Final = (sys.executable, "-m", "contentfilter.unpack.helper")
_GRACE: Final = 3.0
"""Seconds beyond the budget's after which a helper that has not ended the job by itself is killed."""
_PATIENCE: Final = 30.0
"""Seconds within which the nursery has to start or end a helper."""
_TOGETHER: Final = 64
"""Packets that are taken before others get their turn."""
_NOBODY: Final = 65534
_LARGE: Final = 1 << 20
"""Bytes from which a message may take a helper a second, by what is in it or by its mere size."""
_IN_THREAD: Final = 262_144
"""Bytes from which a message is searched for what has to be opened in a thread."""


@dataclass(frozen=True, slots=True)
class BoxSettings:
    """directory: where helpers' working directories are made; helpers: how many; jobs_per_helper: then it is replaced.

    memory: bytes of address space of one helper; queue: jobs that may wait for a helper; wait: seconds that they may.
    """

    directory: Path
    helpers: int = 2
    jobs_per_helper: int = 200
    memory: int = 1 << 30
    queue: int = 100
    wait: float = 120.0
    budget: Budget = DEFAULT_BUDGET
    command: tuple[str, ...] = COMMAND


@dataclass(slots=True)
class _Helper:
    """One helper process. Its socket's end is closed by us; the nursery ends the process."""

    pid: int
    channel: socket.socket
    directory: Path
    jobs: int = 0


@dataclass(slots=True)
class Box:
    """Opens contents out of reach. Start it or let the first job do so; close it."""

    settings: BoxSettings
    missing: tuple[str, ...] = ()
    """What this kernel or installation lacks of the confinement."""
    _nursery: _Nursery | None = None
    _idle: list[_Helper] = field(default_factory=list)
    _slots: asyncio.Semaphore = field(init=False)
    _large_slots: asyncio.Semaphore = field(init=False)
    """Where there are several helpers, one is left to small messages."""
    _starting: asyncio.Lock = field(default_factory=asyncio.Lock)
    _waiting: int = 0

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.settings.helpers)
        self._large_slots = asyncio.Semaphore(max(1, self.settings.helpers - 1))

    async def start(self) -> None:
        """Have all helpers ready. Raises InspectorError."""
        while len(self._idle) < self.settings.helpers:
            self._idle.append(await self._new_helper())

    async def open(self, tree: Tree, size: int) -> Unpacked:
        """Open what has to be opened of a message of this size. Raises InspectorError as :meth:`unpack` does."""
        if size < _IN_THREAD:
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
        helper = self._idle.pop() if self._idle else await self._new_helper()
        helper.jobs += 1
        collector = Collector(self.settings.budget, size, [source.path for source in sources])
        worn = True
        try:
            failed = await self._run(helper, collector, sources, size, passwords)
            worn = bool(failed) or helper.jobs >= self.settings.jobs_per_helper
            if failed:
                await self._end(helper)  # before the contents are looked at: it must not write any more
            result = collector.finish(failed)
            worn = worn or bool(result.exceeded)
        except BaseException:
            collector.drop()
            raise
        finally:
            if not worn:
                self._idle.append(helper)
            elif helper.pid:
                await asyncio.shield(self._end(helper))
        if failed:
            _log.warning("a helper that opens containers failed: %s", failed)
        return result

    async def _run(
        self, helper: _Helper, collector: Collector, sources: Sequence[Candidate], size: int, passwords: tuple[str, ...]
    ) -> str:
        """Do one job. Returns why it failed, "" if it did not."""
        budget = self.settings.budget
        try:
            async with asyncio.timeout(budget.seconds + _GRACE):
                await _submit(helper.channel, sources, size, passwords, budget)
                await _gather(helper.channel, collector)
        except TimeoutError:
            return f"the helper that opens containers did not end within {budget.seconds:g} s"
        except wire.NonsenseError as error:
            return f"the helper that opens containers failed: {error}"
        except OSError as error:
            return f"the helper that opens containers died ({error.strerror or error})"
        return ""

    async def _new_helper(self) -> _Helper:
        async with self._starting:
            try:
                if self._nursery is None or not self._nursery.alive:
                    self._nursery = await _Nursery.start(self.settings.command)
                    self.missing = self._nursery.missing
                return await self._nursery.fork(self.settings)
            except (OSError, TimeoutError, wire.NonsenseError, KeyError, ValueError) as error:
                if self._nursery is not None:
                    self._nursery.close()
                    self._nursery = None
                what = f"cannot start a helper that opens containers, in {self.settings.directory}"
                raise InspectorError(f"{what}: {error if isinstance(error, OSError) else repr(error)}") from error

    async def _end(self, helper: _Helper) -> None:
        """Kill a helper and all that it started, and remove its directory."""
        pid, helper.pid = helper.pid, 0
        helper.channel.close()
        async with self._starting:
            if self._nursery is not None:
                try:
                    await self._nursery.end(pid)
                except (OSError, TimeoutError, wire.NonsenseError) as error:
                    _log.warning("the process that helpers are forked from failed: %r", error)
                    self._nursery.close()
                    self._nursery = None
        await asyncio.to_thread(shutil.rmtree, helper.directory, ignore_errors=True)

    async def measures(self) -> tuple[Measure, ...]:
        """What keeps a helper in its box, as it finds it to hold. Raises InspectorError."""
        helper = self._idle.pop() if self._idle else await self._new_helper()
        try:
            async with asyncio.timeout(_PATIENCE):
                await _send(helper.channel, {"do": "measure"})
                packet = await _receive(helper.channel)
            if packet is None:
                raise ConnectionResetError("no word from it")
            found = tuple(Measure(**each) for each in packet[0]["measures"])
        except (OSError, TimeoutError, wire.NonsenseError, KeyError, TypeError) as error:
            await self._end(helper)
            raise InspectorError(f"a helper that opens containers does not say what holds it: {error!r}") from error
        self._idle.append(helper)
        return found

    async def close(self) -> None:
        """End all helpers. Jobs still running fail."""
        while self._idle:
            await self._end(self._idle.pop())
        if self._nursery is not None:
            self._nursery.close()
            self._nursery = None


async def _submit(
    channel: socket.socket, sources: Sequence[Candidate], size: int, passwords: tuple[str, ...], budget: Budget
) -> None:
    """Hand the contents over. Memory files: what the helper gets is a copy that it may do with as it likes."""
    if size < _IN_THREAD:
        store, listing = _stored(sources)
    else:
        store, listing = await made_in_thread(functools.partial(_stored, sources), lambda made: made[0].close())
    try:
        *full, last = store.files
        for descriptor in full:
            await _send(channel, {"do": "take"}, (descriptor,))
        job = {"do": "open", "size": size, "passwords": passwords, "budget": _told(budget), "listing": _where(listing)}
        await _send(channel, job, (last,))
    finally:
        store.close()


@functools.cache
def _told(budget: Budget) -> dict[str, Any]:
    return asdict(budget)


def _where(place: Place) -> dict[str, int]:
    return {"file": place.file, "offset": place.offset, "size": place.size}


def _stored(sources: Sequence[Candidate]) -> tuple[Store, Place]:
    """The contents, and where among them the list of them lies. Raises OSError."""
    store = Store()
    try:
        contents = []
        for source in sources:
            place = store.add(source.content())
            contents.append({**_where(place), "path": source.path, "names": source.names, "type": source.declared_type})
        return store, store.add(json.dumps(contents).encode("ascii"))
    except BaseException:
        store.close()
        raise


async def _gather(channel: socket.socket, collector: Collector) -> None:
    """Take packets until the job is done. Raises NonsenseError, OSError if the helper is gone."""
    taken = 0
    while not collector.done:
        packet = await _receive(channel)
        if packet is None:
            raise ConnectionResetError("no word from it")
        try:
            collector.take(*packet)
        except (KeyError, TypeError) as error:
            raise wire.NonsenseError("a packet without sense") from error
        taken += 1
        if taken % _TOGETHER == 0:
            await asyncio.sleep(0)


class _Nursery:
    """The process that helpers are forked from."""

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket) -> None:
        self._process = process
        self._channel = channel
        self.missing: tuple[str, ...] = ()

    @classmethod
    async def start(cls, command: tuple[str, ...]) -> _Nursery:
        """Start one and wait until it is ready. Raises OSError, TimeoutError, NonsenseError."""
        ours, theirs = wire.pair()
        with theirs:
            process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own program; a millisecond, once in a worker's life
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "PYTHONPATH")},
            )
        ours.setblocking(False)
        nursery = cls(process, ours)
        try:
            answer = await nursery._answer()
        except BaseException:
            nursery.close()
            raise
        nursery.missing = tuple(str(each) for each in answer["ready"])
        for each in nursery.missing:
            _log.warning("helpers that open containers run without: %s", each)
        return nursery

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    async def fork(self, settings: BoxSettings) -> _Helper:
        """A new helper. Raises OSError, TimeoutError, NonsenseError."""
        directory = _working_directory(settings.directory)
        ours, theirs = wire.pair()
        opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            limits = {"memory": settings.memory, "file_size": settings.budget.bytes}
            await _send(self._channel, {"do": "fork", "settings": limits}, (theirs.fileno(), opened))
            pid = (await self._answer())["pid"]
        except BaseException:
            ours.close()
            shutil.rmtree(directory, ignore_errors=True)
            raise
        finally:
            theirs.close()
            os.close(opened)
        ours.setblocking(False)
        return _Helper(pid, ours, directory)

    async def end(self, pid: int) -> None:
        """Return when a helper and all its offspring are gone. Raises OSError, TimeoutError, NonsenseError."""
        await _send(self._channel, {"do": "end", "pid": pid})
        await self._answer()

    async def _answer(self) -> dict[str, Any]:
        async with asyncio.timeout(_PATIENCE):
            packet = await _receive(self._channel)
        if packet is None:
            raise ConnectionResetError("the process that helpers are forked from is gone")
        values, descriptors = packet
        wire.close_all(descriptors)
        if "error" in values:
            raise OSError(values["error"])
        return values

    def close(self) -> None:
        """Kill it; its helpers die with it."""
        self._channel.close()
        self._process.kill()
        self._process.wait()


def _working_directory(parent: Path) -> Path:
    directory = Path(tempfile.mkdtemp(prefix="unpack-", dir=parent))
    if os.geteuid() == 0:
        os.chown(directory, _NOBODY, _NOBODY)
    return directory


async def _send(channel: socket.socket, values: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
    while True:
        try:
            wire.send(channel, values, descriptors)
        except BlockingIOError:
            await _until(channel, asyncio.get_running_loop().add_writer, asyncio.get_running_loop().remove_writer)
        else:
            return


async def _receive(channel: socket.socket) -> tuple[dict[str, Any], tuple[int, ...]] | None:
    while True:
        try:
            return wire.receive(channel)
        except BlockingIOError:
            await _until(channel, asyncio.get_running_loop().add_reader, asyncio.get_running_loop().remove_reader)


async def _until(channel: socket.socket, watch: Callable[..., object], forget: Callable[..., object]) -> None:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    watch(channel, _resolve, ready)
    try:
        await ready
    finally:
        forget(channel)


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
