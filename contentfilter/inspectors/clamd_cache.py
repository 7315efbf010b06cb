"""What clamd said of contents, by their digest, so that it need not scan the same content again. Pure.

A result holds for the signature database that gave it, and not for long: the version that clamd tells is that of
ClamAV's own database, and leaves out signatures of other makers and limits in clamd.conf. Only results are kept, never
that there was none.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

LONGEST: Final = 600.0
"""Seconds for which a result holds: long enough for a mailing, a bounce storm, or a message that comes again."""


class ScanCache:
    """The results of one clamd. size: how many are kept, the least recently used go first; clock: seconds."""

    def __init__(self, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._clock = clock
        self._version = ""
        self._results: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._results)

    def serve(self, version: str) -> None:
        """From now on this is the version of the database. Another one than before empties the cache."""
        if version != self._version:
            self._results.clear()
            self._version = version

    def get(self, digest: bytes) -> str | None:
        """The signature that was found in the content with this digest, "" for none; None if that is not known."""
        found = self._results.get(digest)
        if found is None:
            return None
        signature, until = found
        if self._clock() >= until:
            del self._results[digest]
            return None
        self._results.move_to_end(digest)
        return signature

    def put(self, version: str, digest: bytes, signature: str) -> None:
        """Keep what was found with this version of the database, unless that is another one by now."""
        if version != self._version or not self._size:
            return
        self._results[digest] = signature, self._clock() + LONGEST
        self._results.move_to_end(digest)
        if len(self._results) > self._size:
            self._results.popitem(last=False)
