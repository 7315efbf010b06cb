"""Faults of the next hop, of the sender and of the scanners, in every combination that the tables make."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import replace

import pytest

from tests.faults.accounting import Finding, Holdings, Reason, Tally, judge
from tests.faults.cells import MAKERS, MIX, MIXES, Cell, cells
from tests.faults.mail import Mix, mail_for
from tests.faults.sender import Delivery
from tests.faults.world import run, world

AT_ONCE = 12
"""Cells that run at the same time: most of a cell is waiting."""


@pytest.fixture(autouse=True)
def quiet() -> None:
    """A fault is a line in the log, and there are thousands."""
    logging.getLogger("contentfilter").setLevel(logging.CRITICAL)


async def run_all(chosen: list[Cell]) -> list[tuple[Cell, list[Delivery], list[Finding]]]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(cell: Cell) -> tuple[Cell, list[Delivery], list[Finding]]:
        async with gate:
            try:
                async with asyncio.timeout(60):
                    return (cell, *await run(cell))
            except Exception as error:
                raise AssertionError(f"the cell could not be run: {cell.name}") from error

    return await asyncio.gather(*(one(cell) for cell in chosen))


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)
@pytest.mark.parametrize("lmtp", [True, False], ids=["LMTP", "SMTP"])
@pytest.mark.parametrize("dimension", MAKERS)
async def test_everybody_has_it_exactly_once(dimension: str, lmtp: bool, mix: Mix, tally: Tally) -> None:
    wrong = []
    for cell, deliveries, findings in await run_all(cells(dimension, lmtp, mix)):
        wrong += tally.add(cell.dimension, deliveries, findings)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("lmtp", [True, False], ids=["LMTP", "SMTP"])
@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)
async def test_a_mix_makes_the_transactions_that_the_tables_count_on(mix: Mix, lmtp: bool) -> None:
    """Otherwise faults at the second visit to a stage would not be faults at all."""
    cell = Cell("none", lmtp, replace(mix, refused=""))
    async with world(cell) as place:
        delivery = Delivery(mail_for(mix), lmtp)
        await place.attempt(delivery, delivery.attempt())
        assert set(delivery.answers) == set(delivery.mail.rcpts)
        reports = 1 if mix.own_report and not lmtp else 0
        assert len(place.journey.hop.delivered) == mix.groups + reports


def test_the_count_sees_a_loss_and_a_duplicate_and_excuses_no_more_than_it_should() -> None:
    """A harness that finds nothing would be green too."""
    delivery = Delivery(mail_for(MIX["pair"]), lmtp=True)
    first, second = delivery.mail.rcpts
    delivery.answers = {first: "250 2.0.0 Ok", second: "550 5.1.1 no"}
    excuses = {Reason.ANSWER_LOST: Counter({first: 1})}

    def problems(**taken: int) -> list[tuple[str, str, Reason | None]]:
        copies = Counter({f"{who}@x.example": count for who, count in taken.items()})
        found = judge("cell", delivery, Holdings(copies, Counter(), Counter()), excuses)
        return [(one.rcpt, one.problem.partition(":")[0], one.reason) for one in found]

    assert problems(**{"pass": 1}) == []
    assert problems() == [(first, "lost", None)]
    assert problems(**{"pass": 2}) == [(first, "duplicate", Reason.ANSWER_LOST)]
    assert problems(**{"pass": 3, "later": 1}) == [
        (first, "duplicate", Reason.ANSWER_LOST),
        (first, "unexplained duplicate", None),
        (second, "unexplained duplicate", None),
    ]
    delivery.answers = {first: "250 2.0.0 Ok"}
    assert problems(**{"pass": 1}) == [(second, "stuck", None)]
