"""One budget a message: how deep, how many, how much and how long containers may be opened."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from contentfilter.unpack.opener import OverBudgetError

DEPTH = "unpack_depth"
PARTS = "unpack_parts"
BYTES = "unpack_bytes"
RATIO = "unpack_ratio"
SECONDS = "unpack_seconds"


@dataclass(frozen=True, slots=True)
class Budget:
    """What opening the containers of one message may cost. The limits are named as in the configuration.

    depth: containers inside one another; parts: members altogether; ratio: times the size of the message that all
    members together may have, though never less than least bytes nor more than bytes; seconds: of wall time.
    """

    depth: int = 16
    parts: int = 3000
    bytes: int = 500_000_000
    ratio: float = 10.0
    least: int = 100_000
    seconds: float = 30.0

    def room(self, size: int) -> tuple[int, str]:
        """How many bytes a message of this size may become, and the name of the limit that says so."""
        by_ratio = max(self.least, int(size * self.ratio))
        return (by_ratio, RATIO) if by_ratio < self.bytes else (self.bytes, BYTES)


DEFAULT_BUDGET = Budget()


class Meter:
    """What is left of the budget for one message of this size. Each method raises OverBudgetError when it is spent."""

    def __init__(self, budget: Budget, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._deadline = clock() + budget.seconds
        self._bytes, self._bytes_limit = budget.room(size)
        self.depth = budget.depth
        self.parts_left = budget.parts

    def part(self) -> None:
        """One more member."""
        if self.parts_left <= 0:
            raise OverBudgetError(PARTS)
        self.parts_left -= 1
        self.check_time()

    def take(self, count: int) -> None:
        """So many more bytes."""
        if count > self._bytes:
            self._bytes = 0
            raise OverBudgetError(self._bytes_limit)
        self._bytes -= count
        self.check_time()

    def check_time(self) -> None:
        """Whether there is time left."""
        if self._clock() >= self._deadline:
            raise OverBudgetError(SECONDS)
