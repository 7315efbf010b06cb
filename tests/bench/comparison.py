"""The sides in turns with the same messages: throughput, latency at a fixed load, processor time and memory."""

from __future__ import annotations

import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final

from demo.neighbours.daemon import find_program
from tests.bench.driver import Drive, Plan, drive, saved
from tests.bench.profiles import RECIPIENT, SENDER, Profile
from tests.bench.sides import DIRECT, OURS, SPAMD, Scanners, Side, Stage
from tests.bench.usage import cpu_seconds, proportional_memory

_LOOK_EVERY: Final = 0.25
LEAST_SAMPLES: Final = 100
"""Messages at a fixed load, if the time for it allows."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure. rounds and seconds: of throughput; steady: seconds at a fixed load, least and most.

    samples: messages of a round, for which it may last longer, up to most seconds: what is under way at its end would
    else be a large part of it. first: seconds that are not counted, in which caches fill and connections open.
    """

    rounds: int = 3
    seconds: float = 1.5
    samples: int = 100
    most: float = 10.0
    steady: tuple[float, float] = (2.5, 5.0)
    first: float = 1.0


@dataclass(slots=True)
class Figures:
    """What was measured of one side with one profile and one set of scanners.

    rates: messages a second, one for each round. cpu, scanners, driver: milliseconds of processor time a message, of
    the side's own processes, of clamd and spamd, and of who sends; medians of the rounds. load: messages a second at
    which p50 and p99 (milliseconds) were taken of so many samples. memory: the most bytes (PSS) seen at work; all: with
    a spamd that it needs.
    """

    scanners: str
    profile: str
    side: str
    rates: list[float] = field(default_factory=list)
    cpu: float = 0.0
    scanners_cpu: float = 0.0
    driver_cpu: float = 0.0
    load: float = 0.0
    samples: int = 0
    p50: float = 0.0
    p99: float = 0.0
    memory: int = 0
    memory_with_spamd: int = 0
    failed: int = 0
    not_passed: int = 0

    @property
    def cpu_in_all(self) -> float:
        """Milliseconds of the side's own processes and of the scanners beside it."""
        return self.cpu + self.scanners_cpu

    @property
    def rate(self) -> float:
        """Messages a second, the median of the rounds."""
        return statistics.median(self.rates) if self.rates else 0.0


class MemoryWatch(AbstractContextManager["MemoryWatch"]):
    """Looks at the memory of processes now and then; most is the largest sum seen."""

    def __init__(self, roots: Iterable[int], every: float = _LOOK_EVERY) -> None:
        self.most = 0
        self._roots = tuple(roots)
        self._every = every
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self.look()

    def look(self) -> None:
        """Look now."""
        self.most = max(self.most, proportional_memory(self._roots))

    def _watch(self) -> None:
        while not self._ended.wait(self._every):
            self.look()


class Comparison:
    """Measures on one stage. directory: where messages are written."""

    def __init__(self, stage: Stage, scanners: Scanners, directory: Path, effort: Effort) -> None:
        self._stage = stage
        self._scanners = scanners
        self._directory = directory
        self._effort = effort

    def measure(self, profile: Profile, tell: Callable[[str], None]) -> list[Figures]:
        """One profile with every side, in turns."""
        plans = {side: self._plan(side, profile) for side in self._stage.sides}
        results = {side: Figures(self._scanners.value, profile.name, side.name) for side in plans}
        parts: dict[Side, list[tuple[float, float, float]]] = {side: [] for side in plans}
        seconds = {side: self._seconds(self._run(side, plan, self._effort.first)[0]) for side, plan in plans.items()}
        before = {side: _withheld(side) for side in plans}
        for _ in range(self._effort.rounds):
            for side, plan in plans.items():
                result, own, others = self._run(side, plan, seconds[side])
                number = max(1, len(result.latencies))
                results[side].rates.append(result.rate)
                results[side].failed += len(result.failed)
                parts[side].append((own / number, others / number, result.cpu / number))
                results[side].memory = max(results[side].memory, proportional_memory(side.roots))
        for side, samples in parts.items():
            one = results[side]
            one.cpu, one.scanners_cpu, one.driver_cpu = (
                1000 * statistics.median(values) for values in zip(*samples, strict=True)
            )
        self._at_a_fixed_load(plans, results)
        for side, one in results.items():
            one.not_passed = _withheld(side) - before[side]
            if self._scanners.spamd and side.name == OURS:
                one.memory_with_spamd = one.memory + proportional_memory((self._stage.scanners["spamd"],))
            else:
                one.memory_with_spamd = one.memory
            tell(_line(one))
        return list(results.values())

    def _seconds(self, first: Drive) -> float:
        """How long a round of a side has to be that did so well at first."""
        wanted = self._effort.samples / first.rate if first.rate else self._effort.most
        return max(self._effort.seconds, min(wanted, self._effort.most))

    def _plan(self, side: Side, profile: Profile) -> Plan:
        for_spamd = side.name == SPAMD
        letters = tuple(
            saved(letter, self._directory / f"{profile.name}-{number}{'-bare' * for_spamd}", for_spamd=for_spamd)
            for number, letter in enumerate(profile.letters)
        )
        return Plan(letters, side.port, side.path, "spamd" if for_spamd else "smtp", sessions=profile.sessions)

    def _run(self, side: Side, plan: Plan, seconds: float) -> tuple[Drive, float, float]:
        """Drive one side as fast as it goes: what came of it, processor seconds of its own and of the scanners."""
        if side.name == DIRECT and len(plan.letters) == 1:
            return _smtp_source(plan, seconds), 0.0, 0.0
        scanners = [pid for name, pid in self._stage.scanners.items() if name != "smtp-sink" and pid not in side.roots]
        own, others = cpu_seconds(side.roots), cpu_seconds(scanners)
        result = drive(_with(plan, seconds=seconds))
        return result, cpu_seconds(side.roots) - own, cpu_seconds(scanners) - others

    def _at_a_fixed_load(self, plans: dict[Side, Plan], results: dict[Side, Figures]) -> None:
        """The filters at half of what the slower one can do."""
        filters = [side for side in plans if side.is_filter]
        if not filters:
            return
        rate = min(results[side].rate for side in filters) / 2
        if rate <= 0:
            return
        least, most = self._effort.steady
        seconds = min(max(least, LEAST_SAMPLES / rate), most)
        for side in filters:
            with MemoryWatch(side.roots) as memory:
                result = drive(_with(plans[side], seconds=seconds, rate=rate, sessions=0))
            one = results[side]
            one.load, one.samples = rate, len(result.latencies)
            one.p50, one.p99 = (1000 * percentile(result.latencies, share) for share in (0.5, 0.99))
            one.memory = max(one.memory, memory.most)
            one.failed += len(result.failed)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a share of the values does not exceed; 0 of no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _with(plan: Plan, *, seconds: float, rate: float = 0.0, sessions: int | None = None) -> Plan:
    return Plan(
        plan.letters, plan.port, plan.path, plan.asks, plan.sessions if sessions is None else sessions, rate, seconds
    )


def _smtp_source(plan: Plan, seconds: float) -> Drive:
    """Postfix's own, as far as one message can be sent again and again: the limit is to be the machine's, not ours."""
    [(name, recipients)] = plan.letters
    file = Path(name).with_suffix(".lf")
    # The end of DATA is smtp-source's own.
    file.write_bytes(Path(name).read_bytes().removesuffix(b".\r\n").replace(b"\r\n", b"\n"))
    addresses = ["-f", SENDER, "-t", RECIPIENT, "-r", str(recipients)]
    command = [find_program("smtp-source", "postfix"), "-s", str(plan.sessions), *addresses, "-F", str(file)]

    def timed(count: int) -> float:
        began = time.monotonic()
        subprocess.run([*command, "-m", str(count), f"127.0.0.1:{plan.port}"], check=True, timeout=600)
        return time.monotonic() - began

    first = 5 * plan.sessions
    count = max(first, int(seconds * first / timed(first)))
    elapsed = timed(count)
    return Drive(seconds=elapsed, latencies=[elapsed / count] * count)


def _withheld(side: Side) -> int:
    """How many messages a filter did not pass, or not as clean or tagged, as its log says."""
    if side.log is None or not side.log.exists():
        return 0
    text = side.log.read_text(errors="replace")
    return text.count(") Blocked ") + text.count(") Passed UNCHECKED") + text.count(") Passed BA")


def _line(one: Figures) -> str:
    steady = f", p50 {one.p50:.1f} ms, p99 {one.p99:.1f} ms at {one.load:.1f}/s" if one.load else ""
    trouble = f", {one.failed} FAILED" * bool(one.failed) + f", {one.not_passed} NOT PASSED" * bool(one.not_passed)
    return (
        f"{one.scanners}, {one.profile}, {one.side}: {one.rate:.1f}/s, {one.cpu:.2f} ms of processor time each,"
        f" {one.memory_with_spamd / 1e6:.0f} MB{steady}{trouble}"
    )
