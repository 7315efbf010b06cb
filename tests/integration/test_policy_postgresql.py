"""The policy database in a real PostgreSQL, and in one that is in trouble."""

from __future__ import annotations

import asyncio
import itertools
import math
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy import insert

from contentfilter import config
from contentfilter.diagnosis import Diagnosis, State
from contentfilter.errors import PolicyError
from contentfilter.policy.change import PutEntry
from contentfilter.policy.database import PolicyDatabase
from contentfilter.policy.entry import Entry
from contentfilter.policy.schema import ENTRY, LIST
from contentfilter.policy.sql import SqlSource
from contentfilter.policy_doctor import policy_database
from tests.database_contract import BOB, SETTINGS, DatabaseContract, listed
from tests.postgresql import PostgreSQL

_NUMBER = itertools.count()
_WITHIN = 1.0
"""Seconds that a database gets in these tests."""
_AT_MOST = 8.0
"""Seconds after which a test that ought to take _WITHIN has waited for something that it should not wait for."""


@pytest.fixture
def url(postgresql: PostgreSQL) -> str:
    return postgresql.create_schema(f"policy{next(_NUMBER)}")


class TestPostgresql(DatabaseContract):
    """All of it, and what SQLite cannot even store."""

    def test_no_number_is_no_number(self, url: str, database: PolicyDatabase) -> None:
        row = {"owner": BOB, "subject": "@news.example", "effect": "score", "score": math.nan, "updated_at": 0.0}
        self.raw(url, insert(LIST).values(row))
        with pytest.raises(PolicyError, match="must be a finite number"):
            database.listed()
        self.raw(url, insert(ENTRY).values(key=BOB, settings="{}", expires=math.nan, updated_at=0.0))
        with pytest.raises(PolicyError, match="expires: must be seconds"):
            database.entries()


async def test_the_doctor_counts_and_makes_no_tables(url: str, postgresql: PostgreSQL) -> None:
    settings = config.parse(f'[policies]\ndatabase = "{url}"', "f")

    async def asked() -> Diagnosis:
        return await policy_database(settings, PolicyDatabase(url, timeout=5))

    for _ in range(2):
        got = await asked()
        assert (got.state, got.found) == (State.WELL, "answers; tables of version 1 are made when it is first used")
    with closing(PolicyDatabase(url, timeout=5)) as writer:
        writer.apply([PutEntry(BOB, SETTINGS)])
    got = await asked()
    assert (got.state, got.found) == (State.WELL, "tables of version 1, entries: 1, list entries: 0")
    assert got.about == "policy database at postgresql://postgres@/postgres"


async def test_the_doctor_sees_that_nobody_here_may_make_tables(postgresql: PostgreSQL) -> None:
    postgresql.create("closed")
    with postgresql.connect("closed") as connection:
        connection.execute("CREATE ROLE policy_guest LOGIN")
    url = postgresql.url("closed", "policy_guest")
    settings = config.parse(f'[policies]\ndatabase = "{url}"', "f")
    got = await policy_database(settings, PolicyDatabase(url, timeout=5))
    assert (got.state, got.found) == (State.ILL, "has no tables, and this user may not make them")
    assert "GRANT CREATE" in got.advice
    with closing(PolicyDatabase(url, timeout=5)) as guest, pytest.raises(PolicyError, match="permission denied"):
        guest.entries()
    with postgresql.connect("closed") as connection:
        connection.execute("GRANT CREATE ON SCHEMA public TO policy_guest")
    got = await policy_database(settings, PolicyDatabase(url, timeout=5))
    assert got.state is State.WELL


def test_a_reader_may_have_no_other_rights(postgresql: PostgreSQL) -> None:
    url = postgresql.create("rights")
    with postgresql.connect("rights") as connection:
        connection.execute("CREATE ROLE policy_reader LOGIN")
        reader = PolicyDatabase(postgresql.url("rights", "policy_reader"), timeout=5)
        with pytest.raises(PolicyError, match=r"version 0 .*permission denied.*as somebody who may create tables"):
            reader.entries()
        writer = PolicyDatabase(url, timeout=5)
        writer.apply([PutEntry(BOB, SETTINGS)])
        with pytest.raises(PolicyError, match="permission denied"):
            reader.entries()
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO policy_reader")
    assert reader.entries() == {BOB: Entry("sql", BOB, SETTINGS)}
    with pytest.raises(PolicyError, match="permission denied"):
        reader.apply([PutEntry(BOB, ())])
    reader.close()
    writer.close()


def test_a_database_that_does_not_exist_is_an_error(postgresql: PostgreSQL) -> None:
    database = PolicyDatabase(postgresql.url("nowhere"), timeout=5)
    with pytest.raises(PolicyError, match="nowhere"):
        database.entries()
    database.close()


def test_a_database_that_cannot_hold_every_address_is_refused(postgresql: PostgreSQL) -> None:
    database = PolicyDatabase(postgresql.create("latin", "LATIN1"), timeout=5)
    with pytest.raises(PolicyError, match="has the encoding LATIN1"):
        database.apply([])
    database.close()


def test_a_restart_costs_nothing(own_postgresql: PostgreSQL) -> None:
    database = PolicyDatabase(own_postgresql.url(), timeout=10)
    database.apply([PutEntry(BOB, SETTINGS)])
    own_postgresql.kill()
    with pytest.raises(PolicyError):
        database.entries()
    own_postgresql.start()
    assert set(database.entries()) == {BOB}
    own_postgresql.kill()
    own_postgresql.start()
    assert set(database.snapshot([BOB]).entries) == {BOB}
    database.close()


async def test_one_that_dies_is_an_error_until_it_is_back(own_postgresql: PostgreSQL) -> None:
    database = PolicyDatabase(own_postgresql.url(), timeout=_WITHIN)
    with closing(SqlSource(database, timeout=10, clock=itertools.count(step=2).__next__)) as source:
        assert not (await source.find([[BOB]], []))[0].entries
        own_postgresql.kill()
        with pytest.raises(PolicyError):
            await source.find([[BOB]], [])
        own_postgresql.start()
        with closing(PolicyDatabase(own_postgresql.url(), timeout=10)) as writer:
            writer.apply([PutEntry(BOB, SETTINGS)])
        assert (await source.find([[BOB]], []))[0].entries == (Entry("sql", BOB, SETTINGS),)


async def test_one_that_falls_silent_is_an_error_in_time(own_postgresql: PostgreSQL) -> None:
    """Its own statement_timeout does not help: the process that would look at the clock is stopped."""
    database = PolicyDatabase(own_postgresql.url(), timeout=_WITHIN)
    with closing(SqlSource(database, timeout=_WITHIN, clock=itertools.count(step=2).__next__)) as source:
        await source.find([[BOB]], [])
        own_postgresql.freeze()
        try:
            began = time.monotonic()
            with pytest.raises(PolicyError, match="did not answer within 1 s"):
                await source.find([[BOB]], [])
            # A thread that called by itself comes back as well.
            with pytest.raises(PolicyError):
                await asyncio.to_thread(database.entries)
            assert time.monotonic() - began < _AT_MOST
        finally:
            own_postgresql.thaw()
        patient = SqlSource(PolicyDatabase(own_postgresql.url(), timeout=20), timeout=20)
        assert await patient.find([[BOB]], [])
        patient.close()


def test_a_row_that_somebody_holds_is_an_error_in_time(url: str, postgresql: PostgreSQL) -> None:
    database = PolicyDatabase(url, timeout=_WITHIN)
    database.apply([PutEntry(BOB, SETTINGS)])
    schema = url.rpartition("search_path%3D")[2].partition("&")[0]
    with postgresql.connect() as holder, holder.transaction():
        holder.execute(f"UPDATE {schema}.policy_state SET generation = generation")  # type: ignore[arg-type]
        with pytest.raises(PolicyError, match="timeout"):
            database.apply([PutEntry(BOB, ())])
        assert set(database.entries()) == {BOB}
    database.close()


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"postgresql://bob:secret@127.0.0.1:{listener.getsockname()[1]}/policy"


async def test_a_server_that_says_nothing_is_an_error_in_time(silent: str) -> None:
    database = PolicyDatabase(silent, timeout=_WITHIN)
    with closing(SqlSource(database, timeout=_WITHIN)) as source:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1

        ticking = asyncio.create_task(tick())
        began = time.monotonic()
        with pytest.raises(PolicyError, match="did not answer within 1 s"):
            await source.find([[BOB]], [])
        assert ticks > 10  # the event loop went on meanwhile
        ticking.cancel()
        with pytest.raises(PolicyError) as caught:
            await asyncio.to_thread(database.entries)
        assert "secret" not in str(caught.value)
        assert time.monotonic() - began < _AT_MOST


def test_a_long_import(url: str) -> None:
    """Is one transaction."""
    database = PolicyDatabase(url, timeout=60)
    many = [PutEntry(f"u{number}@example.org", SETTINGS) for number in range(20_000)]
    before = database.apply([])
    assert database.apply(many) == before + 1
    assert len(database.entries()) == len(many)
    assert listed() not in database.listed()
    database.close()
