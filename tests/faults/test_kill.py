"""kill -9 of each process at each point of a message's journey, told by the peer that the filter waits for then."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.next_hop import Hold
from tests.faults.accounting import Finding, Reason, Tally, judge
from tests.faults.cells import ALL, MIX, NORMAL
from tests.faults.mail import Mix, mail_for
from tests.faults.scanners import Pause
from tests.faults.sender import Delivery
from tests.faults.service import PATIENCE, Service, is_zombie, kill, service, until

POINTS = (
    "clamd asked", "spamd asked", "greeting", "MAIL", "RCPT", "DATA", "body", "dot", "dot answered", "quarantine files",
    "unpacking",
)  # fmt: skip
"""Where the filter is when it strikes. "dot answered": the next hop's 250 is on its way; "quarantine files": they are
written, their row is not; "unpacking": the helpers are stopped, and one has a container before it."""
NO_EVENT = 0.3
"""Seconds after which a message is taken to be with a helper."""
VICTIMS = ("worker", "supervisor", "nursery", "helper")


@dataclass(frozen=True)
class Kill:
    """One cell."""

    victim: str
    point: str
    lmtp: bool
    mix: Mix
    large: bool = False

    @property
    def name(self) -> str:
        """All that tells it from others."""
        words = ("LMTP" if self.lmtp else "SMTP", self.mix.name, "large" if self.large else "small")
        return " | ".join((*words, f"kill -9 of the {self.victim}", self.point))


def kills() -> list[Kill]:
    """Every cell; of those that are left out otherwise, FAULTS=all runs all."""
    cells = []
    mixes = [MIX[name] for name in ("one", "two groups", "pass, discard", "pass, reject")]
    for victim in VICTIMS:
        for point in POINTS:
            for number, mix in enumerate(mixes):
                if point == "quarantine files" and mix.name != "pass, discard":
                    continue
                for lmtp in (True, False):
                    for large in (False, True):
                        # In the sample each point meets the worker over both doors, and the others once.
                        usual = number == (1 if point != "quarantine files" else 2) and large == lmtp
                        others = point in ("clamd asked", "dot", "unpacking") and lmtp
                        if ALL or (usual and (victim == "worker" or others)):
                            cells.append(Kill(victim, point, lmtp, mix, large))
    return cells


@contextlib.asynccontextmanager
async def held(place: Service, point: str) -> AsyncIterator[tuple[asyncio.Event, asyncio.Event]]:
    """Somebody keeps the filter waiting at this point. Gives the events "it is there" and "let it go"."""
    reached, go = asyncio.Event(), asyncio.Event()
    if point in ("clamd asked", "spamd asked"):
        pause = Pause(reached, go)
        place.scanner(point.split(maxsplit=1)[0]).script.append(pause)
    elif point == "quarantine files":
        with _locked_index(place.state / "quarantine"):
            directory = place.state / "quarantine"
            watching = asyncio.create_task(_files_written(directory, _files(directory), reached))
            try:
                yield reached, go
            finally:
                watching.cancel()
        return
    elif point == "unpacking":
        stopped = place.helpers()
        assert stopped
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield reached, go
        finally:
            for pid in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        return
    else:
        stage = "dot" if point == "dot answered" else point
        place.hop.script[stage] = [Hold("" if stage == "body" else NORMAL[stage], reached, go)]
    yield reached, go


@contextlib.contextmanager
def _locked_index(directory: Path) -> Iterator[None]:
    """Nobody enters a row: somebody else is writing to the database."""
    (file,) = directory.glob("*.sqlite")
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


async def _files_written(directory: Path, known: set[Path], reached: asyncio.Event) -> None:
    await until(lambda: bool(_files(directory) - known))
    reached.set()


def _files(directory: Path) -> set[Path]:
    return {*directory.glob("*/*.json")}


async def strike(place: Service, cell: Kill, go: asyncio.Event) -> None:
    """Kill the victim, and let go whoever held it."""
    worker = place.worker()
    victims = {
        "worker": lambda: [worker],
        "supervisor": lambda: [place.filter.pid],
        "nursery": lambda: [place.nursery()],
        "helper": place.helpers,
    }[cell.victim]()
    assert victims
    assert all(victims)
    if cell.point == "dot answered":
        # It is not to see the answer before it dies.
        os.kill(worker, signal.SIGSTOP)
        go.set()
        await until(lambda: any(one.delivered for one in place.hop.transactions))
    for victim in victims:
        await kill(victim)
    if cell.point == "dot answered" and cell.victim != "worker":
        os.kill(worker, signal.SIGCONT)
    go.set()


async def run(cell: Kill) -> tuple[Delivery, list[Finding]]:
    """Send until the filter is at the point, strike, and retry until the sender is rid of it."""
    async with service() as place:
        unpacking = cell.point == "unpacking"
        delivery = Delivery(mail_for(cell.mix, large=cell.large, container=unpacking), cell.lmtp)
        if unpacking or cell.victim == "helper":
            # Helpers are forked when they are wanted, and stay for a while.
            await place.retry(Delivery(mail_for(MIX["one"], container=True), cell.lmtp))
            place.clamd.asked = 0
            place.hop.interrupt()  # else there is nothing to greet: the connection would be used again
        if cell.point == "quarantine files":
            # So that there is a quarantine whose index can be locked.
            await place.retry(Delivery(mail_for(MIX["discard"]), cell.lmtp))
        async with held(place, cell.point) as (reached, go):
            attempt = delivery.attempt()
            first = asyncio.create_task(place.attempt(delivery, attempt))
            if unpacking:
                await asyncio.wait_for(attempt.handed_over.wait(), PATIENCE)
                await asyncio.sleep(NO_EVENT)
                assert not place.clamd.asked
                reached.set()
            await asyncio.wait_for(reached.wait(), PATIENCE)
            worker = place.worker()
            before = place.taken(delivery.mail)
            if cell.point == "quarantine files":
                before.update(rcpt for rcpt in delivery.mail.rcpts if rcpt.startswith("discard"))
            await strike(place, cell, go)
            if cell.point == "dot answered":
                before = place.taken(delivery.mail)
        if cell.victim == "supervisor":
            await until(lambda: is_zombie(worker))
            await place.stop()
            await place.start()
        await first
        if cell.point == "body" and cell.victim in ("worker", "supervisor"):
            # The final dot may have been on its way: then the next hop takes the message of a sender that is dead.
            await place.hop.all_left()
            before = place.taken(delivery.mail)
        await place.retry(delivery)
        await place.stop()
        # Who had it when the process died, and its sender did not know. Once: that one attempt had no reason for more.
        had_it = dict.fromkeys(before, 1) if cell.victim in ("worker", "supervisor") else {}
        excuses = {Reason.KILLED: Counter(had_it)}
        held_now = place.holdings(delivery.mail)
        return delivery, judge(cell.name, delivery, held_now, excuses)


AT_ONCE = 4
"""Most of a cell is waiting for a process that starts."""


@pytest.mark.parametrize("point", POINTS)
async def test_a_process_that_is_killed_loses_nothing(point: str, tally: Tally) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(cell: Kill) -> list[str]:
        async with gate:
            try:
                delivery, findings = await run(cell)
            except Exception as error:
                raise AssertionError(f"the cell could not be run: {cell.name}") from error
        return tally.add(f"kill -9 of the {cell.victim}", [delivery], findings)

    wrong = await asyncio.gather(*(one(cell) for cell in kills() if cell.point == point))
    assert not any(wrong), "\n".join(line for lines in wrong for line in lines)
