"""One SMTP connection on which we speak first: commands, replies as values, a message byte for byte (RFC 5321).

Every wait has its timeout, every fault of the peer becomes a NextHopError that carries the reply for our own client,
and a connection on which anything was out of step is never used again. Below is
:mod:`contentfilter.smtp_protocol`; what is said is in :mod:`contentfilter.transaction`, retrying and pooling in
:mod:`contentfilter.next_hop`.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from aiosmtplib import SMTPResponse, SMTPResponseException

from contentfilter import reply
from contentfilter.endpoint import Endpoint
from contentfilter.errors import NextHopError
from contentfilter.mail_data import Content
from contentfilter.reply import Reply
from contentfilter.smtp_protocol import Protocol

_MAX_REPLY_LINES = 8
_MAX_REPLY_TEXT = 500
_NOT_PRINTABLE = re.compile("[^ -~]")


class NextHopTimeoutError(NextHopError):
    """The peer is there but says nothing: a second try would only take as long again."""


class Connection:
    """A connection after EHLO. keywords: what EHLO offered, upper case, with their arguments; uses: for its owner."""

    def __init__(self, protocol: Protocol, command_timeout: float, data_timeout: float) -> None:
        self.keywords: Mapping[str, str] = {}
        self.uses = 0
        self._protocol = protocol
        self._command_timeout = command_timeout
        self._data_timeout = data_timeout

    @classmethod
    async def open(
        cls, address: str, hostname: str, *, connect_timeout: float, command_timeout: float, data_timeout: float
    ) -> Connection:
        """Connect, hear the greeting and say EHLO with our hostname.

        address: "host:port", "[::1]:25" or "unix:/path". connect_timeout: seconds for name lookup and connecting;
        command_timeout: seconds for each reply; data_timeout: seconds for a message to be taken, and again for the
        reply to its final dot. Raises NextHopError; a refusal here is about us, not about a message: temporary.
        """
        connection = cls(await _connected(address, connect_timeout), command_timeout, data_timeout)
        try:
            await connection._greet(hostname)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _greet(self, hostname: str) -> None:
        async with _Guard("greeting", self._command_timeout):
            _welcome("greeting", await self._protocol.read_response())
        response = await self._exchange(f"EHLO {hostname}".encode("ascii", "replace"))
        _welcome("EHLO", response)
        # The first line is the host's name. It is harmless among the keywords, and aiosmtplib drops an empty one.
        words = (line.strip().partition(" ") for line in response.message.split("\n"))
        self.keywords = {keyword.upper(): argument for keyword, _, argument in words}

    @property
    def usable(self) -> bool:
        """Still connected, and nothing was said that nobody asked for."""
        return self._protocol.is_connected and not self._protocol.out_of_step

    async def command(self, line: bytes) -> Reply:
        """Send one command, without CRLF, and return the reply: 2xx (3xx to DATA), 4xx or 5xx.

        Raises NextHopError on 421, any other code, timeout, disconnect and what is no reply. Abort then.
        """
        return _checked(line, await self._exchange(line))

    async def _exchange(self, line: bytes) -> SMTPResponse:
        verb = _verb(line)
        self._require_step(verb)
        async with _Guard(verb, self._command_timeout):
            return await self._protocol.execute_command(line)

    async def commands(self, lines: Sequence[bytes], heard: Callable[[int, Reply], None]) -> None:
        """Send commands in one go (RFC 2920), and tell of each reply, with the number of its line, as it comes.

        DATA, if it is among them, is the last. Raises NextHopError as command does, after the replies that came before.
        """
        self._require_step("pipelined commands")
        stage = _verb(lines[0])
        async with _Guard(stage, self._command_timeout) as guard:
            self._protocol.begin(lines)
            try:
                for number, line in enumerate(lines):
                    while (response := self._protocol.next_response()) is None:
                        if number:
                            guard.begin(stage)
                        await self._protocol.arrival()
                    heard(number, _checked(line, response))
            finally:
                self._protocol.end()

    async def content(self, content: Content) -> Reply:
        """Send a message, dot-stuffed, with the final dot, and return the reply. DATA was answered 354 before.

        Raises NextHopError as command does, and whatever the content itself raises. Abort then: the peer must not
        take half a message for a whole one.
        """
        self._require_step("message")
        async with _Guard("message", self._data_timeout) as guard:
            complete = await self._protocol.write_content(content)
            guard.begin("final dot")
            response = await self._protocol.read_response()
        answer = _checked(b"final dot", response)
        if complete:
            return answer
        if answer.positive:
            raise NextHopError("message: accepted before its end", reply.NEXT_HOP_CONFUSED)
        # A refusal in the middle is a refusal, but what follows would be read as commands.
        self.abort()
        return answer

    def _require_step(self, stage: str) -> None:
        if self._protocol.out_of_step:
            raise NextHopError(f"{stage}: the peer had spoken unasked", reply.NEXT_HOP_CONFUSED)

    def quit(self) -> None:
        """Take leave without waiting for the answer. Only between transactions."""
        stream = self._protocol.stream
        if stream is not None and not stream.is_closing():
            stream.write(b"QUIT\r\n")
            stream.close()

    def abort(self) -> None:
        """Drop the connection with all that is not sent yet."""
        if self._protocol.stream is not None:
            self._protocol.stream.abort()


async def _connected(address: str, seconds: float) -> Protocol:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds):
            if address.startswith("unix:"):
                _, protocol = await loop.create_unix_connection(Protocol, address.removeprefix("unix:"))
            else:
                _, protocol = await loop.create_connection(Protocol, *host_and_port(address))
    except TimeoutError as error:
        raise NextHopTimeoutError(f"connect: nothing within {seconds:g} s") from error
    except (OSError, UnicodeError) as error:
        raise NextHopError(f"connect: {error}") from error
    return protocol


def host_and_port(address: str) -> tuple[str, int]:
    """Take "host:port" or "[::1]:port" apart. Raises ValueError."""
    endpoint = Endpoint.parse(address)
    return endpoint.host, endpoint.port


class _Guard:
    """Held around a dialog: how far it is, and how many seconds each stage of it may take.

    Translates what aiosmtplib and the transport raise.
    """

    def __init__(self, stage: str, seconds: float) -> None:
        self._stage = stage
        self._seconds = seconds
        self._limit = asyncio.timeout(seconds)

    def begin(self, stage: str) -> None:
        """The next stage, which has as much time as the one before."""
        self._stage = stage
        self._limit.reschedule(asyncio.get_running_loop().time() + self._seconds)

    async def __aenter__(self) -> _Guard:
        await self._limit.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._limit.__aexit__(kind, error, trace)
        except TimeoutError as late:
            error = late
        if isinstance(error, TimeoutError):
            raise NextHopTimeoutError(f"{self._stage}: nothing within {self._seconds:g} s") from error
        if isinstance(error, SMTPResponseException):
            said = peer_reply(0, error.message).text
            raise NextHopError(f"{self._stage}: {said}", reply.NEXT_HOP_CONFUSED) from error
        if isinstance(error, OSError):
            raise NextHopError(f"{self._stage}: {error}", reply.NEXT_HOP_LOST) from error


def _verb(line: bytes) -> str:
    return line.split(b" ", 1)[0].decode("ascii", "replace")


def _welcome(stage: str, response: SMTPResponse) -> None:
    said = peer_reply(response.code, response.message)
    if said.code // 100 in {4, 5}:
        raise NextHopError(f"{stage}: {said}")
    if said.code // 100 != 2:
        raise NextHopError(f"{stage}: {said}", reply.NEXT_HOP_CONFUSED)


def _checked(line: bytes, response: SMTPResponse) -> Reply:
    said = peer_reply(response.code, response.message)
    if said.code == 421:
        # Passed on as it is, it would say that *we* close the connection.
        raise NextHopError(f"{_verb(line)}: {said}", Reply(451, said.enhanced, said.text))
    if said.code // 100 not in {3 if line == b"DATA" else 2, 4, 5}:
        raise NextHopError(f"{_verb(line)}: {said}", reply.NEXT_HOP_CONFUSED)
    return said


@functools.lru_cache(maxsize=64)
def peer_reply(code: int, text: str) -> Reply:
    """What a peer said, fit to be said again: printable ASCII, a few lines, not endless."""
    ascii_text = text.encode("ascii", "backslashreplace").decode("ascii")
    lines = [_NOT_PRINTABLE.sub("?", line) for line in ascii_text.split("\n")[:_MAX_REPLY_LINES]]
    return Reply.of_peer(code, "\n".join(lines)[:_MAX_REPLY_TEXT])
