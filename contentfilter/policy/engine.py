"""Connections to databases that answer in time or not at all.

A server that is up may still be silent: behind a firewall that drops, stopped, or out of memory. So every wait for one
ends after the time that it has: on PostgreSQL by cutting the connection, on MySQL by the driver, on SQLite by giving
up on a lock.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import sqlite3
import threading
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import ConnectionPoolEntry

from contentfilter.errors import PolicyError

_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}
"""The drivers that we install, where the URL names none."""

POOL = 4
"""Connections that a process keeps at most."""


def engine_for(url: str, timeout: float) -> Engine:
    """An engine that has not connected yet. timeout: seconds for each answer of the server. Raises PolicyError."""
    try:
        parsed = make_url(url)
        parsed = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
        backend = parsed.get_backend_name()
        options: dict[str, Any] = {"connect_args": _connect_args(backend, timeout), "pool_timeout": timeout}
        if backend != "sqlite" or parsed.database:
            options |= {"pool_size": POOL, "max_overflow": 0}
        engine = create_engine(parsed, **options)
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        # Not shown: the URL may have a password in it.
        raise PolicyError(f"the URL of a policy database cannot be used: {type(error).__name__}") from error
    except ImportError as error:
        raise PolicyError(f"{error}: install contentfilter[{backend}] for its driver") from error
    if backend == "sqlite":
        event.listen(engine, "connect", _begin_ourselves)
        event.listen(engine, "begin", _begin)
    elif engine.dialect.driver == "psycopg":
        event.listen(engine, "do_connect", _cutter(timeout))
    return engine


def sqlite_path(url: URL) -> Path | None:
    """The file of a SQLite database; None for one in memory and for every other kind."""
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return Path(url.database or "")


def cause_of(error: Exception) -> str:
    """What the driver said, in one line, without the statement and its parameters."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return " ".join(str(cause).split()) or type(cause).__name__


def _connect_args(backend: str, timeout: float) -> dict[str, Any]:
    whole = math.ceil(timeout)
    if backend == "sqlite":
        return {"timeout": timeout}
    if backend == "postgresql":
        # No statements prepared on the server: a pooler such as pgbouncer gives us another connection each time.
        return {"connect_timeout": whole, "prepare_threshold": None}
    return {"connect_timeout": whole, "read_timeout": whole, "write_timeout": whole}


def _begin_ourselves(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    """The driver begins transactions only before it writes; we read several tables in one as well."""
    connection.isolation_level = None


def _begin(connection: Any) -> None:
    writes = connection.get_execution_options().get("writes", False)
    # A transaction that reads first and then writes cannot wait for another writer: SQLite refuses it at once.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _cutter(timeout: float) -> Any:
    from psycopg import Connection  # noqa: PLC0415 - an extra

    class CutConnection(Connection[Any]):
        """A connection that is cut when the server keeps us waiting: its own statement_timeout needs it to be well."""

        def wait(self, *args: Any, **kwargs: Any) -> Any:
            timer = threading.Timer(timeout, _cut, [self.fileno()])
            timer.daemon = True
            timer.start()
            try:
                return super().wait(*args, **kwargs)
            finally:
                timer.cancel()

    def connect(_dialect: Any, _record: Any, args: Any, parameters: Any) -> Any:
        connection = CutConnection.connect(*args, **parameters)
        milliseconds = max(1, int(timeout * 1000))
        with connection.cursor() as cursor:
            # Our own figures: nothing of this is anybody's input.
            cursor.execute(f"SET statement_timeout = {milliseconds}")  # type: ignore[arg-type,unused-ignore]
            cursor.execute(f"SET lock_timeout = {milliseconds}")  # type: ignore[arg-type,unused-ignore]
        connection.commit()
        return connection

    return connect


def _cut(descriptor: int) -> None:
    """Make the other thread, which waits for this socket, see its end."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as own:
        own.shutdown(socket.SHUT_RDWR)
