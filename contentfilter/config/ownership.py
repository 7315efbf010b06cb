"""Whether nobody but root and the user that runs the filter can change its configuration.

Whoever can says what becomes of everybody's mail. Looked at are the files that a configuration is read from and the
directories that they stand in, symbolic links and what they lead to. They have to belong to root or to us, the group
may write only if it is root's or our own, and others may not. Of the directories further up only that is asked: that
none can be written to by everybody, unless it keeps one's files from others as /tmp does (the sticky bit).
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from contentfilter.config.loading import NamedFile
from contentfilter.errors import ConfigError

_MOST_LINKS = 40
"""As many as the kernel follows (path_resolution(7))."""


def check(files: Iterable[NamedFile]) -> None:
    """Raises ConfigError, which names the first path that others can change, and the command that mends it."""
    for file in files:
        whose = f"{file.path}: " if not file.key else f"{file.key}: {file.path}: "
        for path in _ways(file.path):
            try:
                found = path.lstat()
            except OSError as error:
                raise ConfigError(f"{whose}{path}: cannot be looked at: {error.strerror}") from error
            above = next((one for one in path.parents if _open_to_all(one)), None)
            problem = _problem(path, found)
            if not problem and above is not None:
                problem = f"everybody may replace what is in {above}: chmod o-w {above}"
            if problem:
                raise ConfigError(whose + problem)


def _ways(file: Path) -> Iterator[Path]:
    """The file and its directory, as they are named and as they are, and the links on the way from one to the other."""
    named = file.absolute()
    real = named.resolve()
    yield from dict.fromkeys((named.parent, named, *_links(named), real.parent, real))


def _links(path: Path) -> Iterator[Path]:
    for _ in range(_MOST_LINKS):
        link = next((one for one in (*reversed(path.parents), path) if one.is_symlink()), None)
        if link is None:
            return
        yield link
        path = link.parent / link.readlink() / path.relative_to(link)


def _problem(path: Path, found: os.stat_result) -> str:
    if found.st_uid not in {0, os.geteuid()}:
        owner = f"belongs to {_user(found.st_uid)}, who is neither root nor the user that runs the filter"
        return f"{path} {owner}: chown root {path}"
    if stat.S_ISLNK(found.st_mode):
        return ""  # its own permissions say nothing
    if found.st_mode & stat.S_IWOTH:
        return f"everybody may write to {path}: chmod o-w {path}"
    if found.st_mode & stat.S_IWGRP and found.st_gid not in {0, os.getegid()}:
        return f"the group {_group(found.st_gid)} may write to {path}: chmod g-w {path}"
    return ""


def _open_to_all(directory: Path) -> bool:
    mode = directory.stat().st_mode
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the user {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
