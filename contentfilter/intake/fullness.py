"""Tells the log when something is full, and when it has had room for a while: two lines, whatever the load does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

log = logging.getLogger("contentfilter.intake")

CALM = 5.0
"""Seconds for which there has to be room before the log says so."""


class Fullness:
    """For one event loop.

    meaning: what being full means, for the log; describe: the counts, for the log; roomy: whether there is room to
    spare. refusals: how many had to be refused, since the start.
    """

    def __init__(self, meaning: str, describe: Callable[[], str], roomy: Callable[[], bool]) -> None:
        self.refusals = 0
        self._meaning = meaning
        self._describe = describe
        self._roomy = roomy
        self._since = 0.0
        self._before = 0
        self._is_full = False
        self._lately = False

    def refused(self) -> None:
        """Somebody had to be refused."""
        self.found()
        self.refusals += 1

    def found(self) -> None:
        """There was no room for somebody, who may wait or be refused."""
        self._lately = True
        if not self._is_full:
            self._is_full = True
            loop = asyncio.get_running_loop()
            self._since = loop.time()
            self._before = self.refusals
            loop.call_later(CALM, self._look)
            log.warning("full, %s: %s", self._meaning, self._describe())

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        if self._lately or not self._roomy():
            self._lately = False
            loop.call_later(CALM, self._look)
            return
        self._is_full = False
        seconds, count = loop.time() - self._since, self.refusals - self._before
        log.warning("room again after %.0f s, %d refused meanwhile: %s", seconds, count, self._describe())
