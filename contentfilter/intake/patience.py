"""How long a client may keep us waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

AT_ONCE = 0.001
"""Seconds: a timer is not asked for none."""


class Patience:
    """Our patience with one client. over: called when it has ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop, over: Callable[[], None]) -> None:
        self._loop = loop
        self._over: Callable[[], None] | None = over
        self._timer: asyncio.TimerHandle | None = None
        self._ends: float | None = None

    def reset(self, seconds: float) -> None:
        """From now on the client has so many seconds.

        The timer is set anew only when it would come too late: for each command that would cost more than the command.
        One that comes too early looks how long there still is.
        """
        self._ends = self._loop.time() + seconds
        if self._timer is None or self._ends < self._timer.when():
            self._set_timer(self._ends)

    def rest(self) -> None:
        """No timeout while we are the one who is waited for: the handler has its own deadlines."""
        self._ends = None

    def end(self) -> None:
        """The client is gone. Lets go of whoever was to be told, who most often has this in turn."""
        self._drop_timer()
        self._over = None

    def _set_timer(self, when: float) -> None:
        self._drop_timer()
        self._timer = self._loop.call_at(when, self._look_at_the_clock)

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_at_the_clock(self) -> None:
        self._timer = None
        if self._ends is None or self._over is None:
            return
        if self._ends - self._loop.time() >= AT_ONCE:
            self._set_timer(self._ends)
        else:
            self._over()
