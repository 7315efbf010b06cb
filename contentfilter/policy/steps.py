"""The steps that lead to the tables of the policy database from every earlier version.

A step is SQL that SQLite and PostgreSQL both take, and is never changed once it was released.
"""

from __future__ import annotations

from collections.abc import Sequence

from contentfilter.errors import PolicyError

Step = tuple[str, ...]

STEPS: tuple[Step, ...] = (
    (
        """CREATE TABLE policy_state (
            id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
            version INTEGER NOT NULL,
            generation BIGINT NOT NULL
        )""",
        """CREATE TABLE policy_entry (
            key TEXT NOT NULL PRIMARY KEY,
            settings TEXT NOT NULL,
            expires DOUBLE PRECISION,
            updated_at DOUBLE PRECISION NOT NULL
        )""",
        """CREATE TABLE policy_list (
            owner TEXT NOT NULL,
            subject TEXT NOT NULL,
            effect VARCHAR(16) NOT NULL,
            score DOUBLE PRECISION NOT NULL,
            expires DOUBLE PRECISION,
            updated_at DOUBLE PRECISION NOT NULL,
            PRIMARY KEY (owner, subject)
        )""",
    ),
)


def check_version(version: int, steps: Sequence[Step] = STEPS) -> None:
    """Raises PolicyError for a database of a later program."""
    if version > len(steps):
        raise PolicyError(
            f"the policy database has version {version}, and this program knows versions up to {len(steps)}: "
            "it was changed by a newer contentfilter, run that one here too"
        )
