"""The figures as pictures. Needs matplotlib, which `pip install '.[bench]'` brings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, Final

from matplotlib.figure import Figure

from tests.bench.comparison import Figures
from tests.bench.profiles import profile
from tests.bench.sides import DIRECT, OURS, SPAMD, THEIRS, Scanners

_COLOURS: Final = {OURS: "#1b6ca8", THEIRS: "#b5651d", SPAMD: "#999999", DIRECT: "#999999"}


def throughput(figures: Sequence[Figures], file: Path) -> None:
    """Bars for each profile, one picture for each set of scanners."""
    kinds = [one for one in Scanners if any(each.scanners == one.value for each in figures)]
    if not kinds:
        return
    figure = Figure(figsize=(9, 3.1 * len(kinds)), layout="tight")
    axes = figure.subplots(len(kinds), 1, squeeze=False)
    for (axis,), scanners in zip(axes, kinds, strict=True):
        _bars(axis, scanners, [one for one in figures if one.scanners == scanners.value])
    figure.savefig(file, dpi=110)


def _bars(axis: Any, scanners: Scanners, figures: Sequence[Figures]) -> None:
    names = list(dict.fromkeys(one.profile for one in figures))
    sides = list(dict.fromkeys(one.side for one in figures))
    width = 0.8 / len(sides)
    for number, side in enumerate(sides):
        of = {one.profile: one for one in figures if one.side == side}
        rates = [of[name].rate if name in of else 0 for name in names]
        places = [place + (number - (len(sides) - 1) / 2) * width for place in range(len(names))]
        bars = axis.bar(places, rates, width * 0.95, label=side, color=_COLOURS[side])
        axis.bar_label(bars, [f"{rate:.0f}" if rate >= 100 else f"{rate:.2g}" for rate in rates], fontsize=7)
    axis.set_yscale("log")
    axis.margins(y=0.2)
    axis.set_ylabel("messages a second")
    axis.set_title(f"With {scanners.value}", fontsize=10)
    axis.set_xticks(range(len(names)), [fill(profile(name).title, 18) for name in names], fontsize=8)
    axis.legend(fontsize=7)


def growth(curves: Sequence[dict[str, Any]], file: Path) -> None:
    """One picture for each curve, both axes logarithmic: what grows linearly is straight, at most at 45 degrees."""
    if not curves:
        return
    rows = (len(curves) + 1) // 2
    figure = Figure(figsize=(10, 3.6 * rows), layout="tight")
    axes = figure.subplots(rows, 2, squeeze=False)
    flat = [axis for row in axes for axis in row]
    for axis, curve in zip(flat, curves, strict=False):
        numbers = [point["number"] for point in curve["points"]]
        for quantity in curve["quantities"]:
            axis.plot(numbers, [point[quantity] for point in curve["points"]], "o-", label=quantity, markersize=3)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_title(curve["title"], fontsize=10)
        axis.set_xlabel(curve["unit"], fontsize=8)
        axis.grid(visible=True, alpha=0.3)
        axis.legend(fontsize=7)
    for axis in flat[len(curves) :]:
        axis.set_visible(False)
    figure.savefig(file, dpi=110)
