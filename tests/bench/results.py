"""What was measured, as a file and as a table; and how it has changed since the last time."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.bench.comparison import Figures
from tests.bench.profiles import MIX, profile
from tests.bench.sides import DIRECT, OURS, SPAMD, THEIRS, Scanners

FILE: Final = "results.json"
TABLE: Final = "results.md"
_NOTABLE: Final = 0.05
"""A change of the processor time below this is within the noise."""


@dataclass(slots=True)
class Results:
    """All of one run. conditions: machine, versions, numbers of processes; limits: by the name of the bench."""

    conditions: dict[str, Any] = field(default_factory=dict)
    comparison: list[Figures] = field(default_factory=list)
    limits: dict[str, Any] = field(default_factory=dict)
    tuning: list[dict[str, Any]] = field(default_factory=list)

    def save(self, directory: Path) -> None:
        """Write the file and the table."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / FILE).write_text(json.dumps(asdict(self), indent=1) + "\n")
        (directory / TABLE).write_text(self.markdown())

    @classmethod
    def load(cls, directory: Path) -> Results | None:
        """What an earlier run wrote, None if there is none."""
        file = directory / FILE
        if not file.exists():
            return None
        values = json.loads(file.read_text())
        values["comparison"] = [Figures(**each) for each in values["comparison"]]
        return cls(**values)

    def markdown(self) -> str:
        """Tables for people."""
        sections = ["# Measured by `make bench`", _conditions(self.conditions)]
        for scanners in Scanners:
            figures = [one for one in self.comparison if one.scanners == scanners.value]
            if figures:
                sections.append(f"## With {scanners.value}\n\n{_comparison_table(figures)}")
        sections.extend(limit["markdown"] for limit in self.limits.values() if limit.get("markdown"))
        if self.tuning:
            sections.append(f"## Numbers of processes tried\n\n{_tuning_table(self.tuning)}")
        if any(one.profile == "mix" for one in self.comparison):
            sections.append(_mix())
        return "\n\n".join(sections) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _tuning_table(tried: Sequence[dict[str, Any]]) -> str:
    """A line for each number and profile."""
    header = ["", "of", "processes", "profile", "throughput", "processor time with scanners", "memory (PSS)"]
    rows = []
    for one in tried:
        figures = [one["profile"], f"{one['rate']:.1f}/s", f"{one['cpu']:.1f} ms", f"{one['memory'] / 1e6:.0f} MB"]
        rows.append([f"{one['side']}, {one['scanners']}", one["what"], f"{one['processes']}", *figures])
    return table(header, rows)


def _comparison_table(figures: Sequence[Figures]) -> str:
    """For each profile a line for each quantity."""
    by = {(one.profile, one.side): one for one in figures}
    limit = next((one.side for one in figures if one.side in (DIRECT, SPAMD)), "")
    rows = []
    for name in dict.fromkeys(one.profile for one in figures):
        ours, theirs, bound = (by.get((name, side)) for side in (OURS, THEIRS, limit))
        title = profile(name).title
        rows.append(_row(f"{title}: throughput", ours, theirs, bound, "rate", "{:.1f}/s", spread=True))
        if bound is not None and bound.side == SPAMD:
            shares = [f"{100 * one.rate / bound.rate:.0f} %" if one and bound.rate else "" for one in (ours, theirs)]
            rows.append(["of what spamd alone can do", *shares, "", ""])
        rows.append(_row("processor time of the filter, a message", ours, theirs, bound, "cpu", "{:.2f} ms"))
        rows.append(_row("with that of the scanners beside it", ours, theirs, None, "cpu_in_all", "{:.2f} ms"))
        at = f" at {ours.load:.1f}/s" if ours else ""
        rows.append(_row(f"latency{at}, p50", ours, theirs, None, "p50", "{:.1f} ms"))
        rows.append(_row(f"latency{at}, p99", ours, theirs, None, "p99", "{:.1f} ms"))
        rows.append(_row("memory (PSS) at work", ours, theirs, None, "memory_with_spamd", "{:.0f} MB", 1e6))
    return table(["", OURS, THEIRS, "ratio", limit or "limit"], rows)


def _row(
    title: str,
    ours: Figures | None,
    theirs: Figures | None,
    bound: Figures | None,
    quantity: str,
    form: str,
    divisor: float = 1.0,
    *,
    spread: bool = False,
) -> list[str]:
    cells = [title, *(_cell(one, quantity, form, divisor, spread=spread) for one in (ours, theirs))]
    if ours and theirs and getattr(theirs, quantity):
        cells.append(f"{getattr(ours, quantity) / getattr(theirs, quantity):.2f}")
    else:
        cells.append("")
    cells.append(_cell(bound, quantity, form, divisor, spread=spread))
    return cells


def _cell(one: Figures | None, quantity: str, form: str, divisor: float, *, spread: bool) -> str:
    if one is None:
        return ""
    between = f" ({min(one.rates):.1f}-{max(one.rates):.1f})" if spread and one.rates else ""
    return form.format(getattr(one, quantity) / divisor) + between


def _mix() -> str:
    kinds = "; ".join(f"{count} {title}" for count, title in MIX)
    return f"The mix, of a hundred messages ({profile('mix').size / 1000:.0f} kB on the average): {kinds}."


def _conditions(values: dict[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in values.items())


def conditions(**more: object) -> dict[str, Any]:
    """The machine, and what runs on it."""
    load, memory = os.getloadavg()[0], _first("/proc/meminfo", "MemTotal")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "machine": f"{len(os.sched_getaffinity(0))} cores, {_first('/proc/cpuinfo', 'model name')}, {memory}",
        "load before": f"{load:.1f}",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "packages": ", ".join(_versions("amavisd-new", "clamav-daemon", "spamassassin", "postfix")),
        **more,
    }


def _first(file: str, field_name: str) -> str:
    for line in Path(file).read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == field_name:
            return value.strip()
    return "unknown"


def _versions(*packages: str) -> list[str]:
    command = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\\n", *packages]
    try:
        # Of what is not installed it has an empty version, and complains.
        return subprocess.run(command, check=False, capture_output=True, text=True).stdout.splitlines()
    except OSError:
        return ["unknown: no dpkg-query"]


def regressions(new: Results, old: Results | None) -> str:
    """How our processor time a message compares with the stored figures: a report, and no judgement."""
    if old is None:
        return "No stored figures to compare the processor time with."
    stored = {(one.scanners, one.profile): one.cpu for one in old.comparison if one.side == OURS}
    rows = []
    for one in new.comparison:
        before = stored.get((one.scanners, one.profile), 0.0)
        if one.side == OURS and before and one.cpu:
            change = one.cpu / before - 1
            word = "the same" if abs(change) < _NOTABLE else "MORE" if change > 0 else "less"
            title = profile(one.profile).title
            rows.append([one.scanners, title, f"{before:.2f} ms", f"{one.cpu:.2f} ms", f"{100 * change:+.0f} %", word])
    if not rows:
        return "No stored figures of these profiles to compare the processor time with."
    other = old.conditions.get("machine") != new.conditions.get("machine")
    warning = "\n\nThe stored figures are those of another machine: they tell little." if other else ""
    header = ["scanners", "profile", "stored", "now", "change", ""]
    return f"Processor time of contentfilter, a message:\n\n{table(header, rows)}{warning}"
