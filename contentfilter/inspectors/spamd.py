"""SpamAssassin's spamd, which tells how much the message looks like spam.

Asked with HEADERS, which answers with the message's header only and in it X-Spam-Status: the one command that gives
score, tests and what was learned in little transfer, and tests with scores where the site has `_TESTSSCORES_` in its
configuration (``conf/spamassassin/``). REPORT would be shorter, but needs the site's report template changed. To spamd
all its commands cost the same.

A reply is taken as soon as it is whole, by its own count: spamd keeps the connection for some milliseconds more, in
which it tidies up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from contentfilter.envelope import Envelope, Recipient
from contentfilter.errors import InspectorError, NotInspectedError
from contentfilter.finding import Finding, Kind
from contentfilter.inspectors import Subject, spamd_protocol
from contentfilter.inspectors.backends import Backends, Resting, failures_of
from contentfilter.inspectors.channel import Address, Channel
from contentfilter.inspectors.gtube import GTUBE
from contentfilter.inspectors.per_user import ScansPerUser
from contentfilter.inspectors.spam_status import SpamStatus, parse_spam_status
from contentfilter.inspectors.spamd_input import scanner_input
from contentfilter.inspectors.spamd_protocol import Reply
from contentfilter.message import Message

NAME: Final = "spamd"

# A reply is a header like the one we sent, and what SpamAssassin adds to it.
_LONGEST_ADDITION: Final = 1 << 17
_RECEIVE: Final = 1 << 16
# Both come from one number that SpamAssassin rounds to a decimal.
_ROUNDING: Final = 0.06


class SpamdServer:
    """One spamd at one address. user: whose preferences apply where none is asked for, "": send no user.

    connect_timeout: seconds to connect within; timeout: seconds for a request. Raises ValueError for an address that
    is none.
    """

    def __init__(self, address: str, *, user: str, connect_timeout: float, timeout: float) -> None:
        self._address = Address.parse(address)
        self._user = user
        self._connect_timeout = connect_timeout
        self._timeout = timeout

    @property
    def label(self) -> str:
        """Who and where it is."""
        return f"{NAME} at {self._address}"

    async def ping(self) -> None:
        """Ask whether spamd is there. Raises InspectorError if it does not answer as it should."""
        reply = await self._ask(spamd_protocol.request("PING"))
        if reply.message != "PONG":
            raise InspectorError(f"{self.label} answered PING with {reply.message[:80]!r}")

    async def score(self, content: bytes, entry: str) -> tuple[Finding]:
        """What SpamAssassin says of the content, by this user's preferences. Raises InspectorError."""
        user = entry or self._user
        reply = await self._ask(spamd_protocol.request("HEADERS", content, _checked(user)))
        if reply.score is None:
            raise InspectorError(f"{self.label} answered without a score")
        status = _matching(parse_spam_status(reply.body), reply.score)
        return (
            Finding(
                Kind.SPAM,
                NAME,
                "spam score",
                score=reply.score,
                tests=status.tests,
                autolearn=status.autolearn,
                user=entry,
            ),
        )

    async def _ask(self, request: bytes) -> Reply:
        with failures_of(self.label):
            async with asyncio.timeout(self._timeout):
                reply = spamd_protocol.parse(await self._exchange(request))
            if reply.code:
                # A whole answer with an error code, such as EX_NOUSER: spamd is there.
                raise NotInspectedError(f"answered {reply.code} {reply.message[:200]}")
            return reply

    async def _exchange(self, request: bytes) -> bytearray:
        """Over a connection of its own. Raises OSError, or InspectorError for a reply that never ends."""
        longest = len(request) + _LONGEST_ADDITION
        reply = bytearray()
        with await Channel.open(self._address, self._connect_timeout) as channel:
            await channel.send(request)
            channel.end_sending()
            while received := await channel.receive(_RECEIVE):
                reply += received
                if len(reply) > longest:
                    raise InspectorError("gave a reply that is too long")
                if spamd_protocol.is_whole(reply):
                    break
        return reply


class SpamdInspector:
    """One spamd, or several in order of preference; a connection per scan, a scan per user whose preferences count.

    addresses: "tcp:127.0.0.1:783" or "unix:/path", one or more. user: whose preferences apply where the subject names
    none; "": send no user, spamd's own apply. connect_timeout: seconds to connect within; timeout: seconds for all
    scans of a message by one spamd; resting: when an address is not asked; size_limit: bytes of the message that are
    sent; concurrency: scans of one message at a time.

    Raises ValueError for an address that is none.
    """

    def __init__(
        self,
        addresses: str | Sequence[str],
        *,
        user: str = "",
        connect_timeout: float = 10.0,
        timeout: float = 180.0,
        resting: Resting | None = None,
        size_limit: int = 512 * 1024,
        concurrency: int = 4,
    ) -> None:
        self._size_limit = size_limit
        given = [addresses] if isinstance(addresses, str) else addresses
        self._servers = Backends(
            [SpamdServer(one, user=user, connect_timeout=connect_timeout, timeout=timeout) for one in given], resting
        )
        self._scans = ScansPerUser(NAME, self._servers, concurrency=concurrency, timeout=timeout)

    @property
    def name(self) -> str:
        """The name in findings and logs."""
        return NAME

    async def inspect(self, subject: Subject) -> tuple[Finding, ...]:
        """One finding per entry of subject.spam_users, also for a score that is low; its user is that very entry.

        An entry without a score has a FAILURE, see :meth:`ScansPerUser.findings`. Raises InspectorError when no scan at
        all gave a score.
        """
        content = scanner_input(subject.message, subject.envelope, self._size_limit)
        return await self._scans.findings(subject.spam_users, lambda server, user: server.score(content, user))

    @property
    def looks_inside(self) -> bool:
        """Whether containers have to be open: it is shown the message alone."""
        return False

    async def answers(self) -> bool:
        """Whether any spamd answers PING within seconds."""
        return await self._servers.answers()

    async def probe(self) -> Finding:
        """What SpamAssassin says of GTUBE: a score of about 1000 if all is well. Raises InspectorError."""
        text = b"From: <>\r\nSubject: Test of the spam filter\r\n\r\n" + GTUBE + b"\r\n"
        envelope = Envelope("", (Recipient("postmaster"),))
        content = scanner_input(Message(text), envelope, len(text))
        (finding,) = await self._scans.findings(("",), lambda server, user: server.score(content, user))
        return finding

    async def ping(self) -> None:
        """Ask whether a spamd is there. Raises InspectorError if none answers as it should."""

        async def pinged(server: SpamdServer) -> bool:
            await server.ping()
            return True

        await self._servers.ask(pinged)


def _checked(user: str) -> str:
    """A user name that cannot become another line of the request. Raises InspectorError."""
    if not (user.isascii() and user.isprintable()) or " " in user:
        raise NotInspectedError(f"{user!r} cannot be the name of a SpamAssassin user")
    return user


def _matching(status: SpamStatus, score: float) -> SpamStatus:
    """The status, if it is of this very scan: one with another score tells of somebody else's."""
    if status.score is None or abs(status.score - score) > _ROUNDING:
        return SpamStatus()
    return status
