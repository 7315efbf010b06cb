"""The next hop of the soak: takes mail, notes for whom and from which attempt, and faults at random."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

_KEYWORDS: Final = ("PIPELINING", "SIZE 104857600", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN")
_XFORWARD: Final = "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"
_TOKEN = re.compile(rb"^Message-ID: <(m\w+)@soak\.example>\r$", re.MULTILINE)
_REPORTED = re.compile(rb"^Final-Recipient: *rfc822; *(\S+)\r$", re.MULTILINE | re.IGNORECASE)
_PATH = re.compile(rb"<([^>]*)>")
_HELO = re.compile(rb"\bHELO=a(\d+)\.")
_HANGS: Final = 12.0
"""Seconds after which a hanging next hop hangs up: longer than the filter waits."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One recipient's copy, or one recipient named in a report. attempt: -1 where it was not told.

    answer_lost: we have it, and did not say so.
    """

    attempt: int
    time: float
    answer_lost: bool


@dataclass(slots=True)
class _Transaction:
    sender: str = ""
    recipients: list[str] = field(default_factory=list)
    attempt: int = -1


class _HangUpError(Exception):
    pass


class Hop:
    """taken, reported: by message and recipient. rate: which share of the transactions has a fault, 0 to 1."""

    def __init__(self, chance: random.Random, rate: float) -> None:
        self.rate = rate
        self.taken: dict[tuple[str, str], list[Taken]] = {}
        self.reported: dict[tuple[str, str], list[Taken]] = {}
        self.digests: dict[str, bytes] = {}
        self.changed: set[str] = set()
        self.strangers = 0
        self.faults: Counter[str] = Counter()
        self.port = 0
        self._chance = chance
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=1 << 20, backlog=500)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Take no new connections."""
        if self._server is not None:
            self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _Session(self, reader, writer).run()
        except (_HangUpError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def faulty(self, stage: str, share: float, *kinds: str) -> str:
        """Which fault there is to be at this stage, "" for none."""
        if self._chance.random() >= self.rate * share:
            return ""
        kind = self._chance.choice(kinds)
        self.faults[f"{stage}: {kind}"] += 1
        return kind

    def note(self, transaction: _Transaction, content: bytes, *, answer_lost: bool) -> None:
        """We have it."""
        now = time.time()
        head, _, body = content.partition(b"\r\n\r\n")
        found = _TOKEN.search(head + b"\r\n")
        if transaction.sender == "" and found is None:
            self._note_report(transaction, content, Taken(-1, now, answer_lost))
            return
        token = found[1].decode() if found else ""
        if token not in self.digests:
            self.strangers += 1
            return
        if hashlib.sha256(body).digest() != self.digests[token]:
            self.changed.add(token)
        for recipient in transaction.recipients:
            self.taken.setdefault((token, recipient), []).append(Taken(transaction.attempt, now, answer_lost))

    def _note_report(self, transaction: _Transaction, content: bytes, taken: Taken) -> None:
        token = transaction.recipients[0].partition("@")[0]
        named = _REPORTED.findall(content)
        if token not in self.digests or not named:
            self.strangers += 1
        for recipient in named:
            self.reported.setdefault((token, recipient.decode()), []).append(taken)


class _Session:
    def __init__(self, hop: Hop, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._hop = hop
        self._reader = reader
        self._writer = writer
        self._transaction: _Transaction | None = None
        self._attempt = -1

    async def run(self) -> None:
        await self._say("220 soak ESMTP", "greeting", 0.1, "4xx", "close")
        while True:
            line = (await self._reader.readuntil(b"\r\n"))[:-2]
            verb = line[:4].upper()
            if verb == b"EHLO":
                text = "\r\n".join(f"250-{word}" for word in ("soak", *_KEYWORDS)) + f"\r\n250 {_XFORWARD}"
                await self._say(text, "EHLO", 0.1, "4xx", "close", "hang")
            elif verb == b"XFOR":
                if found := _HELO.search(line):
                    self._attempt = int(found[1])
                await self._say("250 2.0.0 Ok")
            elif verb == b"MAIL":
                await self._mail(line)
            elif verb == b"RCPT":
                await self._rcpt(line)
            elif verb == b"DATA":
                await self._data()
            elif verb == b"QUIT":
                await self._say("221 2.0.0 Bye")
                return
            else:
                self._transaction, self._attempt = None, -1
                await self._say("250 2.0.0 Ok")

    async def _mail(self, line: bytes) -> None:
        found = _PATH.search(line)
        if await self._say("250 2.1.0 Ok", "MAIL", 0.15, "4xx", "421", "close", "hang"):
            self._transaction = _Transaction(found[1].decode() if found else "", attempt=self._attempt)

    async def _rcpt(self, line: bytes) -> None:
        found = _PATH.search(line)
        address = found[1].decode() if found else ""
        transaction = self._transaction
        if transaction is None or address.endswith("@gone.example"):
            await self._say("550 5.1.1 No such user here" if transaction else "503 5.5.1 MAIL first")
        elif await self._say("250 2.1.5 Ok", "RCPT", 0.06, "4xx", "4xx", "4xx", "close", "hang"):
            transaction.recipients.append(address)

    async def _data(self) -> None:
        transaction = self._transaction
        if transaction is None or not transaction.recipients:
            await self._say("554 5.5.1 No valid recipients")
            return
        if not await self._say("354 Go ahead", "DATA", 0.15, "4xx", "close", "hang"):
            return
        if self._hop.faulty("body", 0.1, "close"):
            await self._reader.read(500)
            raise _HangUpError
        content = await self._content()
        self._transaction, self._attempt = None, -1
        fault = self._hop.faulty("dot", 0.4, "4xx", "close untaken", "close taken", "hang taken")
        if fault in ("", "close taken", "hang taken"):
            self._hop.note(transaction, content, answer_lost=bool(fault))
        await self._do(fault or "250 2.0.0 Ok: queued as SOAK")

    async def _content(self) -> bytes:
        buffer = bytearray(b"\r\n")
        searched = 0
        while (end := buffer.find(b"\r\n.\r\n", searched)) < 0:
            searched = max(0, len(buffer) - 4)
            piece = await self._reader.read(1 << 18)
            if not piece:
                raise _HangUpError
            buffer += piece
        if end + 5 != len(buffer):
            # Nobody pipelines behind a message here: what follows the end was smuggled.
            self._hop.strangers += 1
        return bytes(buffer[: end + 2]).replace(b"\r\n.", b"\r\n")[2:]

    async def _say(self, normal: str, stage: str = "", share: float = 0.0, *kinds: str) -> bool:
        fault = self._hop.faulty(stage, share, *kinds) if kinds else ""
        return await self._do(fault or normal)

    async def _do(self, what: str) -> bool:
        """Say it, or do it. True: a positive answer was given."""
        if what.startswith("close"):
            raise _HangUpError
        if what.startswith("hang"):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HANGS):
                    await self._reader.read()
            raise _HangUpError
        text = {"4xx": "451 4.3.0 Not now", "421": "421 4.3.2 Leaving"}.get(what, what)
        self._writer.write(f"{text}\r\n".encode())
        await self._writer.drain()
        if what == "421":
            raise _HangUpError
        return text[0] in "23"
