"""The sender: hands a message over as Postfix does, misbehaves where it is told to, and tries again until it is done.

A recipient is done with 2xx or 5xx. Everything else keeps it for the next attempt: 4xx, no answer, a lost connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from tests.door import Client
from tests.faults.mail import Mail

PATIENCE = 30.0
"""Seconds for each reply: more than any step of a filter under test takes."""
GARBAGE = b"\x00\xfe\xff what is this\r\n"
STAGES = ("connect", "EHLO", "XFORWARD", "MAIL", "RCPT 1", "RCPT 2", "DATA", "body", "dot", "QUIT")


@dataclass(frozen=True, slots=True)
class Misdeed:
    """What the sender does at a stage of its dialog, once."""

    stage: str
    kind: str

    @property
    def after_the_end(self) -> bool:
        """Whether the whole message is handed over before."""
        return self.stage in ("answer", "between answers", "QUIT", "work")


class _GoneError(Exception):
    """We have left, or were left."""


@dataclass
class Attempt:
    """One try. replies: what each recipient heard; handed_over: set once the final dot is sent."""

    mail: Mail
    rcpts: Sequence[str]
    lmtp: bool
    misdeed: Misdeed | None = None
    replies: dict[str, str] = field(default_factory=dict)
    handed_over: asyncio.Event = field(default_factory=asyncio.Event)
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    """For the stage "work": when to go."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    patience: float = PATIENCE

    async def run(self, connect: Callable[[], Awaitable[Client]]) -> None:
        """Never raises for what a filter does."""
        try:
            client = await connect()
        except OSError:
            return
        self._client = client
        try:
            with contextlib.suppress(_GoneError, ConnectionError, TimeoutError, UnicodeDecodeError):
                async with asyncio.timeout(self.patience * 2):
                    await self._converse()
        finally:
            client.writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await client.writer.wait_closed()
            self.gone.set()

    async def _converse(self) -> None:
        if self._is(stage="connect"):
            await self._misbehave(b"")
        if not (await self._reply()).startswith("2"):
            return
        hello = "LHLO" if self.lmtp else "EHLO"
        if not (await self._command("EHLO", f"{hello} mx.example")).startswith("2"):
            return
        client = f"XFORWARD NAME=mail.y.example ADDR=192.0.2.7 IDENT={self.mail.token}"
        await self._command("XFORWARD", client)
        answer = await self._command("MAIL", f"MAIL FROM:<{self.mail.mail_from}>")
        if not answer.startswith("2"):
            self._settle(self.rcpts, answer)
            return
        accepted = []
        for number, rcpt in enumerate(self.rcpts, 1):
            answer = await self._command(f"RCPT {number}", f"RCPT TO:<{rcpt}>")
            if answer.startswith("2"):
                accepted.append(rcpt)
            else:
                self._settle([rcpt], answer)
        if not accepted:
            return
        answer = await self._command("DATA", "DATA")
        if not answer.startswith("3"):
            self._settle(accepted, answer)
            return
        await self._hand_over(accepted)
        if self.misdeed is None or self.misdeed.kind != "half close":
            await self._command("QUIT", "QUIT")

    async def _hand_over(self, accepted: Sequence[str]) -> None:
        content = self.mail.content.replace(b"\r\n.", b"\r\n..")
        if self._is(stage="body"):
            await self._misbehave(content)
        else:
            await self._client.send(content)
        if self._is(stage="dot"):
            await self._misbehave(b".\r\n")
        else:
            await self._client.send(b".\r\n")
        self.handed_over.set()
        if self._is(stage="work"):
            await self.leave.wait()
            await self._misbehave(b"")
        if self._is(stage="answer"):
            await self._client.reader.readexactly(1)
            await self._misbehave(b"")
        if not self.lmtp:
            self._settle(accepted, await self._reply())
            return
        for rcpt in accepted:
            self._settle([rcpt], await self._reply())
            if self._is(stage="between answers"):
                await self._misbehave(b"")

    def _is(self, *, stage: str) -> bool:
        return self.misdeed is not None and self.misdeed.stage == stage

    def _settle(self, rcpts: Sequence[str], answer: str) -> None:
        self.replies.update(dict.fromkeys(rcpts, answer))

    async def _command(self, stage: str, line: str) -> str:
        data = f"{line}\r\n".encode()
        if self._is(stage=stage):
            await self._misbehave(data)
        else:
            await self._client.send(data)
        return await self._reply()

    async def _reply(self) -> str:
        """The last line of the next reply. Raises _GoneError at the end, or after 421, behind which nothing comes."""
        while True:
            line = await asyncio.wait_for(self._client.reader.readline(), self.patience)
            if not line.endswith(b"\n"):
                raise _GoneError
            text = line.decode("ascii", "replace").rstrip("\r\n")
            if text[3:4] != "-":
                return text

    async def _misbehave(self, data: bytes) -> None:
        """In place of sending data. Returns if the dialog goes on, with data sent."""
        assert self.misdeed is not None
        half = data[: len(data) // 2]
        match self.misdeed.kind:
            case "disconnect":
                raise _GoneError
            case "reset":
                self._client.vanish()
                raise _GoneError
            case "half, disconnect":
                await self._client.send(half)
                raise _GoneError
            case "half, reset":
                await self._client.send(half)
                self._client.vanish()
                raise _GoneError
            case "sent, reset":
                await self._client.send(data)
                self._client.vanish()
                raise _GoneError
            case "half close":
                await self._client.send(data)
                self._client.writer.write_eof()
            case "hang":
                await self._client.send(half)
                await self._client.rest()
                raise _GoneError
            case "garbage":
                await self._client.send(GARBAGE)
                if self.misdeed.stage != "body":
                    await self._reply()
                    await self._client.send(data)
                else:
                    raise _GoneError
            case "slow":
                # The end of a message is slow enough.
                await self._client.send(data[:-200])
                for byte in data[-200:]:
                    await self._client.send(bytes([byte]))
                    await asyncio.sleep(0)
            case kind:
                raise AssertionError(kind)


def connecting(port: int) -> Callable[[], Awaitable[Client]]:
    """To a filter on this port of the loopback interface."""

    async def connect() -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        # Otherwise what is sent a byte at a time arrives in one piece.
        client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    return connect


@dataclass
class Delivery:
    """A message's way until its sender is rid of it: the attempts, and what each recipient heard in the end."""

    mail: Mail
    lmtp: bool
    attempts: list[Attempt] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    """The final ones, 2xx or 5xx."""

    @property
    def open(self) -> tuple[str, ...]:
        """Recipients whom the next attempt is for."""
        return tuple(rcpt for rcpt in self.mail.rcpts if rcpt not in self.answers)

    def attempt(self, misdeed: Misdeed | None = None, patience: float = PATIENCE) -> Attempt:
        """The next try, for the caller to run and to note."""
        attempt = Attempt(self.mail, self.open, self.lmtp, misdeed, patience=patience)
        self.attempts.append(attempt)
        return attempt

    def note(self, attempt: Attempt) -> None:
        """Take the recipients off the queue that the attempt has settled."""
        self.answers.update({rcpt: text for rcpt, text in attempt.replies.items() if text[:1] in "25"})
