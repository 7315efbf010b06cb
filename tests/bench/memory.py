"""How much memory messages of 10 MB take at once, and whether any is lost over a hundred thousand small ones."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from demo.neighbours.filter import Filter
from tests.bench.comparison import MemoryWatch
from tests.bench.driver import Plan, drive, saved
from tests.bench.profiles import profile
from tests.bench.results import table
from tests.bench.sides import OURS, Scanners, Side, staged
from tests.bench.usage import family, memory_of, proportional_memory
from tests.workers import is_nursery

AT_ONCE: Final = (1, 2, 5, 10, 20)
_WARM: Final = 500
FEW, MANY = 1_000, 100_000
_QUICK_MANY: Final = 5_000
_KINDS: Final = ("Pss", "Private_Dirty", "Private_Clean", "Shared_Dirty", "Shared_Clean", "Pss_Shmem")


def concurrent(directory: Path, quick: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    """The growth while so many messages are in work, as a multiple of their size.

    Before it comes what comes once, with the first attachments: helpers, and libmagic's database in memory.
    """
    large = profile("large").letters[0]
    size = len(large.content)
    letter = saved(large, directory / "ten-megabytes")
    rows: list[list[str]] = []
    points: list[dict[str, float]] = []
    with staged(Scanners.CLAMD, directory / "concurrent", (OURS,)) as stage:
        side = stage.side(OURS)
        _drive(side, directory, "text", _WARM)
        _drive(side, directory, "mix", _WARM)
        for number in AT_ONCE:
            before = proportional_memory(side.roots)
            with MemoryWatch(side.roots, 0.05) as memory:
                drive(Plan((letter,), side.port, sessions=number, count=number * (2 if quick else 3), seconds=120))
            kept = proportional_memory(side.roots) - before
            growth = memory.most - before
            multiple = growth / number / size
            points.append({"number": number, "growth": growth, "multiple": multiple, "kept": kept})
            tell(str(points[-1]))
            row = [f"{number}", f"{before / 1e6:.0f} MB", f"{growth / 1e6:.0f} MB"]
            rows.append([*row, f"{multiple:.2f}", f"{kept / 1e6:+.0f} MB"])
    header = ["at once", "before", "growth", "of their size", "kept afterwards"]
    text = (
        f"Before the first row {_WARM} messages of 3 kB and {_WARM} of the mix went through: what comes once, with the"
        " first attachments (helpers, and libmagic's database in memory), is in the column before, not in the growth."
    )
    title = "## Memory (PSS) with messages of 10 MB at once"
    return {"points": points, "markdown": f"{title}\n\n{text}\n\n{table(header, rows)}"}


def endurance(directory: Path, quick: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    """The memory after a thousand small messages and after a hundred thousand, process by process."""
    many = _QUICK_MANY if quick else MANY
    with staged(Scanners.NONE, directory / "endurance", (OURS,)) as stage:
        side = stage.side(OURS)
        fresh = proportional_memory(side.roots)
        _drive(side, directory, "text", FEW)
        early = proportional_memory(side.roots)
        began = time.monotonic()
        _drive(side, directory, "text", many - FEW)
        rate = (many - FEW) / (time.monotonic() - began)
        late = proportional_memory(side.roots)
        detail = [
            {"pid": one.pid, "parent": one.parent, "nursery": is_nursery(one.pid), **memory_of(one.pid)}
            for one in family(side.roots)
        ]
    tell(f"{fresh / 1e6:.1f} MB at the start, {early / 1e6:.1f} after {FEW:,}, {late / 1e6:.1f} after {many:,}")
    rows = [[_role(each, detail), *(f"{each.get(kind, 0) / 1e6:.1f}" for kind in _KINDS)] for each in detail]
    summary = (
        f"{fresh / 1e6:.1f} MB at the start, {early / 1e6:.1f} MB after {FEW:,} messages of 3 kB, {late / 1e6:.1f} MB"
        f" after {many:,} ({rate:.0f}/s)."
    )
    title = f"## Memory (PSS) of contentfilter over {many:,} messages"
    text = f"{title}\n\n{summary} By process at the end, in MB:\n\n{table(['process', *_KINDS], rows)}"
    return {"start": fresh, "few": early, "many": late, "count": many, "processes": detail, "markdown": text}


def _role(process: dict[str, int], processes: list[dict[str, int]]) -> str:
    """What a process of ours is for: who started it tells."""
    parents = {one["pid"]: one["parent"] for one in processes}
    if process["parent"] not in parents:
        return "supervisor"
    if parents[process["parent"]] in parents:
        return "helper"
    return "nursery of helpers" if process["nursery"] else "worker"


def start(directory: Path, quick: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    """Seconds from the command to the first 250 for a message."""
    letter = saved(profile("text").letters[0], directory / "first")
    settings = {"clamav": {"enabled": False}, "spamassassin": {"enabled": False}}
    taken = []
    for number in range(3 if quick else 7):
        # Scanners and next hop are there before it, as they are at a site.
        with staged(Scanners.NONE, directory / f"start-{number}", ()) as stage:
            began = time.monotonic()
            with Filter(directory / f"filter-{number}", next_hop_port=stage.sink, settings=settings) as ours:
                greeted = time.monotonic() - began
                first = drive(Plan((letter,), ours.port, sessions=1, count=1, seconds=60))
                if first.failed:
                    raise RuntimeError(f"the first message was not taken: {first.failed[0]}; see {ours.log}")
                taken.append((greeted, greeted + first.latencies[0]))
    ready, served = (statistics.median(values) for values in zip(*taken, strict=True))
    worst = max(one for _, one in taken)
    text = (
        f"{1000 * ready:.0f} ms to the first greeting, {1000 * served:.0f} ms to the first 250 for a message"
        f" (at most {1000 * worst:.0f})"
    )
    tell(text)
    title = f"## Start\n\nMedians of {len(taken)}, without the start of the driver: {text}."
    return {"greeting": ready, "first": served, "worst": worst, "markdown": title}


def _drive(side: Side, directory: Path, name: str, count: int) -> None:
    """Messages of a profile, ten at once."""
    letters = tuple(
        saved(letter, directory / f"some-{name}-{number}") for number, letter in enumerate(profile(name).letters)
    )
    drive(Plan(letters, side.port, sessions=10, count=count, seconds=600))
