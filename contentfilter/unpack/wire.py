"""What worker and helper say to each other: JSON in packets of a Unix socket, contents as descriptors beside it.

Nothing here trusts the other side: a packet is short, a descriptor that nobody asked for is closed.
"""

from __future__ import annotations

import array
import json
import os
import socket
from typing import Any, Final

LONGEST: Final = 32 * 1024
"""Bytes of one packet."""
_MOST_DESCRIPTORS: Final = 4
_encoded = json.JSONEncoder(separators=(",", ":")).encode


class NonsenseError(Exception):
    """The other side said what it cannot have meant."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets that keep packets apart."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(channel: socket.socket, values: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
    """Send one packet. Raises OSError."""
    data = _encoded(values).encode("ascii")
    if descriptors:
        socket.send_fds(channel, [data], list(descriptors))
    else:
        channel.send(data)


def receive(channel: socket.socket) -> tuple[dict[str, Any], tuple[int, ...]] | None:
    """The next packet and the descriptors that came with it, now ours; None at the end.

    Raises NonsenseError, OSError, and BlockingIOError of a channel that does not block.
    """
    size = socket.CMSG_SPACE(_MOST_DESCRIPTORS * array.array("i").itemsize)
    data, ancillary, flags, _ = channel.recvmsg(LONGEST, size, socket.MSG_CMSG_CLOEXEC)
    descriptors = _descriptors(ancillary)
    try:
        values = _parsed(data, flags)
    except BaseException:
        close_all(descriptors)
        raise
    if values is None:
        close_all(descriptors)
        return None
    return values, descriptors


def _parsed(data: bytes, flags: int) -> dict[str, Any] | None:
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        raise NonsenseError("a packet that is too long")
    if not data:
        return None
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NonsenseError("a packet that is no JSON") from error
    if not isinstance(values, dict):
        raise NonsenseError("a packet that is no object")
    return values


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, ...]:
    found = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return tuple(found)


def close_all(descriptors: tuple[int, ...]) -> None:
    """Let go of descriptors."""
    for descriptor in descriptors:
        os.close(descriptor)
