"""The sockets of `[listen]`: bound once, by whoever may, and inherited by all workers."""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from contentfilter.account import Account
from contentfilter.endpoint import Endpoint

_log = logging.getLogger("contentfilter.daemon")

BACKLOG: Final = 512
_FIRST_FREE_PORT: Final = 1024
_DEAD: Final = frozenset({errno.ECONNREFUSED, errno.ENOENT})

Sockets = dict[str, socket.socket]
"""By their addresses, as the configuration writes them."""


def bind(address: str, unix_mode: int, owner: Account | None = None) -> socket.socket:
    """A non-blocking listening socket on "host:port", "[address]:port" or "unix:/path". Raises OSError, ValueError.

    A Unix socket that a dead process left behind is replaced; one that somebody serves is not, nor any other file.
    owner: whom the file of a Unix socket is to belong to; None: us.
    """
    endpoint = Endpoint.parse(address)
    if endpoint.path:
        sock = _bind_unix(Path(endpoint.path), unix_mode, owner)
    else:
        family, kind, protocol, _, target = socket.getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(target)
        except OSError:
            sock.close()
            raise
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def _bind_unix(path: Path, mode: int, owner: Account | None) -> socket.socket:
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            # Whatever else comes, such as EAGAIN of a full queue or EPROTOTYPE of another kind, somebody is there.
            if probe.connect_ex(str(path)) not in _DEAD:
                raise OSError(errno.EADDRINUSE, "somebody serves this socket already")
        path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        path.chmod(mode)
        if owner is not None:
            owner.give(path)
    except OSError:
        sock.close()
        raise
    return sock


def why_not(address: str, error: OSError) -> str:
    """Why there is no socket on this address, and what to do where that is not plain."""
    problem = f"cannot listen on {address}: {error.strerror or error}"
    port = Endpoint.parse(address).port
    if isinstance(error, PermissionError) and 0 < port < _FIRST_FREE_PORT and os.geteuid():
        problem += "; a port below 1024 takes a start as root: restart the filter"
    return problem


def close(sockets: Mapping[str, socket.socket]) -> None:
    """Close sockets, and remove the files of those that had one."""
    for address, sock in sockets.items():
        sock.close()
        if path := Endpoint.parse(address).path:
            try:
                Path(path).unlink(missing_ok=True)
            except OSError as error:
                # Made by root in a directory of root's, before we became somebody else. The next start replaces it.
                _log.warning("%s stays behind: %s", path, error.strerror)


def change_modes(addresses: Iterable[str], mode: int) -> None:
    """Set the permissions of those that are Unix sockets, as far as they let us; that is no reason to stop serving."""
    for address in addresses:
        if path := Endpoint.parse(address).path:
            try:
                Path(path).chmod(mode)
            except OSError as error:
                _log.warning("%s keeps its permissions: %s", path, error.strerror)
