"""The wire: lines and chunks in, replies out, over a stream (RFC 5321 section 2.3.8, RFC 2920).

Replies are gathered while there is input to work on, and go out when we must wait for more: a pipelined envelope of a
thousand recipients costs a handful of packets. Input that is no line costs no memory.
"""

from __future__ import annotations

import asyncio
import functools

from contentfilter.reply import Reply

CHUNK = 256 * 1024
"""Bytes asked for at a time, and about what a stream holds for us before it lets the client wait."""

_MAX_UNSENT = 64 * 1024


class ClientGone(Exception):  # noqa: N818 - an event of the dialog, not an error of ours
    """The client closed or lost the connection."""


class LineTooLong(Exception):  # noqa: N818 - what the client did
    """A command line over the limit; it has been skipped."""


class BareNewline(Exception):  # noqa: N818 - what the client did
    """A command line that ends in LF alone.

    The next program may see one line where we see two, so nothing after it can be trusted.
    """


class Wire:
    """One connection's bytes. line_limit: bytes of a command line with its CRLF."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line_limit: int) -> None:
        self._reader = reader
        self._writer = writer
        self._limit = line_limit
        self._buffer = bytearray()
        self._unsent: list[bytes] = []
        self._unsent_size = 0

    async def read_line(self) -> bytes:
        """The next line, without CRLF. Raises ClientGone, LineTooLong, BareNewline."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0 and len(self._buffer) <= self._limit:
            searched = len(self._buffer)
            await self._fill()
        if not 0 <= end < self._limit:
            await self._skip_line()
            raise LineTooLong
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        if not line.endswith(b"\r\n"):
            raise BareNewline
        return line[:-2]

    async def _skip_line(self) -> None:
        while (end := self._buffer.find(b"\n")) < 0:
            # The last byte may be the CR that belongs to the next LF.
            del self._buffer[:-1]
            await self._fill()
        whole = self._buffer[max(0, end - 1) : end + 1] == b"\r\n"
        del self._buffer[: end + 1]
        if not whole:
            raise BareNewline

    async def read_chunk(self) -> bytes:
        """Whatever has come, at least one byte. Raises ClientGone."""
        if not self._buffer:
            return await self._read()
        chunk = bytes(self._buffer)
        self._buffer.clear()
        return chunk

    def unread(self, rest: bytes) -> None:
        """Give back the end of the last chunk: it holds lines."""
        self._buffer[:0] = rest

    async def _fill(self) -> None:
        self._buffer += await self._read()

    async def _read(self) -> bytes:
        await self.flush()
        try:
            chunk = await self._reader.read(CHUNK)
        except OSError as error:
            raise ClientGone(str(error)) from error
        if not chunk:
            raise ClientGone("end of input")
        return chunk

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
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise ClientGone(str(error)) from error
        except RuntimeError as error:
            # uvloop's word for a connection that the client has reset while we did not read.
            raise ClientGone("connection reset") from error


@functools.lru_cache(maxsize=256)
def encode(answer: Reply) -> bytes:
    """A reply as it goes over the wire; whatever a next hop may have put into its text, it stays lines of ASCII."""
    text = "\r\n".join(
        line if line.isprintable() else "".join(c if c.isprintable() else "?" for c in line) for line in answer.lines()
    )
    return f"{text}\r\n".encode("ascii", "replace")
