"""A next hop that does as it is told: every stage answered, broken or delayed to order, every byte recorded.

    async with FakeNextHop({"RCPT:<bob@example.org>": "550 5.1.1 no such user", "dot": Hang()}) as hop:
        ... NextHop(NextHopSettings(address=hop.address)) ...
        assert hop.delivered[0].content == b"Subject: hi\\r\\n\\r\\nbody\\r\\n"

The script maps a stage to a step, or to a list of steps that are used up one per visit (then: the normal answer).
A plain string stands for ``Say(string)``; lines are separated by a newline.

Stages: "greeting", "EHLO", "XFORWARD", "MAIL", "RCPT", "DATA", "body" (after the first bytes of the content),
"dot" (after the final dot), "DATA without recipients", "RSET", "NOOP", "QUIT". "RCPT:<addr>" and
"dot:<first accepted recipient>" are tried before "RCPT" and "dot".

It reads as RFC 5321 says: only CRLF.CRLF ends the data. What comes after it counts as a command.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

EVERYTHING = (
    "PIPELINING",
    "SIZE 104857600",
    "8BITMIME",
    "SMTPUTF8",
    "ENHANCEDSTATUSCODES",
    "DSN",
    "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE",
)
"""What Postfix offers to a client that may XFORWARD."""


@dataclass(frozen=True, slots=True)
class Say:
    """Answer with these lines. close: hang up afterwards."""

    text: str
    close: bool = False


@dataclass(frozen=True, slots=True)
class Raw:
    """Send exactly these bytes: garbage, half a line, two answers at once. close: hang up afterwards; hang: stop."""

    data: bytes
    close: bool = False
    hang: bool = False


@dataclass(frozen=True, slots=True)
class Trickle:
    """Answer a byte at a time, each in its own turn of the event loop. pause: seconds after each."""

    text: str
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class Close:
    """Hang up without a word. reset: with a TCP RST."""

    reset: bool = False


@dataclass(frozen=True, slots=True)
class Hang:
    """Say nothing, read nothing, until the server is shut down."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Set reached, wait for go, then answer, or say nothing: for tests that must act while we wait."""

    text: str
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)


Step = str | Say | Raw | Trickle | Close | Hang | Hold
Script = Mapping[str, Step | Sequence[Step]]


@dataclass(slots=True)
class Transaction:
    """What one MAIL began. Commands are as they came, without CRLF.

    xforward: attributes as they came, in xtext; raw: all that stood between 354 and the final dot. complete: the final
    dot has come; dot: the scripted step that answered it; delivered: the answer was positive.
    """

    connection: int
    mail: bytes
    xforward: dict[str, str]
    rcpts: list[bytes] = field(default_factory=list)
    accepted: list[bytes] = field(default_factory=list)
    raw: bytes = b""
    complete: bool = False
    dot: Step | None = None
    delivered: bool = False

    @property
    def mail_from(self) -> str:
        """The sender, without angle brackets."""
        return _path(self.mail)

    @property
    def mail_parameters(self) -> list[str]:
        """What followed the sender."""
        return _parameters(self.mail)

    @property
    def rcpt_tos(self) -> list[str]:
        """The recipients that were accepted, without angle brackets."""
        return [_path(line) for line in self.accepted]

    @property
    def rcpt_parameters(self) -> list[list[str]]:
        """What followed each accepted recipient."""
        return [_parameters(line) for line in self.accepted]

    @property
    def content(self) -> bytes:
        """The message, dots unstuffed."""
        return re.sub(rb"(?:(?<=\r\n)|\A)\.", b"", self.raw)


def _split(line: bytes) -> tuple[str, str]:
    text = line.decode("utf-8", "surrogateescape")
    match = re.match(r'[^<]*(<(?:"(?:[^"\\]|\\.)*"|[^">])*>) ?(.*)', text, re.DOTALL)
    assert match is not None, f"no path in {line!r}"
    return match[1], match[2]


def _path(line: bytes) -> str:
    return _split(line)[0][1:-1]


def _parameters(line: bytes) -> list[str]:
    return _split(line)[1].split()


class FakeNextHop:
    """An SMTP server on a free loopback port, or on the Unix socket `path`. Use it with ``async with``.

    script may be changed while it runs. commands: every command line of every connection, in order, without CRLF.
    """

    def __init__(
        self, script: Script | None = None, *, keywords: Sequence[str] = EVERYTHING, path: Path | None = None
    ) -> None:
        self.script: dict[str, Step | list[Step]] = {}
        for stage, steps in (script or {}).items():
            self.script[stage] = list(steps) if not isinstance(steps, str) and isinstance(steps, Sequence) else steps
        self.keywords = tuple(keywords)
        self.transactions: list[Transaction] = []
        self.commands: list[bytes] = []
        self.connections = 0
        self.address = ""
        self._path = path
        self._server: asyncio.Server | None = None
        self._tasks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._left = asyncio.Condition()

    @property
    def delivered(self) -> list[Transaction]:
        """The transactions whose final dot was answered 2xx."""
        return [transaction for transaction in self.transactions if transaction.delivered]

    @property
    def open_connections(self) -> int:
        """How many clients are connected now."""
        return len(self._tasks)

    async def all_left(self) -> None:
        """Wait until no client is connected any more. Raises TimeoutError: somebody has leaked a connection."""
        async with asyncio.timeout(20), self._left:
            await self._left.wait_for(lambda: not self._tasks)

    def interrupt(self, data: bytes = b"", *, close: bool = True) -> None:
        """Say something unasked on every open connection, and hang up: what an idle timeout looks like."""
        for task, writer in self._tasks.items():
            writer.write(data)
            if close:
                task.cancel()

    def reset(self) -> None:
        """Cut every open connection with a TCP RST."""
        for task, writer in self._tasks.items():
            writer.transport.abort()
            task.cancel()

    async def __aenter__(self) -> FakeNextHop:
        if self._path is not None:
            self._server = await asyncio.start_unix_server(self._connected, self._path)
            self.address = f"unix:{self._path}"
        else:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
            self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def stop_listening(self) -> None:
        """Refuse new connections; those that are open stay open."""
        assert self._server is not None
        self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks[task] = writer
        self.connections += 1
        try:
            await _Dialog(self, reader, writer, self.connections).run()
        except (_HungUpError, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()
            async with self._left:
                del self._tasks[task]
                self._left.notify_all()

    def step(self, *stages: str) -> Step | None:
        """The scripted step of the first of these stages that has one left."""
        for stage in stages:
            steps = self.script.get(stage)
            if isinstance(steps, list):
                if steps:
                    return steps.pop(0)
            elif steps is not None:
                return steps
        return None


class _HungUpError(Exception):
    pass


class _Dialog:
    def __init__(
        self, hop: FakeNextHop, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self._hop = hop
        self._reader = reader
        self._writer = writer
        self._number = number
        self._buffer = bytearray()
        self._client: dict[str, str] = {}
        self._transaction: Transaction | None = None

    async def run(self) -> None:
        await self._answer("220 fake.example.org ESMTP", "greeting")
        while True:
            line = await self._line()
            self._hop.commands.append(line)
            verb = line.split(b" ")[0].split(b":")[0].upper().decode("ascii", "replace")
            handler = getattr(self, f"_on_{verb.lower()}", None)
            if handler is None:
                await self._answer("502 5.5.2 Command not recognized", verb)
            else:
                await handler(line)

    async def _on_ehlo(self, line: bytes) -> None:
        self._transaction = None
        await self._answer("\n".join(f"250 {word}" for word in ("fake.example.org", *self._hop.keywords)), "EHLO")

    async def _on_xforward(self, line: bytes) -> None:
        if await self._answer("250 2.0.0 Ok", "XFORWARD"):
            for word in line.decode("ascii").split()[1:]:
                name, _, value = word.partition("=")
                self._client[name] = value

    async def _on_mail(self, line: bytes) -> None:
        transaction = Transaction(self._number, line, self._client)
        self._hop.transactions.append(transaction)
        if await self._answer("250 2.1.0 Ok", "MAIL"):
            self._transaction = transaction

    async def _on_rcpt(self, line: bytes) -> None:
        if self._transaction is None:
            await self._answer("503 5.5.1 Error: need MAIL command")
            return
        self._transaction.rcpts.append(line)
        if await self._answer("250 2.1.5 Ok", f"RCPT:{_split(line)[0]}", "RCPT"):
            self._transaction.accepted.append(line)

    async def _on_data(self, line: bytes) -> None:
        transaction = self._transaction
        if transaction is None or not transaction.accepted:
            await self._answer("554 5.5.1 Error: no valid recipients", "DATA without recipients")
            return
        if not await self._answer("354 End data with <CR><LF>.<CR><LF>", "DATA"):
            return
        await self._content(transaction)
        self._forget()
        transaction.complete = True
        transaction.dot = self._hop.step(f"dot:{_split(transaction.accepted[0])[0]}", "dot")
        transaction.delivered = await self._play(transaction.dot or "250 2.0.0 Ok: queued as FAKE")

    async def _content(self, transaction: Transaction) -> None:
        step = self._hop.step("body")
        if step is not None:
            await self._fill()
            await self._play(step)
        while True:
            if self._buffer.startswith(b".\r\n"):
                end = 0
                break
            found = self._buffer.find(b"\r\n.\r\n")
            if found >= 0:
                end = found + 2
                break
            await self._fill()
        transaction.raw = bytes(self._buffer[:end])
        del self._buffer[: end + 3]

    async def _on_rset(self, line: bytes) -> None:
        self._forget()
        await self._answer("250 2.0.0 Ok", "RSET")

    async def _on_noop(self, line: bytes) -> None:
        await self._answer("250 2.0.0 Ok", "NOOP")

    async def _on_quit(self, line: bytes) -> None:
        await self._answer("221 2.0.0 Bye", "QUIT")
        raise _HungUpError

    def _forget(self) -> None:
        self._transaction = None
        self._client = {}

    async def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            await self._fill()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    async def _fill(self) -> None:
        data = await self._reader.read(65_536)
        if not data:
            raise _HungUpError
        self._buffer += data

    async def _answer(self, normal: str, *stages: str) -> bool:
        """Play the scripted step or give the normal answer; true if what was said is positive."""
        step = self._hop.step(*stages)
        return await self._play(normal if step is None else step)

    async def _play(self, step: Step) -> bool:
        match step:
            case str():
                return self._say(step)
            case Say():
                positive = self._say(step.text)
                self._hang_up_if(step.close)
                return positive
            case Raw():
                self._writer.write(step.data)
                self._hang_up_if(step.close)
                if step.hang:
                    await asyncio.Event().wait()
                return step.data[:1] in {b"2", b"3"}
            case Trickle():
                for byte in _wire(step.text):
                    self._writer.write(bytes([byte]))
                    await self._writer.drain()
                    await asyncio.sleep(step.pause)
                return step.text[0] in "23"
            case Hold():
                step.reached.set()
                await step.go.wait()
                return bool(step.text) and self._say(step.text)
            case Close():
                if step.reset:
                    self._writer.transport.abort()
                raise _HungUpError
            case Hang():
                await asyncio.Event().wait()
                return False

    def _say(self, text: str) -> bool:
        self._writer.write(_wire(text))
        return text[0] in "23"

    def _hang_up_if(self, wanted: bool) -> None:
        if wanted:
            raise _HungUpError


def _wire(text: str) -> bytes:
    """Lines as they go over the wire: all but the last with a hyphen after the code."""
    *first, last = text.split("\n")
    lines = [f"{line[:3]}-{line[4:]}" for line in first]
    return "".join(f"{line}\r\n" for line in (*lines, last)).encode()
