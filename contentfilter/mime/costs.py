"""What one message may still cost. Whoever works through many bytes asks here, before and in between."""

from __future__ import annotations

import math
import time

_UNLIMITED = 1 << 62
_SMALL = 4096


class OutOfTimeError(Exception):
    """The processor time is spent. It ends the step that was being made; what was found before stays."""


class Costs:
    """What is left, and in exceeded the names of the limits that were hit.

    held: bytes that may be in memory besides the message; searched: bytes that may be looked through; seconds: of
    processor time, of this thread alone: a busy machine must not make mail unchecked.
    """

    def __init__(self, *, held: int = _UNLIMITED, searched: int = _UNLIMITED, seconds: float = math.inf) -> None:
        self.room = held
        self.exceeded: dict[str, None] = {}
        self._searched = searched
        self._until = time.thread_time() + seconds

    def may_hold(self, size: int) -> bool:
        """Whether so many bytes may still be held; then they count."""
        if size > self.room:
            self.exceeded["decoded_bytes"] = None
            return False
        self.room -= size
        return True

    def release(self, size: int) -> None:
        """So many bytes are not held, or less than nothing: so many more."""
        self.room += size

    def may_search(self, size: int) -> bool:
        """Whether so many bytes may still be searched; then they count."""
        if size > self._searched:
            self.exceeded["searched_bytes"] = None
            return False
        self._searched -= size
        return self.has_time(size)

    def has_time(self, size: int) -> bool:
        """Whether there is time for a step over so many bytes. Small ones are bounded by their number."""
        if size < _SMALL or time.thread_time() < self._until:
            return True
        self.exceeded["seconds"] = None
        return False

    def check(self) -> None:
        """To be called within a step over many bytes, every few milliseconds. Raises OutOfTimeError."""
        if time.thread_time() >= self._until:
            self.exceeded["seconds"] = None
            raise OutOfTimeError
