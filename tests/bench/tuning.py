"""How many processes suit each side: the figures behind the numbers that the comparison uses."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tests.bench.comparison import Comparison, Effort, Figures
from tests.bench.profiles import profile
from tests.bench.sides import OURS, SPAMD, THEIRS, Numbers, Scanners, staged

PROFILES: Final = ("text", "document")


@dataclass(frozen=True, slots=True)
class Trial:
    """Whose processes are varied, of which sides with which scanners. what: a field of Numbers."""

    scanners: Scanners
    sides: tuple[str, ...]
    what: str
    numbers: tuple[int, ...]


TRIALS: Final = (
    Trial(Scanners.CLAMD, (OURS,), "workers", (1, 2, 3, 4)),
    Trial(Scanners.CLAMD, (THEIRS,), "children", (2, 3, 4, 6, 8)),
    Trial(Scanners.BOTH, (OURS, SPAMD), "spamd", (2, 3, 4, 6)),
    Trial(Scanners.BOTH, (THEIRS,), "children", (2, 3, 4, 6)),
)


def tuned(directory: Path, effort: Effort, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Throughput, processor time and memory by side, number and profile; all numbers of a trial in turns."""
    tried = []
    for trial in TRIALS:
        with contextlib.ExitStack() as stack:
            measures = {}
            for number in trial.numbers:
                name = f"{trial.scanners.name}-{trial.what}-{number}"
                counts = Numbers(**{trial.what: number})
                stage = stack.enter_context(staged(trial.scanners, directory / name, trial.sides, numbers=counts))
                once = replace(effort, rounds=1, steady=(0.5, 0.5))
                measures[number] = Comparison(stage, trial.scanners, directory, once)
            for name in PROFILES:
                rounds = [
                    (number, one)
                    for _ in range(effort.rounds)
                    for number, comparison in measures.items()
                    for one in comparison.measure(profile(name), tell)
                ]
                tried += _medians(trial, name, rounds)
    return tried


def _medians(trial: Trial, profile_name: str, rounds: Sequence[tuple[int, Figures]]) -> list[dict[str, Any]]:
    by: dict[tuple[str, int], list[Figures]] = {}
    for number, one in rounds:
        by.setdefault((one.side, number), []).append(one)
    return [
        {
            "scanners": trial.scanners.value,
            "side": side,
            "what": trial.what,
            "processes": number,
            "profile": profile_name,
            "rate": statistics.median(one.rate for one in figures),
            "cpu": statistics.median(one.cpu_in_all for one in figures),
            "memory": statistics.median(one.memory_with_spamd for one in figures),
        }
        for (side, number), figures in by.items()
    ]
