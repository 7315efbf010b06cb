"""The way out: reinjection into the next hop, over connections that are kept for the next message.

What is said on them is in :mod:`contentfilter.transaction`. No fault of the peer raises: it becomes a temporary reply
for the recipients that it concerns. Rather twice than lost: when the reply to the final dot does not come, the next hop
may have the message, and we say 4xx all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from contentfilter.envelope import Envelope, Recipient
from contentfilter.errors import NextHopError
from contentfilter.mail_data import Content
from contentfilter.reply import Reply
from contentfilter.smtp_client import Connection, NextHopTimeoutError, host_and_port
from contentfilter.transaction import Transaction

_log = logging.getLogger(__name__)

LARGE = 1 << 20
"""Bytes from which messages are sent one after the other."""
COURTESY = 10.0
"""Seconds that one of them waits at most for another: the next hop may be slow with that one, and not with this."""


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
                return await self._attempt(idle, Transaction(idle, envelope, recipients, content, size), reused=True)
            except _StaleError as error:
                _log.info("next hop %s: %s; trying a new connection", self._settings.address, error)
        try:
            fresh = await self._open()
        except NextHopError as error:
            self._warn(error)
            return (error.reply,) * len(recipients)
        return await self._attempt(fresh, Transaction(fresh, envelope, recipients, content, size), reused=False)

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

    async def _attempt(self, connection: Connection, transaction: Transaction, *, reused: bool) -> tuple[Reply, ...]:
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

    def _note_xforward(self, transaction: Transaction) -> None:
        if transaction.xforward_reply is not None and not self._xforward_refused:
            self._xforward_refused = True
            _log.warning(
                "next hop %s refuses XFORWARD, so its log names us as the client: %s",
                self._settings.address,
                transaction.xforward_reply,
            )


class _StaleError(Exception):
    """A connection from the pool was dead before anything was delivered over it."""
