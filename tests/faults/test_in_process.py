"""Faults of the next hop, of the sender and of the scanners, in every combination that the tables make."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.faults.accounting import Finding, Tally
from tests.faults.cells import MAKERS, MIXES, Cell
from tests.faults.mail import Mix
from tests.faults.sender import Delivery
from tests.faults.world import World, run, world

AT_ONCE = 8
"""Cells that run at the same time: most of a cell is waiting."""


@pytest.fixture(autouse=True)
def quiet() -> None:
    """A fault is a line in the log, and there are thousands."""
    logging.getLogger("contentfilter").setLevel(logging.CRITICAL)


async def run_all(cells: list[Cell]) -> list[tuple[Cell, list[Delivery], list[Finding]]]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(cell: Cell) -> tuple[Cell, list[Delivery], list[Finding]]:
        async with gate:
            try:
                async with asyncio.timeout(60):
                    import time; t=time.time()
                    r= (cell, *await run(cell))
                    print(f"{time.time()-t:.2f} {cell.name}")
                    return r
            except Exception as error:
                raise AssertionError(f"the cell could not be run: {cell.name}") from error

    return await asyncio.gather(*(one(cell) for cell in cells))


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: mix.name)
@pytest.mark.parametrize("lmtp", [True, False], ids=["LMTP", "SMTP"])
@pytest.mark.parametrize("dimension", MAKERS)
async def test_everybody_has_it_exactly_once(dimension: str, lmtp: bool, mix: Mix, tally: Tally) -> None:
    wrong = []
    for cell, deliveries, findings in await run_all(list(MAKERS[dimension](lmtp, mix))):
        tally.add(cell.dimension, deliveries, findings)
        wrong += [str(one) for one in findings if one.reason is None]
    assert not wrong, "\n".join(wrong)
