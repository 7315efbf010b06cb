"""Database calls of the event loop: in threads of their own, and given up after a time.

Of their own, because threads that wait for a database that hangs must not be those in which other work is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from contentfilter.errors import PolicyError

_P = ParamSpec("_P")
_T = TypeVar("_T")

POOL = 4
"""Connections that a process keeps to a database at most, and threads that use them."""


class Threads:
    """As many threads as a database has connections. name: of the database, for people; timeout: seconds."""

    def __init__(self, name: str, timeout: float) -> None:
        self._name = name
        self._timeout = timeout
        self._executor = ThreadPoolExecutor(POOL, thread_name_prefix=name.replace(" ", "-"))

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """What is done in here has the whole time together. Raises PolicyError when it takes longer."""
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except TimeoutError as error:
            raise PolicyError(f"the {self._name} did not answer within {self._timeout:g} s") from error

    async def run(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call it in a thread. Who stops waiting leaves the thread alone: it ends when its connection gives up."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: call(*args, **kwargs))

    def close(self) -> None:
        """Begin nothing any more."""
        self._executor.shutdown(wait=False, cancel_futures=True)
