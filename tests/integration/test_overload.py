"""The daemon beside a crowd of idle and slow clients, and with more mail than it takes at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from demo.neighbours.filter import Filter
from demo.neighbours.postfix import Postfix, Transport
from demo.neighbours.spamd import Spamd
from tests.crowd import crowd
from tests.door import PATIENCE, Client
from tests.fakes.next_hop import FakeNextHop, Hold
from tests.house import BOB, built, text

NO_SCANNERS: Mapping[str, Any] = {"clamav": {"enabled": False}, "spamassassin": {"enabled": False}}
LETTER = b"From: alice@example.net\r\nSubject: %d\r\n\r\nHello.\r\n"


@pytest.fixture
async def hop() -> AsyncIterator[FakeNextHop]:
    async with FakeNextHop() as running:
        yield running


def service(hop: FakeNextHop, directory: Path, **settings: Any) -> Filter:
    return Filter(directory, next_hop_port=int(hop.address.rpartition(":")[2]), settings={**NO_SCANNERS, **settings})


async def envelope(port: int) -> Client:
    """Up to the reply to DATA, which is read by the caller."""
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    assert (await client.reply()).startswith("220 ")
    await client.say("LHLO x")
    return client


async def send(port: int, number: int) -> str:
    """What becomes of one message: the first reply that is not positive, or that to the message."""
    async with await envelope(port) as client:
        for line in ("MAIL FROM:<alice@example.net>", "RCPT TO:<bob@example.org>", "DATA"):
            (answer,) = await client.say(line)
            if answer[0] not in "23":
                return answer
        await client.send(LETTER % number + b".\r\n")
        return await client.reply()


def subjects(hop: FakeNextHop) -> Counter[str]:
    """How often the next hop has each message."""
    return Counter(
        line.removeprefix(b"Subject: ").decode()
        for one in hop.delivered
        for line in one.content.split(b"\r\n")
        if line.startswith(b"Subject: ")
    )


async def test_mail_goes_through_beside_200_idle_and_50_slow_clients(hop: FakeNextHop, tmp_path: Path) -> None:
    filter_ = service(hop, tmp_path / "filter", workers=1)
    await asyncio.to_thread(filter_.start)
    try:
        async with crowd(filter_.port, idle=200, slow=50) as them:
            answers = await asyncio.gather(*(send(filter_.port, number) for number in range(30)))
            assert {answer[:3] for answer in answers} == {"250"}
            assert subjects(hop) == Counter(str(number) for number in range(30))
            # And they are still served themselves.
            assert {answer[:3] for answer in await them.finish()} == {"250"}
            for client in them.idle:
                assert (await client.say("NOOP"))[0].startswith("250 ")
    finally:
        await asyncio.to_thread(filter_.stop)
    assert subjects(hop) == Counter([*map(str, range(30)), *["slow"] * 50])


async def test_what_is_too_much_comes_again_and_arrives_once(hop: FakeNextHop, tmp_path: Path) -> None:
    hold = Hold("250 2.0.0 Ok: queued as HELD")
    hop.script["dot"] = [hold]
    limits = {"messages_in_work": 1, "mail_wait": 0.05, "slot_wait": 0.05}
    filter_ = service(hop, tmp_path / "filter", workers=1, limits=limits)
    await asyncio.to_thread(filter_.start)
    try:
        first = asyncio.create_task(send(filter_.port, 0))
        await asyncio.wait_for(hold.reached.wait(), PATIENCE)
        assert {await send(filter_.port, number) for number in range(1, 10)} == {
            "451 4.3.2 The content filter is busy, try again later"
        }
        hold.go.set()
        assert (await first).startswith("250 ")
        left = set(range(1, 10))
        async with asyncio.timeout(PATIENCE):
            while left:
                tried = sorted(left)
                answers = await asyncio.gather(*(send(filter_.port, number) for number in tried))
                assert {answer[:3] for answer in answers} <= {"250", "451"}
                left -= {number for number, answer in zip(tried, answers, strict=True) if answer[:3] == "250"}
    finally:
        await asyncio.to_thread(filter_.stop)
    assert subjects(hop) == Counter(map(str, range(10)))
    assert sum("full, new mail has to wait: 1 messages" in line for line in filter_.log_lines()) == 1


@pytest.mark.parametrize("transport", list(Transport), ids=lambda transport: transport.value)
def test_postfix_comes_again_and_each_message_arrives_once(
    start_postfix: Callable[..., Postfix], spamd: Spamd, open_directory: Path, transport: Transport
) -> None:
    limits = {"messages_in_work": 1, "mail_wait": 0.01, "slot_wait": 0.01}
    settings = {"workers": 1, "limits": limits, "clamav": {"enabled": False}}
    settings["spamassassin"] = {"address": spamd.address}  # somebody has to take his time
    house = built(start_postfix, "", spamd.address, open_directory, transport, settings)
    with house as it:
        for number in range(6):
            it.send(text(f"number {number}"), BOB)
        arrived = it.postfix.wait_for_mail(BOB, 6)
        assert sorted(mail.header["Subject"] for mail in arrived) == sorted(f"number {number}" for number in range(6))
        assert it.postfix.wait_for_log(r"status=deferred .*451 4\.3\.2 The content filter is busy")
