"""A connection to a scanner: an address, a non-blocking socket, bytes in and out.

Plain sockets in place of asyncio streams, because clamd takes file descriptors (SCM_RIGHTS), which streams cannot
send. Works under asyncio's own event loop and under uvloop. Nothing here has a timeout except connecting: whoever
talks over a channel puts the whole dialog under one :func:`asyncio.timeout`.
"""

from __future__ import annotations

import asyncio
import socket
from types import TracebackType

from contentfilter.endpoint import SchemeEndpoint as Address

__all__ = ["Address", "Channel"]

_RETRY_AFTER = 0.005


class Channel:
    """One connection. Everything raises OSError, as sockets do; close it, or use it as a context manager."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(cls, address: Address, within: float) -> Channel:
        """Connect within so many seconds. Raises OSError, of which TimeoutError is one."""
        async with asyncio.timeout(within):
            return cls(await (_connect_unix(address.path) if address.path else _connect_tcp(address)))

    async def send(self, data: bytes | memoryview) -> None:
        """Send all of it."""
        await self._loop.sock_sendall(self._socket, data)

    async def send_descriptor(self, data: bytes, descriptor: int) -> None:
        """Send data and with its first byte a copy of the descriptor, which stays the caller's to close."""
        while True:
            try:
                sent = socket.send_fds(self._socket, [data], [descriptor])
            except BlockingIOError:
                await self._writable()
            else:
                break
        # The descriptor travels with the first byte, so a short send has sent it: the rest must go without.
        if sent < len(data):
            await self.send(data[sent:])

    async def _writable(self) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_writer(self._socket, _resolve, ready)
        try:
            await ready
        finally:
            self._loop.remove_writer(self._socket)

    async def receive(self, size: int) -> bytes:
        """What has come, at most size bytes; empty at the end."""
        return await self._loop.sock_recv(self._socket, size)

    def end_sending(self) -> None:
        """Tell the peer that nothing more comes."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Let go. Closing twice does no harm."""
        self._socket.close()

    def __enter__(self) -> Channel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def _connect_unix(path: str) -> socket.socket:
    """Connect to a Unix socket, also while the listener's queue is full."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        while True:
            try:
                connection.connect(path)
            except BlockingIOError:
                # EAGAIN means here that the listener's queue is full, not that the connection is under way
                # (unix(7)): event loops take it for the latter. The kernel gives no event to wait for.
                await asyncio.sleep(_RETRY_AFTER)
            else:
                return connection
    except BaseException:
        connection.close()
        raise


async def _connect_tcp(address: Address) -> socket.socket:
    """Connect to the first of the host's addresses that accepts."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    failure: OSError = OSError(f"{address.host} has no address")
    for family, kind, protocol, _, target in found:
        connection = socket.socket(family, kind, protocol)
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(connection, target)
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise failure
