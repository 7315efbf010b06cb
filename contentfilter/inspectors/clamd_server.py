"""One clamd at one address: what is asked of it, over a connection of its own each time.

A scan that clamd does not answer, wholly and by its number, makes the whole request fail. What was found until then
stays found.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from contentfilter.errors import InspectorError, NotInspectedError
from contentfilter.finding import Finding, Kind
from contentfilter.inspectors.backends import failures_of
from contentfilter.inspectors.channel import Address, Channel
from contentfilter.inspectors.clamd_cache import ScanCache
from contentfilter.inspectors.clamd_session import Answer, Content, Session, printable
from contentfilter.inspectors.clamd_turns import LARGE, Pause, Turns
from contentfilter.large_work import made_in_thread
from contentfilter.message import memory_file

NAME: Final = "clamd"

# Scans in flight: enough for clamd's threads (MaxThreads 10), far below its MaxQueue (100), and what clamd may have to
# say meanwhile fits into any socket buffer, so that neither side waits for the other to read.
_IN_FLIGHT: Final = 8
IN_THREAD: Final = 262_144
"""Bytes from which what is copied or digested is left to a thread: it would hold up the loop for a millisecond."""
# clamd reports these as if they were viruses; they say that it could not look inside.
_NOT_A_VIRUS: Final = re.compile(r"Heuristics\.(?:Encrypted|Limits\.Exceeded)\b")
_HARMLESS: Final = b"nothing to see here"
VERSION_HOLDS: Final = 5.0
"""Seconds for which clamd is not asked again whether its database has changed."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something to scan: a leaf's or member's content, or the message ("" is its path). Some have a descriptor.

    digest: SHA-256 of the content, b"" where nobody wants to know.
    """

    path: str
    size: int
    content: Callable[[], Content]
    descriptor: Callable[[], int | None] = lambda: None
    digest: bytes = b""


@dataclass(slots=True)
class Results:
    """What came of the scans so far: findings by the path of what was scanned, for answers come in any order."""

    findings: dict[str, Finding] = field(default_factory=dict)

    def add(self, path: str, signature: str) -> None:
        """Note a result. signature: "" for nothing found."""
        if signature:
            kind = Kind.UNCHECKED if _NOT_A_VIRUS.match(signature) else Kind.VIRUS
            self.findings[path] = Finding(kind, NAME, signature, path)

    def in_order(self, items: Sequence[Item]) -> tuple[Finding, ...]:
        """The findings in the order of what was scanned."""
        return tuple(self.findings[item.path] for item in items if item.path in self.findings)

    @property
    def infected(self) -> bool:
        """Whether a virus was found."""
        return any(finding.kind is Kind.VIRUS for finding in self.findings.values())


class ClamdServer:
    """clamd at an address such as "unix:/run/clamav/clamd.ctl" or "tcp:127.0.0.1:3310".

    connect_timeout: seconds to connect within; timeout: seconds for everything that is asked for one message,
    connecting included; cache: how many results are kept, 0 for none; turns: of what is large; clock: seconds, from
    anywhere.

    Raises ValueError for an address that is none.
    """

    def __init__(
        self,
        address: str,
        *,
        connect_timeout: float,
        timeout: float,
        cache: int = 0,
        turns: Turns | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = Address.parse(address)
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._clock = clock
        self._cache = ScanCache(cache, clock) if cache else None
        self._turns = turns or Turns(4, timeout)
        self._version = ""
        self._version_until = clock()
        self._asking_version = asyncio.Lock()

    @property
    def label(self) -> str:
        """Who and where it is."""
        return f"{NAME} at {self._address}"

    async def ping(self) -> None:
        """Ask whether clamd is there. Raises InspectorError if it does not answer as it should."""
        answer = await self._ask(b"zPING\0")
        if answer != b"PONG\0":
            raise InspectorError(f"{self.label} answered PING with {printable(answer)!r}")

    async def probe(self) -> None:
        """Have a few bytes scanned, which takes a thread of clamd's that is free. Raises InspectorError."""
        await self.scan([Item("", len(_HARMLESS), lambda: _HARMLESS)], Results())

    async def version(self) -> str:
        """What clamd and its database call themselves. Raises InspectorError."""
        answer = await self._ask(b"zVERSION\0")
        if not re.fullmatch(rb"ClamAV [^\0]+\0", answer):
            raise NotInspectedError(f"{self.label} answered VERSION with {printable(answer)!r}")
        return printable(answer[:-1])

    async def _ask(self, command: bytes) -> bytes:
        answer = b""
        with failures_of(self.label):
            async with asyncio.timeout(self._timeout):
                with await Channel.open(self._address, self._connect_timeout) as channel:
                    await channel.send(command)
                    while len(answer) < 4096 and (data := await channel.receive(4096)):
                        answer += data
        return answer

    async def scan(self, items: Sequence[Item], results: Results, pause: Pause = nullcontext) -> bool:
        """Have all items scanned of which it is not known what clamd says of them; whether there were any.

        pause: stops the clock of whoever waits for the result, while it waits until something large may be scanned.
        Raises InspectorError unless all is known now. NotInspectedError: clamd answered that it cannot scan something.
        """
        with failures_of(self.label):
            version = await self._database()
            unknown = self._not_cached(items, results)
            if not any(item.size >= LARGE for item in unknown):
                return await self._converse(version, unknown, results)
            # Before there is a connection: clamd closes one on which nothing is said for a while.
            async with self._turns.turn(pause):
                # What all the others were waiting for may be known by now.
                return await self._converse(version, self._not_cached(unknown, results), results)

    async def _converse(self, version: str, items: Sequence[Item], results: Results) -> bool:
        if items:
            async with asyncio.timeout(self._timeout):
                with await Channel.open(self._address, self._connect_timeout) as channel:
                    dialog = _Dialog(self, version, Session(channel), items, results, large_in_flight=self._turns.each)
                    await dialog.run()
        return bool(items)

    async def _database(self) -> str:
        """The version of clamd's database, "" if it does not tell. Raises InspectorError if it does not answer."""
        if self._cache is not None and self._clock() >= self._version_until:
            async with asyncio.timeout(self._timeout), self._asking_version:
                if self._clock() >= self._version_until:  # nobody has asked while we waited
                    try:
                        self._version = await self.version()
                    except NotInspectedError:
                        self._version = ""  # clamd has EnableVersionCommand no: nothing can be kept
                    self._version_until = self._clock() + VERSION_HOLDS
                    self._cache.serve(self._version)
        return self._version

    def _not_cached(self, items: Sequence[Item], results: Results) -> Sequence[Item]:
        if self._cache is None:
            return items
        unknown = []
        for item in items:
            signature = self._cache.get(item.digest)
            if signature is None:
                unknown.append(item)
            else:
                results.add(item.path, signature)
        return unknown

    def note(self, version: str, item: Item, signature: str) -> None:
        """Keep a result for the next message with the same content."""
        if self._cache is not None and version and item.digest:
            self._cache.put(version, item.digest, signature)

    @property
    def streams(self) -> bool:
        """Whether content is sent, and not a descriptor of it."""
        return not self._address.path

    async def submit(self, session: Session, item: Item) -> None:
        """Have an item scanned, in the way that the address allows."""
        if self.streams:
            await session.submit_stream(item.path, item.content())
        elif (owned := item.descriptor()) is not None:
            await session.submit_descriptor(item.path, owned)
        else:
            large = item.size > IN_THREAD
            descriptor = await made_in_thread(partial(_copied, item), os.close) if large else _copied(item)
            try:
                await session.submit_descriptor(item.path, descriptor)
            finally:
                os.close(descriptor)


class _Dialog:
    """The scans of one message over one session."""

    def __init__(
        self,
        server: ClamdServer,
        version: str,
        session: Session,
        items: Sequence[Item],
        results: Results,
        *,
        large_in_flight: int,
    ) -> None:
        self._server = server
        self._version = version
        self._session = session
        self._items = items
        self._results = results
        self._large_in_flight = large_in_flight
        self._refused = ""
        self._lost = ""

    async def run(self) -> None:
        """All of it. What clamd cannot scan makes it fail, but not before the other answers are heard."""
        try:
            await self._exchange()
        except (OSError, InspectorError) as error:
            # clamd closes on us after some refusals; then the refusal is what there is to say.
            if self._refused:
                raise NotInspectedError(self._refused) from error
            # Of a refusal in the middle of a stream the answer may be lost with the connection. That clamd is gone
            # would show with the next message.
            if self._lost and self._server.streams:
                raise NotInspectedError(f"connection lost: {self._lost}") from error
            raise
        if self._refused:
            raise NotInspectedError(self._refused)
        if self._lost:
            raise InspectorError(f"connection lost: {self._lost}")

    async def _exchange(self) -> None:
        session = self._session
        try:
            for item in self._items:
                most = self._large_in_flight if item.size >= LARGE else _IN_FLIGHT
                while session.pending >= most:
                    self._hear(await session.answer())
                await self._server.submit(session, item)
            await session.end()
        except ConnectionError as error:
            # clamd closed on us, as it does to a stream above StreamMaxLength. What it said before still counts.
            self._lost = str(error)
        while session.pending:
            self._hear(await session.answer())
        await session.expect_close()

    def _hear(self, answer: Answer) -> None:
        if answer.error:
            self._refused = f"{answer.error} (part {answer.label})" if answer.label else answer.error
            return
        item = self._items[answer.number - 1]
        self._results.add(item.path, answer.signature)
        self._server.note(self._version, item, answer.signature)


def _copied(item: Item) -> int:
    return memory_file(item.content())
