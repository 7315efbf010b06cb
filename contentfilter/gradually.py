"""Work over many things on the event loop, with a turn for everybody else now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AT_A_TIME = 200
"""Things for each of which some microseconds are needed: all of a turn is about a millisecond."""


async def gradually(function: Callable[[T], R], things: Sequence[T]) -> list[R]:
    """What the function makes of each thing, in their order."""
    made: list[R] = []
    for start in range(0, len(things), AT_A_TIME):
        if start:
            await asyncio.sleep(0)
        made += map(function, things[start : start + AT_A_TIME])
    return made
