"""Which files a SQLite database consists of: another process may put others in their place while we are connected."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple


class Identity(NamedTuple):
    """Device and inode of the three files that a SQLite database in use consists of; None for one that is missing.

    A database is never empty: a file without bytes counts as missing.
    """

    main: tuple[int, int] | None
    log: tuple[int, int] | None
    shared: tuple[int, int] | None


def identity(path: Path) -> Identity:
    """Those that are in place now. Raises OSError."""

    def of(suffix: str) -> tuple[int, int] | None:
        try:
            status = path.with_name(path.name + suffix).stat()
        except FileNotFoundError:
            return None
        return (status.st_dev, status.st_ino) if suffix or status.st_size else None

    return Identity(of(""), of("-wal"), of("-shm"))


def main_of(path: Path) -> tuple[int, int] | None:
    """The database itself; None also if it cannot be looked at."""
    with contextlib.suppress(OSError):
        return identity(path).main
    return None
