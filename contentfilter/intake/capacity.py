"""How many messages a worker has in work, and who has to wait or come again when they are too many.

First the client waits, then it is refused: at MAIL, where it costs nobody anything, a short while for room; with a
whole message that has come, longer, for its turn. A slot belongs to a message that is here to its last byte, and only
while it is worked on, so that no slow client holds one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from contentfilter.errors import BusyError
from contentfilter.intake.fullness import Fullness
from contentfilter.intake.holdings import Holdings
from contentfilter.intake.waiting import WaitingLine

Totals = Callable[[], tuple[int, int]]
"""Messages in work, and their bytes, of all workers together, this one included."""

Publish = Callable[[int, int], None]
"""Told what this worker has in work, messages and their bytes, whenever that changes."""

LOOK_AGAIN = 0.1
"""Seconds between two looks at the other workers while somebody waits for them."""

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class CapacityLimits:
    """What a worker takes on. Sizes in bytes, times in seconds.

    messages, bytes: in work at a time; messages_in_all, bytes_in_all: of all workers together, 0 for no such limit.
    memory, spool: what the messages that are here may take, in work or not.
    mail_wait: how long MAIL waits for room; slot_wait: how long a whole message waits for its turn. Postfix waits 600
    for the reply to a message (lmtp_data_done_timeout), and the work has to fit in too.
    """

    messages: int = 100
    bytes: int = 512 * _MIB
    messages_in_all: int = 0
    bytes_in_all: int = 0
    memory: int = 64 * _MIB
    spool: int = 4096 * _MIB
    mail_wait: float = 5.0
    slot_wait: float = 120.0


class Capacity:
    """The slots of one worker. For one event loop.

    totals: what all workers have in work, by what each of them was told to publish. It is asked, not locked: workers
    that look at the same moment may together take one message each beyond the limit in all.
    """

    def __init__(
        self,
        limits: CapacityLimits | None = None,
        totals: Totals | None = None,
        publish: Publish = lambda messages, size: None,
    ) -> None:
        limits = limits or CapacityLimits()
        self.messages: int = 0
        self.bytes: int = 0
        self.holdings = Holdings(limits.memory, limits.spool)
        self.large_data = asyncio.Lock()
        """Whose turn it is among those that take in a large message: one chunk each, and then everybody else's."""
        self._limits = limits
        self._publish = publish
        self._totals = totals or (lambda: (self.messages, self.bytes))
        self._alone = totals is None
        self._for_room = WaitingLine()
        self._for_slot = WaitingLine()
        self._look: asyncio.TimerHandle | None = None
        self._fullness = Fullness("new mail has to wait", self.__str__, lambda: self.roomy)

    @property
    def waiting(self) -> int:
        """Whole messages that wait for a slot."""
        return len(self._for_slot)

    @property
    def put_off(self) -> int:
        """Messages that were told to come again, since the start."""
        return self._fullness.refusals

    @property
    def roomy(self) -> bool:
        """Whether a quarter of everything is free and nobody waits."""
        limits = self._limits
        parts = (
            (self.messages, limits.messages),
            (self.bytes, limits.bytes),
            (self.holdings.spooled, limits.spool),
            (self._totals()[0], limits.messages_in_all),
            (self._totals()[1], limits.bytes_in_all),
        )
        return not (self._for_slot or self._for_room) and all(4 * used <= 3 * limit for used, limit in parts if limit)

    def has_room(self, size: int) -> bool:
        """Whether there is room now for a message of which so many bytes are announced, 0 if unknown."""
        return not self._for_room and self._has_room(size, 0, 0)

    async def room(self, size: int) -> bool:
        """Wait for it. False: there is none."""
        return self.has_room(size) or await self._wait(self._for_room, size, self._limits.mail_wait)

    def try_enter(self, size: int) -> bool:
        """Take a slot for a message of so many bytes, if there is one now, to be given back by leave."""
        if self._for_slot or not self._fits(size):
            return False
        self._take(size)
        return True

    async def enter(self, size: int) -> None:
        """Wait for it. Raises BusyError if there is none."""
        if not self.try_enter(size) and not await self._wait(self._for_slot, size, self._limits.slot_wait):
            raise BusyError(f"no slot in {self._limits.slot_wait:g} s")

    def leave(self, size: int) -> None:
        """Give the slot back."""
        self.messages -= 1
        self.bytes -= size
        self._publish(self.messages, self.bytes)
        self.serve()

    def refuse(self) -> None:
        """Note that a message was put off for want of room."""
        self._fullness.refused()

    def serve(self) -> None:
        """Let in whoever can be let in: something became free."""
        if not (self._for_slot or self._for_room):
            return
        while (first := self._for_slot.first) is not None and self._fits(first.size):
            self._take(first.size)
            self._for_slot.call_first()
        # Whoever is let in here has still to send its message, so that it counts for this turn only.
        messages = size = 0
        while (first := self._for_room.first) is not None and self._has_room(first.size, messages, size):
            messages, size = messages + 1, size + first.size
            self._for_room.call_first()

    async def _wait(self, line: WaitingLine, size: int, patience: float) -> bool:
        ticket = line.join(size, patience)
        self._fullness.found()
        self._look_again()
        try:
            called = await ticket.future
        except asyncio.CancelledError:
            called_after_all = ticket.future.done() and not ticket.future.cancelled() and ticket.future.result()
            line.leave(ticket)
            if called_after_all and line is self._for_slot:
                self.leave(size)
            else:
                self.serve()  # whoever stood behind may be smaller
            raise
        if not called:
            self.refuse()
            self.serve()
        return called

    def _take(self, size: int) -> None:
        self.messages += 1
        self.bytes += size
        self._publish(self.messages, self.bytes)

    def _fits(self, size: int) -> bool:
        """Whether a message may be worked on now. One that is larger than the limits needs all the room there is."""
        limits = self._limits
        if self.messages >= limits.messages or (self.messages and self.bytes + size > limits.bytes):
            return False
        return self._fits_in_all(1, size)

    def _fits_in_all(self, messages: int, size: int) -> bool:
        limits = self._limits
        if not (limits.messages_in_all or limits.bytes_in_all):
            return True
        in_work, their_bytes = self._totals()
        if limits.messages_in_all and in_work + messages > limits.messages_in_all:
            return False
        return not (limits.bytes_in_all and in_work and their_bytes + size > limits.bytes_in_all)

    def _has_room(self, size: int, more_messages: int, more_bytes: int) -> bool:
        """Whether a message that is still to come would find a slot, behind those that wait and these."""
        limits = self._limits
        if not self.holdings.has_room(size):
            return False
        messages = self.messages + len(self._for_slot) + more_messages
        total = self.bytes + self._for_slot.bytes + more_bytes + size
        if messages >= limits.messages or (messages and total > limits.bytes):
            return False
        return self._fits_in_all(1 + len(self._for_slot) + more_messages, total - self.bytes)

    def _look_again(self) -> None:
        """Keep looking while somebody waits: that other workers have room again, nobody tells."""
        if self._look is None and not self._alone:
            self._look = asyncio.get_running_loop().call_later(LOOK_AGAIN, self._looked)

    def _looked(self) -> None:
        self._look = None
        self.serve()
        if self._for_slot or self._for_room:
            self._look_again()

    def __str__(self) -> str:
        held, all_messages = self.holdings, self._totals()[0]
        others = "" if self._alone else f", {all_messages} in all workers"
        return (
            f"{self.messages} messages ({self.bytes} bytes) in work{others}, {len(self._for_slot)} waiting, "
            f"{len(self._for_room)} at MAIL, {held.memory} bytes in memory, {held.spooled} on disk"
        )
