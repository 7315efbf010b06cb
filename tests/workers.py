"""The worker processes of a supervisor: its children but the nursery of helpers."""

from __future__ import annotations

import contextlib
from pathlib import Path


def workers_of(supervisor: int) -> set[int]:
    """Their process ids."""
    children = map(int, Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split())
    return {pid for pid in children if not is_nursery(pid)}


def is_nursery(pid: int) -> bool:
    """Whether this is the process that helpers are forked from, or one of them."""
    with contextlib.suppress(OSError):
        return b"contentfilter.unpack.forker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
