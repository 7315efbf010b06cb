"""Who may come in, and the way out when the service ends.

Several worker processes accept on the same inherited sockets. Each takes one connection per turn of its event loop, so
that a burst spreads over the workers that are free instead of filling the first one that wakes up.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import ipaddress
import logging
import socket
from collections.abc import Iterable

from contentfilter import reply
from contentfilter.intake.capacity import Capacity
from contentfilter.intake.fullness import Fullness
from contentfilter.intake.service import Service
from contentfilter.intake.settings import IntakeSettings, Network
from contentfilter.intake.smtp import LINGER, Connection
from contentfilter.intake.wire import Wire
from contentfilter.reply import Reply

log = logging.getLogger("contentfilter.intake")

_BACK_OFF = 0.5
"""Seconds without accepting when the system has no descriptors or memory for another connection."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_CUT_GRACE = LINGER + 1.0
"""Seconds that a session which was cut off has to say goodbye and put its things away."""


class Listener:
    """Accepts on any number of sockets, TCP and Unix, and offers the service to each connection."""

    def __init__(self, service: Service, settings: IntakeSettings, capacity: Capacity | None = None) -> None:
        self._service = service
        self._capacity = capacity or Capacity()
        self._settings = settings
        # Nearly every connection comes from the same few hosts.
        self._is_allowed = functools.lru_cache(maxsize=1024)(functools.partial(is_allowed, allow=settings.allow))
        self._connections: set[Connection] = set()
        self._arrivals: set[asyncio.Task[None]] = set()
        self._sockets: dict[socket.socket, str] = {}
        self._stopped = asyncio.Event()
        self._fullness = Fullness(
            "idle connections give way or new ones are turned away",
            lambda: f"{len(self._connections)} connections",
            lambda: 4 * len(self._connections) <= 3 * settings.max_connections,
        )
        self._sparing = False

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    async def serve(self, sock: socket.socket, name: str = "") -> None:
        """Accept on a listening socket until drain or cancelled. The socket is made non-blocking and stays open.

        name: the address as the configuration writes it, for Envelope.listener.
        """
        sock.setblocking(False)
        self._sockets[sock] = name
        self._watch(sock)
        try:
            await self._stopped.wait()
        finally:
            self._sockets.pop(sock, None)
            asyncio.get_running_loop().remove_reader(sock)

    def _watch(self, sock: socket.socket) -> None:
        # A reader is called once a turn for as long as someone waits.
        if sock in self._sockets:
            asyncio.get_running_loop().add_reader(sock, self._accept_one, sock)

    def _accept_one(self, sock: socket.socket) -> None:
        if self._stopped.is_set():
            return  # the connection stays in the kernel's queue, for the worker that comes after us
        try:
            client, address = sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker was faster, or the client gave up
        except OSError as error:
            self._pause(sock, error)
            return
        arrival = asyncio.get_running_loop().create_task(self._welcome(client, address, self._sockets.get(sock, "")))
        self._arrivals.add(arrival)
        arrival.add_done_callback(self._arrivals.discard)

    def _pause(self, sock: socket.socket, error: OSError) -> None:
        reason = "out of resources" if error.errno in _EXHAUSTED else "unforeseen"
        log.error("cannot accept connections for %.1f s (%s): %s", _BACK_OFF, reason, error)
        loop = asyncio.get_running_loop()
        loop.remove_reader(sock)
        loop.call_later(_BACK_OFF, self._watch, sock)

    async def _welcome(self, client: socket.socket, address: object, listener: str) -> None:
        client.setblocking(False)
        family = client.family
        peer = peer_address(family, address)
        refusal = self._refusal(family, peer)
        wire = Wire(self._settings.max_command_length)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: wire, client)
        except OSError as error:
            log.warning("%s: lost before it was served: %s", peer or "unix", error)
            client.close()
            return
        connection = Connection(
            wire,
            self._service,
            self._settings,
            self._connections,
            self._capacity,
            peer_address=peer,
            listener=listener,
            refusal=refusal,
        )
        self._arrivals.discard(connection.task)
        await connection.serve()

    def _refusal(self, family: int, peer: str) -> Reply | None:
        if self._stopped.is_set() and not self._sparing:
            return reply.SHUTTING_DOWN
        if family != socket.AF_UNIX and not self._is_allowed(peer):
            return reply.ACCESS_DENIED
        coming = len(self._connections) + len(self._arrivals)
        if coming > self._settings.max_connections and not self._make_place():
            return reply.TOO_MANY_CONNECTIONS
        return None

    def _make_place(self) -> bool:
        """Whether there is a place after all, if need be that of the client that has been idle for longest."""
        staying = [connection for connection in self._connections if not connection.leaving]
        if len(staying) < self._settings.max_connections:
            return True
        self._fullness.found()
        idlest = max(staying, key=lambda connection: connection.idle)
        if idlest.idle < self._settings.spare_idle:
            self._fullness.refused()
            return False
        idlest.give_way()
        return True

    async def drain(self, timeout: float, grace: float = 0.0) -> None:  # noqa: ASYNC109 - for the clients, not the caller
        """Stop accepting, finish the messages that come in or are handled, and close; what needs longer is cut off.

        timeout: seconds; grace: of these, for clients that have just come and have sent no message yet, where others
        serve in our place and nobody has to be turned away. Returns when no connection is left.
        """
        self._sparing = grace > 0
        self._stopped.set()
        while self._arrivals:  # noqa: ASYNC110 - no event is set for each connection only for this
            await asyncio.sleep(0)  # until they are connections, in a turn or two of the event loop
        if self._sparing:
            self._drain_all(gently=True)
            await _ended(self._connections, min(grace, timeout))
        self._drain_all(gently=False)
        await _ended(self._connections, max(0.0, timeout - grace))
        for connection in tuple(self._connections):
            connection.cut()
        await _ended(self._connections, _CUT_GRACE)

    def _drain_all(self, *, gently: bool) -> None:
        for connection in tuple(self._connections):
            connection.drain(gently=gently)


async def _ended(connections: Iterable[Connection], patience: float) -> None:
    tasks = [connection.task for connection in connections]
    if tasks:
        await asyncio.wait(tasks, timeout=patience)


def peer_address(family: int, address: object) -> str:
    """The IP address out of what accept told, an IPv4 address in IPv6 clothes as IPv4; "" for a Unix socket."""
    if family not in {socket.AF_INET, socket.AF_INET6} or not isinstance(address, tuple):
        return ""
    return _plain(address[0])


@functools.lru_cache(maxsize=1024)
def _plain(address: str) -> str:
    ip = ipaddress.ip_address(address)
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)


def is_allowed(peer: str, allow: Iterable[Network]) -> bool:
    """Whether the address is in one of the networks."""
    ip = ipaddress.ip_address(peer)
    return any(ip in network for network in allow)
