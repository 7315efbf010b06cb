"""Time limits that stand still while whoever is limited waits for a turn."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused(limit: asyncio.Timeout) -> Iterator[None]:
    """In this block a timeout that is running does not run; afterwards there is as much time left as before."""
    loop = asyncio.get_running_loop()
    due = limit.when()
    left = None if due is None else due - loop.time()
    limit.reschedule(None)
    try:
        yield
    finally:
        limit.reschedule(None if left is None else loop.time() + left)
