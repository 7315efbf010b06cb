"""How long a small message takes while twenty of 25 MB are in work, against an idle filter."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.bench.comparison import percentile
from tests.bench.driver import Driver, Plan, drive, saved
from tests.bench.profiles import Letter, Writer, profile
from tests.bench.results import table
from tests.bench.sides import OURS, Scanners, staged

LARGE: Final = 20
SIZE: Final = 25_000_000
RATE: Final = 30.0
"""Small messages a second."""
_SPREAD_OUT: Final = 2.0
"""Seconds after which all of the large ones have begun to arrive."""


def measure(directory: Path, quick: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    """With ClamAV and without."""
    seconds = 4.0 if quick else 8.0
    small = saved(profile("text").letters[0], directory / "small")
    large = saved(Letter(Writer(5).blob(SIZE)), directory / "large")
    found = []
    for scanners in (Scanners.NONE, Scanners.CLAMD):
        with staged(scanners, directory / f"crowd-{scanners.name}", (OURS,)) as stage:
            port = stage.side(OURS).port
            drive(Plan((small,), port, sessions=10, count=200, seconds=60))
            idle = drive(Plan((small,), port, rate=RATE, seconds=seconds))
            crowd = Driver(Plan((large,), port, sessions=LARGE, seconds=seconds + _SPREAD_OUT))
            time.sleep(_SPREAD_OUT)
            busy = drive(Plan((small,), port, rate=RATE, seconds=seconds))
            large_ones = crowd.result()
        one: dict[str, Any] = {"scanners": scanners.value, "large": len(large_ones.latencies)}
        one["failed"] = len(idle.failed) + len(busy.failed) + len(large_ones.failed)
        for name, result in (("idle", idle), ("busy", busy)):
            one |= {f"{name} p{share}": 1000 * percentile(result.latencies, share / 100) for share in (50, 99)}
        tell(str(one))
        found.append(one)
    return {"points": found, "markdown": _markdown(found)}


def _markdown(found: list[dict[str, Any]]) -> str:
    rows = [
        [
            one["scanners"],
            *(f"{one[name]:.1f} ms" for name in ("idle p50", "idle p99", "busy p50", "busy p99")),
            f"{one['busy p99'] / one['idle p99']:.1f}" if one["idle p99"] else "",
            f"{one['large']}",
            f"{one['failed']}",
        ]
        for one in found
    ]
    header = ["", "idle p50", "idle p99", "p50", "p99", "p99 ratio", "large ones done", "failed"]
    return f"## Small messages while {LARGE} of 25 MB are in work, {RATE:g}/s\n\n{table(header, rows)}"
