"""The file of a SQLite policy database: which one it is, and how a new one comes to be there."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
from pathlib import Path

from sqlalchemy import URL

from contentfilter.policy.engine import engine_for
from contentfilter.policy.schema import generation_of, migrate


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
