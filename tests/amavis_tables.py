"""amavis's lookup tables, made as its README.sql-pg and README.sql-mysql describe them, for whichever database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import create_engine, text

from contentfilter.policy.engine import engine_for

YES_NO = (
    *("virus_lover", "spam_lover", "unchecked_lover", "banned_files_lover", "bad_header_lover"),
    *("bypass_virus_checks", "bypass_spam_checks", "bypass_banned_checks", "bypass_header_checks"),
    *("warnvirusrecip", "warnbannedrecip", "warnbadhrecip"),
)
LEVELS = (
    *("spam_tag_level", "spam_tag2_level", "spam_tag3_level", "spam_kill_level"),
    *("spam_dsn_cutoff_level", "spam_quarantine_cutoff_level"),
)
WORDS = (
    *(f"{word}_quarantine_to" for word in ("virus", "spam", "banned", "unchecked", "bad_header", "clean", "archive")),
    *(f"addr_extension_{word}" for word in ("virus", "spam", "banned", "bad_header")),
    *("newvirus_admin", "virus_admin", "banned_admin", "bad_header_admin", "spam_admin"),
    *("spam_subject_tag", "spam_subject_tag2", "spam_subject_tag3"),
    *("banned_rulenames", "disclaimer_options", "forward_method", "sa_userconf", "sa_username"),
)
NEW_WITH_2_7 = frozenset(
    {
        *("unchecked_lover", "spam_tag3_level", "spam_subject_tag3", "disclaimer_options"),
        *("forward_method", "sa_userconf", "sa_username"),
    }
)
"""What an older installation has not."""

_TYPES: Mapping[str, Mapping[str, str]] = {
    "sqlite": {"id": "INTEGER PRIMARY KEY", "level": "real", "email": "varchar(255)"},
    "postgresql": {"id": "serial PRIMARY KEY", "level": "real", "email": "bytea"},
    "mysql": {
        "id": "int unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY",
        "level": "float",
        "email": "varbinary(255)",
    },
}

Rows = Iterable[Mapping[str, Any]]


def statements(
    dialect: str, *, email: str = "", old: bool = False, local: bool = False, lists: bool = True
) -> Sequence[str]:
    """What makes the tables. email: another type than the documented one; old: as before 2.7; local: users.local."""
    types = dict(_TYPES[dialect])
    types["email"] = email or types["email"]
    policy = [
        f"id {types['id']}",
        "policy_name varchar(32)",
        *(f"{name} char(1) default NULL" for name in YES_NO if not old or name not in NEW_WITH_2_7),
        *(f"{name} {types['level']} default NULL" for name in LEVELS if not old or name not in NEW_WITH_2_7),
        *(f"{name} varchar(64) default NULL" for name in WORDS if not old or name not in NEW_WITH_2_7),
        "message_size_limit integer default NULL",
    ]
    users = [
        f"id {types['id']}",
        "priority integer NOT NULL DEFAULT 7",
        "policy_id integer NOT NULL DEFAULT 1",
        f"email {types['email']} NOT NULL UNIQUE",
        "fullname varchar(255) DEFAULT NULL",
        *(["local char(1)"] if local else []),
    ]
    mailaddr = [f"id {types['id']}", "priority integer NOT NULL DEFAULT 7", f"email {types['email']} NOT NULL UNIQUE"]
    wblist = ["rid integer NOT NULL", "sid integer NOT NULL", "wb varchar(10)", "PRIMARY KEY (rid, sid)"]
    tables = {"policy": policy, "users": users} | ({"mailaddr": mailaddr, "wblist": wblist} if lists else {})
    return [f"CREATE TABLE {name} ({', '.join(columns)})" for name, columns in tables.items()]


def fill(url: str, make: Sequence[str], **rows: Rows) -> None:
    """Make the tables and put rows into them, addresses as the column has them."""
    engine = create_engine(engine_for(url, 10).url)
    with engine.begin() as connection:
        for statement in make:
            connection.execute(text(statement))
        binary = any("email bytea" in one or "email varbinary" in one for one in make)
        for name, some in rows.items():
            for row in some:
                values = {key: value.encode() if key == "email" and binary else value for key, value in row.items()}
                columns, places = ", ".join(values), ", ".join(f":{key}" for key in values)
                connection.execute(text(f"INSERT INTO {name} ({columns}) VALUES ({places})"), values)
    engine.dispose()
