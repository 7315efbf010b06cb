"""The file of a SQLite policy database: which one it is, and how a new one comes to be there."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from pathlib import Path

from contentfilter.errors import PolicyError

_PLAIN = "sqlite:///"


def path_of(url: str) -> Path | None:
    """The file of a URL that says no more than that; None for all others, of which SQLAlchemy knows what they mean."""
    path = url.removeprefix(_PLAIN)
    plain = url.startswith(_PLAIN) and path not in ("", ":memory:") and not set(path) & set("?#%")
    return Path(path) if plain else None


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode; None if nothing has this name. Raises OSError, also for a directory that is not there."""
    try:
        status = path.stat()
    except FileNotFoundError:
        path.parent.stat()
        if path.is_symlink():
            raise
        return None
    return status.st_dev, status.st_ino


class Watched:
    """Which file connections are to, by device and inode. One that is there from the start has to stay."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: tuple[int, int] | None = None
        with contextlib.suppress(OSError):  # for the first use to say
            self._file = identity(path)

    @property
    def known(self) -> bool:
        """Whether there ever was one, as far as we saw."""
        return self._file is not None

    def look(self) -> bool | None:
        """Whether it is another one than at the last look; None: there is none and never was.

        Raises OSError, and PolicyError if it is gone.
        """
        file = identity(self._path)
        if file is None and self._file is None:
            self.check_never_there()
            return None
        if file is None:
            raise PolicyError(f"{self._path} was there and is gone: restart if that is meant to be")
        # Another file was moved here: a backup, perhaps. What is in the old one counts no more.
        changed, self._file = file != self._file, file
        return changed

    def check_never_there(self) -> None:
        """Raises PolicyError if the mark tells that it was."""
        mark = mark_of(self._path)
        if mark.exists():
            raise PolicyError(f"{self._path} was there and is gone: put a backup there, or delete {mark} to start anew")

    def remember(self) -> None:
        """Leave the mark, if we may."""
        with contextlib.suppress(OSError):  # who may only read leaves it to others
            remember(self._path)


def no_tables(path: Path) -> str:
    """What is wrong with a file that is none of ours."""
    return f"{path} has no policy tables: move it away, or put a backup in its place"


def make_file(path: Path) -> int | None:
    """Put a file with empty tables in place; its generation, or None if somebody else was faster.

    It gets its name when it is complete, so that nobody reads half of one. Raises OSError, SQLAlchemyError.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    temporary = Path(name)
    try:
        _give(descriptor, path.parent)
        os.close(descriptor)
        generation = _fill(temporary)
        path.hardlink_to(temporary)
        remember(path)
    except FileExistsError:
        return None
    finally:
        temporary.unlink()
    return generation


def remember(path: Path) -> None:
    """Leave a mark beside the file, by which it is known that there was one. Raises OSError."""
    descriptor = os.open(mark_of(path), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        if os.fstat(descriptor).st_uid != path.parent.stat().st_uid:
            _give(descriptor, path.parent)
    finally:
        os.close(descriptor)


def mark_of(path: Path) -> Path:
    """The name of the mark."""
    return path.with_name(f".{path.name}.made")


def _fill(path: Path) -> int:
    from sqlalchemy import URL  # noqa: PLC0415 - it takes memory and time that those who only read need not spend

    from contentfilter.policy.engine import engine_for  # noqa: PLC0415 - the same
    from contentfilter.policy.schema import generation_of, migrate  # noqa: PLC0415 - the same

    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL").close()
    engine = engine_for(URL.create("sqlite", database=str(path)).render_as_string(), 1.0)
    try:
        with engine.execution_options(writes=True).begin() as connection:
            migrate(connection)
            return generation_of(connection)
    finally:
        engine.dispose()


def _give(descriptor: int, directory: Path) -> None:
    """0640, and to the owner of the directory if root makes it: the filter's own user has to read it."""
    os.fchmod(descriptor, 0o640)
    owner = directory.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
