"""A message coming in: how fast it has to come, and when a large one gives way to others."""

from __future__ import annotations

import asyncio

from contentfilter.intake.capacity import Capacity
from contentfilter.intake.data import Receiver
from contentfilter.intake.holdings import Holding
from contentfilter.intake.patience import AT_ONCE, Patience
from contentfilter.intake.settings import IntakeSettings
from contentfilter.intake.wire import Wire
from contentfilter.message import Message

_LARGE = 1 << 20
"""Bytes from which a message that comes in has to give way to others after each chunk."""


class Reception:
    """Takes in the messages of one connection. received: bytes of the one that is coming in, None if none is."""

    def __init__(self, wire: Wire, patience: Patience, settings: IntakeSettings, capacity: Capacity) -> None:
        self.received: int | None = None
        self._wire = wire
        self._patience = patience
        self._settings = settings
        self._capacity = capacity

    async def message(self, holding: Holding) -> Message:
        """The next message, for the caller to close; what came behind it is left on the wire.

        holding: what the message takes of the worker's room. Raises ClientGone, and FilterError once the whole of a
        message has come that is too large or could not be kept.
        """
        settings = self._settings
        receiver = Receiver(settings.spool_directory, settings.memory_threshold, settings.max_message_size, holding)
        try:
            await self._receive(receiver)
            await receiver.settle()
            return receiver.finish()
        finally:
            receiver.abandon()

    async def _receive(self, receiver: Receiver) -> None:
        longest, rate = self._settings.data_timeout, self._settings.min_data_rate
        clock = asyncio.get_running_loop().time
        now = clock()
        deadline = now + longest
        ended = False
        self.received = 0
        while not ended:
            self._patience.reset(max(deadline - now, AT_ONCE))
            chunk = await self._wire.read_chunk(piecemeal=self.received > _LARGE)
            came = clock()
            self.received += len(chunk)
            if self.received <= _LARGE:
                ended = receiver.feed(chunk)
            else:
                self._patience.rest()
                async with self._capacity.large_data:
                    ended = receiver.feed(chunk)
                    await receiver.settle()
                    await asyncio.sleep(0)
            now = clock()
            deadline = min(now + longest, deadline + now - came + len(chunk) / rate)
        self.received = None
        self._wire.unread(receiver.rest)
