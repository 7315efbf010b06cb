"""`make bench`: how many messages a second, and how much memory, beside amavisd-new where that is installed.

smtp-source -> filter -> smtp-sink, ClamAV on, SpamAssassin off, both filters with the same clamd. They are driven in
turns with the same messages, and the medians compared: on one machine, in one run, ratios mean something; the absolute
figures are those of this machine at this moment. Memory is the proportional set size (PSS) of all processes of a
filter, after the load.
"""

from __future__ import annotations

import base64
import contextlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from demo.messages import pdf
from demo.neighbours.clamd import Clamd
from demo.neighbours.daemon import Daemon, MissingProgramError, StartError, find_program, free_port
from demo.neighbours.filter import Filter
from tests.bench.amavis import PROGRAM as AMAVIS
from tests.bench.amavis import Amavis

ROUNDS: Final = 5
SECONDS: Final = 3.0
"""About how long one filter is driven in one round."""
_WARM_UP: Final = 60
SESSIONS: Final = 10
"""As many at once as the scan transport of master.cf.example opens."""


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of message."""

    title: str
    content: str


@dataclass(frozen=True, slots=True)
class Side:
    """One of the filters: where it listens, and its process id, which is that of its session as well."""

    title: str
    port: int
    pid: int


def main() -> int:
    """Measure and print a table in Markdown. The exit status."""
    with tempfile.TemporaryDirectory(prefix="contentfilter-bench-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        try:
            with _sides(directory) as sides:
                _report(sides, _measure(sides, directory))
        except (MissingProgramError, StartError) as error:
            print(f"bench: {error}", file=sys.stderr)
            return os.EX_UNAVAILABLE
    if not Path(AMAVIS).exists():
        print("\namavisd-new is not installed, so there is nothing to compare with: apt-get install amavisd-new")
    return 0


@contextlib.contextmanager
def _sides(directory: Path) -> Iterator[list[Side]]:
    with contextlib.ExitStack() as stack:
        (directory / "clamd").mkdir()
        clamd = stack.enter_context(Clamd(directory / "clamd"))
        sink = stack.enter_context(_sink(directory))
        ours = Filter(
            directory / "contentfilter",
            next_hop_port=sink,
            settings={"clamav": {"socket": clamd.address}, "spamassassin": {"enabled": False}},
        )
        stack.enter_context(ours)
        sides = [Side("contentfilter", ours.port, ours.pid)]
        if Path(AMAVIS).exists():
            socket = clamd.address.removeprefix("unix:")
            theirs = stack.enter_context(Amavis(directory / "amavis", next_hop_port=sink, clamd_socket=socket))
            sides.append(Side("amavisd-new", theirs.port, theirs.pid))
        yield sides


@contextlib.contextmanager
def _sink(directory: Path) -> Iterator[int]:
    """A next hop that takes everything: its port."""
    port = free_port()
    as_user = ["-u", "nobody"] if os.geteuid() == 0 else []
    sink = Daemon(
        [find_program("smtp-sink", "postfix"), *as_user, f"127.0.0.1:{port}", "500"], directory / "smtp-sink.log"
    )
    try:
        yield port
    finally:
        sink.stop()


def _measure(sides: Sequence[Side], directory: Path) -> dict[tuple[str, str], list[float]]:
    """Messages a second by load and side, one figure a round."""
    rates: dict[tuple[str, str], list[float]] = {}
    for load in loads():
        file = directory / "message"
        file.write_text(load.content)
        counts = {side: max(_WARM_UP, int(SECONDS * _drive(side.port, file, _WARM_UP))) for side in sides}
        for _ in range(ROUNDS):
            for side in sides:
                rates.setdefault((load.title, side.title), []).append(_drive(side.port, file, counts[side]))
    return rates


def _drive(port: int, file: Path, count: int) -> float:
    source = find_program("smtp-source", "postfix")
    addresses = ["-f", "alice@example.net", "-t", "bob@example.org"]
    command = [source, "-s", str(SESSIONS), "-m", str(count), *addresses, "-F", str(file), f"127.0.0.1:{port}"]
    started = time.monotonic()
    subprocess.run(command, check=True, timeout=600)
    return count / (time.monotonic() - started)


def _report(sides: Sequence[Side], rates: dict[tuple[str, str], list[float]]) -> None:
    memory = {side.title: proportional_memory(side.pid) / 1e6 for side in sides}
    header = ["", *(side.title for side in sides), *(["ratio"] if len(sides) > 1 else [])]
    print(f"\n{ROUNDS} rounds in turns, medians, {len(os.sched_getaffinity(0))} cores, {SESSIONS} sessions.\n")
    print(f"| {' | '.join(header)} |")
    print(f"|{'---|' * len(header)}")
    for load in loads():
        medians = [statistics.median(rates[load.title, side.title]) for side in sides]
        spread = [
            f"{min(rates[load.title, side.title]):.0f}-{max(rates[load.title, side.title]):.0f}" for side in sides
        ]
        figures = [f"{median:.0f}/s ({between})" for median, between in zip(medians, spread, strict=True)]
        print(_row(load.title, figures, medians))
    print(_row("memory (PSS)", [f"{memory[side.title]:.0f} MB" for side in sides], list(memory.values())))


def _row(title: str, figures: Sequence[str], values: Sequence[float]) -> str:
    ratio = [f"{values[0] / values[1]:.2f}"] if len(values) > 1 else []
    return f"| {' | '.join([title, *figures, *ratio])} |"


def proportional_memory(session: int) -> int:
    """The PSS in bytes of all processes of a session."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # The fields after the name, which stands in parentheses: state, parent, group, session.
            if int((process / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                lines = (process / "smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def loads() -> tuple[Load, ...]:
    """A text of 3 kB, and 60 kB of HTML with a PDF. The same in every run."""
    chance = random.Random(1)
    words = [
        " ".join("".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 9))) for _ in range(10)) for _ in range(50)
    ]
    fields = "From: alice@example.net\nTo: bob@example.org\nSubject: a message to measure with\n"
    fields += "Date: Sat, 21 Nov 2026 10:00:00 +0000\nMessage-ID: <bench@example.net>\nMIME-Version: 1.0\n"
    html = "\n".join(f"<p>{line}</p>" for line in words * 2)
    minutes = base64.encodebytes(pdf("Minutes", chance.randbytes(37_000))).decode()
    mixed = (
        'Content-Type: multipart/mixed; boundary="next"\n\n'
        f"--next\nContent-Type: text/html; charset=utf-8\n\n{html}\n"
        "--next\nContent-Type: application/pdf; name=minutes.pdf\nContent-Transfer-Encoding: base64\n"
        f"Content-Disposition: attachment; filename=minutes.pdf\n\n{minutes}\n--next--\n"
    )
    return (
        Load("text, 3 kB", f"{fields}\n" + "\n".join(words)),
        Load("HTML and PDF, 60 kB", fields + mixed),
    )


if __name__ == "__main__":
    sys.exit(main())
