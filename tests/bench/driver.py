"""Sends messages over SMTP or asks spamd, and measures how long each takes. A process of its own: `Driver` runs it.

Like smtp-source it opens a connection for each message and waits for each reply before it says more. It differs in
that messages and their recipients may change from one to the next, and in how it may be paced: as fast as so many
sessions go (a closed loop), or at fixed moments whatever became of the messages before (an open loop). There the time
of a message counts from the moment at which it was due, so that what waits for a slow server is not left out.

    python -m tests.bench.driver < plan.json
"""

from __future__ import annotations

import asyncio
import itertools
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import uvloop

from contentfilter.inspectors.spamd_input import cut
from contentfilter.inspectors.spamd_protocol import request
from contentfilter.message import Message
from tests.bench.profiles import RECIPIENT, SENDER, Letter

_PATIENCE: Final = 300.0
SPAM_SIZE_LIMIT: Final = 512 * 1024
"""Bytes of a message that a spam scanner gets to see: of larger ones both filters show it the beginning."""
_NUMBERS: Final = itertools.count(time.monotonic_ns())


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. Seconds of sending; with sessions a closed loop, with rate (messages a second) an open one.

    letters: files as Letters.saved makes them, with the number of recipients; count: stop after so many, 0 for no
    limit; asks: "smtp", or "spamd" or "rspamd" at the Unix socket path.
    """

    letters: tuple[tuple[str, int], ...]
    port: int = 0
    path: str = ""
    asks: str = "smtp"
    sessions: int = 0
    rate: float = 0.0
    seconds: float = 5.0
    count: int = 0


@dataclass(slots=True)
class Drive:
    """What came of a plan. seconds: from the first message's start to the last one's end; cpu: seconds of the driver.

    latencies: seconds of each message that was accepted; failed: what was answered to the others.
    """

    seconds: float = 0.0
    cpu: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Messages a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0


class FailedError(Exception):
    """The server did not take the message."""


class _Conversation(asyncio.Protocol):
    """One connection for one message: steps are what to say after each reply, which has to begin with that digit."""

    def __init__(self, steps: Sequence[tuple[bytes, bytes]], done: asyncio.Future[None]) -> None:
        self._steps = iter(steps)
        self._wanted = b""
        self._buffer = b""
        self._done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._wanted, self._next = next(self._steps)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._buffer.endswith(b"\n"):
            return
        last = self._buffer[self._buffer.rfind(b"\n", 0, -1) + 1 :]
        if last[3:4] == b"-":
            return
        if not last.startswith(self._wanted):
            self._fail(last.decode(errors="replace").strip())
            return
        self._buffer = b""
        self._transport.write(self._next)  # type: ignore[attr-defined]
        following = next(self._steps, None)
        if following is not None:
            self._wanted, self._next = following
        elif not self._done.done():
            self._done.set_result(None)
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"connection lost: {error}")

    def _fail(self, reason: str) -> None:
        if not self._done.done():
            self._done.set_exception(FailedError(reason))
        self._transport.close()


class _Question(asyncio.Protocol):
    """A request to spamd or Rspamd, whose answer ends with the connection."""

    def __init__(self, request: bytes, done: asyncio.Future[None]) -> None:
        self._request = request
        self._answer = b""
        self._done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._answer += data

    def connection_lost(self, error: Exception | None) -> None:
        if self._done.done():
            return
        first = self._answer[:40]
        if (b" 0 EX_OK" in first and b"\nSpam: " in self._answer) or (
            b" 200 OK" in first and b'"score":' in self._answer
        ):
            self._done.set_result(None)
        else:
            self._done.set_exception(FailedError(f"{self._answer[:80]!r} {error}"))


def smtp_steps(content: bytes, recipients: int) -> list[tuple[bytes, bytes]]:
    """What to say for a message whose dots are stuffed and whose end is marked; %d stands for its number.

    Each has a sender of its own: the same message from the same sender to the same recipient, while the first one is in
    work, is a retry to contentfilter, and has to wait.
    """
    addresses = [RECIPIENT] if recipients == 1 else [f"{number}{RECIPIENT}" for number in range(1, recipients + 1)]
    return [
        (b"2", b"EHLO bench.example.net\r\n"),
        (b"2", f"MAIL FROM:<%d{SENDER}>\r\n".encode()),
        *((b"2", f"RCPT TO:<{address}>\r\n".encode()) for address in addresses),
        (b"2", b"DATA\r\n"),
        (b"3", content),
        (b"2", b"QUIT\r\n"),
    ]


def spamd_request(content: bytes) -> bytes:
    """As contentfilter asks it."""
    return request("HEADERS", content)


def rspamd_request(content: bytes) -> bytes:
    """As contentfilter asks it, but for the client."""
    envelope = f"From: <{SENDER}>\r\nRcpt: <{RECIPIENT}>\r\n".encode()
    head = b"POST /checkv2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%bContent-Length: %d\r\n\r\n"
    return head % (envelope, len(content)) + content


def _attempts(plan: Plan) -> Iterator[Callable[[], Any]]:
    """For each message in turn what starts it; the contents are made once."""
    loop = asyncio.get_running_loop()
    starts: list[Callable[[], Any]] = []
    for name, recipients in plan.letters:
        content = Path(name).read_bytes()
        if plan.asks != "smtp":
            request = {"spamd": spamd_request, "rspamd": rspamd_request}[plan.asks](content)
            starts.append(lambda request=request: _asked(loop, plan.path, request))  # type: ignore[misc]
        else:
            steps = smtp_steps(content, recipients)
            starts.append(lambda steps=steps: _sent(loop, plan.port, steps))  # type: ignore[misc]
    return itertools.cycle(starts)


async def _sent(loop: asyncio.AbstractEventLoop, port: int, steps: Sequence[tuple[bytes, bytes]]) -> None:
    done: asyncio.Future[None] = loop.create_future()
    hello, (digit, mail), *rest = steps
    numbered = [hello, (digit, mail % next(_NUMBERS)), *rest]
    await loop.create_connection(lambda: _Conversation(numbered, done), "127.0.0.1", port)
    await done


async def _asked(loop: asyncio.AbstractEventLoop, path: str, request: bytes) -> None:
    done: asyncio.Future[None] = loop.create_future()
    await loop.create_unix_connection(lambda: _Question(request, done), path)
    await done


async def _attempt(start: Callable[[], Any], due: float, drive: Drive) -> None:
    try:
        async with asyncio.timeout(_PATIENCE):
            await start()
    except (FailedError, OSError) as error:
        drive.failed.append(str(error) or type(error).__name__)
    else:
        drive.latencies.append(time.monotonic() - due)


async def _closed_loop(plan: Plan, drive: Drive) -> None:
    attempts = _attempts(plan)
    tickets = itertools.count()
    end = time.monotonic() + plan.seconds

    async def session() -> None:
        while (not plan.count or next(tickets) < plan.count) and time.monotonic() < end:
            await _attempt(next(attempts), time.monotonic(), drive)

    async with asyncio.TaskGroup() as group:
        for _ in range(plan.sessions):
            group.create_task(session())


async def _open_loop(plan: Plan, drive: Drive) -> None:
    attempts = _attempts(plan)
    began = time.monotonic()
    number = plan.count or max(1, int(plan.rate * plan.seconds))
    async with asyncio.TaskGroup() as group:
        for count in range(number):
            due = began + count / plan.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            group.create_task(_attempt(next(attempts), due, drive))


async def _carried_out(plan: Plan) -> Drive:
    drive = Drive()
    before, began = _own_cpu(), time.monotonic()
    await (_open_loop if plan.rate else _closed_loop)(plan, drive)
    drive.seconds, drive.cpu = time.monotonic() - began, _own_cpu() - before
    return drive


def _own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def saved(letter: Letter, file: Path, *, for_spamd: bool = False) -> tuple[str, int]:
    """Write a message as it goes over the wire, for a plan. for_spamd: as much of it as the filters show to spamd."""
    content = letter.content.replace(b"\n", b"\r\n")
    if for_spamd:
        content = content[: cut(Message(content), SPAM_SIZE_LIMIT)]
    else:
        content = content.replace(b"\r\n.", b"\r\n..") + b".\r\n"
    file.write_bytes(content)
    return str(file), letter.recipients


class Driver:
    """Runs a plan in a process of its own, at once; the result is there when it ends."""

    def __init__(self, plan: Plan) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.driver"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self._process.stdin is None:
            raise RuntimeError("a pipe was asked for")
        self._process.stdin.write(json.dumps(asdict(plan)))
        self._process.stdin.close()
        self._process.stdin = None

    def result(self) -> Drive:
        """Wait for the end. Raises RuntimeError if it failed."""
        output, _ = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError("the driver failed; what it said stands above")
        return Drive(**json.loads(output))


def drive(plan: Plan) -> Drive:
    """Carry a plan out. Raises RuntimeError."""
    return Driver(plan).result()


def main() -> None:
    """Read a plan from standard input, write what came of it to standard output."""
    values = json.load(sys.stdin)
    values["letters"] = tuple((name, count) for name, count in values["letters"])
    result = uvloop.run(_carried_out(Plan(**values)))
    json.dump(asdict(result), sys.stdout)


if __name__ == "__main__":
    main()
