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
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import ConnectionPoolEntry

from contentfilter.errors import PolicyError
from contentfilter.policy.threads import POOL

_DRIVERS = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mariadb+pymysql"}
"""The drivers that we install, where the URL names none."""

_GRACE = 1.0
"""Seconds more for a server that is well to say by itself that it took too long."""
_LOOK_EVERY = 0.1
"""Seconds."""
_KINDS = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB"}


def engine_for(url: str, timeout: float, kinds: Collection[str] = tuple(_KINDS), *, pre_ping: bool = False) -> Engine:
    """An engine that has not connected yet. Raises PolicyError.

    timeout: seconds for each answer of the server; kinds: of databases that will do, by SQLAlchemy's names; pre_ping:
    whether a connection is tried before it is used again, for who cannot do things twice.
    """
    try:
        parsed = make_url(url)
        parsed = parsed.set(drivername=_DRIVERS.get(parsed.drivername, parsed.drivername))
        backend = parsed.drivername.partition("+")[0]
        if backend not in kinds:
            raise PolicyError(f"{backend} will not do: use {' or '.join(_KINDS[kind] for kind in kinds)}")
        options: dict[str, Any] = {"connect_args": _connect_args(backend, timeout), "pool_pre_ping": pre_ping}
        if backend != "sqlite" or sqlite_path(parsed):
            options |= {"pool_size": POOL, "max_overflow": 0, "pool_timeout": timeout}
        engine = create_engine(parsed, **options)
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        # Not shown: the URL may have a password in it.
        raise PolicyError(f"the URL of a policy database cannot be used: {type(error).__name__}") from error
    except ImportError as error:
        extra = backend.replace("mariadb", "mysql")
        raise PolicyError(
            f"{error}: the driver for {backend}:// comes with pip install 'contentfilter[{extra}]'"
        ) from error
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
    from psycopg import Connection, OperationalError  # noqa: PLC0415 - an extra

    watch = _Watch(timeout + _GRACE)

    class CutConnection(Connection[Any]):
        """A connection that is cut when the server keeps us waiting: its own statement_timeout needs it to be well."""

        def wait(self, *args: Any, **kwargs: Any) -> Any:
            wait = watch.begin(self.fileno())
            try:
                return super().wait(*args, **kwargs)
            except OperationalError as error:
                if wait.cut:
                    raise OperationalError(f"the server did not answer within {timeout:g} s") from error
                raise
            finally:
                watch.end(wait)

    def connect(_dialect: Any, _record: Any, args: Any, parameters: Any) -> Any:
        connection = CutConnection.connect(*args, **parameters)
        milliseconds = max(1, int(timeout * 1000))
        try:
            # Our own figures: nothing of this is anybody's input.
            for name in ("statement_timeout", "lock_timeout"):
                connection.execute(f"SET {name} = {milliseconds}")  # type: ignore[arg-type,unused-ignore]
            connection.commit()
        except BaseException:
            connection.close()
            raise
        return connection

    return connect


@dataclass(slots=True, eq=False)
class _Wait:
    """A thread that waits for a socket. until: monotonic seconds; cut: whether it was made to see its end."""

    descriptor: int
    until: float
    cut: bool = False


class _Watch:
    """Looks after threads that wait for a server, and cuts their connections after so many seconds.

    One thread does it for all, and ends when there has been nothing to look after for a while: a thread for each
    answer would take longer than the answer.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._guard = threading.Lock()
        self._waits: set[_Wait] = set()
        self._thread: threading.Thread | None = None

    def begin(self, descriptor: int) -> _Wait:
        """From now on the descriptor is waited for."""
        wait = _Wait(descriptor, time.monotonic() + self._seconds)
        with self._guard:
            self._waits.add(wait)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._look, name="database-watch", daemon=True)
                self._thread.start()
        return wait

    def end(self, wait: _Wait) -> None:
        """From now on the descriptor may be somebody else's."""
        with self._guard:
            self._waits.discard(wait)

    def _look(self) -> None:
        idle_since = time.monotonic()
        while True:
            time.sleep(_LOOK_EVERY)
            now = time.monotonic()
            with self._guard:
                if self._waits:
                    idle_since = now
                elif now - idle_since > self._seconds:
                    self._thread = None
                    return
                for wait in self._waits:
                    if wait.until < now and not wait.cut:
                        wait.cut = True
                        _shut_down(wait.descriptor)


def _shut_down(descriptor: int) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as own:
        own.shutdown(socket.SHUT_RDWR)
