"""Who may have something large scanned: so many at once that clamd has threads left for everybody else.

A scan of 25 MB takes clamd a second or more, and it has ten threads (MaxThreads). If all of them are at large contents,
small messages wait for as long as large ones do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Final

from contentfilter.errors import NotInspectedError

LARGE: Final = 1 << 20
"""Bytes from which a content is large. Up to here clamd takes some ten milliseconds."""

Pause = Callable[[], AbstractContextManager[object]]
"""Makes what stops the clock of whoever waits for us, while we wait ourselves."""


class Turns:
    """Turns of messages, in the order in which they came. scans: of large contents at once; wait: seconds for a turn.

    each: how many of these scans a turn is for. Two, where there are as many: the message and the attachment in it.
    """

    def __init__(self, scans: int, wait: float) -> None:
        self.each = min(2, scans)
        self._free = asyncio.Semaphore(scans // self.each)
        self._wait = wait

    @asynccontextmanager
    async def turn(self, pause: Pause) -> AsyncIterator[None]:
        """The turn of a message. Raises NotInspectedError when it takes too long to get there."""
        if self._free.locked():
            await self._in_line(pause)
        else:
            await self._free.acquire()
        try:
            yield
        finally:
            self._free.release()

    async def _in_line(self, pause: Pause) -> None:
        try:
            with pause():
                async with asyncio.timeout(self._wait):
                    await self._free.acquire()
        except TimeoutError as error:
            raise NotInspectedError(f"not its turn among large contents within {self._wait:g} s") from error
