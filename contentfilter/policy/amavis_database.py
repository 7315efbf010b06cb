"""The four tables of an amavis database, as they are there: which columns an installation has differs by its age."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, LargeBinary, column, func, inspect, select, table
from sqlalchemy.exc import DBAPIError, NoSuchTableError, SQLAlchemyError

from contentfilter.errors import PolicyError
from contentfilter.policy.amavis_row import COLUMNS
from contentfilter.policy.engine import cause_of, engine_for, sqlite_path
from contentfilter.policy.rows import can_be_stored

_BATCH = 400
_NEEDED = {
    "users": ("id", "priority", "policy_id", "email"),
    "policy": ("id",),
    "mailaddr": ("id", "priority", "email"),
    "wblist": ("rid", "sid", "wb"),
}
_LISTS = ("mailaddr", "wblist")


@dataclass(frozen=True, slots=True)
class UserRow:
    """A row of users with its policy. values: what COLUMNS there are; where: the row for people."""

    id: Any
    email: str
    priority: int
    values: Mapping[str, Any]
    where: str


@dataclass(frozen=True, slots=True)
class ListRow:
    """A row of wblist with its sender. rid: the user's id; where: the row for people."""

    rid: Any
    email: str
    priority: int
    wb: Any
    where: str


@dataclass(frozen=True, slots=True)
class AmavisStatus:
    """How many rows there are. listed: of wblist, None if there is no such table."""

    users: int
    listed: int | None


@dataclass(frozen=True, slots=True)
class _Shape:
    """What there is. columns: of each table, by their names in lower case; binary: tables whose email is bytes."""

    columns: Mapping[str, Mapping[str, str]]
    binary: frozenset[str]
    has_lists: bool


class AmavisDatabase:
    """One database. Methods block, and raise PolicyError; so does a URL that cannot be used.

    url: SQLAlchemy's, SQLite, PostgreSQL or MySQL; timeout: seconds for each answer of the server.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        self._engine = engine_for(url, timeout)
        self._path = sqlite_path(self._engine.url)
        if self._engine.dialect.name == "sqlite" and self._path is None:
            raise PolicyError("SQLite must be given as sqlite:////path/to/a/file")
        self._guard = threading.Lock()
        self._shape: _Shape | None = None

    def users(self, keys: Collection[str] | None = None) -> list[UserRow]:
        """The users under these keys, or all of them."""
        with self._connected() as (connection, shape):
            users, policy = _table(shape, "users"), _table(shape, "policy")
            there = {name: policy if name in shape.columns["policy"] else users for name in COLUMNS}
            values = [
                source.c[shape.columns[source.name][name]].label(f"value_{name}")
                for name, source in there.items()
                if name in shape.columns[source.name]
            ]
            user, priority, policy_id, email = (users.c[name] for name in _names(shape, "users"))
            joined = users.outerjoin(policy, policy_id == policy.c[shape.columns["policy"]["id"]])
            named = (user.label("id"), email.label("email"), priority.label("priority"), policy_id.label("policy_id"))
            chosen = select(*named, *values).select_from(joined)
            if keys is None:
                return [_user(dict(row)) for row in connection.execute(chosen).mappings()]
            return [
                _user(dict(row))
                for batch in _batches(_as_stored(keys, binary="users" in shape.binary, both=self._path is not None))
                for row in connection.execute(chosen.where(email.in_(batch))).mappings()
            ]

    def lists(self, rids: Collection[Any], senders: Collection[str]) -> list[ListRow]:
        """What these users have about a sender with these keys."""
        with self._connected() as (connection, shape):
            if not shape.has_lists:
                return []
            mailaddr, wblist = _table(shape, "mailaddr"), _table(shape, "wblist")
            sender, priority, email = (mailaddr.c[name] for name in _names(shape, "mailaddr"))
            rid, sid, wb = (wblist.c[name] for name in _names(shape, "wblist"))
            named = (
                rid.label("rid"),
                sid.label("sid"),
                wb.label("wb"),
                email.label("email"),
                priority.label("priority"),
            )
            chosen = select(*named).select_from(wblist.join(mailaddr, sid == sender))
            keys = _as_stored(senders, binary="mailaddr" in shape.binary, both=self._path is not None)
            return [
                ListRow(
                    row["rid"],
                    _address(row["email"]),
                    row["priority"] or 0,
                    row["wb"],
                    f"wblist rid {row['rid']}, sid {row['sid']}",
                )
                for batch in _batches(list(rids))
                for row in connection.execute(chosen.where(rid.in_(batch), email.in_(keys))).mappings()
            ]

    def status(self) -> AmavisStatus:
        """How much there is, of tables that can be read."""
        with self._connected() as (connection, shape):
            names = ("users", "policy", *(_LISTS if shape.has_lists else ()))
            counts = {
                name: connection.execute(select(func.count()).select_from(_table(shape, name))).scalar_one()
                for name in names
            }
            return AmavisStatus(counts["users"], counts.get("wblist"))

    def close(self) -> None:
        """Let go of connections. Another use opens them anew."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[tuple[Connection, _Shape]]:
        """The edge to the database. After an error its columns are looked at anew: they may be others by then."""
        try:
            if self._path is not None:
                self._path.stat()  # else SQLite would make an empty one
            with self._connection() as connection:
                with self._guard:
                    if self._shape is None:
                        self._shape = _shape_of(connection)
                    shape = self._shape
                yield connection, shape
        except (SQLAlchemyError, OSError) as error:
            self._shape = None
            raise PolicyError(f"the amavis database does not work: {cause_of(error)}") from error

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Connection]:
        """A connection that works: after a restart of the server those of the pool do not."""
        connection = self._engine.connect()
        try:
            connection.execute(select(1))
        except DBAPIError as error:
            connection.close()
            if not error.connection_invalidated:
                raise
            connection = self._engine.connect()
        with connection:
            yield connection


def _shape_of(connection: Connection) -> _Shape:
    """Raises PolicyError if something is missing that amavis could not do without either."""
    look = inspect(connection)
    columns: dict[str, dict[str, str]] = {}
    binary = set()
    for name, needed in _NEEDED.items():
        try:
            found = look.get_columns(name)
        except NoSuchTableError:
            if name in _LISTS:
                continue
            raise PolicyError(f"the amavis database has no table {name}") from None
        columns[name] = {one["name"].lower(): one["name"] for one in found}
        for one in needed:
            if one not in columns[name]:
                raise PolicyError(f"the amavis database: table {name} has no column {one}")
        if any(one["name"].lower() == "email" and _is_binary(one["type"]) for one in found):
            binary.add(name)
    return _Shape(columns, frozenset(binary), all(name in columns for name in _LISTS))


def _is_binary(kind: Any) -> bool:
    return isinstance(kind, LargeBinary) or "BINARY" in type(kind).__name__.upper() or str(kind).upper() == "BYTEA"


def _table(shape: _Shape, name: str) -> Any:
    # Without types: values are taken as the driver gives them, and mapped by what they are.
    return table(name, *(column(one) for one in shape.columns[name].values()))


def _names(shape: _Shape, name: str) -> list[str]:
    return [shape.columns[name][needed] for needed in _NEEDED[name]]


def _user(row: Mapping[str, Any]) -> UserRow:
    values = {name: row[f"value_{name}"] for name in COLUMNS if f"value_{name}" in row}
    email = _address(row["email"])
    if "local" not in values and email != "@.":
        # A recipient with a row is local where there is no column to say otherwise, but not by a row for everybody.
        values["local"] = True
    where = f"users id {row['id']} with policy id {row['policy_id']}"
    return UserRow(row["id"], email, row["priority"] or 0, values, where)


def _address(value: object) -> str:
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
    return text.rstrip(" ")  # the padding of a char column


def _as_stored(keys: Collection[str], *, binary: bool, both: bool) -> list[str | bytes]:
    """Keys as the column has them. both: SQLite, whose columns hold either, and where either is not the other."""
    good = [key for key in keys if can_be_stored(key)]
    encoded = [key.encode() for key in good]
    if both:
        return [*good, *encoded]
    return [*encoded] if binary else [*good]


def _batches(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (values[start : start + _BATCH] for start in range(0, len(values), _BATCH))
