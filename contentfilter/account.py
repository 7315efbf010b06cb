"""The user that the filter runs as. Started as root it becomes that user for good, once its sockets are bound."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self


class AccountError(Exception):
    """There is no such user, or it cannot be become."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine."""

    name: str
    uid: int
    gid: int
    home: str

    @classmethod
    def named(cls, name: str) -> Self:
        """The user of this name. Raises AccountError, whose text says how to make one."""
        try:
            entry = pwd.getpwnam(name)
        except (KeyError, ValueError) as error:
            raise AccountError(
                f'there is no user "{name}" to become: make it with "adduser --system --group --no-create-home '
                f'--home /var/lib/contentfilter {name}", or name another; "root" stays root'
            ) from error
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)

    def become(self) -> None:
        """Be this user from now on, with its groups and no way back. Only root can. Raises AccountError."""
        try:
            os.initgroups(self.name, self.gid)
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)
        except OSError as error:
            raise AccountError(f'"{self.name}" cannot be become: {error.strerror}') from error
        if _root_can_be_regained() or (os.getresuid(), os.getresgid()) != ((self.uid,) * 3, (self.gid,) * 3):
            raise AccountError(f'still root after the change to "{self.name}"')
        # What libraries look for below the home directory is not to be sought in root's.
        os.environ.update(HOME=self.home, USER=self.name, LOGNAME=self.name)

    def reads(self, files: Iterable[Path]) -> bool:
        """Whether this user can read these files: found out by a process of its own that becomes it. For root."""
        pid = os.fork()
        if not pid:
            status = 1
            try:
                self.become()
                for file in files:
                    file.open("rb").close()
                status = 0
            finally:
                os._exit(status)
        return os.waitpid(pid, 0)[1] == 0

    def give(self, path: Path) -> None:
        """Make a file or directory this user's. Raises OSError."""
        os.chown(path, self.uid, self.gid, follow_symlinks=False)


def _root_can_be_regained() -> bool:
    for regain, ids in ((os.setresuid, (0, 0, 0)), (os.setresuid, (-1, 0, -1)), (os.setresgid, (0, 0, 0))):
        with suppress(PermissionError):
            regain(*ids)
            return True
    return False
