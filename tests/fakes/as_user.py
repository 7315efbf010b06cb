"""Runs a command as somebody who is not root and has no name: `python -m tests.fakes.as_user COMMAND...`, by root."""

from __future__ import annotations

import os
import sys

from tests.fakes.in_the_open import go_into_the_open

UID = 54321


def main(command: list[str]) -> None:
    """Does not return."""
    go_into_the_open()
    os.setgroups([])
    os.setresgid(UID, UID, UID)
    os.setresuid(UID, UID, UID)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
