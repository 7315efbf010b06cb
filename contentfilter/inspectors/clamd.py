"""ClamAV's clamd, which tells whether there is a virus in the message or in one of its parts.

The whole raw message is scanned, each decoded leaf, and each member of a container: clamd's own reading of MIME and of
archives is a second opinion on ours, and what it cannot decode or open it sees from us. Equal contents are scanned
once, under the path that comes first.

No answer is never "clean": a scan that clamd does not answer, wholly and by its number, makes the inspection fail. But
a virus found is a virus, whatever became of the other scans: then the findings are returned, the failure among them.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from contentfilter.errors import InspectorError, SpoolError
from contentfilter.finding import Finding, Kind
from contentfilter.inspectors import Subject
from contentfilter.inspectors.channel import Address, Channel
from contentfilter.inspectors.clamd_session import Answer, Content, Session, printable
from contentfilter.message import memory_file

NAME: Final = "clamd"
EICAR: Final = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-" + b"STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
"""The text that every virus scanner takes for a virus. In two pieces, so that none takes this file for one."""

# clamd itself does not look at files of five bytes and less.
_SMALLEST: Final = 6
# Scans in flight: enough for clamd's threads (MaxThreads 10), far below its MaxQueue (100), and what clamd may have to
# say meanwhile fits into any socket buffer, so that neither side waits for the other to read.
_IN_FLIGHT: Final = 8
# Bytes from which what is copied or digested is left to a thread: it would hold up the loop for a millisecond.
_IN_THREAD: Final = 262_144
# clamd reports these as if they were viruses; they say that it could not look inside.
_NOT_A_VIRUS: Final = re.compile(r"Heuristics\.(?:Encrypted|Limits\.Exceeded)\b")


@dataclass(frozen=True, slots=True)
class _Item:
    """Something to scan: a leaf's or member's content, or the message ("" is its path). Some have a descriptor."""

    path: str
    size: int
    content: Callable[[], Content]
    descriptor: Callable[[], int | None] = lambda: None


@dataclass(slots=True)
class _Results:
    """What came of the scans so far: findings by the number of the scan, for answers come in any order."""

    findings: dict[int, Finding] = field(default_factory=dict)
    failure: str = ""

    def add(self, answer: Answer) -> None:
        """Note an answer."""
        if answer.error:
            self.failure = f"{answer.error} (part {answer.label})" if answer.label else answer.error
        elif answer.signature:
            kind = Kind.UNCHECKED if _NOT_A_VIRUS.match(answer.signature) else Kind.VIRUS
            self.findings[answer.number] = Finding(kind, NAME, answer.signature, answer.label)

    def in_order(self) -> tuple[Finding, ...]:
        """The findings in the order of what was scanned, the whole message first."""
        return tuple(self.findings[number] for number in sorted(self.findings))

    @property
    def infected(self) -> bool:
        """Whether a virus was found."""
        return any(finding.kind is Kind.VIRUS for finding in self.findings.values())


class ClamdInspector:
    """One clamd; one connection per message.

    address: "unix:/run/clamav/clamd.ctl" or "tcp:127.0.0.1:3310". connect_timeout: seconds to connect within;
    timeout: seconds for everything that is asked of clamd for one message, connecting included.

    Over TCP a message larger than clamd's StreamMaxLength is an error, not a result. Over a Unix socket clamd calls a
    file above its MaxFileSize "OK" without reading it unless AlertExceedsMax is on; `conf/clamav/` sets it.
    Raises ValueError for an address that is none.
    """

    def __init__(self, address: str, *, connect_timeout: float = 10.0, timeout: float = 120.0) -> None:
        self._address = Address.parse(address)
        self._connect_timeout = connect_timeout
        self._timeout = timeout

    @property
    def name(self) -> str:
        """The name in findings and logs."""
        return NAME

    async def inspect(self, subject: Subject) -> tuple[Finding, ...]:
        """Scan the message and its leaves. Raises InspectorError unless all was scanned or a virus was found.

        A leaf whose bytes equal those of an earlier one is not reported a second time.
        """
        results = _Results()
        try:
            large = len(subject.message) > _IN_THREAD
            items = await asyncio.to_thread(list, _items(subject)) if large else _items(subject)
            await self._scan(items, results)
        except InspectorError as error:
            if not results.infected:
                raise
            return (*results.in_order(), Finding(Kind.FAILURE, NAME, str(error)))
        return results.in_order()

    async def scan_bytes(self, content: bytes) -> str:
        """The name of what clamd finds in the content, "" if nothing. For probes. Raises InspectorError."""
        results = _Results()
        await self._scan([_Item("", len(content), lambda: content)], results)
        return next((finding.name for finding in results.in_order()), "")

    async def ping(self) -> None:
        """Ask whether clamd is there. Raises InspectorError if it does not answer as it should."""
        answer = await self._ask(b"zPING\0")
        if answer != b"PONG\0":
            raise InspectorError(f"clamd answered PING with {printable(answer)!r}")

    async def version(self) -> str:
        """What clamd and its database call themselves. Raises InspectorError."""
        answer = await self._ask(b"zVERSION\0")
        if not re.fullmatch(rb"ClamAV [^\0]+\0", answer):
            raise InspectorError(f"clamd answered VERSION with {printable(answer)!r}")
        return printable(answer[:-1])

    async def _ask(self, command: bytes) -> bytes:
        answer = b""
        with self._failures_translated():
            async with asyncio.timeout(self._timeout):
                with await Channel.open(self._address, self._connect_timeout) as channel:
                    await channel.send(command)
                    while len(answer) < 4096 and (data := await channel.receive(4096)):
                        answer += data
        return answer

    async def _scan(self, items: Iterable[_Item], results: _Results) -> None:
        with self._failures_translated():
            async with asyncio.timeout(self._timeout):
                with await Channel.open(self._address, self._connect_timeout) as channel:
                    await self._dialog(Session(channel), items, results)
        if results.failure:
            raise InspectorError(f"clamd at {self._address}: {results.failure}")

    async def _dialog(self, session: Session, items: Iterable[_Item], results: _Results) -> None:
        try:
            for item in items:
                while session.pending >= _IN_FLIGHT:
                    results.add(await session.answer())
                await self._submit(session, item)
            await session.end()
        except ConnectionError as error:
            # clamd closed on us, as it does to a stream above StreamMaxLength. What it said before still counts.
            results.failure = f"connection lost: {error}"
        while session.pending:
            results.add(await session.answer())
        await session.expect_close()

    async def _submit(self, session: Session, item: _Item) -> None:
        if not self._address.path:
            await session.submit_stream(item.path, item.content())
        elif (owned := item.descriptor()) is not None:
            await session.submit_descriptor(item.path, owned)
        else:
            large = item.size > _IN_THREAD
            descriptor = await asyncio.to_thread(_copied, item) if large else _copied(item)
            try:
                await session.submit_descriptor(item.path, descriptor)
            finally:
                os.close(descriptor)

    @contextmanager
    def _failures_translated(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise InspectorError(f"clamd at {self._address} did not answer in time") from error
        except (OSError, SpoolError, InspectorError) as error:
            raise InspectorError(f"clamd at {self._address}: {error}") from error


def _copied(item: _Item) -> int:
    return memory_file(item.content())


def _items(subject: Subject) -> Iterator[_Item]:
    """The message, its leaves, what was in them; what was given before, or is next to empty, is left out."""
    message = subject.message
    yield _Item("", len(message), lambda: message.buffer, message.descriptor)
    contents = [each for each in subject.contents if each.size >= _SMALLEST]
    # Only contents of equal size can be equal: the others, large ones above all, need no digest.
    sizes = Counter((len(message), *(each.size for each in contents)))
    seen = {message.digest} if sizes[len(message)] > 1 else set()
    for each in contents:
        if sizes[each.size] > 1:
            digest = hashlib.sha256(each.content()).hexdigest()
            if digest in seen:
                continue
            seen.add(digest)
        yield _Item(each.path, each.size, each.content, partial(getattr, each, "descriptor"))
