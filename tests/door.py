"""A live door for tests: a listener on TCP and a Unix socket, a handler that keeps what comes, a blunt client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

from contentfilter import reply
from contentfilter.envelope import Envelope, Protocol
from contentfilter.intake import Capacity, Handler, IntakeSettings, Listener, Service
from contentfilter.message import Message
from contentfilter.reply import Reply

PATIENCE = 20.0
"""Seconds after which a test that waits for something has failed."""


def descriptors() -> int:
    """How many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@dataclass
class Keeper:
    """A handler that takes every message. answers: what to say instead of Ok, by recipient address."""

    answers: dict[str, Reply] = field(default_factory=dict)
    taken: list[tuple[Envelope, bytes]] = field(default_factory=list)

    async def __call__(self, envelope: Envelope, message: Message) -> Sequence[Reply]:
        self.taken.append((envelope, bytes(message.buffer)))
        replies = [self.answers.get(recipient.address, reply.OK) for recipient in envelope.recipients]
        return replies if envelope.protocol is Protocol.LMTP else replies[:1]


@dataclass
class Gate:
    """A handler that waits until it is let go. outcome: how each run ended."""

    entered: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    outcome: list[str] = field(default_factory=list)

    async def __call__(self, envelope: Envelope, message: Message) -> Sequence[Reply]:
        self.entered.set()
        try:
            await self.opened.wait()
        except asyncio.CancelledError:
            self.outcome.append("cancelled")
            raise
        self.outcome.append(f"finished {len(message)}")
        return [reply.OK] * (len(envelope.recipients) if envelope.protocol is Protocol.LMTP else 1)


class Client:
    """Sends what it is told and reads replies, with no idea of the protocol."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await asyncio.wait_for(self.writer.drain(), PATIENCE)

    async def line(self) -> str:
        """The next line; "" at the end."""
        return (await asyncio.wait_for(self.reader.readline(), PATIENCE)).decode("ascii").removesuffix("\r\n")

    async def reply(self) -> str:
        """The last line of the next reply."""
        while (line := await self.line())[3:4] == "-":
            pass
        return line

    async def replies(self, count: int) -> list[str]:
        return [await self.reply() for _ in range(count)]

    async def say(self, *lines: str) -> list[str]:
        """Send lines together and read one reply for each."""
        await self.send("".join(f"{line}\r\n" for line in lines).encode())
        return await self.replies(len(lines))

    async def rest(self) -> bytes:
        """Everything up to the end of the connection, be it closed or reset."""
        got = b""
        with contextlib.suppress(ConnectionError):
            while chunk := await asyncio.wait_for(self.reader.read(65536), PATIENCE):
                got += chunk
        return got

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await asyncio.wait_for(self.writer.wait_closed(), PATIENCE)

    def vanish(self) -> None:
        """Go away at once, on TCP with a reset."""
        sock = self.writer.get_extra_info("socket")
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


@dataclass
class Door:
    """A listener that serves. port on 127.0.0.1, and path of a Unix socket."""

    listener: Listener
    port: int
    path: Path
    serving: list[asyncio.Task[None]]

    async def connect(self, kind: str = "tcp") -> Client:
        if kind == "unix":
            return Client(*await asyncio.open_unix_connection(self.path))
        return Client(*await asyncio.open_connection("127.0.0.1", self.port))

    async def greeted(self, kind: str = "tcp") -> Client:
        """A client that has read the greeting."""
        client = await self.connect(kind)
        assert (await client.reply()).startswith("220 ")
        return client

    async def empty(self) -> None:
        """Wait until no client is connected."""
        async with asyncio.timeout(PATIENCE):
            while self.listener.connections:
                await asyncio.sleep(0.001)


def listening(path: Path) -> tuple[socket.socket, socket.socket]:
    """A TCP socket on a free port of 127.0.0.1, and a Unix socket."""
    tcp = socket.create_server(("127.0.0.1", 0), backlog=500)
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(path))
    unix.listen(500)
    return tcp, unix


@contextlib.asynccontextmanager
async def open_door(
    directory: Path,
    handler: Handler,
    *,
    capacity: Capacity | None = None,
    patience: float = 0.0,
    service: Mapping[str, Any] = MappingProxyType({}),
    **settings: Any,
) -> AsyncIterator[Door]:
    """A door that is open for the time of the block. patience: seconds to drain it in the end; service: the rest of it.

    Its listeners are called "tcp" and "unix".
    """
    path = directory / "door"
    tcp, unix = listening(path)
    spool = settings.pop("spool_directory", directory)
    limits = IntakeSettings(hostname="filter.example", spool_directory=spool, **settings)
    listener = Listener(Service(handler, **service), limits, capacity)
    serving = [asyncio.create_task(listener.serve(sock, name)) for sock, name in ((tcp, "tcp"), (unix, "unix"))]
    try:
        yield Door(listener, tcp.getsockname()[1], path, serving)
    finally:
        await listener.drain(patience)
        await asyncio.wait_for(asyncio.gather(*serving), PATIENCE)
        tcp.close()
        unix.close()
