"""How many messages are in work at a time: never more than there may be, and nobody is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from contentfilter import reply
from contentfilter.errors import BusyError
from contentfilter.intake import Capacity, CapacityLimits
from contentfilter.intake.capacity import LOOK_AGAIN
from contentfilter.intake.fullness import CALM
from contentfilter.intake.holdings import Holding, Holdings

LIMITS = CapacityLimits(messages=3, bytes=100, spool=10_000, mail_wait=5.0, slot_wait=60.0)


class Clockwork(asyncio.SelectorEventLoop):
    """An event loop whose time passes only when it is told so."""

    now = 1000.0

    def time(self) -> float:
        return self.now

    def settle(self) -> None:
        """Let everybody go as far as he can."""
        for _ in range(8):
            self.run_until_complete(asyncio.sleep(0))

    def advance(self, seconds: float) -> None:
        """As if in steps, so that what is set up by one timer counts from its own time."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + LOOK_AGAIN)
            self.settle()

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self.create_task(work)
        self.settle()
        return task


@pytest.fixture
def loop() -> Iterator[Clockwork]:
    clockwork = Clockwork()
    yield clockwork
    for task in asyncio.all_tasks(clockwork):
        task.cancel()
    clockwork.settle()
    clockwork.close()


@pytest.mark.parametrize(
    ("in_work", "size", "want"),
    [
        ([], 0, True),
        ([], 100, True),
        ([], 5000, True),  # larger than everything: alone
        ([1], 5000, False),
        ([50], 50, True),
        ([50], 51, False),
        ([1, 1], 1, True),
        ([1, 1, 1], 0, False),
        ([5000], 0, False),
    ],
)
def test_what_is_in_work_decides(in_work: list[int], size: int, want: bool, loop: Clockwork) -> None:
    capacity = Capacity(LIMITS)
    for one in in_work:
        assert loop.start(capacity.enter(one)).done()
    assert loop.start(capacity.room(size)).done() is want
    assert loop.start(capacity.enter(size)).done() is want


@pytest.mark.parametrize(
    ("totals", "size", "want"),
    [
        ((0, 0), 1, True),
        ((9, 0), 1, True),
        ((10, 0), 1, False),
        ((1, 150), 50, True),
        ((1, 150), 51, False),
        ((0, 0), 5000, True),
        ((1, 1), 5000, False),
    ],
)
def test_all_workers_together_decide_too(totals: tuple[int, int], size: int, want: bool, loop: Clockwork) -> None:
    limits = CapacityLimits(messages=3, bytes=10_000, messages_in_all=10, bytes_in_all=200, spool=10_000)
    capacity = Capacity(limits, lambda: totals)
    assert loop.start(capacity.room(size)).done() is want
    assert loop.start(capacity.enter(size)).done() is want


def test_what_a_worker_has_in_work_is_published(loop: Clockwork) -> None:
    told: list[tuple[int, int]] = []
    capacity = Capacity(LIMITS, lambda: told[-1] if told else (0, 0), lambda count, size: told.append((count, size)))
    loop.start(capacity.enter(7))
    loop.start(capacity.enter(8))
    capacity.leave(7)
    assert told == [(1, 7), (2, 15), (1, 8)]


def test_mail_waits_a_short_while_and_a_whole_message_longer(loop: Clockwork) -> None:
    capacity = Capacity(LIMITS)
    for _ in range(3):
        loop.start(capacity.enter(1))
    mail, message = loop.start(capacity.room(1)), loop.start(capacity.enter(1))
    loop.advance(4.9)
    assert not mail.done()
    loop.advance(0.2)
    assert mail.result() is False
    loop.advance(54.8)
    assert not message.done()
    loop.advance(0.2)
    with pytest.raises(BusyError) as raised:
        message.result()
    assert raised.value.reply == reply.BUSY
    assert capacity.put_off == 2
    assert capacity.waiting == 0


def test_a_slot_that_becomes_free_goes_to_whole_messages_before_mail(loop: Clockwork) -> None:
    capacity = Capacity(LIMITS)
    for _ in range(3):
        loop.start(capacity.enter(1))
    mail = loop.start(capacity.room(1))
    messages = [loop.start(capacity.enter(1)) for _ in range(2)]
    for want in ([True, False, False], [True, True, False], [True, True, True]):
        capacity.leave(1)
        loop.settle()
        assert [*(one.done() for one in messages), mail.done()] == want
    assert mail.result() is True


def test_a_small_message_does_not_overtake_a_large_one(loop: Clockwork) -> None:
    capacity = Capacity(LIMITS)
    loop.start(capacity.enter(60))
    large, small = loop.start(capacity.enter(60)), loop.start(capacity.enter(1))
    assert not large.done()
    assert not small.done()
    large.cancel()
    loop.settle()
    assert small.done()


def test_when_a_large_message_has_waited_too_long_the_small_one_behind_it_is_let_in(loop: Clockwork) -> None:
    capacity = Capacity(LIMITS)
    loop.start(capacity.enter(60))
    large = loop.start(capacity.enter(60))
    loop.advance(LIMITS.slot_wait / 2)
    small = loop.start(capacity.enter(1))
    loop.advance(LIMITS.slot_wait / 2 + LOOK_AGAIN)
    assert isinstance(large.exception(), BusyError)
    assert small.result() is None


def test_room_at_mail_takes_into_account_what_waits(loop: Clockwork) -> None:
    capacity = Capacity(LIMITS)
    loop.start(capacity.enter(60))
    loop.start(capacity.enter(60))
    assert not loop.start(capacity.room(1)).done()


def test_a_full_spool_closes_mail_and_lets_in_when_it_is_served_again(loop: Clockwork) -> None:
    capacity = Capacity(LIMITS)
    with Holding(capacity.holdings) as holding:
        holding.spool(9600)
        assert loop.start(capacity.room(400)).done()
        mail = loop.start(capacity.room(401))
        assert not mail.done()
    capacity.serve()
    loop.settle()
    assert mail.result() is True


def test_other_workers_are_looked_at_until_they_have_room(loop: Clockwork) -> None:
    busy = [(10, 10)]
    capacity = Capacity(CapacityLimits(messages_in_all=10), lambda: busy[0])
    mail, message = loop.start(capacity.room(1)), loop.start(capacity.enter(1))
    loop.advance(1.0)
    assert not message.done()
    assert not mail.done()
    busy[0] = (8, 8)
    loop.advance(LOOK_AGAIN)
    assert message.done()
    assert mail.done()


def test_the_log_tells_once_when_it_is_full_and_once_when_there_is_room(
    loop: Clockwork, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    capacity = Capacity(LIMITS)
    for _ in range(3):
        loop.start(capacity.enter(2))
    waiting = [loop.start(capacity.room(1)) for _ in range(20)]
    loop.advance(3 * CALM)
    assert [task.result() for task in waiting] == [False] * 20
    (line,) = caplog.messages
    assert line == (
        "full, new mail has to wait: 3 messages (6 bytes) in work, 0 waiting, 1 at MAIL, 0 bytes in memory, 0 on disk"
    )
    capacity.leave(2)
    # Room for a moment is not room.
    loop.advance(CALM / 2)
    loop.start(capacity.enter(2))
    waiting = [loop.start(capacity.room(1))]
    loop.advance(CALM)
    assert len(caplog.messages) == 1
    for _ in range(3):
        capacity.leave(2)
    loop.advance(2 * CALM + LOOK_AGAIN)
    assert len(caplog.messages) == 2
    assert "room again after " in caplog.messages[1]
    assert ", 21 refused meanwhile: 0 messages (0 bytes) in work, " in caplog.messages[1]


def test_holdings_never_pass_their_ceilings_and_come_back() -> None:
    holdings = Holdings(100, 1000)
    first, second = Holding(holdings), Holding(holdings)
    assert first.fits_memory(60)
    assert not second.fits_memory(41)
    assert second.fits_memory(40)
    second.spool(1000)
    second.leave_memory()
    assert (holdings.memory, holdings.spooled, holdings.full) == (60, 1000, True)
    with pytest.raises(BusyError) as raised:
        first.spool(1)
    assert raised.value.reply == reply.STORAGE_FAILED
    first.release()
    second.release()
    second.release()
    assert (holdings.memory, holdings.spooled, holdings.full) == (0, 0, False)


@dataclass(eq=False)
class Guest:
    """One message in the machine below."""

    size: int
    task: asyncio.Task[Any]


SIZES = st.sampled_from([0, 1, 10, 60, 100, 500])


class CapacityMachine(RuleBasedStateMachine):
    """Messages and MAILs come, go, give up and are cancelled in every order, while other workers do as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = Clockwork()
        self.others = (0, 0)
        limits = CapacityLimits(3, 100, messages_in_all=5, bytes_in_all=150, mail_wait=5.0, slot_wait=20.0)
        self.capacity = Capacity(limits, self.totals)
        self.waiting: list[Guest] = []
        self.inside: list[Guest] = []
        self.mails: list[asyncio.Task[bool]] = []

    def totals(self) -> tuple[int, int]:
        return self.capacity.messages + self.others[0], self.capacity.bytes + self.others[1]

    def settle(self) -> None:
        self.loop.settle()
        for guest in tuple(self.waiting):
            if not guest.task.done():
                continue
            # First come, first served: whoever stands before is through or gone.
            earlier = self.waiting[: self.waiting.index(guest)]
            if not guest.task.cancelled() and guest.task.exception() is None:
                assert all(one.task.done() for one in earlier)
                self.inside.append(guest)
                messages, total = self.totals()
                assert messages <= 5
                assert total <= 150 or messages == 1
            self.waiting.remove(guest)
        self.mails = [task for task in self.mails if not task.done()]

    @rule(size=SIZES)
    def message(self, size: int) -> None:
        self.waiting.append(Guest(size, self.loop.create_task(self.capacity.enter(size))))
        self.settle()

    @rule(size=SIZES)
    def mail(self, size: int) -> None:
        self.mails.append(self.loop.create_task(self.capacity.room(size)))
        self.settle()

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        guest = data.draw(st.sampled_from(self.inside))
        self.inside.remove(guest)
        self.capacity.leave(guest.size)
        self.settle()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.waiting)).task.cancel()
        self.settle()

    @precondition(lambda self: self.waiting and self.inside)
    @rule(data=st.data(), first=st.booleans())
    def cancel_just_as_a_slot_is_given(self, data: st.DataObject, first: bool) -> None:
        guest, gone = data.draw(st.sampled_from(self.waiting)), data.draw(st.sampled_from(self.inside))
        if first:
            guest.task.cancel()
        self.inside.remove(gone)
        self.capacity.leave(gone.size)
        if not first:
            guest.task.cancel()
        self.settle()

    @precondition(lambda self: self.mails)
    @rule(data=st.data())
    def cancel_mail(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.mails)).cancel()
        self.settle()

    @rule(seconds=st.sampled_from([LOOK_AGAIN, 4.0, 6.0, 25.0]))
    def time_passes(self, seconds: float) -> None:
        self.loop.advance(seconds)
        self.settle()

    @rule(messages=st.integers(0, 6), size=st.integers(0, 200))
    def others_change(self, messages: int, size: int) -> None:
        self.others = (messages, size if messages else 0)
        self.loop.advance(2 * LOOK_AGAIN)
        self.settle()

    @invariant()
    def counts_are_right(self) -> None:
        assert self.capacity.messages == len(self.inside)
        assert self.capacity.bytes == sum(guest.size for guest in self.inside)
        assert self.capacity.waiting == len(self.waiting)

    @invariant()
    def never_too_many(self) -> None:
        assert self.capacity.messages <= 3
        assert self.capacity.bytes <= 100 or self.capacity.messages == 1

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        if not self.waiting:
            return
        size = self.waiting[0].size
        messages, total = self.totals()
        too_many = len(self.inside) >= 3 or messages >= 5
        too_large = bool(self.inside) and self.capacity.bytes + size > 100
        assert too_many or too_large or (messages and total + size > 150)

    def teardown(self) -> None:
        for task in (*(guest.task for guest in self.waiting), *self.mails):
            task.cancel()
        self.settle()
        for guest in self.inside:
            self.capacity.leave(guest.size)
        assert (self.capacity.messages, self.capacity.bytes, self.capacity.waiting) == (0, 0, 0)
        with contextlib.suppress(asyncio.CancelledError):
            self.loop.settle()
        self.loop.close()


CapacityMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCapacityMachine = CapacityMachine.TestCase
