"""clamd and spamd that break down to order. Unbroken, they find a virus in everything, and 3 points.

A script holds a breakdown for each of the next connections; when it is used up they work.
"""

from __future__ import annotations

import asyncio
import re
import socket
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

GARBAGE = b"\x00\xfe\xff what is this\r\n\0"
BREAKDOWNS = (
    "refused", "missing", "closes at once", "closes when asked", "silent and deaf", "silent", "garbage",
    "half an answer, closes", "half an answer, silent", "answers twice", "answers before it is asked", "slow",
    "error",
)  # fmt: skip
TIMED = frozenset({"silent and deaf", "silent", "half an answer, silent"})
"""Those that end with our patience."""


@dataclass
class Pause:
    """A connection that waits: reached is set when all was asked, and it answers when go is set."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)


class Scanner(ABC):
    """A listener on a Unix socket. Use it with ``async with``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.script: list[str | Pause] = []
        self.asked = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._away = path.with_suffix(".away")

    @property
    def address(self) -> str:
        """As the configuration has it."""
        return f"unix:{self.path}"

    @abstractmethod
    async def question(self, reader: asyncio.StreamReader) -> bytes:
        """Read all that is asked, and give the answer."""

    @property
    @abstractmethod
    def error(self) -> bytes:
        """The answer of one that cannot."""

    def leave(self, breakdown: str) -> None:
        """Be "missing", or there but "refused", until :meth:`come_back`."""
        self.path.rename(self._away)
        if breakdown == "refused":
            with socket.socket(socket.AF_UNIX) as deaf:
                deaf.bind(str(self.path))  # nobody listens

    def come_back(self) -> None:
        """After :meth:`leave`. Twice does no harm."""
        if self._away.exists():
            self._away.replace(self.path)

    async def __aenter__(self) -> Scanner:
        self._server = await asyncio.start_unix_server(self._connected, self.path)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.asked += 1
        try:
            await self._serve(reader, writer, self.script.pop(0) if self.script else "")
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, step: str | Pause) -> None:
        if step == "closes at once":
            return
        if step == "silent and deaf":
            await asyncio.Event().wait()
        if step == "answers before it is asked":
            writer.write(GARBAGE)
        answer = await self.question(reader)
        if isinstance(step, Pause):
            step.reached.set()
            await step.go.wait()
        elif step == "slow":
            for byte in answer:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
            return
        writer.write(self._said(answer, "" if isinstance(step, Pause) else step))
        if isinstance(step, str) and step in TIMED:
            await asyncio.Event().wait()

    def _said(self, answer: bytes, breakdown: str) -> bytes:
        """What it says when it has been asked all; answer: what it should say."""
        half = answer[: len(answer) // 2]
        return {
            "": answer,
            "answers before it is asked": answer,
            "closes when asked": b"",
            "silent": b"",
            "garbage": GARBAGE,
            "half an answer, closes": half,
            "half an answer, silent": half,
            "answers twice": answer + answer,
            "error": self.error,
        }[breakdown]


class FakeClamd(Scanner):
    """Answers the scans of a session when END has come, as a slow clamd may."""

    error = b"1: fd[9]: Can't allocate memory ERROR\0"

    async def question(self, reader: asyncio.StreamReader) -> bytes:
        """Count the descriptors; what they are is not looked at."""
        asked = b""
        while not asked.endswith(b"zEND\0"):
            if asked == b"zPING\0":
                return b"PONG\0"
            data = await reader.read(65_536)
            if not data:
                raise ConnectionError
            asked += data
        scans = asked.count(b"zFILDES\0")
        return b"".join(b"%d: fd[9]: Test-Virus FOUND\0" % number for number in range(1, scans + 1))


class FakeSpamd(Scanner):
    """Scores everything alike."""

    error = b"SPAMD/1.1 75 EX_TEMPFAIL\r\n\r\n"

    async def question(self, reader: asyncio.StreamReader) -> bytes:
        """Read as much as it says that it sends."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        assert length is not None
        await reader.readexactly(int(length[1]))
        status = b"X-Spam-Status: No, score=3.0 required=5.0 tests=A_RULE autolearn=no\r\n\r\n"
        return b"SPAMD/1.1 0 EX_OK\r\nContent-length: %d\r\nSpam: False ; 3.0 / 5.0\r\n\r\n%b" % (len(status), status)
