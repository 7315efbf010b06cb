"""Names of members: what a compressed stream's content is called, and how much of a name is told."""

from __future__ import annotations

import re
from collections.abc import Iterable

LONGEST_NAME = 1000
"""Characters of a name that are told; no system keeps a third of that."""

MOST_NAMES = 200
"""Names of a member that are told: as many as :mod:`contentfilter.mime` reads of a part."""

MOST_CHARACTERS = 4_000_000
"""Characters that all names of a message's members may have, but for the first of each, which is always told."""

_COMPRESSED = re.compile(r"\.(gz|bz2?|xz|lzma|zstd?|lz4?|Z|tgz|tbz2?|txz|tzst)[. \0]*$", re.IGNORECASE)


def stream_names(names: Iterable[str]) -> tuple[str, ...]:
    """What a compressed stream with these names is called when it is not compressed any more, each name once.

    "a.gz.gz" may have been compressed twice, and be undone at once: then it is "a".
    """
    found: dict[str, None] = {}
    for name in names:
        short = _COMPRESSED.sub("", name.rpartition("/")[2])
        while short and short not in found:
            found[short] = None
            short = _COMPRESSED.sub("", short)
    return tuple(found)


def shortened(name: str) -> str:
    """A name of at most :data:`LONGEST_NAME` characters: wherever a system cuts it, and its end, stays."""
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else name[: half - 1] + "\u2026" + name[-half:]


def told(names: Iterable[str], room: int) -> tuple[tuple[str, ...], bool]:
    """The names that are told, and whether these are all. room: characters for all but the first."""
    kept: list[str] = []
    for name in map(shortened, names):
        room -= len(name) if kept else 0
        if len(kept) >= MOST_NAMES or room < 0:
            return tuple(kept), False
        kept.append(name)
    return tuple(kept), True
