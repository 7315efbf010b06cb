"""How many processes suit each side: the figures behind the numbers that the comparison uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tests.bench.comparison import Comparison, Effort
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
    """Throughput and memory by side, number of processes and profile."""
    effort = replace(effort, steady=(1.0, 1.0))
    tried = []
    for count, trial in enumerate(TRIALS):
        for number in trial.numbers:
            counts = Numbers(**{trial.what: number})
            with staged(trial.scanners, directory / f"{count}-{number}", trial.sides, numbers=counts) as stage:
                for name in PROFILES if stage.sides else ():
                    for one in Comparison(stage, trial.scanners, directory, effort).measure(profile(name), tell):
                        values = {"scanners": one.scanners, "side": one.side, "what": trial.what, "processes": number}
                        tried.append(values | {"profile": name, "rate": one.rate, "memory": one.memory_with_spamd})
    return tried
