"""A message that kills a worker each time goes to quarantine, and draws nobody with it who was there by chance."""

from __future__ import annotations

import asyncio

from contentfilter.config import load
from quarantine.index import Query
from quarantine.store import Quarantine
from tests.faults.cells import MIX
from tests.faults.mail import mail_for
from tests.faults.scanners import Pause
from tests.faults.sender import Delivery
from tests.faults.service import PATIENCE, Service, kill, service, until


async def held_at_clamd(place: Service, delivery: Delivery) -> asyncio.Task[None]:
    """The attempt, which has come as far as clamd and waits there."""
    pause = Pause(asyncio.Event(), asyncio.Event())
    place.clamd.script.append(pause)
    running = asyncio.create_task(place.attempt(delivery, delivery.attempt()))
    await asyncio.wait_for(pause.reached.wait(), PATIENCE)
    return running


async def test_what_kills_three_workers_is_set_apart_and_the_innocent_are_served() -> None:
    async with service() as place:
        poison = Delivery(mail_for(MIX["one"]), lmtp=True)
        bystanders = []
        for _ in range(3):
            bystander = Delivery(mail_for(MIX["one"]), lmtp=True)
            bystanders.append(bystander)
            attempts = [await held_at_clamd(place, poison), await held_at_clamd(place, bystander)]
            worker = place.worker()
            await kill(worker)
            await asyncio.wait_for(asyncio.gather(*attempts), PATIENCE)
            await until(lambda gone=worker: place.worker() not in (0, gone))
            await place.retry(bystander)
        await place.retry(poison)
        assert not poison.open
        assert not place.holdings(poison.mail).taken
        for bystander in bystanders:
            assert set(place.taken(bystander.mail).values()) == {1}
        config = load(place.filter.configuration)
        quarantine = Quarantine(config.quarantine.directory, config.quarantine.database)
        try:
            (item,) = quarantine.find(Query())
            record = quarantine.read(item.id)
        finally:
            quarantine.close()
        assert record.findings[0].inspector == "poison"
        assert "worker ended: SIGKILL" in record.findings[0].name
        assert any("set apart as poison after 3 failures" in line for line in place.filter.log_lines())
