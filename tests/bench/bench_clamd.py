"""What it costs to know what clamd has said, and what it saves: CPU of ours and time, by message, beside no cache.

Run it from the top of the repository: `python -m tests.bench.bench_clamd`. It starts a clamd of its own, with a
database of two signatures; with ClamAV's own a scan takes clamd longer, and what is saved is more.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import uvloop

from contentfilter.envelope import Envelope
from contentfilter.inspectors import Subject
from contentfilter.inspectors.clamd import ClamdInspector
from contentfilter.inspectors.clamd_cache import ScanCache
from contentfilter.message import Message
from contentfilter.mime import parse
from demo.neighbours.clamd import Clamd

ROUNDS = 400
SIZES = {"3 kB": 2_000, "60 kB": 42_000}


def message(number: int, content: bytes) -> bytes:
    """A message like no other, with a text and an attachment."""
    return (
        b"Received: by mx.example (Postfix) id %d\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain\r\n\r\nYour number is %d.\r\n"
        b"--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n%b\r\n--b--\r\n"
        % (number, number, base64.encodebytes(content).replace(b"\n", b"\r\n"))
    )


def subjects(size: int, *, repeating: bool) -> Iterator[Subject]:
    """So many messages. repeating: all have the same attachment."""
    same = os.urandom(size)
    for number in range(ROUNDS):
        raw = message(number, same if repeating else os.urandom(size))
        yield Subject("id", Envelope("", ()), Message(raw), parse(raw))


async def measured(address: str, cache: int, make: Callable[[], Iterator[Subject]]) -> tuple[float, float]:
    """Milliseconds of CPU and of time that a message takes, of the better of three runs."""
    runs = []
    for _ in range(3):
        inspector = ClamdInspector(address, cache=cache)
        prepared = list(make())
        cpu, wall = time.process_time(), time.perf_counter()
        for subject in prepared:
            await inspector.inspect(subject)
        runs.append((time.process_time() - cpu, time.perf_counter() - wall))
        for subject in prepared:
            subject.message.close()
    return min(run[0] for run in runs) / ROUNDS * 1000, min(run[1] for run in runs) / ROUNDS * 1000


def memory(entries: int) -> int:
    """Bytes that a full cache takes."""
    tracemalloc.start()
    cache = ScanCache(entries)
    cache.serve("v")
    for _ in range(entries):
        cache.put("v", os.urandom(32), "")
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return taken


def main() -> None:
    """Print a line for each."""
    with tempfile.TemporaryDirectory() as name, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        Path(name).chmod(0o755)
        with Clamd(Path(name)) as clamd:
            for size, length in SIZES.items():
                for what, cache, repeating in (
                    ("no cache", 0, False),
                    ("nothing repeats", 8192, False),
                    ("attachment repeats", 8192, True),
                ):
                    cpu, wall = runner.run(
                        measured(clamd.address, cache, lambda: subjects(length, repeating=repeating))  # noqa: B023
                    )
                    print(f"{size:6} {what:20}: {cpu:6.3f} ms of CPU, {wall:6.3f} ms in all")
    print(f"8192 results take {memory(8192) / 1e6:.2f} MB")


if __name__ == "__main__":
    sys.exit(main())
