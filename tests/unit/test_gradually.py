"""Much work on the event loop, and the others that wait there."""

from __future__ import annotations

import asyncio

import pytest

from contentfilter.gradually import AT_A_TIME, gradually


@pytest.mark.parametrize("count", [0, 1, AT_A_TIME, AT_A_TIME + 1, 3 * AT_A_TIME])
async def test_what_is_made_of_each_is_in_their_order(count: int) -> None:
    assert await gradually(lambda number: -number, range(count)) == [-number for number in range(count)]


async def test_others_get_their_turn_after_so_many() -> None:
    done: list[int] = []
    seen: list[int] = []

    async def look() -> None:
        while len(done) < 3 * AT_A_TIME:
            seen.append(len(done))
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    await gradually(done.append, range(3 * AT_A_TIME))
    await looking
    assert seen == [AT_A_TIME, 2 * AT_A_TIME]
