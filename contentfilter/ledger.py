"""The ledger: who already has a message that will come again, and how often a message did us harm.

STATE_DIRECTORY/ledger.sqlite. It is written only when it is needed: before a 4xx that brings back recipients who are
served, when a client may not have heard how its message fared, and when a message broke us. It is read for each
message, which costs microseconds while there is nothing in it.

Its loss would mean that some get a message twice, never that mail is lost. So no fault of it stops mail: a file that is
damaged is set aside and made anew, and what cannot be read counts as empty, with a line in the log.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contentfilter.errors import LedgerError
from contentfilter.identity import Identity
from contentfilter.reply import Reply
from quarantine.durable import create_file

FILE = "ledger.sqlite"
"""Its name below the state directory."""

DAY = 86_400.0

_WAIT = 10.0
"""Seconds to wait for another process that writes."""
_READ_WAIT = 0.1
"""Seconds that a reader may be held up; a writer hardly ever does that in SQLite's write-ahead mode."""
_EXPIRY_SECONDS = 3600.0
_COMPLAINT_SECONDS = 60.0
_ATTEMPTS = 2

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settled (
    identity BLOB NOT NULL, address BLOB NOT NULL, is_addition INTEGER NOT NULL,
    code INTEGER NOT NULL, enhanced TEXT NOT NULL, text TEXT NOT NULL,
    mail_from BLOB NOT NULL, ident BLOB NOT NULL, time REAL NOT NULL,
    PRIMARY KEY (identity, address, is_addition)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS strike (
    identity BLOB PRIMARY KEY, count INTEGER NOT NULL, why TEXT NOT NULL, time REAL NOT NULL
) WITHOUT ROWID;
"""

_log = logging.getLogger("contentfilter.ledger")


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knows of a message.

    settled: the replies that recipients get, by address; additions: addresses that a rule adds with BCC and that have
    it; strikes: how often it did us harm, and the last harm.
    """

    settled: Mapping[str, Reply] = field(default_factory=dict)
    additions: frozenset[str] = frozenset()
    strikes: int = 0
    harm: str = ""


NOTHING_KNOWN = Known()


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the ledger, for people. time: seconds since the epoch; reply: None for strikes."""

    identity: str
    time: float
    ident: str
    mail_from: str
    address: str
    reply: Reply | None
    strikes: int = 0
    harm: str = ""


class Ledger:
    """The ledger in one file. Calls block. Safe for several threads and processes; opened when first used.

    keep: seconds for which an entry counts; clock: seconds since the epoch.
    """

    def __init__(self, path: Path, *, keep: float = 5 * DAY, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._file = os.fspath(path)
        self._keep = keep
        self._clock = clock
        self._reading = _Connections(path, _READ_WAIT)
        self._writing = _Connections(path, _WAIT)
        self._expired_at = -_EXPIRY_SECONDS
        self._complained = -_COMPLAINT_SECONDS

    def known(self, identity: Identity) -> Known:
        """What is known of a message. Never raises: what cannot be read is not known, and the log says so."""
        try:
            os.stat(self._file)  # noqa: PTH116 - of each message
            with self._reading.use() as connection:
                return self._known(connection, identity.name)
        except (FileNotFoundError, NotADirectoryError):
            return NOTHING_KNOWN
        except (sqlite3.Error, OSError) as error:
            if _is_unmade(error):
                return NOTHING_KNOWN
            self._complain("cannot be read, so a retry may be served twice", error)
            return NOTHING_KNOWN

    def _known(self, connection: sqlite3.Connection, name: bytes) -> Known:
        since = self._clock() - self._keep
        rows = connection.execute(
            "SELECT address, is_addition, code, enhanced, text FROM settled WHERE identity = ? AND code > 0"
            " AND time > ?",
            (name, since),
        ).fetchall()
        strike = connection.execute(
            "SELECT count, why FROM strike WHERE identity = ? AND time > ?", (name, since)
        ).fetchone()
        if not rows and strike is None:
            return NOTHING_KNOWN
        settled = {_text(address): Reply(*answer) for address, is_addition, *answer in rows if not is_addition}
        additions = frozenset(_text(address) for address, is_addition, *_ in rows if is_addition)
        count, why = strike or (0, "")
        return Known(settled, additions, count, why)

    def remember(self, identity: Identity, replies: Mapping[str, Reply], additions: Sequence[str] = ()) -> None:
        """Keep what recipients got, by address, and who has what a rule adds. Durable when this returns.

        Without replies and additions: make sure that it could be written. Raises LedgerError.
        """
        now, sender, ident = self._clock(), _bytes(identity.mail_from), _bytes(identity.ident)
        rows = [
            (identity.name, _bytes(address), 0, one.code, one.enhanced, one.text, sender, ident, now)
            for address, one in replies.items()
        ]
        rows += [(identity.name, _bytes(address), 1, 250, "", "", sender, ident, now) for address in additions]

        if not rows:
            rows.append((identity.name, b"", 1, 0, "", "", sender, ident, now))  # known reads over it

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM settled WHERE identity = ? AND code = 0", (identity.name,))
            connection.executemany("INSERT OR REPLACE INTO settled VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

        self._write(write)

    def strike(self, names: Sequence[bytes], harm: str, known: int | None = None) -> None:
        """Count a harm that each of these messages may have done, once for each. Raises LedgerError.

        names: of their identities. known: how many strikes the attempt knew of that did it; a message may come in
        several transactions at a time, each for some of its recipients, and what they suffer together is one harm.
        """
        now = self._clock()
        count, more = (1, 1) if known is None else (known + 1, 0)

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO strike VALUES (?, ?, ?, ?) ON CONFLICT (identity) DO UPDATE SET"
                " count = max(count + ?, excluded.count), why = excluded.why, time = excluded.time",
                [(name, count, harm, now, more) for name in dict.fromkeys(names)],
            )

        self._write(write)

    def absolve(self, identity: Identity) -> None:
        """Forget the strikes of a message that did no harm this time. Raises LedgerError."""
        self._write(lambda connection: connection.execute("DELETE FROM strike WHERE identity = ?", (identity.name,)))

    def entries(self) -> list[Entry]:
        """All that stands in it, the newest first. Raises LedgerError."""
        if not self.path.exists():
            return []
        try:
            with self._reading.use() as connection:
                rows = connection.execute(
                    "SELECT identity, time, ident, mail_from, address, code, enhanced, text FROM settled"
                    " WHERE code > 0 AND NOT is_addition"
                ).fetchall()
                strikes = connection.execute("SELECT identity, time, count, why FROM strike").fetchall()
        except (sqlite3.Error, OSError) as error:
            if _is_unmade(error):
                return []
            raise LedgerError(f"{self.path} cannot be read: {error}") from error
        entries = [
            Entry(name.hex(), moment, _text(ident), _text(sender), _text(address), Reply(code, enhanced, text))
            for name, moment, ident, sender, address, code, enhanced, text in rows
        ]
        entries += [Entry(name.hex(), moment, "", "", "", None, count, why) for name, moment, count, why in strikes]
        return sorted(entries, key=lambda entry: entry.time, reverse=True)

    def forget(self, names: Sequence[bytes]) -> int:
        """Forget messages, by the names of their identities. How many lines went. Raises LedgerError."""
        gone = 0

        def write(connection: sqlite3.Connection) -> None:
            nonlocal gone
            values = [(name,) for name in names]
            gone = connection.executemany("DELETE FROM settled WHERE identity = ?", values).rowcount
            gone += connection.executemany("DELETE FROM strike WHERE identity = ?", values).rowcount

        if names and self.path.exists():
            self._write(write)
        return gone

    def close(self) -> None:
        """Let go of connections."""
        self._reading.close()
        self._writing.close()

    def _write(self, write: Callable[[sqlite3.Connection], object]) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            committing = False
            try:
                with self._writing.use(create=True) as connection:
                    connection.execute("BEGIN IMMEDIATE")
                    try:
                        write(connection)
                        self._expire(connection)
                    except BaseException:
                        connection.execute("ROLLBACK")
                        raise
                    committing = True
                    connection.execute("COMMIT")
            except (sqlite3.Error, OSError) as error:
                damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
                if not damaged or attempt == _ATTEMPTS:
                    raise LedgerError(f"{self.path} cannot be written: {error}", unsure=committing) from error
                self._set_aside(error)
            else:
                return

    def _expire(self, connection: sqlite3.Connection) -> None:
        if time.monotonic() - self._expired_at < _EXPIRY_SECONDS:
            return
        # One that lies far ahead is of a clock that was wrong, and would stay for ever.
        limits = self._clock() - self._keep, self._clock() + self._keep
        connection.execute("DELETE FROM settled WHERE time < ? OR time > ?", limits)
        connection.execute("DELETE FROM strike WHERE time < ? OR time > ?", limits)
        self._expired_at = time.monotonic()

    def _set_aside(self, error: Exception) -> None:
        _log.error("%s is damaged and is made anew, so a retry may be served twice: %s", self.path, error)
        self.close()
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                Path(f"{self.path}{suffix}").replace(f"{self.path}{suffix}.damaged")

    def _complain(self, problem: str, error: Exception) -> None:
        if time.monotonic() - self._complained >= _COMPLAINT_SECONDS:
            self._complained = time.monotonic()
            _log.error("%s %s: %s", self.path, problem, error)


class _Connections:
    """One connection, used by one thread at a time; made anew when the file was replaced, and in a forked process."""

    def __init__(self, path: Path, wait: float) -> None:
        self._path = path
        self._wait = wait
        self._guard = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int, int] | None = None

    @contextlib.contextmanager
    def use(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        """The connection, alone. After an error it is made anew. Raises sqlite3.Error, OSError."""
        with self._guard:
            try:
                yield self._current(create=create)
            except BaseException:
                self._drop()
                raise

    def _current(self, *, create: bool) -> sqlite3.Connection:
        if create and not self._path.exists():
            os.close(create_file(self._path, flags=0))
        status = self._path.stat()
        file = os.getpid(), status.st_dev, status.st_ino
        if self._connection is None or self._file != file:
            self._drop()
            self._connection = sqlite3.connect(
                self._path, timeout=self._wait, isolation_level=None, check_same_thread=False
            )
            self._file = file
            if create:
                self._connection.execute("PRAGMA journal_mode = WAL").fetchone()
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.executescript(_SCHEMA)
        return self._connection

    def _drop(self) -> None:
        # A parent's connection is not ours to close: SQLite would take back its locks.
        if self._connection is not None and self._file is not None and self._file[0] == os.getpid():
            self._connection.close()
        self._connection = self._file = None

    def close(self) -> None:
        """Let go."""
        with self._guard:
            self._drop()


def _is_unmade(error: Exception) -> bool:
    """Whether the file has no tables yet: another process has made it just now, and nothing is in it."""
    return isinstance(error, sqlite3.OperationalError) and str(error).startswith("no such table")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogateescape")
