"""Work on large messages, in a thread of its own.

Of its own, because what waits for the threads of :func:`asyncio.to_thread` must not wait behind messages of many
megabytes: a quarantine copy, a note in the ledger, a name to be looked up. One, because most of this work is Python's,
and so a second thread only takes its turns from the event loop: beside two, small messages take a third longer.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

_THREAD: Final = ThreadPoolExecutor(1, thread_name_prefix="large")


async def in_thread(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Call it in this thread, when those are done that have waited longer."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_THREAD, partial(context.run, call, *args, **kwargs))


async def made_in_thread(make: Callable[[], _T], let_go: Callable[[_T], object]) -> _T:
    """What make returns, and what somebody has to let go of: we do if nobody waits for it any more."""
    making = asyncio.ensure_future(in_thread(make))
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        making.add_done_callback(lambda done: None if done.cancelled() or done.exception() else let_go(done.result()))
        raise
