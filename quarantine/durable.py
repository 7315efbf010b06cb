"""Files that are still there after the power went: what POSIX asks for, step by step.

A file is safe once its content is synced *and* the directory that names it is. Files that root makes are given to the
owner of the directory, so that the filter's own user can read and change what a postmaster touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

_POLL = 0.05
"""Seconds between two attempts to get a lock."""


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make a directory (0700) with its parents, durably; one that exists keeps its mode.

    The parent is synced even if the directory exists: whoever made it may not have come to that yet. Raises OSError.
    """
    if not path.parent.exists():
        make_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        _give_to_owner_of(path.parent, path)
    sync_directory(path.parent)


def create_file(path: Path, flags: int = os.O_EXCL) -> int:
    """A descriptor to write a file (0600) that did not exist, or with flags=os.O_TRUNC to write it anew.

    Raises OSError.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)
    try:
        _give_to_owner_of(path.parent, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, however little the system takes at a time. Raises OSError."""
    with memoryview(data) as view:
        written = 0
        while written < len(view):
            written += os.write(descriptor, view[written:])


def write_file(path: Path, content: bytes, flags: int = os.O_EXCL) -> None:
    """Write and sync a file; its name is durable once the directory is synced too. Raises OSError."""
    descriptor = create_file(path, flags)
    try:
        write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """Hold the lock that a file stands for; it goes with the process. Raises TimeoutError and other OSErrors."""
    descriptor = create_file(path, flags=0)
    try:
        deadline = time.monotonic() + seconds
        while not try_lock(descriptor):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} has been locked by another process for {seconds:g} s")
            time.sleep(_POLL)
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file unless somebody else has it. It lasts until the descriptor is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _give_to_owner_of(directory: Path, file: Path | int) -> None:
    if os.geteuid() != 0:
        return
    owner = directory.stat()
    if owner.st_uid != 0:
        os.chown(file, owner.st_uid, owner.st_gid)
