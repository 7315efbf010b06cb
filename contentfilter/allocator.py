"""How the C library hands memory back, for a process that now and then has a large message in work.

By itself it keeps what a large message took, and more of it the more threads there are; see mallopt(3).
"""

from __future__ import annotations

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

_LARGE: Final = 1 << 20
"""Bytes from which a block is a mapping of its own, which goes back to the system when it is free."""
_ARENAS: Final = 2


def give_back() -> None:
    """From now on, in this process and those forked from it. Where the C library is another one, nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((_M_MMAP_THRESHOLD, _LARGE), (_M_TRIM_THRESHOLD, _LARGE), (_M_ARENA_MAX, _ARENAS)):
            mallopt(parameter, value)
