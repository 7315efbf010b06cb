"""Rspamd beside spamd: messages a second of each alone, and through the filter; the processor time and memory it takes.

Run it from the top of the repository: `python -m tests.bench.bench_rspamd [SECONDS] [ROUNDS]`. As many processes of
each scanner as the comparison gives spamd, no network, no redis, no Bayes; ClamAV off. All sides in turn in every
round; medians. smtp-sink is behind the filter. Absolute figures are the machine's: compare them with one another.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from demo.neighbours.filter import Filter
from demo.neighbours.rspamd import Rspamd
from demo.neighbours.spamd import Spamd
from tests.bench.driver import Plan, drive, saved
from tests.bench.profiles import profile
from tests.bench.sides import SPAMD_CHILDREN, BusySpamd, _pid, next_hop
from tests.bench.usage import cpu_seconds, proportional_memory

SECONDS: Final = 8.0
ROUNDS: Final = 3
PROFILES: Final = ("text", "document")
SESSIONS: Final = 10


class _BusyRspamd(Rspamd):
    """With as many processes as spamd has, and its patterns compiled."""

    processes = SPAMD_CHILDREN
    hyperscan = True


@dataclass(frozen=True, slots=True)
class _Side:
    """What is measured. roots: whose memory is told, and whose processor time; scanners: theirs beside it."""

    name: str
    asks: str
    roots: tuple[int, ...]
    scanners: tuple[int, ...] = ()
    port: int = 0
    path: str = ""


def main() -> int:
    """Print a table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    with tempfile.TemporaryDirectory(prefix="contentfilter-bench-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        with _sides(directory) as sides:
            for kind in PROFILES:
                _compare(sides, kind, directory, seconds, rounds)
    return 0


def _compare(sides: list[_Side], kind: str, directory: Path, seconds: float, rounds: int) -> None:
    measured: dict[str, list[tuple[float, float, float, int]]] = {side.name: [] for side in sides}
    what = profile(kind)
    print(f"{what.title}: messages/s; CPU ms a message: its own, the scanners' beside it; memory (PSS)")
    plans = {}
    for side in sides:
        bare = side.asks != "smtp"
        files = (
            saved(letter, directory / f"{kind}-{number}{'-bare' * bare}", for_spamd=bare)
            for number, letter in enumerate(what.letters)
        )
        plans[side.name] = Plan(tuple(files), side.port, side.path, side.asks, sessions=SESSIONS, seconds=seconds)
        drive(Plan(plans[side.name].letters, side.port, side.path, side.asks, sessions=SESSIONS, seconds=1.0))
    for _ in range(rounds):
        for side in sides:
            before, others = cpu_seconds(side.roots), cpu_seconds(side.scanners)
            done = drive(plans[side.name])
            if done.failed:
                raise SystemExit(f"{side.name}: {len(done.failed)} failed, such as: {done.failed[0]}")
            spent = (cpu_seconds(side.roots) - before, cpu_seconds(side.scanners) - others)
            own, beside = (1000 * seconds / len(done.latencies) for seconds in spent)
            measured[side.name].append((done.rate, own, beside, proportional_memory(side.roots)))
    for name, figures in measured.items():
        rate, own, beside, memory = (statistics.median(values) for values in zip(*figures, strict=True))
        print(f"  {name:32} {rate:8.1f} {own:8.2f} {beside:8.2f} {memory / 1e6:8.0f} MB")


@contextlib.contextmanager
def _sides(directory: Path) -> Iterator[list[_Side]]:
    for name in ("spamd", "rspamd"):
        (directory / name).mkdir()
    with contextlib.ExitStack() as stack:
        spamd: Spamd = stack.enter_context(BusySpamd(directory / "spamd"))
        rspamd: Rspamd = stack.enter_context(_BusyRspamd(directory / "rspamd"))
        sink, _ = stack.enter_context(next_hop(directory))
        asked: Mapping[str, Mapping[str, Any]] = {
            "no scanner": {"spamassassin": {"enabled": False}},
            "spamd": {"spamassassin": {"address": spamd.address}},
            "Rspamd": {"spamassassin": {"enabled": False}, "rspamd": {"enabled": True, "address": rspamd.address}},
            "both": {
                "spamassassin": {"address": spamd.address},
                "rspamd": {"enabled": True, "address": rspamd.address},
            },
        }
        sides = [
            _Side("spamd alone", "spamd", (_pid(spamd),), path=spamd.address.removeprefix("unix:")),
            _Side("Rspamd alone", "rspamd", (rspamd.pid,), path=rspamd.address.removeprefix("unix:")),
        ]
        for name, tables in asked.items():
            settings = {"clamav": {"enabled": False}, "policy": {"default": {"kill_level": 9999.0}}, **tables}
            place = directory / f"filter-{len(sides)}"
            ours = stack.enter_context(Filter(place, next_hop_port=sink, settings=settings))
            scanners = (_pid(spamd), rspamd.pid)
            sides.append(_Side(f"contentfilter with {name}", "smtp", (ours.pid,), scanners, port=ours.port))
        yield sides


if __name__ == "__main__":
    sys.exit(main())
