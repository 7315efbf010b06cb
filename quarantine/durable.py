"""Files that are still there after the power went: what POSIX asks for, step by step.

A file is safe once its content is synced *and* the directory that names it is. Files that root makes are given to the
owner of the directory, so that the filter's own user can read and change what a postmaster touched. The owner may
change them and the group may read them, whatever the umask of who calls; no link is followed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

FILE_MODE = 0o640
DIRECTORY_MODE = 0o750
UMASK = 0o027
"""What programs that write here set, so that an umask of who starts them neither opens nor closes anything."""

_POLL = 0.05
"""Seconds between two attempts to get a lock."""


def open_directory(path: Path) -> int:
    """A descriptor of a directory that is none by way of a link, for the use of what is in it. Raises OSError."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(path: Path, *, for_group: bool = False) -> None:
    """Make a directory (0750) with its parents, durably; one that exists keeps its mode.

    for_group: what is made in it belongs to the group of the directory (2750), where we may say so.
    The parent is synced even if the directory exists: whoever made it may not have come to that yet. Raises OSError.
    """
    if not path.parent.exists():
        make_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=DIRECTORY_MODE)
        _give_to_owner_of(path.parent.stat(), path)
        if for_group:
            with contextlib.suppress(PermissionError):  # systemd's RestrictSUIDSGID forbids it
                path.chmod(0o2000 | DIRECTORY_MODE)
    sync_directory(path.parent)


def create_file(path: Path | str, flags: int = os.O_EXCL, directory: int | None = None) -> int:
    """A descriptor to write a file (0640) that did not exist, or with flags=os.O_TRUNC to write it anew.

    directory: the descriptor of the one that it is in; path is the name there. Raises OSError.
    """
    flags |= os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, FILE_MODE, dir_fd=directory)
    try:
        _give_to_owner_of(Path(path).parent.stat() if directory is None else os.fstat(directory), descriptor)
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


def write_file(name: str, content: bytes, flags: int, directory: int) -> None:
    """Write and sync a file; its name is durable once the directory is synced too. Raises OSError."""
    descriptor = create_file(name, flags, directory)
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


def _give_to_owner_of(directory: os.stat_result, file: Path | int) -> None:
    if os.geteuid() == 0 and directory.st_uid != 0:
        os.chown(file, directory.st_uid, directory.st_gid)
