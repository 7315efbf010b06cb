"""`make bench`: how fast and how large contentfilter is, beside amavisd-new and beside what the machine can do at most.

Everything is driven in turns with the same messages, and medians are compared: on one machine, in one run, ratios mean
something; the absolute figures are those of this machine at this moment.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from demo.neighbours.daemon import MissingProgramError, StartError
from tests.bench import limits, plots
from tests.bench.amavis import CHILDREN, PROGRAM
from tests.bench.comparison import Comparison, Effort
from tests.bench.profiles import PROFILES, profile
from tests.bench.results import Results, conditions, regressions
from tests.bench.sides import DIRECT, OURS, SPAMD, SPAMD_CHILDREN, THEIRS, WORKERS, Scanners, staged
from tests.bench.tuning import tuned

STORED: Final = Path(__file__).parents[2] / "docs" / "bench"
SCRATCH: Final = Path(__file__).parents[2] / "build" / "bench"

_SIDES: Final = {"ours": OURS, "amavis": THEIRS, "direct": DIRECT, "spamd": SPAMD}
_SCANNERS: Final = {"clamd": Scanners.CLAMD, "both": Scanners.BOTH, "none": Scanners.NONE}
_QUICK: Final = Effort(rounds=1, seconds=0.7, samples=20, steady=(1.0, 1.0), first=0.4)


@click.command()
@click.option(
    "--profile", "profiles", multiple=True, type=click.Choice([*PROFILES]), help="Only these; again for more."
)
@click.option("--scanners", "sets", multiple=True, type=click.Choice([*_SCANNERS]), help="Only with these.")
@click.option("--side", "sides", multiple=True, type=click.Choice([*_SIDES]), help="Only these.")
@click.option("--rounds", type=click.IntRange(1), help="Rounds in turns.")
@click.option("--seconds", type=click.FloatRange(0.1), help="Seconds of one side in one round.")
@click.option("--quick", is_flag=True, help="About two minutes, and rough.")
@click.option("--comparison/--no-comparison", default=True, help="Compare the sides.")
@click.option("--limit", "names", multiple=True, type=click.Choice(["all", *limits.BENCHES]), help="And these benches.")
@click.option("--tune", is_flag=True, help="Try numbers of processes for both filters, and nothing else.")
@click.option("--output", type=click.Path(path_type=Path), help="A directory; docs/bench if everything is measured.")
def main(
    *,
    profiles: Sequence[str],
    sets: Sequence[str],
    sides: Sequence[str],
    rounds: int | None,
    seconds: float | None,
    quick: bool,
    comparison: bool,
    names: Sequence[str],
    tune: bool,
    output: Path | None,
) -> None:
    """Measure, and write a table, the figures and pictures. Whatever is measured is compared with docs/bench."""
    whole = not (profiles or sets or sides or quick or rounds or seconds)
    output = output or (STORED if whole else SCRATCH)
    base = _QUICK if quick else Effort()
    effort = replace(base, rounds=rounds or base.rounds, seconds=seconds or base.seconds)
    stored = Results.load(STORED)
    results = Results.load(output) or Results()
    results.conditions = conditions(
        processes=f"contentfilter {WORKERS or 'one worker a core'}, amavisd-new {CHILDREN} children,"
        f" spamd {SPAMD_CHILDREN} children",
        effort=f"{effort.rounds} rounds of {effort.seconds:g} s in turns, medians, a connection for each message",
    )
    with tempfile.TemporaryDirectory(prefix="contentfilter-bench-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        try:
            if tune:
                results.tuning = tuned(directory, effort, _tell)
            elif comparison:
                wanted = tuple(_SIDES[side] for side in sides or _SIDES)
                results.comparison = []
                for kind in sets or _SCANNERS:
                    _compare(results, _SCANNERS[kind], profiles or [*PROFILES], wanted, effort, directory)
            for bench in limits.BENCHES if "all" in names else names:
                _tell(f"{bench}:")
                results.limits[bench] = limits.BENCHES[bench](directory, quick, _tell)
        except (MissingProgramError, StartError) as error:
            print(f"bench: {error}", file=sys.stderr)
            sys.exit(os.EX_UNAVAILABLE)
    results.save(output)
    plots.throughput(results.comparison, output / "throughput.png")
    plots.growth(results.limits.get("growth", {}).get("curves", []), output / "growth.png")
    print(f"\n{results.markdown()}\n{regressions(results, stored)}\n\nWritten to {output}.")
    if not Path(PROGRAM).exists():
        print(
            "\namavisd-new is not installed, so there is nothing to compare with: scripts/install-packages amavisd-new"
        )


def _compare(
    results: Results,
    scanners: Scanners,
    profiles: Sequence[str],
    sides: tuple[str, ...],
    effort: Effort,
    directory: Path,
) -> None:
    with staged(scanners, directory / scanners.name.lower(), sides) as stage:
        comparison = Comparison(stage, scanners, directory, effort)
        for name in profiles:
            results.comparison += comparison.measure(profile(name), _tell)


_BEGAN: Final = time.monotonic()


def _tell(text: str) -> None:
    """How far it is, for whoever waits."""
    print(f"[{time.monotonic() - _BEGAN:4.0f} s] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
