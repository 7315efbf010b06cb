"""The tables of the policy database, and how they are made or brought up to date.

One transaction makes all steps that a database lacks, and one process at a time: SQLite locks the file, on PostgreSQL
we lock a number.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    insert,
    inspect,
    select,
    text,
    update,
)

from contentfilter.errors import PolicyError
from contentfilter.policy.steps import STEPS, Step, check_version

METADATA = MetaData()
STATE = Table(
    "policy_state",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("generation", BigInteger, nullable=False),
)
"""One row. generation: every transaction that changes something adds one."""
ENTRY = Table(
    "policy_entry",
    METADATA,
    Column("key", Text, primary_key=True),
    Column("settings", Text, nullable=False),
    Column("expires", Double),
    Column("updated_at", Double, nullable=False),
)
LIST = Table(
    "policy_list",
    METADATA,
    Column("owner", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("effect", String(16), nullable=False),
    Column("score", Double, nullable=False),
    Column("expires", Double),
    Column("updated_at", Double, nullable=False),
)

_LOCK = 0x636F6E74656E7466
"""The number that is locked on PostgreSQL, where others may lock numbers too."""


def version_of(connection: Connection) -> int:
    """Which version the tables have; 0: there are none."""
    if not inspect(connection).has_table(STATE.name):
        return 0
    return int(connection.execute(select(STATE.c.version)).scalar_one())


def check_encoding(connection: Connection) -> None:
    """Raises PolicyError for a PostgreSQL database that cannot hold every address (RFC 6531)."""
    if connection.dialect.name == "postgresql":
        encoding = connection.execute(text("SELECT current_setting('server_encoding')")).scalar_one()
        if encoding != "UTF8":
            raise PolicyError(f"the policy database has the encoding {encoding}: make one with ENCODING 'UTF8'")


def may_create(connection: Connection) -> bool:
    """Whether we may make tables in a PostgreSQL database: since version 15 not everybody may."""
    right = text("SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)")
    return bool(connection.execute(right).scalar_one())


def generation_of(connection: Connection) -> int:
    """The generation. Raises PolicyError for a database of a later program, which may have come to be that just now."""
    state = connection.execute(select(STATE.c.version, STATE.c.generation)).one()
    check_version(state.version)
    return int(state.generation)


def next_generation(connection: Connection) -> int:
    """Add one. From here on, until the end of the transaction, other writers wait."""
    changed = update(STATE).values(generation=STATE.c.generation + 1).returning(STATE.c.generation)
    return int(connection.execute(changed).scalar_one())


def migrate(connection: Connection, steps: Sequence[Step] = STEPS) -> None:
    """Make the steps that are missing, in the transaction of this connection, which has to be one that writes.

    Raises PolicyError for a database of a later program.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
    version = version_of(connection)
    check_version(version, steps)
    if version == len(steps):
        return
    for step in steps[version:]:
        for statement in step:
            connection.exec_driver_sql(statement)
    if version == 0:
        # Begun with the time, so that a database made anew does not repeat the generations of the old one.
        first = {"id": 1, "version": len(steps), "generation": int(time.time() * 1000)}
        connection.execute(insert(STATE), first)
    else:
        connection.execute(update(STATE).values(version=len(steps), generation=STATE.c.generation + 1))
