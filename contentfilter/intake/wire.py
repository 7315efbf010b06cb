"""The wire: lines and chunks in, replies out, over one connection (RFC 5321 section 2.3.8, RFC 2920).

Replies are gathered while there is input to work on, and go out when we must wait for more: a pipelined envelope of a
thousand recipients costs a handful of packets. Input that is no line costs no memory.
"""

from __future__ import annotations

import asyncio
import functools

from contentfilter.reply import Reply

CHUNK = 256 * 1024
"""Bytes that may wait to be read before the client has to wait, about."""

_MAX_UNSENT = 64 * 1024


class ClientGone(Exception):  # noqa: N818 - an event of the dialog, not an error of ours
    """The client closed or lost the connection."""


class LineTooLong(Exception):  # noqa: N818 - what the client did
    """A command line over the limit; it has been skipped."""


class BareNewline(Exception):  # noqa: N818 - what the client did
    """A command line that ends in LF alone.

    The next program may see one line where we see two, so nothing after it can be trusted.
    """


class Wire(asyncio.Protocol):
    """One connection's bytes. line_limit: bytes of a command line with its CRLF.

    One task at a time reads and sends. What has come is one bytes object, of which everything before _at was read: a
    message is handed on as it came out of the socket, and a thousand commands in a segment are not moved about.
    """

    def __init__(self, line_limit: int) -> None:
        self._limit = line_limit
        self._buffer = b""
        self._at = 0
        self._came = 0
        """How many bytes have come in all."""
        self._ended = ""
        """Why no more will come."""
        self._arrival: asyncio.Future[None] | None = None
        self._outlet: asyncio.Future[None] | None = None
        """Done when the client has taken enough of what was sent to it; None while it takes everything."""
        self._reading = True
        self._piecemeal = False
        """Whether nothing is read from the socket beyond what was asked for."""
        self._unsent: list[bytes] = []
        self._unsent_size = 0
        self.client_closed = False
        """Whether the client's side is closed. It may still wait for our answers."""

    # What the event loop tells us.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It begins."""
        # uvloop's is one by its methods, not by its class.
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._loop = asyncio.get_running_loop()
        self._closed = self._loop.create_future()

    def data_received(self, data: bytes) -> None:
        """More has come."""
        self._came += len(data)
        self._buffer = self._buffer[self._at :] + data if self._buffer else data
        self._at = 0
        if self._piecemeal or len(self._buffer) > CHUNK:
            self._pause()
        self._wake()

    def eof_received(self) -> bool:
        """The client has no more to say; what it has said is still done and answered."""
        self.client_closed = True
        self._ended = self._ended or "end of input"
        self._wake()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Nothing can be said any more; after a reset what has not been read yet does not count either."""
        self.client_closed = True
        if error is not None:
            self._buffer, self._at = b"", 0
        self._ended = str(error or self._ended or "connection lost")
        self._wake()
        self.resume_writing()
        if not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        """The client does not take what we send."""
        self._outlet = self._loop.create_future()

    def resume_writing(self) -> None:
        """It has taken it, or never will."""
        outlet, self._outlet = self._outlet, None
        if outlet is not None and not outlet.done():
            outlet.set_result(None)

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    # Reading.

    async def read_line(self) -> bytes:
        """The next line, without CRLF. Raises ClientGone, LineTooLong, BareNewline."""
        searched = 0
        while (end := self._buffer.find(b"\n", self._at + searched)) < 0:
            searched = len(self._buffer) - self._at
            if searched > self._limit:
                break
            await self._fill()
        if not self._at <= end < self._at + self._limit:
            await self._skip_line()
            raise LineTooLong
        line = self._buffer[self._at : end + 1]
        self._at = end + 1
        if self._at == len(self._buffer):
            self._buffer, self._at = b"", 0
        if not line.endswith(b"\r\n"):
            raise BareNewline
        return line[:-2]

    async def _skip_line(self) -> None:
        while (end := self._buffer.find(b"\n", self._at)) < 0:
            # The last byte may be the CR that belongs to the next LF.
            self._at = max(self._at, len(self._buffer) - 1)
            await self._fill()
        whole = self._buffer[max(self._at, end - 1) : end + 1] == b"\r\n"
        self._at = end + 1
        if not whole:
            raise BareNewline

    async def read_chunk(self, *, piecemeal: bool = False) -> bytes:
        """Whatever has come, at least one byte. Raises ClientGone.

        piecemeal: the client has to wait until we ask for more. A fast one would be read half a megabyte in each turn
        of the event loop, beside all others that are as fast.
        """
        self._piecemeal = piecemeal
        if self._at >= len(self._buffer):
            await self._fill()
        chunk = self._buffer[self._at :] if self._at else self._buffer
        self._buffer, self._at = b"", 0
        if piecemeal:
            self._pause()
        else:
            self._resume()
        return chunk

    def unread(self, rest: bytes) -> None:
        """Give back the end of the last chunk: it holds lines. From here on we notice again when the client goes."""
        self._buffer = rest + self._buffer[self._at :]
        self._at = 0
        self._piecemeal = False
        self._resume()

    async def _fill(self) -> None:
        """Wait until more has come than there was. Raises ClientGone."""
        known = self._came
        if self._unsent:
            await self.flush()
        while self._came == known:
            if self._ended:
                raise ClientGone(self._ended)
            self._resume()
            self._arrival = self._loop.create_future()
            await self._arrival

    def _pause(self) -> None:
        if self._reading and not self.closing:
            self._reading = False
            self._transport.pause_reading()

    def _resume(self) -> None:
        if not self._reading and not self.closing:
            self._reading = True
            self._transport.resume_reading()

    # Sending.

    async def send(self, answer: Reply) -> None:
        """Say something, at the latest when we next wait for input. Raises ClientGone."""
        data = encode(answer)
        self._unsent.append(data)
        self._unsent_size += len(data)
        if self._unsent_size >= _MAX_UNSENT:
            await self.flush()
            await asyncio.sleep(0)  # one client's flood of commands does not hold up the others

    async def flush(self) -> None:
        """Hand over what was said so far. Raises ClientGone."""
        if not self._unsent:
            return
        data = b"".join(self._unsent)
        self._unsent.clear()
        self._unsent_size = 0
        if self._closed.done():
            raise ClientGone(self._ended)
        try:
            self._transport.write(data)
        except RuntimeError as error:
            # uvloop's word for a connection that the client has reset while we did not read.
            raise ClientGone("connection reset") from error
        if self._outlet is not None:
            await self._outlet
            if self._closed.done():
                raise ClientGone(self._ended)

    # The end.

    @property
    def closing(self) -> bool:
        """Whether it is being closed, or is closed."""
        return self._transport.is_closing()

    @property
    def stuck(self) -> bool:
        """Whether the client has not taken all that was sent to it."""
        return bool(self._transport.get_write_buffer_size())

    def close(self, last_words: Reply | None = None) -> None:
        """Close once the client has taken everything."""
        if last_words is not None:
            self._transport.write(encode(last_words))
        self._transport.close()

    def abort(self) -> None:
        """Close now."""
        self._transport.abort()

    async def wait_closed(self) -> None:
        """Until it is closed."""
        await self._closed


@functools.lru_cache(maxsize=256)
def encode(answer: Reply) -> bytes:
    """A reply as it goes over the wire; whatever a next hop may have put into its text, it stays lines of ASCII."""
    text = "\r\n".join(
        line if line.isprintable() else "".join(c if c.isprintable() else "?" for c in line) for line in answer.lines()
    )
    return f"{text}\r\n".encode("ascii", "replace")
