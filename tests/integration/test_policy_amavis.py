"""An amavis database in a real PostgreSQL."""

from __future__ import annotations

import itertools
import time
from contextlib import closing

import pytest

from contentfilter.errors import PolicyError
from tests.amavis_contract import POLICY, USERS, AmavisContract, policy_of, source_of
from tests.amavis_tables import fill, statements
from tests.postgresql import PostgreSQL

_NUMBER = itertools.count()


@pytest.fixture
def url(postgresql: PostgreSQL) -> str:
    return postgresql.create_schema(f"amavis{next(_NUMBER)}")


@pytest.fixture
def dialect() -> str:
    return "postgresql"


class TestPostgresql(AmavisContract):
    """All of it."""

    @pytest.mark.parametrize("email", ["varchar(255)", "text", "char(100)"])
    async def test_addresses_as_text(self, url: str, dialect: str, email: str) -> None:
        """As they were before 2.6.0."""
        fill(url, statements(dialect, email=email), policy=POLICY, users=USERS)
        with closing(source_of(url)) as source:
            assert (await policy_of(source, "bob+strict@example.org")).kill_level == 4.5
            assert (await policy_of(source, "alice@example.org")).kill_level == 9.0


async def test_the_right_to_read_is_enough(dialect: str, postgresql: PostgreSQL) -> None:
    fill(postgresql.create("amavis_rights"), statements(dialect), policy=POLICY, users=USERS)
    with postgresql.connect("amavis_rights") as connection:
        connection.execute("CREATE ROLE amavis_reader LOGIN")
        connection.execute("GRANT SELECT ON users, policy, mailaddr, wblist TO amavis_reader")
    with closing(source_of(postgresql.url("amavis_rights", "amavis_reader"))) as source:
        assert (await policy_of(source, "alice@example.org")).kill_level == 9.0


async def test_a_server_in_trouble_is_an_error_until_it_is_well(own_postgresql: PostgreSQL) -> None:
    fill(own_postgresql.url(), statements("postgresql"), policy=POLICY, users=USERS)
    with closing(source_of(own_postgresql.url(), cache_seconds=0.0, timeout=1.0)) as source:
        assert (await policy_of(source, "alice@example.org")).kill_level == 9.0
        own_postgresql.freeze()
        began = time.monotonic()
        try:
            with pytest.raises(PolicyError, match="the amavis database did not answer within 1 s"):
                await policy_of(source, "alice@example.org")
        finally:
            own_postgresql.thaw()
        assert time.monotonic() - began < 8
        own_postgresql.kill()
        with pytest.raises(PolicyError, match="amavis database"):
            await policy_of(source, "alice@example.org")
    own_postgresql.start()
    with closing(source_of(own_postgresql.url(), cache_seconds=0.0)) as source:
        assert (await policy_of(source, "alice@example.org")).kill_level == 9.0
        own_postgresql.kill()
        own_postgresql.start()
        assert (await policy_of(source, "alice@example.org")).kill_level == 9.0
