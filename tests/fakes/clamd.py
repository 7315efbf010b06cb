"""A clamd that scans by equality, counts what it is asked, and fails as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class FakeClamd:
    """What it answers, and what it was asked.

    signatures: by content, what is found in it; refused: contents that it answers with an error; version: b"" for a
    clamd that does not tell. hung: it takes connections and says nothing; busy: it scans nothing, but answers PING.
    """

    signatures: dict[bytes, bytes] = field(default_factory=dict)
    refused: set[bytes] = field(default_factory=set)
    version: bytes = b"ClamAV 1.4.3/27000/Mon Nov 16 10:00:00 2026"
    hung: bool = False
    busy: bool = False
    scanned: list[bytes] = field(default_factory=list)
    versions: int = 0
    pings: int = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.hung:
                await asyncio.Event().wait()
            await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        command = await reader.readuntil(b"\0")
        if command == b"zPING\0":
            self.pings += 1
            writer.write(b"PONG\0")
        elif command == b"zVERSION\0":
            self.versions += 1
            writer.write((self.version or b"COMMAND UNAVAILABLE") + b"\0")
        elif self.busy:
            await asyncio.Event().wait()
        elif command == b"zIDSESSION\0":
            number = 0
            while await reader.readuntil(b"\0") != b"zEND\0":
                number += 1
                writer.write(b"%d: stream: %b\0" % (number, self._scan(await self._content(reader))))
        await writer.drain()

    async def _content(self, reader: asyncio.StreamReader) -> bytes:
        content = b""
        while size := int.from_bytes(await reader.readexactly(4), "big"):
            content += await reader.readexactly(size)
        return content

    def _scan(self, content: bytes) -> bytes:
        self.scanned.append(content)
        if content in self.refused:
            return b"Can't allocate memory ERROR"
        return self.signatures[content] + b" FOUND" if content in self.signatures else b"OK"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Listen on a free port for the time of the block; gives the address."""
        tasks: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            await self._serve(reader, writer)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        try:
            yield f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.wait_closed()
