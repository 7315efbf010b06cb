"""Finding a few bytes in many, by vector instructions: ten times as fast as `bytes.find` where most lines are short.

Half of what a large message took on its way in and out was the search for dots and line ends.

What is large is searched in stretches: during a search no other thread gets its turn.
"""

from __future__ import annotations

import mmap
import sys
from typing import Final

import stringzilla

Searchable = bytes | bytearray | memoryview | mmap.mmap

_STRETCH: Final = 4 << 20
"""Bytes that are searched in one go: half a millisecond."""


def find(content: Searchable, what: bytes, start: int = 0, end: int = sys.maxsize) -> int:
    """The offset of the first occurrence within content[start:end], -1 if there is none. Neither may be negative."""
    with memoryview(content) as view:  # a map with a view left on it could not be closed
        end = min(end, len(view))
        while end - start > _STRETCH + len(what):
            found = int(stringzilla.find(view, what, start, start + _STRETCH + len(what) - 1))
            if found >= 0:
                return found
            start += _STRETCH
        return int(stringzilla.find(view, what, start, end))


def count(content: Searchable, what: bytes) -> int:
    """How often it occurs, without overlap."""
    with memoryview(content) as view:
        return int(stringzilla.count(view, what))
