"""A content that waits to be opened."""

from __future__ import annotations

from dataclasses import dataclass

from contentfilter.unpack.store import Place


@dataclass(frozen=True, slots=True)
class Source:
    """A content to be opened: where it comes from, where it lies, and what is said of it."""

    path: str
    place: Place
    names: tuple[str, ...] = ()
    declared_type: str = ""
    media_type: str = ""
    readings: tuple[str, ...] = ()
    depth: int = 0
