"""Rspamd, which tells how much the message looks like spam, beside SpamAssassin's spamd or in its place.

Asked over HTTP with POST /checkv2 (https://docs.rspamd.com/developers/protocol): the message as it is in the body, the
envelope and the client in fields of the request. HTTP is h11's; connection, timeouts and limits are ours. Rspamd
closes each connection behind its answer, so there is one for each scan. Its encryption (HTTPCrypt) is not spoken: let
Rspamd be on this host, or a tunnel in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

import h11

from contentfilter.envelope import Envelope, Recipient
from contentfilter.errors import InspectorError, NotInspectedError
from contentfilter.finding import Finding
from contentfilter.inspectors import Subject
from contentfilter.inspectors.backends import Backends, Resting, failures_of
from contentfilter.inspectors.channel import Address, Channel
from contentfilter.inspectors.gtube import GTUBE
from contentfilter.inspectors.per_user import ScansPerUser
from contentfilter.inspectors.rspamd_answer import NAME, Answer, AnswerError, Scale, reason
from contentfilter.inspectors.rspamd_request import Fields, request_fields
from contentfilter.inspectors.spamd_input import cut
from contentfilter.message import Buffer

LONGEST_ANSWER: Final = 1 << 20
"""Bytes of an answer's body; a usual one has two thousand."""

_LONGEST_HEADER: Final = 1 << 14
_PIECE: Final = 1 << 18
_RECEIVE: Final = 1 << 16


class RspamdServer:
    """One Rspamd at one address. connect_timeout: seconds to connect within; timeout: seconds for a request.

    Raises ValueError for an address that is none.
    """

    def __init__(self, address: str, *, connect_timeout: float, timeout: float) -> None:
        self._address = Address.parse(address)
        self._connect_timeout = connect_timeout
        self._timeout = timeout

    @property
    def label(self) -> str:
        """Who and where it is."""
        return f"{NAME} at {self._address}"

    async def ping(self) -> None:
        """Ask whether Rspamd is there. Raises InspectorError if it does not answer as it should."""
        answer = await self._ask("GET", "/ping", [])
        if answer.strip() != b"pong":
            raise InspectorError(f"{self.label} answered /ping with {answer[:80]!r}")

    async def check(self, content: Buffer, size: int, fields: Fields) -> Answer:
        """What Rspamd says of the first bytes of the content, so many. Raises InspectorError."""
        answer = await self._ask("POST", "/checkv2", fields, content, size)
        try:
            return Answer.parse(answer)
        except AnswerError as error:
            raise InspectorError(f"{self.label} gave {error}") from error

    async def _ask(self, method: str, target: str, fields: Fields, content: Buffer = b"", size: int = 0) -> bytes:
        """The body of the answer. Raises InspectorError."""
        # Not the address: what stands in the configuration need not be fit for a field.
        always = [(b"Host", b"localhost"), (b"Connection", b"close"), (b"Content-Length", b"%d" % size)]
        with failures_of(self.label, h11.ProtocolError):
            async with asyncio.timeout(self._timeout):
                http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEADER)
                with await Channel.open(self._address, self._connect_timeout) as channel:
                    request = h11.Request(method=method, target=target, headers=always + fields)
                    await channel.send(http.send(request) or b"")
                    for piece in _pieces(content, size):
                        await channel.send(http.send(h11.Data(data=piece)) or b"")
                    http.send(h11.EndOfMessage())
                    return await _answer(http, channel)


class RspamdInspector:
    """One Rspamd, or several in order of preference; a connection per scan, a scan per user whose preferences count.

    addresses: "tcp:127.0.0.1:11333" or "unix:/path", one or more. scale: how answers are translated; hostname: ours,
    for Rspamd's log and results; connect_timeout: seconds to connect within; timeout: seconds for all scans of a
    message by one Rspamd; resting: when an address is not asked; size_limit: bytes of the message that are sent;
    concurrency: scans of one message at a time.

    Raises ValueError for an address that is none.
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        scale: Scale | None = None,
        hostname: str = "",
        connect_timeout: float = 10.0,
        timeout: float = 60.0,
        resting: Resting | None = None,
        size_limit: int = 10 * 1024 * 1024,
        concurrency: int = 4,
    ) -> None:
        self._scale = scale or Scale()
        self._hostname = hostname
        self._size_limit = size_limit
        given = [addresses] if isinstance(addresses, str) else addresses
        self._servers = Backends(
            [RspamdServer(one, connect_timeout=connect_timeout, timeout=timeout) for one in given], resting
        )
        self._scans = ScansPerUser(NAME, self._servers, concurrency=concurrency, timeout=timeout)

    @property
    def name(self) -> str:
        """The name in findings and logs."""
        return NAME

    async def inspect(self, subject: Subject) -> tuple[Finding, ...]:
        """A score for each of subject.spam_users, also one that is low, and where an action means so a deferral.

        A user without an answer has a FAILURE, see :meth:`ScansPerUser.findings`. Raises InspectorError when no scan at
        all gave an answer.
        """
        message = subject.message
        size = cut(message, self._size_limit)

        async def scan(server: RspamdServer, user: str) -> tuple[Finding, ...]:
            fields = request_fields(subject.envelope, self._hostname, user)
            return self._scale.findings(await server.check(message.buffer, size, fields), user)

        return await self._scans.findings(subject.spam_users, scan)

    @property
    def looks_inside(self) -> bool:
        """Whether containers have to be open: it is shown the message alone."""
        return False

    async def answers(self) -> bool:
        """Whether any Rspamd answers /ping within seconds."""
        return await self._servers.answers()

    async def probe(self) -> Answer:
        """What Rspamd says of GTUBE: the action "reject" if all is well. Raises InspectorError."""
        text = b"From: <>\r\nSubject: Test of the spam filter\r\n\r\n" + GTUBE + b"\r\n"
        fields = request_fields(Envelope("", (Recipient("postmaster"),)), self._hostname, "")
        answers: list[Answer] = []

        async def asked(server: RspamdServer) -> bool:
            answers.append(await server.check(text, len(text), fields))
            return True

        await self._servers.ask(asked)
        return answers[0]


def _pieces(content: Buffer, size: int) -> Iterator[bytes]:
    """Copied a piece at a time: a large message is not held twice, and a mapped one can be closed at any time."""
    for start in range(0, size, _PIECE):
        yield content[start : min(start + _PIECE, size)]


async def _answer(http: h11.Connection, channel: Channel) -> bytes:
    """The body of an answer with status 200. Raises InspectorError, h11.ProtocolError, OSError."""
    status, body, received = 0, bytearray(), 0
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            got = await channel.receive(_RECEIVE)
            received += len(got)
            if received > LONGEST_ANSWER + _LONGEST_HEADER:
                raise InspectorError("gave an answer that is too long")
            http.receive_data(got)
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            break
        elif not isinstance(event, h11.InformationalResponse):
            raise InspectorError("closed the connection before it answered")
    if status != 200:
        # Such as "message too large": it is there, and does not take this one. 5xx: it is out of order.
        kind = NotInspectedError if status < 500 else InspectorError
        raise kind(f"answered with status {status} {reason(bytes(body))}".rstrip())
    return bytes(body)
