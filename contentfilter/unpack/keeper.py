"""Keeps one nursery running, for all workers: theirs is a door, behind which another one begins when one has died."""

from __future__ import annotations

import logging
import socket
import subprocess
import time
from dataclasses import dataclass, field
from typing import Final

from contentfilter.unpack import wire
from contentfilter.unpack.nursery import COMMAND, launch

_log = logging.getLogger("contentfilter.unpack")

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 15.0
"""Seconds before a nursery that died is started again; doubled each time it dies young."""
_YOUNG: Final = 60.0


@dataclass(slots=True)
class Keeper:
    """For the supervisor. Nothing here waits.

    command: starts a nursery; door: the end of a socket that workers inherit, for their boxes;
    due: when there is something to do, by the monotonic clock.
    """

    command: tuple[str, ...] = COMMAND
    due: float = 0.0
    _ends: tuple[socket.socket, socket.socket] = field(default_factory=wire.pair)
    _process: subprocess.Popen[bytes] | None = None
    _started: float = 0.0
    _pause: float = _FIRST_PAUSE

    def __post_init__(self) -> None:
        self.door.setblocking(False)

    @property
    def door(self) -> socket.socket:
        """Where workers hand in their channels."""
        return self._ends[0]

    def keep(self) -> None:
        """Start a nursery if there is none, and it is time to. To be called when a child has ended, and when due."""
        now = time.monotonic()
        if self._process is not None:
            if self._process.poll() is None:
                return
            self._process = None
            _log.error("the process that helpers are forked from ended; a new one starts in %.1f s", self._put_off(now))
        if now < self.due:
            return
        try:
            self._process = launch(self.command, self._ends[1])
        except OSError as error:
            pause = self._put_off(now)
            _log.error("no process to fork helpers from can be started: %s; tried again in %.1f s", error, pause)
        else:
            self._started, self.due = now, float("inf")

    def _put_off(self, now: float) -> float:
        """Seconds until the next one is started."""
        self._pause = min(self._pause * 2, _LONGEST_PAUSE) if now - self._started < _YOUNG else _FIRST_PAUSE
        self.due = now + self._pause
        return self._pause

    def close(self) -> None:
        """End it; its helpers end with it."""
        for end in self._ends:
            end.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
