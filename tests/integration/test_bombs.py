"""Messages that become large, deep or many, through the daemon, while ordinary mail goes on."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from demo.neighbours.clamd import Clamd
from demo.neighbours.filter import Filter
from tests.corpus.bombs import CASES
from tests.corpus.building import TEXT, letter
from tests.corpus.case import Case
from tests.integration.test_corpus import Sink, deliver, sender

BUDGET = 30.0
"""Seconds, as the configuration has it by default. clamd's and the disk's share comes on top."""
PATIENCE = 30.0
MOST = 300 * 1024 * 1024

ORDINARY = letter(b"Content-Type: text/plain\r\n", TEXT)


def family(pid: int) -> list[int]:
    """The process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


def resident(pid: int) -> int:
    """Bytes of memory, what is shared counted in parts."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def anonymous_files(pids: list[int]) -> int:
    """Bytes in files that live in memory only and that these processes hold open, each file once."""
    found: dict[int, int] = {}
    for pid in pids:
        for name in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(name.readlink()).startswith("/memfd:"):
                    status = name.stat()
                    found[status.st_ino] = status.st_blocks * 512
    return sum(found.values())


@dataclass
class Watch:
    """Looks at the daemon's memory again and again while the block lasts."""

    supervisor: int
    peak: int = 0
    files: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def _look(self) -> None:
        while not self._over.wait(0.02):
            with contextlib.suppress(OSError):  # a process ended while it was looked at
                pids = family(self.supervisor)
                self.peak = max(self.peak, sum(resident(pid) for pid in pids[1:]))
                self.files = max(self.files, anonymous_files(pids))

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@dataclass
class Trickle:
    """Ordinary mail, one after the other, while the block lasts."""

    port: int
    seconds: list[float] = field(default_factory=list)
    replies: set[str] = field(default_factory=set)
    _over: threading.Event = field(default_factory=threading.Event)

    def _send(self) -> None:
        while not self._over.wait(0.05):
            began = time.monotonic()
            self.replies.add(deliver(self.port, "ordinary@corpus.example", ORDINARY)[:4])
            self.seconds.append(time.monotonic() - began)

    def __enter__(self) -> Trickle:
        self._thread = threading.Thread(target=self._send)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture(scope="module")
def running(clamd: Clamd, open_directory: Path) -> Iterator[Filter]:
    directory = Path(tempfile.mkdtemp(prefix="bombs-", dir=open_directory))
    settings = {"workers": 1, "spamassassin": {"enabled": False}, "clamav": {"socket": clamd.address}}
    with Sink() as hop:
        port = int(hop.address.rpartition(":")[2])
        with Filter(directory, next_hop_port=port, settings=settings) as running:
            deliver(running.port, "ordinary@corpus.example", ORDINARY)
            yield running


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="the kernel does not tell about memory")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_bomb_costs_little_and_is_unchecked(case: Case, running: Filter) -> None:
    raw = case.build()
    with Watch(running.pid) as watch, Trickle(running.port) as others:
        began = time.monotonic()
        reply = deliver(running.port, sender(str(case)), raw)
        seconds = time.monotonic() - began
        # One more, so that there is at least one whatever the bomb did.
        others.replies.add(deliver(running.port, "ordinary@corpus.example", ORDINARY)[:4])
    if directory := os.environ.get("CORPUS_MEASURES"):
        measured = f"{len(raw)} bytes, {seconds:.2f} s, {watch.peak >> 20} MiB + {watch.files >> 20} MiB in files"
        with (Path(directory) / "bombs.txt").open("a") as file:
            file.write(f"{case.name}: {measured}, slowest other {max(others.seconds, default=0.0):.2f} s\n")
    assert reply.startswith("250 2.7.0"), reply
    (item,) = [item for item in running.quarantined() if item["mail_from"] == sender(str(case))]
    assert item["category"] == "unchecked"
    assert seconds < BUDGET + PATIENCE
    assert others.replies == {"250 "}
    assert max(others.seconds, default=0.0) < PATIENCE
    # The message itself, which Postfix would not send larger than its limit, is not what a bomb becomes.
    assert watch.peak + watch.files < MOST, f"{watch.peak >> 20} MiB and {watch.files >> 20} MiB in files"
