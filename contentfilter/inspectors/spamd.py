"""SpamAssassin's spamd, which tells how much the message looks like spam.

Asked with HEADERS, which answers with the message's header only and in it X-Spam-Status: the one command that gives
score, tests and what was learned in little transfer, and tests with scores where the site has `_TESTSSCORES_` in its
configuration (``conf/spamassassin/``). REPORT would be shorter, but needs the site's report template changed.

spamd's protocol is aiospamc's: requests, replies, error codes. The connection is ours, because aiospamc's own reads
without limit and leaves its socket open when a request fails or is given up.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from aiospamc.client import Client
from aiospamc.exceptions import ClientException
from aiospamc.header_values import SpamValue
from aiospamc.requests import Request
from aiospamc.responses import Response, ResponseException

from contentfilter.envelope import Envelope, Recipient
from contentfilter.errors import InspectorError
from contentfilter.finding import Finding, Kind
from contentfilter.inspectors import Subject
from contentfilter.inspectors.channel import Address, Channel
from contentfilter.inspectors.spam_status import SpamStatus, parse_spam_status
from contentfilter.inspectors.spamd_input import scanner_input
from contentfilter.message import Message

NAME: Final = "spamd"
GTUBE: Final = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
"""The text that every SpamAssassin takes for spam."""
MOST_USERS: Final = 100
"""Scans of one message; who writes to a thousand users at once does not keep spamd busy for a thousand scans."""

_TOO_MANY: Final = InspectorError(f"too many users: a message is scanned for {MOST_USERS} at most")

# A reply is a header like the one we sent, and what SpamAssassin adds to it.
_LONGEST_ADDITION: Final = 1 << 17
_LONGEST_PROTOCOL_HEADER: Final = 4096
_RECEIVE: Final = 1 << 16
# Both come from one number that SpamAssassin rounds to a decimal.
_ROUNDING: Final = 0.06


class SpamdInspector:
    """One spamd; one connection per scan, one scan per user whose preferences are wanted.

    address: "tcp:127.0.0.1:783" or "unix:/path". user: whose preferences apply where the subject names none; "": send
    no user, spamd's own apply. connect_timeout: seconds to connect within; timeout: seconds for all scans of a message;
    size_limit: bytes of the message that are sent; concurrency: scans of one message at a time.

    Raises ValueError for an address that is none.
    """

    def __init__(
        self,
        address: str,
        *,
        user: str = "",
        connect_timeout: float = 10.0,
        timeout: float = 180.0,
        size_limit: int = 512 * 1024,
        concurrency: int = 4,
    ) -> None:
        self._user = user
        self._timeout = timeout
        self._size_limit = size_limit
        self._concurrency = concurrency
        self._address = Address.parse(address)
        self._client = Client(_Connection(self._address, connect_timeout))

    @property
    def name(self) -> str:
        """The name in findings and logs."""
        return NAME

    async def inspect(self, subject: Subject) -> tuple[Finding, ...]:
        """One finding per entry of subject.spam_users, also for a score that is low; its user is that very entry.

        Where an entry's scan failed, did not end in time, or is one too many, its finding is a FAILURE. That of the
        entry "" reads like a failure of the whole inspector: too careful, never careless.

        Raises InspectorError when no scan at all gave a score.
        """
        content = scanner_input(subject.message, subject.envelope, self._size_limit)
        entries = tuple(dict.fromkeys(subject.spam_users))
        # The entry "" is usually that of most recipients: it is never the one too many.
        outcomes = await self._outcomes(content, sorted(entries, key=bool)[:MOST_USERS])
        failures = [outcome for outcome in outcomes.values() if isinstance(outcome, InspectorError)]
        if failures and len(failures) == len(outcomes):
            raise failures[0]
        return tuple(_finding(entry, outcomes.get(entry, _TOO_MANY)) for entry in entries)

    async def _outcomes(self, content: bytes, entries: Sequence[str]) -> dict[str, Finding | InspectorError]:
        gate = asyncio.Semaphore(self._concurrency)
        deadline = asyncio.get_running_loop().time() + self._timeout
        async with asyncio.TaskGroup() as group:
            tasks = {entry: group.create_task(self._outcome(content, entry, gate, deadline)) for entry in entries}
        return {entry: task.result() for entry, task in tasks.items()}

    async def _outcome(
        self, content: bytes, entry: str, gate: asyncio.Semaphore, deadline: float
    ) -> Finding | InspectorError:
        """The failure is given, not raised: a TaskGroup would cancel the other scans for it."""
        try:
            with self._failures_translated():
                async with asyncio.timeout_at(deadline):
                    return await self._score(content, entry, gate)
        except InspectorError as error:
            return error

    async def probe(self) -> Finding:
        """What SpamAssassin says of GTUBE: a score of about 1000 if all is well. Raises InspectorError."""
        text = b"From: <>\r\nSubject: Test of the spam filter\r\n\r\n" + GTUBE + b"\r\n"
        envelope = Envelope("", (Recipient("postmaster"),))
        return await self._score(scanner_input(Message(text), envelope, len(text)), "", asyncio.Semaphore(1))

    async def ping(self) -> None:
        """Ask whether spamd is there. Raises InspectorError if it does not answer as it should."""
        reply = await self._ask(Request("PING"))
        if reply.message != "PONG":
            raise InspectorError(f"spamd at {self._address} answered PING with {reply.message[:80]!r}")

    async def _score(self, content: bytes, entry: str, gate: asyncio.Semaphore) -> Finding:
        request = Request("HEADERS", body=content)
        user = entry or self._user
        if user:
            request.headers.user = _checked(user)
        async with gate:
            reply = await self._ask(request)
        spam = reply.headers.spam
        if not isinstance(spam, SpamValue) or not (math.isfinite(spam.score) and math.isfinite(spam.threshold)):
            raise InspectorError(f"spamd at {self._address} answered without a score")
        status = _matching(parse_spam_status(reply.body), spam.score)
        return Finding(
            Kind.SPAM,
            NAME,
            "spam score",
            score=spam.score,
            tests=status.tests,
            autolearn=status.autolearn,
            user=entry,
        )

    async def _ask(self, request: Request) -> Response:
        with self._failures_translated():
            async with asyncio.timeout(self._timeout):
                reply: Response = await self._client.request(request)
                return reply

    @contextmanager
    def _failures_translated(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise InspectorError(f"spamd at {self._address} did not answer in time") from error
        except (OSError, ClientException, ResponseException, UnicodeDecodeError) as error:
            raise InspectorError(f"spamd at {self._address}: {type(error).__name__} {str(error)[:200]}") from error


class _Connection:
    """How aiospamc's client reaches spamd: a connection per request, closed whatever happens; the reply has a limit."""

    def __init__(self, address: Address, connect_timeout: float) -> None:
        self._address = address
        self._connect_timeout = connect_timeout

    async def request(self, data: bytes) -> bytes:
        """Send a request, give the reply. Raises OSError, or InspectorError for a reply that never ends."""
        longest = len(data) + _LONGEST_ADDITION
        reply = bytearray()
        with await Channel.open(self._address, self._connect_timeout) as channel:
            await channel.send(data)
            channel.end_sending()
            while received := await channel.receive(_RECEIVE):
                reply += received
                if len(reply) > longest:
                    raise InspectorError(f"spamd at {self._address} gave a reply that is too long")
        # aiospamc copies what is left of the reply at each line of the protocol's own header: keep that short.
        if len(reply) > _LONGEST_PROTOCOL_HEADER and reply.find(b"\r\n\r\n", 0, _LONGEST_PROTOCOL_HEADER) < 0:
            raise InspectorError(f"spamd at {self._address} gave a reply whose header is too long")
        return bytes(reply)


def _finding(entry: str, outcome: Finding | InspectorError) -> Finding:
    if isinstance(outcome, InspectorError):
        return Finding(Kind.FAILURE, NAME, str(outcome), user=entry)
    return outcome


def _checked(user: str) -> str:
    """A user name that cannot become another line of the request. Raises InspectorError."""
    if not (user.isascii() and user.isprintable()) or " " in user:
        raise InspectorError(f"{user!r} cannot be the name of a SpamAssassin user")
    return user


def _matching(status: SpamStatus, score: float) -> SpamStatus:
    """The status, if it is of this very scan: one with another score tells of somebody else's."""
    if status.score is None or abs(status.score - score) > _ROUNDING:
        return SpamStatus()
    return status
