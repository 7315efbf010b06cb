"""How much of a worker's memory and disk the messages take that are here, and what they may take.

A message is held from its first byte until its client was answered. Above the ceiling of memory messages go to their
anonymous file at once, whatever their size; what is above the ceiling of the disk is not taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

from contentfilter import reply
from contentfilter.errors import BusyError


@dataclass(slots=True)
class Holdings:
    """The sum over all messages of one worker, and its ceilings, all in bytes."""

    memory_ceiling: int
    spool_ceiling: int
    memory: int = 0
    spooled: int = 0

    @property
    def full(self) -> bool:
        """Whether the disk may take no further message."""
        return self.spooled >= self.spool_ceiling

    def has_room(self, size: int) -> bool:
        """Whether a message of so many bytes, 0 if unknown, could be spooled."""
        return not self.full and self.spooled + size <= self.spool_ceiling


class Holding:
    """The part of one message, for :class:`contentfilter.message.Spool`. Use it as a context manager around both."""

    __slots__ = ("_all", "memory", "spooled")

    def __init__(self, holdings: Holdings) -> None:
        self._all = holdings
        self.memory = 0
        self.spooled = 0

    def fits_memory(self, size: int) -> bool:
        """Take so many more bytes of memory, if they are to be had."""
        if self._all.memory + size > self._all.memory_ceiling:
            return False
        self._all.memory += size
        self.memory += size
        return True

    def spool(self, size: int) -> None:
        """Take so many more bytes of disk. Raises BusyError if they are not to be had."""
        if self._all.spooled + size > self._all.spool_ceiling:
            problem = f"more than {self._all.spool_ceiling} bytes of messages would be spooled"
            raise BusyError(problem, reply.STORAGE_FAILED)
        self._all.spooled += size
        self.spooled += size

    def release(self) -> None:
        """Give everything back. Doing so twice does no harm."""
        self._all.memory -= self.memory
        self._all.spooled -= self.spooled
        self.memory = self.spooled = 0

    def leave_memory(self) -> None:
        """Give the memory back: the message is on disk now."""
        self._all.memory -= self.memory
        self.memory = 0

    def __enter__(self) -> Holding:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
