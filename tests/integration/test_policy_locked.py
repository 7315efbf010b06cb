"""Another program holds the policy database for longer than anybody waits: mail waits, and goes on when it is free."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from contentfilter.policy.change import PutEntry
from contentfilter.policy.database import PolicyDatabase
from demo.neighbours.filter import Filter
from tests.door import PATIENCE, Client
from tests.fakes.next_hop import FakeNextHop

BOB = "bob@example.org"


@pytest.fixture(params=["delete", "wal"])
async def running(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Filter, FakeNextHop]]:
    async with FakeNextHop() as hop:
        settings = {
            "workers": 1,
            "clamav": {"enabled": False},
            "spamassassin": {"enabled": False},
            "policies": {"timeout": 0.5},
        }
        service = Filter(tmp_path / "filter", next_hop_port=int(hop.address.rpartition(":")[2]), settings=settings)
        state = tmp_path / "filter" / "state"
        state.mkdir(parents=True)
        with closing(PolicyDatabase(f"sqlite:///{state}/policy.sqlite", timeout=5)) as database:
            database.apply([PutEntry(BOB, (("kill_level", 4.0),), None)])
        if request.param == "delete":
            with closing(sqlite3.connect(state / "policy.sqlite")) as connection:
                assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
        await asyncio.to_thread(service.start)
        yield service, hop
        await asyncio.to_thread(service.stop)


async def sent(service: Filter, recipient: str) -> str:
    async with asyncio.timeout(PATIENCE):
        async with Client(*await asyncio.open_connection("127.0.0.1", service.port)) as client:
            await client.reply()
            answers = await client.say("LHLO mx", "MAIL FROM:<a@y.example>", f"RCPT TO:<{recipient}>", "DATA")
            assert [one[0] for one in answers] == ["2", "2", "2", "3"]
            await client.send(b"Subject: x\r\n\r\nhello\r\n.\r\n")
            return await client.reply()


def write_and_wait(service: Filter) -> sqlite3.Connection:
    """Somebody in the middle of a change."""
    other = sqlite3.connect(service.directory / "state" / "policy.sqlite", isolation_level=None)
    for statement in ("BEGIN EXCLUSIVE", "DELETE FROM policy_entry", "UPDATE policy_state SET generation = 99"):
        other.execute(statement).close()
    return other


@pytest.mark.parametrize("running", ["delete"], indirect=True)
async def test_mail_waits_with_a_clear_line_and_goes_on(running: tuple[Filter, FakeNextHop]) -> None:
    """With a rollback journal, as a backup may have brought it, who writes shuts readers out."""
    service, hop = running
    assert (await sent(service, BOB)).startswith("250 ")
    with closing(write_and_wait(service)) as other:
        for number in range(2):
            assert (await sent(service, f"new{number}@example.org")).startswith("451 4.3.5 ")
        other.execute("ROLLBACK").close()
    lines = [one for one in service.log_lines() if "Deferred, " in one]
    assert len(lines) == 2
    for number, line in enumerate(lines):
        assert f"<a@y.example> -> <new{number}@example.org>" in line
        assert "policy database" in line
        assert "locked" in line or "did not answer within 0.5 s" in line
    assert "unforeseen" not in service.log.read_text()
    assert (await sent(service, "new0@example.org")).startswith("250 ")
    assert len(hop.delivered) == 2


@pytest.mark.parametrize("running", ["wal"], indirect=True)
async def test_with_the_log_that_we_use_who_writes_holds_up_no_mail(running: tuple[Filter, FakeNextHop]) -> None:
    service, hop = running
    with closing(write_and_wait(service)) as other:
        assert (await sent(service, BOB)).startswith("250 ")
        other.execute("ROLLBACK").close()
    assert len(hop.delivered) == 1
