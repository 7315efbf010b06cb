"""What a program and all its children use: processor time, memory. Read from /proc, see proc(5).

Children are found by their parents and not by their session: the helpers that open containers have sessions of their
own. A child that has ended is counted in its parent, which has waited for it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Process:
    """One process: its own processor seconds, and those of children that it has waited for."""

    pid: int
    parent: int
    name: str
    seconds: float


def processes() -> dict[int, Process]:
    """All that run, by process id."""
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            head, _, tail = (directory / "stat").read_text().rpartition(")")
            pid, _, name = head.partition(" (")
            fields = tail.split()
            # utime, stime, cutime and cstime are the fields 14 to 17 of proc(5); tail begins with the third.
            ticks = sum(map(int, fields[11:15]))
            found[int(pid)] = Process(int(pid), int(fields[1]), name, ticks * _TICK)
    return found


def family(roots: Iterable[int]) -> list[Process]:
    """These processes and all their descendants that live."""
    everybody = processes()
    members = {pid for pid in roots if pid in everybody}
    grown = True
    while grown:
        more = {one.pid for one in everybody.values() if one.parent in members} - members
        members |= more
        grown = bool(more)
    return [everybody[pid] for pid in sorted(members)]


def cpu_seconds(roots: Iterable[int]) -> float:
    """Processor seconds of these processes and their descendants, since they were started."""
    return sum(one.seconds for one in family(roots))


def proportional_memory(roots: Iterable[int]) -> int:
    """Bytes of the proportional set size (PSS) of these processes and their descendants."""
    return sum(memory_of(one.pid).get("Pss", 0) for one in family(roots))


def memory_of(pid: int) -> dict[str, int]:
    """Bytes by the names of smaps_rollup (Rss, Pss, Private_Dirty and so on); empty if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {name: int(value.split()[0]) * 1024 for name, _, value in (line.partition(":") for line in lines)}
