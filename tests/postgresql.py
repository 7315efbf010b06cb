"""A private PostgreSQL, with a cluster of its own on a Unix socket. Its data is not kept: it syncs nothing."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
from pathlib import Path
from types import TracebackType

import psycopg
from sqlalchemy import URL

from demo.neighbours.daemon import Daemon, MissingProgramError

_START_WITHIN = 60.0
_PORT = 5432


class PostgreSQL:
    """A cluster below a directory that other users may look into. Root starts it as the user postgres, who has to be.

    Started and answering once the context is entered. Raises MissingProgramError, StartError.
    """

    def __init__(self, directory: Path) -> None:
        self._programs = _programs()
        self._home = directory
        self._daemon: Daemon | None = None

    def url(self, database: str = "postgres", user: str = "postgres", **query: str) -> str:
        """As [policies] has it."""
        return URL.create(
            "postgresql",
            username=user,
            database=database,
            query={"host": str(self._home), "port": str(_PORT), **query},
        ).render_as_string()

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """A connection of the superuser's, that commits each statement."""
        return psycopg.connect(host=str(self._home), port=_PORT, user="postgres", dbname=database, autocommit=True)

    def create(self, database: str, encoding: str = "UTF8") -> str:
        """Make an empty database; its URL."""
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {database} ENCODING '{encoding}' TEMPLATE template0")  # type: ignore[arg-type]
        return self.url(database)

    def create_schema(self, name: str) -> str:
        """Make a place without tables in the database that there is, which is quicker; its URL."""
        with self.connect() as connection:
            connection.execute(f"CREATE SCHEMA {name}")  # type: ignore[arg-type]
        return self.url(options=f"-csearch_path={name}")

    def start(self) -> None:
        """Start, also after a kill, and wait until it answers."""
        command = [
            *_as_postgres(),
            str(self._programs / "postgres"),
            *("-D", str(self._home / "data")),
            *("-k", str(self._home), "-c", "listen_addresses=", "-c", f"port={_PORT}"),
            *("-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=40"),
        ]
        self._daemon = Daemon(command, self._home / "postgresql.log")
        self._daemon.wait_until(self._answers, _START_WITHIN)

    def kill(self) -> None:
        """The power goes."""
        if self._daemon is not None:
            children = self._children()
            self._daemon.stop()
            for pid in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        (self._home / "data" / "postmaster.pid").unlink(missing_ok=True)
        for left in self._home.glob(f".s.PGSQL.{_PORT}*"):
            left.unlink()

    def freeze(self) -> None:
        """Say nothing any more, as a host does that is out of memory; connections stay."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._daemon is not None
        for pid in (self._daemon.pid, *self._children()):
            os.kill(pid, number)

    def _children(self) -> list[int]:
        """They are in sessions of their own."""
        assert self._daemon is not None
        pid = self._daemon.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def _answers(self) -> bool:
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def __enter__(self) -> PostgreSQL:
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self._home, account.pw_uid, account.pw_gid)
        subprocess.run(
            [
                *_as_postgres(),
                str(self._programs / "initdb"),
                *("--pgdata", str(self._home / "data"), "--username", "postgres", "--auth", "trust"),
                *("--encoding", "UTF8", "--locale", "C", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            cwd=self._home,
        )
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def _programs() -> Path:
    """Where Debian has the programs of its newest PostgreSQL. Raises MissingProgramError."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    if not found:
        raise MissingProgramError("PostgreSQL is not installed; on Debian: apt-get install postgresql")
    return found[-1].parent


def _as_postgres() -> list[str]:
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
