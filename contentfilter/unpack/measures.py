"""Which measures keep a helper in its box: found by trying, in the helper itself, not by what making them answered."""

from __future__ import annotations

import ctypes
import os
import resource
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

USER: Final = "user"
PRIVILEGES: Final = "no new privileges"
SYSTEM_CALLS: Final = "seccomp"
FILES: Final = "Landlock"
NETWORK: Final = "network namespace"
RESOURCES: Final = "resource limits"

_PR_GET_SECCOMP: Final = 21
_PR_GET_NO_NEW_PRIVS: Final = 39
_FILTERED: Final = 2
_MOST_FILES: Final = 512

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure, whether it holds, and how that showed."""

    name: str
    holds: bool
    detail: str


def measures(own_network: bool, memory: int) -> Iterator[Measure]:
    """All measures, as they hold for this process.

    own_network: whether its network namespace is another than that of who started it; memory: bytes of address space
    that it should have at most.
    """
    uid = os.geteuid()
    yield Measure(USER, uid != 0, f"uid {uid}")
    bound = _libc.prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1
    yield Measure(PRIVILEGES, bound, "a setuid program gains nothing" if bound else "a setuid program gains rights")
    filtered = _libc.prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) == _FILTERED
    made = _allowed(lambda: socket.socket(socket.AF_UNIX).close())
    yield Measure(SYSTEM_CALLS, filtered and not made, "a socket can be made" if made else "no socket can be made")
    listed = _allowed(lambda: os.scandir("/").close())
    yield Measure(FILES, not listed, "files outside can be listed" if listed else "nothing outside can be listed")
    yield Measure(NETWORK, own_network, "one of its own" if own_network else "the one of the host")
    wanted = {resource.RLIMIT_AS: memory, resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: _MOST_FILES}
    limited = all(resource.getrlimit(what)[1] <= most for what, most in wanted.items())
    yield Measure(RESOURCES, limited, f"{resource.getrlimit(resource.RLIMIT_AS)[1]} bytes of address space")


def _allowed(action: Callable[[], object]) -> bool:
    try:
        action()
    except PermissionError:
        return False
    return True
