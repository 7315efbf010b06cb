"""Which address of a scanner is asked, which one rests, and how it comes back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from contentfilter.errors import InspectorError, InspectorTimeoutError, NotInspectedError, SpoolError
from contentfilter.inspectors.backends import Backends, Resting, failures_of

RESTING = Resting(failures=3, rest=30.0, probe=5.0)


@dataclass
class Clock:
    """A clock that a test moves."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Scanner:
    """A scanner at an address: answers, or fails as it is told. gate: what PING waits for."""

    label: str
    error: InspectorError | None = None
    needed: bool = True
    asked: int = 0
    pings: int = 0
    gate: asyncio.Event | None = None
    pinged: asyncio.Event = field(default_factory=asyncio.Event)

    async def question(self) -> bool:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.needed

    async def ping(self) -> None:
        self.pings += 1
        self.pinged.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error


def dead(label: str = "A") -> Scanner:
    return Scanner(label, InspectorError(f"{label} refuses"))


def question(scanner: Scanner) -> asyncio.Future[bool]:
    return asyncio.ensure_future(scanner.question())


def made(*scanners: Scanner, clock: Clock | None = None) -> Backends[Scanner]:
    return Backends(scanners, RESTING, clock or Clock())


async def fail(backends: Backends[Scanner], times: int = 1) -> InspectorError:
    for _ in range(times):
        with pytest.raises(InspectorError) as caught:
            await backends.ask(question)
    return caught.value


def asked(*scanners: Scanner) -> list[int]:
    return [scanner.asked for scanner in scanners]


async def test_the_first_that_answers_is_enough() -> None:
    one, two = Scanner("A"), Scanner("B")
    backends = made(one, two)
    await backends.ask(question)
    one.error = InspectorError("gone")
    await backends.ask(question)
    assert asked(one, two) == [2, 1]


async def test_who_fails_in_a_row_is_not_asked_any_more(caplog: pytest.LogCaptureFixture) -> None:
    one, two = dead("A"), Scanner("B")
    backends = made(one, two)
    for _ in range(10):
        await backends.ask(question)
    assert asked(one, two) == [3, 10]
    assert [record.getMessage() for record in caplog.records] == [
        "A rests for 30 s after 3 failures in a row, the last: A refuses"
    ]


async def test_an_answer_between_failures_begins_a_new_row() -> None:
    one = dead()
    backends = made(one)
    for _ in range(5):
        await fail(backends, 2)
        one.error, error = None, one.error
        await backends.ask(question)
        one.error = error
    assert one.asked == 15


async def test_who_need_not_be_asked_has_not_answered() -> None:
    one = dead()
    backends = made(one)
    await fail(backends, 2)
    one.error, one.needed = None, False
    await backends.ask(question)
    one.error = InspectorError("still gone")
    await fail(backends)
    assert "rests after 3 failures" in str(await fail(backends))


async def test_a_refusal_is_no_sign_that_the_scanner_is_gone() -> None:
    one = Scanner("A", NotInspectedError("too large"))
    backends = made(one)
    for _ in range(10):
        assert isinstance(await fail(backends), NotInspectedError)
    assert one.asked == 10


async def test_where_all_rest_everybody_is_told_at_once() -> None:
    one, two = dead("A"), dead("B")
    backends = made(one, two)
    assert str(await fail(backends)) == "A refuses; B refuses"
    await fail(backends, 2)
    error = await fail(backends)
    assert str(error) == "A rests after 3 failures in a row; B rests after 3 failures in a row"
    assert not error.timed_out
    assert asked(one, two) == [3, 3]
    assert (one.pings, two.pings) == (0, 0)


async def test_after_its_rest_ping_brings_it_back(caplog: pytest.LogCaptureFixture) -> None:
    one, two, clock = dead("A"), Scanner("B"), Clock()
    backends = made(one, two, clock=clock)
    for _ in range(3):
        await backends.ask(question)
    clock.now += 29.9
    await backends.ask(question)
    assert (one.asked, one.pings) == (3, 0)
    clock.now += 0.2
    await backends.ask(question)
    assert (one.asked, one.pings) == (3, 1), "PING failed: it rests again"
    await backends.ask(question)
    assert one.pings == 1
    one.error = None
    clock.now += 30
    caplog.clear()
    await backends.ask(question)
    assert (one.asked, one.pings) == (4, 2)
    await backends.ask(question)
    assert (one.asked, one.pings) == (5, 2)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(logging.WARNING, "A is back")]


async def test_who_is_back_may_fail_as_often_again() -> None:
    one, clock = dead(), Clock()
    backends = made(one, clock=clock)
    await fail(backends, 3)
    one.error, error = None, one.error
    clock.now += 31
    await backends.ask(question)
    one.error = error
    await fail(backends, 2)
    assert "rests" not in str(await fail(backends))
    assert "rests" in str(await fail(backends))


async def test_one_probe_at_a_time_and_nobody_else_waits() -> None:
    one, two, clock = dead("A"), Scanner("B"), Clock()
    backends = made(one, two, clock=clock)
    for _ in range(3):
        await backends.ask(question)
    clock.now += 31
    one.error, one.gate = None, asyncio.Event()
    probing = asyncio.create_task(backends.ask(question))
    await one.pinged.wait()
    for _ in range(5):
        await backends.ask(question)
    assert (one.pings, one.asked, two.asked) == (1, 3, 8)
    one.gate.set()
    await probing
    assert (one.pings, one.asked, two.asked) == (1, 4, 8)


async def test_a_probe_that_is_cut_off_leaves_the_next_one_to_others() -> None:
    one, clock = dead("A"), Clock()
    backends = made(one, clock=clock)
    await fail(backends, 3)
    clock.now += 31
    one.error, one.gate = None, asyncio.Event()
    probing = asyncio.create_task(backends.ask(question))
    await one.pinged.wait()
    probing.cancel()
    await asyncio.gather(probing, return_exceptions=True)
    one.gate.set()
    await backends.ask(question)
    assert (one.pings, one.asked) == (2, 4)


async def test_a_probe_has_little_time() -> None:
    one, clock = dead("A"), Clock()
    backends = Backends([one], Resting(failures=1, rest=30.0, probe=0.01), clock)
    await fail(backends)
    clock.now += 31
    one.error, one.gate = None, asyncio.Event()
    assert "rests" in str(await fail(backends))
    assert (one.pings, one.asked) == (1, 1)


async def test_old_questions_say_nothing_of_who_is_back() -> None:
    """Ten scans hang; three of them make it rest; it comes back; the other seven end as failures."""
    one, clock = Scanner("A"), Clock()
    backends = made(one, clock=clock)
    hanging: list[asyncio.Future[bool]] = []

    def hang(_: Scanner) -> asyncio.Future[bool]:
        hanging.append(asyncio.get_running_loop().create_future())
        return hanging[-1]

    old = [asyncio.create_task(backends.ask(hang)) for _ in range(10)]
    while len(hanging) < 10:
        await asyncio.sleep(0)

    async def end(some: Sequence[asyncio.Future[bool]], tasks: Sequence[asyncio.Task[None]]) -> None:
        for one in some:
            one.set_exception(InspectorTimeoutError("hung"))
        assert all(isinstance(error, InspectorError) for error in await asyncio.gather(*tasks, return_exceptions=True))

    await end(hanging[:3], old[:3])
    clock.now += 31
    await backends.ask(question)
    assert one.pings == 1
    await end(hanging[3:], old[3:])
    await backends.ask(question)
    assert (one.asked, one.pings) == (2, 1), "it has not gone to rest a second time"


async def test_an_old_question_that_is_answered_after_all_brings_it_back() -> None:
    one = Scanner("A")
    backends = made(one)
    late: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    old = asyncio.create_task(backends.ask(lambda _: late))
    await asyncio.sleep(0)
    one.error = InspectorError("gone")
    await fail(backends, 3)
    one.error = None
    assert "rests" in str(await fail(backends))
    late.set_result(True)
    await old
    await backends.ask(question)
    assert one.pings == 0


async def test_enough_ends_the_search() -> None:
    one, two = dead("A"), Scanner("B")
    with pytest.raises(InspectorError, match=r"^A refuses$"):
        await made(one, two).ask(question, lambda: True)
    assert two.asked == 0


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ((InspectorError("x"), InspectorTimeoutError("y")), InspectorTimeoutError),
        ((NotInspectedError("x"), InspectorTimeoutError("y")), InspectorTimeoutError),
        ((NotInspectedError("x"), NotInspectedError("y")), NotInspectedError),
        ((NotInspectedError("x"), InspectorError("y")), InspectorError),
    ],
)
async def test_of_several_failures_one_error_tells(errors: tuple[InspectorError, ...], kind: type) -> None:
    error = await fail(made(*(Scanner("A", one) for one in errors)))
    assert type(error) is kind
    assert str(error) == "x; y"
    assert error.timed_out is (kind is InspectorTimeoutError)


async def test_whether_any_answers() -> None:
    hung = Scanner("hung", gate=asyncio.Event())
    rules = Resting(probe=0.01)
    assert await Backends([dead(), Scanner("B")], rules).answers()
    assert not await Backends([dead(), hung], rules).answers()
    assert await Backends([hung, Scanner("B")], rules).answers()


async def test_answers_asks_the_resting_too() -> None:
    one = dead()
    backends = made(one)
    await fail(backends, 3)
    one.error = None
    assert await backends.answers()
    assert one.pings == 1


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (TimeoutError(), InspectorTimeoutError, "clamd at x did not answer in time"),
        (InspectorTimeoutError("late"), InspectorTimeoutError, "clamd at x: late"),
        (NotInspectedError("too large"), NotInspectedError, "clamd at x: too large"),
        (InspectorError("garbage"), InspectorError, "clamd at x: garbage"),
        (ConnectionRefusedError(111, "Connection refused"), InspectorError, "Connection refused"),
        (FileNotFoundError(2, "No such file"), InspectorError, "No such file"),
        # That we are out of descriptors or memory is no fault of the scanner.
        (OSError(24, "Too many open files"), NotInspectedError, "Too many open files"),
        (SpoolError("no memory file"), NotInspectedError, "no memory file"),
        (KeyError("nonsense"), InspectorError, "KeyError 'nonsense'"),
    ],
)
def test_what_a_failure_comes_to(error: Exception, kind: type, text: str) -> None:
    with pytest.raises(InspectorError, match="clamd at x") as caught, failures_of("clamd at x", KeyError):
        raise error
    assert type(caught.value) is kind
    assert text in str(caught.value)
    assert caught.value.__cause__ is error


def test_who_failed_is_said_once() -> None:
    with (
        pytest.raises(InspectorError) as caught,
        failures_of("clamd at x"),
        failures_of("clamd at x"),
    ):
        raise FileNotFoundError(2, "No such file")
    assert str(caught.value) == "clamd at x: [Errno 2] No such file"


def test_a_mistake_of_ours_is_no_failure_of_a_scanner() -> None:
    with pytest.raises(ZeroDivisionError), failures_of("clamd at x", KeyError):
        raise ZeroDivisionError
