"""How the cost of a message grows with its size, its parts, its recipients, and the clients that come at once.

A knee is where ten times as much costs far more than ten times: a slope above KNEE with both axes logarithmic.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.comparison import percentile
from tests.bench.driver import Plan, drive, saved
from tests.bench.profiles import Letter, Writer, profile
from tests.bench.results import table
from tests.bench.sides import OURS, Scanners, Side, staged
from tests.bench.usage import cpu_seconds

KNEE: Final = 1.25
SIZES: Final[tuple[int, ...]] = (1_000, 10_000, 100_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000, 99_000_000)
PARTS: Final[tuple[int, ...]] = (1, 10, 100, 300, 1_000, 2_990)
RECIPIENTS: Final[tuple[int, ...]] = (1, 10, 30, 100, 300, 1_000)
CLIENTS: Final[tuple[int, ...]] = (1, 2, 5, 10, 20, 50, 100, 200, 350, 500)
_LATENCY: Final = "latency, ms"
_CPU: Final = "processor time, ms"


@dataclass(frozen=True, slots=True)
class Curve:
    """What grows: in which unit, the messages for each number, and whether it is the clients."""

    title: str
    unit: str
    numbers: tuple[int, ...]
    letter: Callable[[int], Letter]
    clients: bool = False


def curves() -> Iterator[Curve]:
    """All four."""
    writer = Writer(4)
    text = profile("text").letters[0]
    yield Curve("Size", "bytes", SIZES, lambda size: Letter(writer.plain(size) if size < 9_000 else writer.blob(size)))
    yield Curve("Parts", "parts", PARTS, lambda count: Letter(many_parts(writer, count)))
    yield Curve("Recipients", "recipients", RECIPIENTS, lambda count: Letter(text.content, count))
    yield Curve("Clients at once", "clients", CLIENTS, lambda _: text, clients=True)


def many_parts(writer: Writer, count: int) -> bytes:
    """A message with so many small texts in it."""
    part = f"Content-Type: text/plain\n\n{writer.text(200)}"
    return writer.mixed(*([part] * count))


def measure(directory: Path, quick: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    """Ours, without scanners."""
    found = []
    limits = {"listen": {"max_connections": 1000}}
    with staged(Scanners.NONE, directory / "growth", (OURS,), settings=limits) as stage:
        side = stage.side(OURS)
        drive(Plan((saved(profile("text").letters[0], directory / "first"),), side.port, sessions=10, seconds=1.0))
        for curve in curves():
            numbers = (
                curve.numbers[::2] + curve.numbers[-1:] * (len(curve.numbers) % 2 == 0) if quick else curve.numbers
            )
            points = [_point(curve, number, side, directory, 0.5 if quick else 1.0) for number in numbers]
            one = _judged(curve, points)
            tell(f"{curve.title}: {one['verdict']}")
            found.append(one)
    return {"curves": found, "markdown": "\n\n".join(_markdown(one) for one in found)}


def _point(curve: Curve, number: int, side: Side, directory: Path, seconds: float) -> dict[str, float]:
    letter = saved(curve.letter(number), directory / "growing")
    sessions = number if curve.clients else 1
    before = cpu_seconds(side.roots)
    result = drive(Plan((letter,), side.port, sessions=sessions, seconds=seconds))
    used = cpu_seconds(side.roots) - before
    count = max(1, len(result.latencies))
    point = {"number": number, _CPU: 1000 * used / count, "failed": len(result.failed)}
    if curve.clients:
        shares = {f"latency p{share}, ms": 1000 * percentile(result.latencies, share / 100) for share in (50, 99)}
        return point | shares | {"messages a second": result.rate}
    return point | {_LATENCY: 1000 * percentile(result.latencies, 0.5)}


def _judged(curve: Curve, points: list[dict[str, float]]) -> dict[str, Any]:
    quantities = [name for name in points[0] if name not in ("number", "failed")]
    watched = quantities[:-1] if curve.clients else quantities
    verdict = "; ".join(_steepest(name, curve, points) for name in watched)
    return {
        "title": curve.title,
        "unit": curve.unit,
        "quantities": quantities,
        "points": points,
        "verdict": verdict,
    }


def _steepest(name: str, curve: Curve, points: Sequence[dict[str, float]]) -> str:
    """Whether one quantity has a knee, and where it grows fastest."""
    slopes = [
        (math.log(after[name] / before[name]) / math.log(after["number"] / before["number"]), after["number"])
        for before, after in itertools.pairwise(points)
        if before[name] > 0 < after[name]
    ]
    steepest, where = max(slopes, default=(0.0, 0))
    word = "a knee" if steepest > KNEE else "no knee"
    return f"{name.partition(',')[0]}: {word}, steepest before {where:,} {curve.unit}, with the power {steepest:.2f}"


def _markdown(curve: dict[str, Any]) -> str:
    names = [*curve["quantities"], "failed"]
    rows = [[f"{point['number']:,}", *(f"{point[name]:.4g}" for name in names)] for point in curve["points"]]
    return f"## Growth: {curve['title'].lower()}\n\n{table([curve['unit'], *names], rows)}\n\n{curve['verdict']}"
