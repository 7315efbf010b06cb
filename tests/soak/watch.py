"""Memory, descriptors and processes of the daemon, once a second."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
EVERY: Final = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at all processes of the daemon. at: seconds since the start; memory: MB of proportional set size."""

    at: float
    memory: float
    descriptors: int
    processes: int


ALLOWANCE: Final = {"memory": (1.15, 25.0), "descriptors": (1.2, 40.0), "processes": (1.0, 3.0)}
"""By which factor and beyond it by how much the last quarter's median may exceed the second's."""


def family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for children in PROC.glob(f"{one}/task/*/children"):
                found.extend(map(int, children.read_text().split()))
    return found


def look(pid: int, at: float) -> Sample:
    """What they hold now; one that ends while we look counts as gone."""
    memory, descriptors, processes = 0, 0, 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            lines = (PROC / str(one) / "smaps_rollup").read_text().splitlines()
            memory += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            descriptors += sum(1 for _ in (PROC / str(one) / "fd").iterdir())
            processes += 1
    return Sample(at, memory / 1024, descriptors, processes)


async def watch(pid: int, samples: list[Sample]) -> None:
    """Until cancelled."""
    began = time.monotonic()
    while True:
        samples.append(await asyncio.to_thread(look, pid, time.monotonic() - began))
        await asyncio.sleep(EVERY)


def growth(samples: Sequence[Sample]) -> list[str]:
    """One line for each of the three: medians of the second and the last quarter; "GROWS" where it is too much."""
    quarter = len(samples) // 4
    lines = []
    for what, (factor, beyond) in ALLOWANCE.items():
        second, last = (
            statistics.median(getattr(one, what) for one in part)
            for part in (samples[quarter : 2 * quarter], samples[3 * quarter :])
        )
        grows = last > second * factor + beyond
        lines.append(f"{what:>12}: {second:7.1f} -> {last:7.1f}{'  GROWS' if grows else ''}")
    return lines
