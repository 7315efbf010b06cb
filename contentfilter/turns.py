"""One at a time: a retry that comes while its first delivery is still in work waits for it.

Postfix tries again when it lost the connection, which does not mean that we stopped working. All workers share one
lock file; a message in work holds in it one lock for each recipient, at the place that message and recipient hash to.
Such locks cost a system call, belong to an open file, and go with the process that opened it, however it ends.

Without the file mail goes on, and the log says so: the ledger then cannot tell who is being served just now.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import struct
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from contentfilter.errors import FilterError
from contentfilter.identity import Identity

FILE = "in-work.lock"
"""Its name below the state directory."""

SUSPECTS = 1 << 62
"""The place of those that did harm before: they are taken one at a time, so that none is blamed for another."""

SUSPECTS_WAIT = 30.0
"""Seconds that one of them waits at most: it keeps a slot from others meanwhile, and Postfix brings it again."""

_POLL = 0.05
_LONGEST_POLL = 0.5
_TOGETHER = 200
"""Locks that are taken before others have their turn of the event loop."""
_COMPLAINT_SECONDS = 60.0
_TAKEN = frozenset({errno.EAGAIN, errno.EACCES})

_log = logging.getLogger("contentfilter.turns")


class Turns:
    """Gives turns. path: of the lock file; patience: seconds that a retry waits for the first delivery."""

    def __init__(self, path: Path, patience: float) -> None:
        self._path = path
        self._patience = patience
        self._complained = -_COMPLAINT_SECONDS

    def of(self, identity: Identity, recipients: Iterable[str]) -> contextlib.AbstractAsyncContextManager[None]:
        """The turn of a message for these recipients. Raises FilterError if it does not come within the patience."""
        # In the order of their places, so that two that have some in common do not wait for one another.
        places = sorted({identity.claim_of(recipient) for recipient in recipients})
        return self._held(places, self._patience, "an earlier delivery of the same message has")

    def of_suspect(self) -> contextlib.AbstractAsyncContextManager[None]:
        """The turn of a message that did harm before. Raises FilterError if it does not come soon."""
        return self._held([SUSPECTS], min(self._patience, SUSPECTS_WAIT), "others that did harm before have")

    @contextlib.asynccontextmanager
    async def _held(self, places: list[int], patience: float, who: str) -> AsyncIterator[None]:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self._path, flags, 0o600)
        except OSError as error:
            self._complain(error)
            yield
            return
        try:
            deadline = time.monotonic() + patience
            for number, place in enumerate(places):
                if not await self._take(descriptor, place, deadline):
                    raise FilterError(f"{who} not ended in {patience:g} s")
                if number % _TOGETHER == _TOGETHER - 1:
                    await asyncio.sleep(0)
            yield
        finally:
            os.close(descriptor)

    async def _take(self, descriptor: int, place: int, deadline: float) -> bool:
        """Whether it could be taken by then."""
        pause = _POLL
        while not self._taken(descriptor, place):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_POLL)
        return True

    def _taken(self, descriptor: int, place: int) -> bool:
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _lock_at(place))
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            self._complain(error)
        return True

    def _complain(self, error: OSError) -> None:
        if time.monotonic() - self._complained >= _COMPLAINT_SECONDS:
            self._complained = time.monotonic()
            _log.error("%s cannot be used, so a retry may be served twice: %s", self._path, error)


def _lock_at(place: int) -> bytes:
    """A struct flock of fcntl(2) for one byte, exclusive."""
    return struct.pack("@hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0)
