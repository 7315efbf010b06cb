"""A filter in this process among scripted peers, and what becomes of a cell in it."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from contentfilter.failure import OnFailure
from contentfilter.inspectors.backends import Resting
from contentfilter.inspectors.clamd import ClamdInspector
from contentfilter.inspectors.spamd import SpamdInspector
from quarantine.index import Query
from quarantine.record import State
from quarantine.store import Quarantine
from tests.fakes.next_hop import Hold
from tests.faults.accounting import Finding, Holdings, Reason, copies_of, judge, reports_on
from tests.faults.cells import NORMAL, Cell, normal_answer
from tests.faults.mail import MEMORY_THRESHOLD, OWN_POLICIES, Mail, mail_for
from tests.faults.scanners import FakeClamd, FakeSpamd, Pause, Scanner
from tests.faults.sender import Attempt, Delivery, connecting
from tests.journey import Journey, journey

MOST_ATTEMPTS = 8
SHORT = 0.4
"""Seconds of the filter's patience where the fault is that nothing comes."""
LONG = 20.0
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Thousands of cells would otherwise wait for a disk, and none of these is about one."""


@dataclass
class World:
    """The filter and its neighbours."""

    journey: Journey
    clamd: Scanner
    spamd: Scanner

    def scanner(self, name: str) -> Scanner:
        """By its name."""
        return self.clamd if name == "clamd" else self.spamd

    async def retry(self, delivery: Delivery) -> None:
        """Try again until the sender is rid of it. The fault is gone."""
        while delivery.open and len(delivery.attempts) < MOST_ATTEMPTS:
            await self.attempt(delivery, delivery.attempt())

    async def attempt(self, delivery: Delivery, attempt: Attempt) -> None:
        """One try."""
        await attempt.run(connecting(self.journey.door.port))
        delivery.note(attempt)

    async def until_all_heard(self, clients: int = 1) -> None:
        """Until the filter knows that these clients have closed their side."""
        connections = self.journey.door.listener._connections
        async with asyncio.timeout(20):
            while sum(one._wire.client_closed for one in connections) < clients:
                await asyncio.sleep(0.001)

    def holdings(self, mail: Mail, taking: Sequence[object]) -> Holdings:
        """Where the message is now."""
        transactions = self.journey.hop.transactions
        return Holdings(
            copies_of(mail, transactions, taking),
            in_quarantine(self.journey.quarantine, mail),
            reports_on(mail, transactions, taking),
        )


def in_quarantine(quarantine: Quarantine, mail: Mail) -> Counter[str]:
    """Recipients for whom it is withheld, once for each item."""
    found: Counter[str] = Counter()
    for summary in quarantine.find(Query()):
        record = quarantine.read(summary.id)
        with quarantine.open_message(record) as message:
            if message.buffer.find(mail.mark) >= 0:
                found.update(one.recipient.address for one in record.withheld if one.state is not State.DELIVERED)
    return found


@contextlib.asynccontextmanager
async def world(cell: Cell) -> AsyncIterator[World]:
    """For the time of one cell."""
    patience = SHORT if cell.timed else LONG
    failing = {} if cell.scanner is None else {cell.scanner[0]: OnFailure(cell.on_failure)}
    with tempfile.TemporaryDirectory(prefix="fault-", dir=IN_MEMORY) as name:
        directory = Path(name)
        async with FakeClamd(directory / "clamd") as clamd, FakeSpamd(directory / "spamd") as spamd:
            inspectors = (
                ClamdInspector(clamd.address, timeout=patience, resting=Resting(probe=patience), cache=0),
                SpamdInspector(spamd.address, timeout=patience, resting=Resting(probe=patience)),
            )
            async with journey(
                directory,
                {},
                inspectors,
                failing,
                patience=patience,
                own=OWN_POLICIES,
                memory_threshold=MEMORY_THRESHOLD,
                command_timeout=patience,
                data_timeout=patience,
            ) as running:
                yield World(running, clamd, spamd)


async def run(cell: Cell) -> tuple[list[Delivery], list[Finding]]:
    """Send a cell's message with its fault, then without, until the sender is rid of it; compare the views."""
    async with world(cell) as place:
        deliveries = []
        if cell.warm:
            first = Delivery(mail_for(cell.mix), cell.lmtp)
            await place.retry(first)
            deliveries.append(first)
        taking = await _arrange(cell, place)
        delivery = Delivery(mail_for(cell.mix, large=cell.large), cell.lmtp)
        deliveries.append(delivery)
        if cell.hold:
            await _leave_while_held(cell, place, delivery)
        else:
            await place.attempt(delivery, delivery.attempt(cell.misdeed))
        _repair(place)
        if not cell.early:
            await place.journey.door.empty()
        await place.retry(delivery)
        await place.journey.door.empty()
        findings = []
        for one in deliveries:
            held = place.holdings(one.mail, taking)
            findings += judge(cell.name, one, held, _excuses(cell, place, one, taking))
        return deliveries, findings


def _excuses(cell: Cell, place: World, delivery: Delivery, taking: Sequence[object]) -> dict[Reason, Counter[str]]:
    excuses: dict[Reason, Counter[str]] = {}
    if cell.hop is not None and cell.hop[2].lost:
        lost = [one for one in place.journey.hop.transactions if one.dot is cell.hop[2].step]
        excuses[Reason.ANSWER_LOST] = copies_of(delivery.mail, lost, taking) + reports_on(delivery.mail, lost, taking)
    if cell.misdeed is not None and cell.misdeed.stage in ("answer", "between answers"):
        # Whoever had not heard yet when the sender left: the answers were written by then.
        heard = delivery.attempts[0].replies
        excuses[Reason.UNHEARD] = Counter(rcpt for rcpt in delivery.mail.rcpts if rcpt not in heard)
    return excuses


async def _arrange(cell: Cell, place: World) -> list[object]:
    """Prepare the fault. Gives the scripted answers of the next hop that hide that it took a message."""
    hop = place.journey.hop
    if cell.mix.refused:
        hop.script[f"RCPT:<{cell.mix.refused}@x.example>"] = ["451 4.3.0 not now"]
    if cell.scanner is not None:
        name, breakdown = cell.scanner
        if breakdown in ("refused", "missing"):
            place.scanner(name).leave(breakdown)
        else:
            place.scanner(name).script.append(breakdown)
    if cell.idle:
        await _disturb(cell.idle, place)
    if cell.hop is None:
        return []
    stage, visit, fault = cell.hop
    if stage == "RSET" and not cell.mix.refused:
        hop.script["RCPT"] = ["451 4.3.0 not now"]
    if stage == "greeting" and visit == 1:
        hop.script[stage] = [fault.step]
        return []
    normal = normal_answer(stage, hop.keywords)
    hop.script[stage] = [*([normal] * (visit - 1)), fault.step]
    return [fault.step] if fault.taken else []


async def _disturb(what: str, place: World) -> None:
    hop = place.journey.hop
    match what:
        case "disconnect":
            hop.interrupt()
            await hop.all_left()
        case "reset":
            hop.reset()
            await hop.all_left()
        case "421":
            hop.interrupt(b"421 4.4.2 timeout\r\n")
        case "garbage":
            hop.interrupt(b"\x00\xff garbage\r\n", close=False)
        case "half a line":
            hop.interrupt(b"42", close=False)
        case "hang":
            hop.script["MAIL"] = [Hold(NORMAL["MAIL"])]
        case "stops listening for a while":
            hop.interrupt()
            hop.script["greeting"] = ["421 4.3.2 starting"]


def _repair(place: World) -> None:
    """The fault is gone."""
    place.clamd.come_back()
    place.spamd.come_back()


async def _leave_while_held(cell: Cell, place: World, delivery: Delivery) -> None:
    """The sender goes away while somebody keeps the filter waiting; it comes again before or after that ends."""
    reached, go = _hold(cell.hold, place)
    attempt = delivery.attempt(cell.misdeed)
    leaving = asyncio.create_task(place.attempt(delivery, attempt))
    await asyncio.wait_for(reached.wait(), 20)
    attempt.leave.set()
    assert cell.misdeed is not None
    if cell.misdeed.kind != "half close":
        await leaving
    await place.until_all_heard()
    if not cell.early:
        go.set()
        await leaving
        return
    again = delivery.attempt()
    retrying = asyncio.create_task(place.attempt(delivery, again))
    await asyncio.wait_for(again.handed_over.wait(), 20)
    # No event tells that the filter has begun with it.
    await asyncio.sleep(0.02)
    go.set()
    await retrying


def _hold(where: str, place: World) -> tuple[asyncio.Event, asyncio.Event]:
    if where in ("clamd", "spamd"):
        pause = Pause()
        place.scanner(where).script.append(pause)
        return pause.reached, pause.go
    hold = Hold(NORMAL[where])
    place.journey.hop.script[where] = [hold]
    return hold.reached, hold.go
