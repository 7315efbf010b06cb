"""How memory goes back to the system: what a large message took, and what only loading took before others are forked.

The C library keeps the one, and more of it the more threads there are; see mallopt(3). The other stays with the process
that did the loading, and counts as its own.
"""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_MADV_DONTNEED: Final = 4

_LARGE: Final = 1 << 20
"""Bytes from which a block is a mapping of its own, which goes back to the system when it is free."""
_KEPT: Final = 256 * 1024
"""Bytes that stay unused at the end of a heap: a small message takes them again and again."""
_ARENAS: Final = 2

_MAPPING: Final = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) r-[-x]p [0-9a-f]+ \S+ [1-9][0-9]* ", re.MULTILINE)
"""Of a file (its inode is not 0), private, and never to be written."""
_ANONYMOUS: Final = re.compile(r"^Anonymous: +([0-9]+) kB$", re.MULTILINE)
"""How much of a mapping was written to after all, in the lines that follow it."""


def give_back() -> None:
    """From now on, in this process and those forked from it. Where the C library is another one, nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((_M_MMAP_THRESHOLD, _LARGE), (_M_TRIM_THRESHOLD, _KEPT), (_M_ARENA_MAX, _ARENAS)):
            mallopt(parameter, value)


def loaded() -> None:
    """All is loaded that is to be shared with processes forked from here on: give back what only loading took.

    What there is stays where it is, so that collecting garbage does not write to it, which would make it a copy.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    libc = ctypes.CDLL(None)
    for start, length in [*_untouched()]:
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_DONTNEED)
    trim = getattr(libc, "malloc_trim", None)
    if trim is not None:
        trim(0)


def _untouched() -> Iterator[tuple[int, int]]:
    """Where libraries lie that nothing was ever written to: whatever of them is used again is read again.

    The linker writes into a library and makes it read-only afterwards: that has anonymous pages, see proc(5).
    """
    try:
        text = Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for mapping in _MAPPING.finditer(text):
        anonymous = _ANONYMOUS.search(text, mapping.end())
        if anonymous is not None and anonymous[1] == "0":
            start, end = (int(mapping[number], 16) for number in (1, 2))
            yield start, end - start
