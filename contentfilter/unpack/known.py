"""Which contents of a message were met before: equal ones are opened once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

from contentfilter.unpack.naming import stream_names
from contentfilter.unpack.signs import name_traits
from contentfilter.unpack.source import Source
from contentfilter.unpack.store import Place, Store

_PIECE: Final = 1 << 20


@dataclass(slots=True)
class Known:
    """A content that was met.

    path: where first; traits and stems: of all names that it has had so far; told: its signs; streams: where what it
    holds as a compressed stream lies, with the type of each.
    """

    path: str
    traits: frozenset[str]
    stems: set[str]
    told: set[tuple[str, str]] = field(default_factory=set)
    streams: list[tuple[Place, str]] = field(default_factory=list)


class KnownContents:
    """All that were met so far in one message. store: where members go."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_digest: dict[bytes, Known] = {}
        self._firsts: dict[int, tuple[Store, Place, Known] | None] = {}
        """By size, the first content of it until there is a second: before that it needs no digest."""
        self._digests: dict[Place, bytes] = {}
        """Of what lies in our own store: a stream that has many names is read once."""

    def of(self, store: Store, source: Source) -> Known:
        """What is known of a content: under another path, if it was met before."""
        known = Known(source.path, name_traits(source.names), set(stream_names(source.names)))
        size = source.place.size
        if size not in self._firsts:
            self._firsts[size] = store, source.place, known
            return known
        if (first := self._firsts[size]) is not None:
            self._by_digest[self._digest(first[0], first[1])] = first[2]
            self._firsts[size] = None
        return self._by_digest.setdefault(self._digest(store, source.place), known)

    def _digest(self, store: Store, place: Place) -> bytes:
        if store is not self._store:
            return _digest(store, place)
        if place not in self._digests:
            self._digests[place] = _digest(store, place)
        return self._digests[place]


def _digest(store: Store, place: Place) -> bytes:
    digest = hashlib.sha256()
    for offset in range(0, place.size, _PIECE):
        digest.update(store.read(place, offset, _PIECE))
    return digest.digest()
