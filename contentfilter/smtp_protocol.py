"""The protocol below an SMTP connection on which we speak first: bytes out, replies in, the message as it is.

aiosmtplib parses the replies and minds their pairing with commands. What it lacks is here: a memory for what was said
unasked, replies to pipelined commands (RFC 2920), and mail data that is not rewritten. Timeouts, and what a fault
means, are the business of :mod:`contentfilter.smtp_client`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from aiosmtplib import SMTPResponse, SMTPResponseException
from aiosmtplib.protocol import SMTPProtocol

from contentfilter.mail_data import CHUNK, Content, dot_stuffed, let_go

_LONGEST_REPLY = 32_768
_LONGEST_OF_MANY = 1024
"""Bytes of one reply, and of each of many that may come before we read the first."""


class Protocol(SMTPProtocol):
    """aiosmtplib's, with what it lacks. out_of_step: the peer has spoken unasked, and no reply is to be trusted now."""

    out_of_step = False
    _pipelined = False
    _longest = 0
    _arrival: asyncio.Future[None] | None = None

    @property
    def stream(self) -> asyncio.WriteTransport | None:
        """The transport while connected. uvloop's is one by its methods, not by its class."""
        return cast(asyncio.WriteTransport | None, self.transport)

    def begin(self, lines: Sequence[bytes]) -> None:
        """Send commands in one piece; what comes from now on is read with next_response until the end."""
        self._pipelined = True
        self._longest = _LONGEST_REPLY + len(lines) * _LONGEST_OF_MANY
        self.write(b"\r\n".join(lines) + b"\r\n")

    def next_response(self) -> SMTPResponse | None:
        """The next of the replies, None if it has not come yet. Raises SMTPResponseException for what is no reply."""
        if len(self._buffer) > self._longest:
            raise SMTPResponseException(0, "Response too long")
        return self._read_response_from_buffer() if self._buffer else None

    async def arrival(self) -> None:
        """Wait for more. Raises OSError when nothing will come."""
        if not self.is_connected:
            raise ConnectionResetError("Connection lost")
        self._arrival = self._loop.create_future()
        await self._arrival

    def end(self) -> None:
        """All replies have come, or no more are wanted."""
        self._pipelined = False
        self._arrival = None
        if self._buffer:
            self.out_of_step = True

    def _wake(self, error: Exception | None = None) -> None:
        if self._arrival is not None and not self._arrival.done():
            if error is None:
                self._arrival.set_result(None)
            else:
                self._arrival.set_exception(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """As in asyncio."""
        super().connection_lost(exc)
        self._wake(ConnectionResetError(f"Connection lost: {exc}" if exc else "Connection lost"))

    def data_received(self, data: bytes) -> None:
        """As in asyncio. What comes before it is asked for puts the connection out of step."""
        if self._pipelined:
            self._buffer += data
            self._wake()
            return
        waiter = self._response_waiter
        if not self._response_pending or (waiter is not None and waiter.done()):
            self.out_of_step = True
        super().data_received(data)
        # A second reply in the same segment stays in the buffer and would be taken for the answer to the next command.
        if waiter is not None and waiter.done() and self._buffer:
            self.out_of_step = True

    def eof_received(self) -> bool:
        """As in asyncio."""
        keep_open = super().eof_received()
        self._wake(ConnectionResetError("Unexpected EOF received"))
        # A plain close would first wait until all is written, to a peer that will never answer.
        if self.stream is not None:
            self.stream.abort()
        return keep_open

    async def write_content(self, content: Content) -> bool:
        """Write all of it up to the final dot; false if the peer spoke or went before. Read what it said next."""
        self._response_pending = True
        pieces = content()
        try:
            for chunk in dot_stuffed(pieces):
                if self.stream is None or self._response_waiter is None or self._response_waiter.done():
                    return False
                self.stream.write(chunk)
                await self._drain_helper()
                if len(chunk) >= CHUNK:
                    await asyncio.sleep(0)  # to a fast peer there is nothing to wait for, and others have work as well
        except ConnectionError:
            return False
        finally:
            let_go(pieces)
        return True
