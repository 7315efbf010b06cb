"""What each worker is at, in memory that the supervisor and all workers share.

The supervisor makes the board before it forks; a worker gets a place on it and is the only one to write there, so there
are no locks. The supervisor reads: whether a worker's heart beats, and after a death which messages were in work.
Any worker reads how much is in work in all of them together.
"""

from __future__ import annotations

import mmap
import time
from typing import Final

IDENTITY: Final = 16
"""Bytes by which a message is known on the board."""
ENTRIES: Final = 256
"""Messages that a place can name at once."""

_WORD: Final = 8
_MOST: Final = (1 << 63) - 1


class Board:
    """Memory for so many places. Make it before the fork.

    Its words are eight bytes and aligned, so that they are read and written whole.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        # An anonymous mapping is shared with whoever is forked from here on. What nobody touches takes no memory.
        memory = memoryview(mmap.mmap(-1, 3 * _WORD * places + _WORD + (IDENTITY + 1) * ENTRIES * places))
        words = memory[: 3 * _WORD * places + _WORD].cast("Q")
        self._beats, self._counts, self._bytes = (words[row * places : (row + 1) * places] for row in range(3))
        self._used = words[3 * places :]
        """How many places, from the first on, have ever been given: the others need not be looked at."""
        table = memory[3 * _WORD * places + _WORD :]
        self._named = table[: ENTRIES * places]
        self._identities = table[ENTRIES * places :]

    def place(self, index: int) -> Place:
        """The place with this number, from 0 on."""
        if not 0 <= index < self.places:
            raise ValueError(f"there are only {self.places} places")
        self._used[0] = max(self._used[0], index + 1)
        return Place(self, index)

    def totals(self) -> tuple[int, int]:
        """Messages and their bytes that are in work in all places."""
        used = self._used[0]
        return sum(self._counts[:used]), sum(self._bytes[:used])


class Place:
    """One worker's place."""

    def __init__(self, board: Board, index: int) -> None:
        self.index = index
        self._beats, self._counts, self._bytes = board._beats, board._counts, board._bytes  # noqa: SLF001 - its own part
        self._named = board._named[index * ENTRIES : (index + 1) * ENTRIES]  # noqa: SLF001
        size = IDENTITY * ENTRIES
        self._identities = board._identities[index * size : (index + 1) * size]  # noqa: SLF001
        self._free = list(range(ENTRIES - 1, -1, -1))

    def beat(self) -> None:
        """Say that we live."""
        self._beats[self.index] = time.monotonic_ns()

    @property
    def beaten(self) -> int:
        """When the heart last beat: nanoseconds of the monotonic clock, 0 for never."""
        return self._beats[self.index]

    def publish(self, messages: int, size: int) -> None:
        """Say how many messages we have in work, and how many bytes they are."""
        self._counts[self.index] = messages
        self._bytes[self.index] = _bounded(size)

    def begin(self, identity: bytes) -> int:
        """A message is taken into work. Returns the number of its entry for :meth:`end`, -1 if there is none left.

        Only the first 16 bytes of the identity count.
        """
        if not self._free:
            return -1
        entry = self._free.pop()
        # Named last: whoever reads after we died must not take half an identity for one.
        self._identities[entry * IDENTITY : (entry + 1) * IDENTITY] = identity[:IDENTITY].ljust(IDENTITY, b"\0")
        self._named[entry] = 1
        return entry

    def end(self, entry: int) -> None:
        """It is done, however it fared. entry: what begin returned."""
        if entry >= 0 and self._named[entry]:
            self._named[entry] = 0
            self._free.append(entry)

    def in_work(self) -> list[bytes]:
        """The identities of the messages in work, as far as there were entries for them."""
        named = bytes(self._named)
        return [
            bytes(self._identities[entry * IDENTITY : (entry + 1) * IDENTITY])
            for entry in range(ENTRIES)
            if named[entry]
        ]

    def clear(self) -> None:
        """Nobody works here any more."""
        self._beats[self.index] = self._counts[self.index] = self._bytes[self.index] = 0
        self._named[:] = bytes(ENTRIES)
        self._free = list(range(ENTRIES - 1, -1, -1))


def _bounded(number: int) -> int:
    return max(0, min(number, _MOST))
