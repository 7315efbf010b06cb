"""Whoever waits for room, first come first served, each with a bound in time.

As many may stand here as there are connections, each of which waits for one thing at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Ticket:
    """One who waits with a message of so many bytes."""

    __slots__ = ("future", "size")

    def __init__(self, size: int, future: asyncio.Future[bool]) -> None:
        self.size = size
        self.future = future


class WaitingLine:
    """A line of tickets. For one event loop."""

    def __init__(self) -> None:
        self._tickets: deque[Ticket] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._tickets)

    def join(self, size: int, patience: float) -> Ticket:
        """A place at the end. The ticket's future becomes True when called, False after so many seconds."""
        loop = asyncio.get_running_loop()
        ticket = Ticket(size, loop.create_future())
        timer = loop.call_later(patience, self._give_up, ticket)
        ticket.future.add_done_callback(lambda _: timer.cancel())
        self._tickets.append(ticket)
        self.bytes += size
        return ticket

    @property
    def first(self) -> Ticket | None:
        """Who is next. Whoever was cancelled does not wait any more, even if he had no time yet to say so."""
        while self._tickets and self._tickets[0].future.done():
            self.bytes -= self._tickets.popleft().size
        return self._tickets[0] if self._tickets else None

    def call_first(self) -> None:
        """Let the first one go on."""
        if (ticket := self.first) is not None:
            self.leave(ticket)
            ticket.future.set_result(True)

    def leave(self, ticket: Ticket) -> None:
        """Give up a place. Who was called has none any more, and that is no fault."""
        if ticket in self._tickets:
            self._tickets.remove(ticket)
            self.bytes -= ticket.size

    def _give_up(self, ticket: Ticket) -> None:
        self.leave(ticket)
        if not ticket.future.done():
            ticket.future.set_result(False)
