"""How long a normal message takes alone, and beside 200 idle and 50 slow clients.

Run it from the top of the repository: `python -m tests.bench.bench_slow_clients`. The filter as it is, without
scanners, so that nothing hides what the crowd costs; smtp-sink behind it. In turns, one message after another, each
over a connection of its own, the median and the 95th percentile of all rounds. The exit status is 1 if the median
beside the crowd is more than a quarter above that alone.
"""

from __future__ import annotations

import contextlib
import os
import smtplib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from demo.neighbours.daemon import Daemon, find_program, free_port
from demo.neighbours.filter import Filter
from tests.bench.profiles import profile

IDLE: Final = 200
SLOW: Final = 50
ROUNDS: Final = 8
MESSAGES: Final = 100
LIMIT: Final = 1.25


def main() -> int:
    """Print both figures and the ratio."""
    with tempfile.TemporaryDirectory(prefix="contentfilter-bench-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        settings = {"clamav": {"enabled": False}, "spamassassin": {"enabled": False}}
        with _sink(directory) as port, Filter(directory / "filter", next_hop_port=port, settings=settings) as ours:
            _seconds(ours.port)
            alone: list[float] = []
            beside: list[float] = []
            for _ in range(ROUNDS):
                alone += _seconds(ours.port)
                with _crowd(ours.port):
                    beside += _seconds(ours.port)
    print(f"\n{ROUNDS} rounds of {MESSAGES} messages of 3 kB in turns\n")
    for title, figures in (("alone", alone), (f"beside {IDLE} idle and {SLOW} slow clients", beside)):
        ordered = sorted(figures)
        late = ordered[int(0.95 * len(ordered))]
        print(f"{title}: median {statistics.median(ordered) * 1e3:.2f} ms, 95 % within {late * 1e3:.2f} ms")
    ratio = statistics.median(beside) / statistics.median(alone)
    print(f"ratio of the medians: {ratio:.2f} (at most {LIMIT})")
    return int(ratio > LIMIT)


def _seconds(port: int) -> list[float]:
    """How long each message took, from connecting to its reply."""
    content = profile("text").letters[0].content
    taken = []
    for _ in range(MESSAGES):
        began = time.monotonic()
        with smtplib.LMTP("127.0.0.1", port, timeout=60) as client:
            client.sendmail("alice@example.net", ["bob@example.org"], content)
            taken.append(time.monotonic() - began)
    return taken


@contextlib.contextmanager
def _sink(directory: Path) -> Iterator[int]:
    """A next hop that takes everything: its port."""
    port = free_port()
    as_user = ["-u", "nobody"] if os.geteuid() == 0 else []
    program = find_program("smtp-sink", "postfix")
    sink = Daemon([program, *as_user, f"127.0.0.1:{port}", "500"], directory / "smtp-sink.log")
    try:
        yield port
    finally:
        sink.stop()


@contextlib.contextmanager
def _crowd(port: int) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.crowd", str(port), str(IDLE), str(SLOW)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the crowd did not get in")
        yield
        process.stdin.close()


if __name__ == "__main__":
    sys.exit(main())
