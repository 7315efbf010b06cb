"""How many processes suit each filter: the figures behind the numbers that the comparison uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from tests.bench.comparison import Comparison, Effort
from tests.bench.profiles import profile
from tests.bench.sides import OURS, THEIRS, Numbers, Scanners, staged

WORKERS: Final = (1, 2, 3, 4)
CHILDREN: Final = (2, 3, 4, 6, 8)
PROFILES: Final = ("text", "document")


def tuned(directory: Path, effort: Effort, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Throughput with ClamAV by side, number of processes and profile."""
    effort = replace(effort, steady=(1.0, 1.0))
    tried = []
    for side, numbers in ((OURS, WORKERS), (THEIRS, CHILDREN)):
        for number in numbers:
            counts = Numbers(workers=number) if side == OURS else Numbers(children=number)
            with staged(Scanners.CLAMD, directory / f"{side}-{number}", (side,), numbers=counts) as stage:
                for name in PROFILES if stage.sides else ():
                    [one] = Comparison(stage, Scanners.CLAMD, directory, effort).measure(profile(name), tell)
                    values = {"side": side, "processes": number, "profile": name, "rate": one.rate}
                    tried.append(values | {"memory": one.memory})
    return tried
