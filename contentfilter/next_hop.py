"""The way out: reinjection into the next hop, with what was said of the client and about delivery reports.

RFC 5321 (SMTP), RFC 3461 (DSN), RFC 1870 (SIZE), RFC 6152 (8BITMIME), RFC 6531 (SMTPUTF8), Postfix's XFORWARD.
No fault of the peer raises: it becomes a temporary reply for the recipients that it concerns. Rather twice than lost:
when the reply to the final dot does not come, the next hop may have the message, and we say 4xx all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from contentfilter import reply
from contentfilter.envelope import Envelope, Recipient
from contentfilter.errors import NextHopError
from contentfilter.mail_data import Content, all_ascii, header_ascii
from contentfilter.reply import Reply
from contentfilter.smtp_client import Connection, NextHopTimeoutError, host_and_port
from contentfilter.xforward import xforward_lines

_log = logging.getLogger(__name__)

LARGE = 1 << 20
"""Bytes from which messages are sent one after the other."""
COURTESY = 10.0
"""Seconds that one of them waits at most for another: the next hop may be slow with that one, and not with this."""

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class NextHopSettings:
    """Where mail goes on, and how long we wait there. Times are in seconds.

    address: "host:port", "[::1]:10026" or "unix:/path"; hostname: what we call ourselves in EHLO. connect_timeout: for
    lookup and connecting; command_timeout: for each reply; data_timeout: for a message to be taken, and again for the
    reply to it. pool_size: idle connections that are kept; idle_timeout: for how long, less than the peer's own
    patience (Postfix: smtpd_timeout); max_uses: transactions on one connection.
    """

    address: str
    hostname: str
    connect_timeout: float = 30.0
    command_timeout: float = 120.0
    data_timeout: float = 300.0
    pool_size: int = 8
    idle_timeout: float = 60.0
    max_uses: int = 100


class NextHop:
    """Sends messages on, over connections that are used again while they are good. For one event loop."""

    def __init__(self, settings: NextHopSettings) -> None:
        """Raises ValueError for an address that is none."""
        if not settings.address.startswith("unix:"):
            host_and_port(settings.address)
        self._settings = settings
        self._idle: dict[Connection, asyncio.TimerHandle] = {}
        self._sending_large = asyncio.Lock()
        self._closed = False
        self._xforward_refused = False

    async def send(
        self, envelope: Envelope, recipients: Sequence[Recipient], content: Content, size: int
    ) -> tuple[Reply, ...]:
        """Send one message to these recipients and return the reply for each, in their order.

        content gives the message's pieces, size is their sum in bytes. The envelope says the rest; its own recipients
        are not looked at. Raises only what content raises; when cancelled, the connection is dropped.
        """
        if not recipients:
            return ()
        if size < LARGE:
            return await self._send(envelope, recipients, content, size)
        async with self._turn():
            return await self._send(envelope, recipients, content, size)

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Of a large message. Who sends many at once fills the next hop's buffers, and small ones wait behind that."""
        try:
            async with asyncio.timeout(COURTESY):
                await self._sending_large.acquire()
        except TimeoutError:
            yield
            return
        try:
            yield
        finally:
            self._sending_large.release()

    async def _send(
        self, envelope: Envelope, recipients: Sequence[Recipient], content: Content, size: int
    ) -> tuple[Reply, ...]:
        idle = self._take()
        if idle is not None:
            try:
                return await self._attempt(idle, _Transaction(idle, envelope, recipients, content, size), reused=True)
            except _StaleError as error:
                _log.info("next hop %s: %s; trying a new connection", self._settings.address, error)
        try:
            fresh = await self._open()
        except NextHopError as error:
            self._warn(error)
            return (error.reply,) * len(recipients)
        return await self._attempt(fresh, _Transaction(fresh, envelope, recipients, content, size), reused=False)

    async def capabilities(self) -> Mapping[str, str]:
        """The EHLO keywords of the next hop, upper case, with their arguments. Raises NextHopError."""
        connection = await self._open()
        connection.quit()
        return connection.keywords

    async def close(self) -> None:
        """Let go of idle connections; those in use go when their transaction ends."""
        self._closed = True
        while self._idle:
            self._expire(next(iter(self._idle)))

    async def _attempt(self, connection: Connection, transaction: _Transaction, *, reused: bool) -> tuple[Reply, ...]:
        try:
            await transaction.run()
        except NextHopError as error:
            connection.abort()
            # The peer may have closed while the connection was idle. Nothing is delivered yet, so once more is safe;
            # not after a timeout, which a second try would only double.
            if reused and not transaction.data_begun and not isinstance(error, NextHopTimeoutError):
                raise _StaleError(str(error)) from error
            self._warn(error)
            transaction.settle(error.reply)
        except BaseException:
            connection.abort()
            raise
        self._note_xforward(transaction)
        await self._give_back(connection, clean=not transaction.open)
        return transaction.replies

    async def _give_back(self, connection: Connection, *, clean: bool) -> None:
        if connection.usable and not clean:
            await self._reset(connection)
        connection.uses += 1
        settings = self._settings
        if not connection.usable:
            connection.abort()
        elif self._closed or connection.uses >= settings.max_uses or not settings.pool_size:
            connection.quit()
        else:
            if len(self._idle) >= settings.pool_size:
                self._expire(next(iter(self._idle)))
            loop = asyncio.get_running_loop()
            self._idle[connection] = loop.call_later(settings.idle_timeout, self._expire, connection)

    async def _reset(self, connection: Connection) -> None:
        try:
            if not (await connection.command(b"RSET")).positive:
                connection.abort()
        except NextHopError as error:
            connection.abort()
            self._warn(error)
        except BaseException:
            connection.abort()
            raise

    def _take(self) -> Connection | None:
        while self._idle:
            connection, timer = self._idle.popitem()
            timer.cancel()
            if connection.usable:
                return connection
            connection.abort()
        return None

    def _expire(self, connection: Connection) -> None:
        self._idle.pop(connection).cancel()
        connection.quit()

    async def _open(self) -> Connection:
        settings = self._settings
        return await Connection.open(
            settings.address,
            settings.hostname,
            connect_timeout=settings.connect_timeout,
            command_timeout=settings.command_timeout,
            data_timeout=settings.data_timeout,
        )

    def _warn(self, error: NextHopError) -> None:
        _log.warning("next hop %s: %s", self._settings.address, error)

    def _note_xforward(self, transaction: _Transaction) -> None:
        if transaction.xforward_reply is not None and not self._xforward_refused:
            self._xforward_refused = True
            _log.warning(
                "next hop %s refuses XFORWARD, so its log names us as the client: %s",
                self._settings.address,
                transaction.xforward_reply,
            )


class _StaleError(Exception):
    """A connection from the pool was dead before anything was delivered over it."""


_Step = tuple[bytes, Callable[[Reply], None]]
"""A command, and what its reply means."""


class _Transaction:
    """One mail transaction. open: the peer may hold state of it; data_begun: a second try could deliver twice."""

    def __init__(
        self, connection: Connection, envelope: Envelope, recipients: Sequence[Recipient], content: Content, size: int
    ) -> None:
        self.open = False
        self.data_begun = False
        self.xforward_reply: Reply | None = None
        self._connection = connection
        self._offered = connection.keywords
        self._envelope = envelope
        self._recipients = tuple(recipients)
        self._content = content
        self._size = size
        self._invited = False
        self._replies: list[Reply | None] = [None] * len(recipients)

    @property
    def replies(self) -> tuple[Reply, ...]:
        """One per recipient; what nobody answered for is a temporary failure."""
        return tuple(one or reply.INTERNAL for one in self._replies)

    def settle(self, answer: Reply) -> None:
        """Give this answer to the recipients that have none yet."""
        self._replies = [one or answer for one in self._replies]

    async def run(self) -> None:
        """The dialog from XFORWARD to the final dot. Raises NextHopError and leaves open what was not answered."""
        mail = _line(f"MAIL FROM:<{self._envelope.mail_from}>", self._mail_parameters())
        refusal = reply.BAD_SENDER if mail is None else self._missing_extension()
        if mail is None or refusal is not None:
            self.settle(refusal or reply.BAD_SENDER)
            return
        self.open = True
        steps = [*self._forwarding(), (mail, self._note_sender), *self._naming_recipients()]
        if all(self._replies):
            return
        steps.append((b"DATA", self._note_invitation))
        if "PIPELINING" in self._offered:
            await self._all_at_once(steps)
        else:
            await self._step_by_step(steps)
        await self._send_content()

    async def _all_at_once(self, steps: Sequence[_Step]) -> None:
        before = list(self._replies)
        try:
            await self._connection.commands([line for line, _ in steps], lambda at, answer: steps[at][1](answer))
        except NextHopError as error:
            if error.reply is reply.NEXT_HOP_CONFUSED:
                # One reply too many or too few, and each is taken for another recipient's.
                self._replies = before
            raise

    async def _step_by_step(self, steps: Sequence[_Step]) -> None:
        for line, note in steps:
            if all(self._replies):
                return  # nobody is left to go on for
            note(await self._connection.command(line))

    async def _send_content(self) -> None:
        if not self._invited:
            return
        if all(self._replies):
            raise NextHopError("DATA: accepted without a recipient", reply.NEXT_HOP_CONFUSED)
        self.data_begun = True
        self.settle(await self._connection.content(self._content))
        self.open = False

    def _forwarding(self) -> Iterator[_Step]:
        offered = self._offered.get("XFORWARD", "").upper().split()
        return ((line, self._note_forwarding) for line in xforward_lines(self._envelope.client, offered))

    def _note_forwarding(self, answer: Reply) -> None:
        # As Postfix's own client: worth a line in the log, not worth deferring mail for.
        if not answer.positive:
            self.xforward_reply = answer

    def _note_sender(self, answer: Reply) -> None:
        if not answer.positive:
            self.settle(answer)

    def _naming_recipients(self) -> Iterator[_Step]:
        for index, recipient in enumerate(self._recipients):
            line = _line(f"RCPT TO:<{recipient.address}>", self._rcpt_parameters(recipient))
            if line is None:
                self._replies[index] = reply.BAD_RECIPIENT
            else:
                yield line, partial(self._note_recipient, index)

    def _note_recipient(self, index: int, answer: Reply) -> None:
        if not answer.positive:
            self._replies[index] = self._replies[index] or answer

    def _note_invitation(self, answer: Reply) -> None:
        self._invited = answer.positive
        if not answer.positive:
            self.settle(answer)

    def _mail_parameters(self) -> Iterator[str]:
        envelope = self._envelope
        if "SIZE" in self._offered:
            yield f"SIZE={self._size}"
        if envelope.body and "8BITMIME" in self._offered:
            yield f"BODY={envelope.body}"
        if envelope.smtputf8 and "SMTPUTF8" in self._offered:
            yield "SMTPUTF8"
        if "DSN" in self._offered:
            if envelope.ret:
                yield f"RET={envelope.ret}"
            if envelope.envid:
                yield f"ENVID={envelope.envid}"

    def _rcpt_parameters(self, recipient: Recipient) -> Iterator[str]:
        if "DSN" in self._offered:
            if recipient.notify:
                yield f"NOTIFY={','.join(recipient.notify)}"
            if recipient.orcpt:
                yield f"ORCPT={recipient.orcpt}"

    def _missing_extension(self) -> Reply | None:
        """The refusal if the message needs what the next hop does not offer.

        8-bit content that nobody declared goes as it is: refusing it would bounce mail that has always passed.
        """
        envelope = self._envelope
        if envelope.smtputf8 and "SMTPUTF8" not in self._offered and not self._ascii_enough():
            return reply.NEXT_HOP_NO_SMTPUTF8
        if envelope.body == "8BITMIME" and "8BITMIME" not in self._offered and not all_ascii(self._content):
            return reply.NEXT_HOP_NO_8BITMIME
        return None

    def _ascii_enough(self) -> bool:
        addresses = (self._envelope.mail_from, *(recipient.address for recipient in self._recipients))
        return all(map(str.isascii, addresses)) and header_ascii(self._content)


def _line(command: str, parameters: Iterator[str]) -> bytes | None:
    """A command line as bytes, None if it cannot be one. Bytes that were no UTF-8 go out as they came in."""
    try:
        line = " ".join((command, *parameters)).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None
    return None if _CONTROL.search(line) else line
