"""The sender of the soak: tries each message until every recipient has a final answer, as Postfix does."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
import socket
import struct
import time
from collections.abc import Callable
from typing import Final

from tests.soak.letters import Attempt, Author, Letter

PATIENCE: Final = 60.0
"""Seconds for any answer; more than the filter may take for a message."""
MOST_DEFERRED: Final = 400
AFTER_ANSWER: Final = (0.5, 4.0)
AFTER_SILENCE: Final = (15.0, 20.0)
"""Seconds until the next attempt. Postfix waits for minutes: nobody is in the middle of the first one any more."""


class _VanishError(Exception):
    pass


class Sender:
    """Runs until told to stop writing, and then until nothing is left. vanishing: share of attempts that we leave."""

    def __init__(self, author: Author, port: int, chance: random.Random, announce: Callable[[Letter], None]) -> None:
        self.letters: list[Letter] = []
        self.attempts = 0
        self.settled = 0
        self.refused_connections = 0
        self.vanishing = 0.02
        self.writing = True
        self._author = author
        self._port = port
        self._chance = chance
        self._announce = announce
        self._due: list[tuple[float, int, Letter]] = []
        self._busy = 0

    @property
    def open(self) -> int:
        """Messages that are not settled."""
        return len(self.letters) - self.settled

    async def run(self) -> None:
        """One of the connections that send at the same time."""
        while self.writing or self.open:
            letter = self._next()
            if letter is None:
                await asyncio.sleep(0.05)
                continue
            await self._attempt(letter)
            if letter.open:
                silent = letter.attempts[-1].fate != "answered"
                pause = self._chance.uniform(*(AFTER_SILENCE if silent else AFTER_ANSWER))
                heapq.heappush(self._due, (time.time() + pause, id(letter), letter))
            else:
                letter.body = b""
                self.settled += 1

    def _next(self) -> Letter | None:
        if self._due and self._due[0][0] <= time.time():
            return heapq.heappop(self._due)[2]
        if not self.writing or len(self._due) >= MOST_DEFERRED:
            return None
        letter = self._author.write()
        self._announce(letter)
        self.letters.append(letter)
        return letter

    async def _attempt(self, letter: Letter) -> None:
        attempt = Attempt(time.time(), letter.lmtp)
        letter.attempts.append(attempt)
        self.attempts += 1
        leave = self._chance.choice(("MAIL", "DATA", "body", "dot")) if self._chance.random() < self.vanishing else ""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            self.refused_connections += 1
            attempt.fate, attempt.ended = "lost", time.time()
            return
        try:
            async with asyncio.timeout(PATIENCE):
                await _Dialog(reader, writer, letter, attempt, leave).run()
        except _VanishError:
            attempt.fate = "vanished"
            self._reset(writer)
        except TimeoutError:
            attempt.fate = "timeout"
        except (OSError, EOFError, ValueError):
            attempt.fate = "lost"
        finally:
            attempt.ended = time.time()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        for recipient, code in attempt.codes.items():
            if code // 100 in (2, 5):
                letter.open.discard(recipient)

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        """Half of those who go away do so with a reset."""
        if self._chance.random() < 0.5:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


class _Dialog:
    """One attempt. leave: the stage after which we go away."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, letter: Letter, attempt: Attempt, leave: str
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._letter = letter
        self._attempt = attempt
        self._leave = leave
        self._tried = [one for one in letter.recipients if one in letter.open]

    async def run(self) -> None:
        letter, number = self._letter, len(self._letter.attempts)
        if await self._code() // 100 != 2:
            return
        await self._say(f"{'LHLO' if letter.lmtp else 'EHLO'} mx.example")
        xforward = f"XFORWARD NAME=c.example ADDR=192.0.2.7 HELO=a{number}.example IDENT={letter.token}"
        if await self._say(xforward) // 100 != 2 or await self._say(f"MAIL FROM:<{letter.mail_from}>") // 100 != 2:
            return
        self._leave_after("MAIL")
        self._writer.write("".join(f"RCPT TO:<{one}>\r\n" for one in self._tried).encode())
        accepted = []
        for one in self._tried:
            code = await self._code()
            if code // 100 == 2:
                accepted.append(one)
            else:
                self._attempt.codes[one] = code
        if not accepted or await self._say("DATA") != 354:
            return
        self._leave_after("DATA")
        await self._content(accepted)
        with contextlib.suppress(EOFError, OSError, ValueError):
            await self._say("QUIT")

    async def _content(self, accepted: list[str]) -> None:
        wire = self._letter.wire
        if self._leave == "body":
            self._writer.write(wire[: len(wire) // 2])
            raise _VanishError
        self._writer.write(wire)
        await self._writer.drain()
        self._leave_after("dot")
        if self._letter.lmtp:
            for one in accepted:
                self._attempt.codes[one] = await self._code()
        else:
            code = await self._code()
            self._attempt.codes.update(dict.fromkeys(accepted, code))

    def _leave_after(self, stage: str) -> None:
        if self._leave == stage:
            raise _VanishError

    async def _say(self, line: str) -> int:
        self._writer.write(f"{line}\r\n".encode())
        return await self._code()

    async def _code(self) -> int:
        while (line := await self._reader.readline())[3:4] == b"-":
            pass
        if not line.endswith(b"\n"):
            raise EOFError
        return int(line[:3])
