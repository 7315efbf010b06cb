"""Who is measured: the filters, and the limits that none of them can pass; with the scanners that they share.

All of them run at the same time and idle while another has its turn.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final

from demo.neighbours.clamd import Clamd
from demo.neighbours.daemon import Daemon, ask, find_program, free_port
from demo.neighbours.filter import Filter
from demo.neighbours.spamd import Spamd
from tests.bench.amavis import CHILDREN, PROGRAM, Amavis
from tests.bench.driver import SPAM_SIZE_LIMIT
from tests.bench.profiles import EAGER, STRICT

OURS: Final = "contentfilter"
THEIRS: Final = "amavisd-new"
DIRECT: Final = "smtp-sink alone"
SPAMD: Final = "spamd alone"

WORKERS: Final = 0
"""One a core, which is the default."""
SPAMD_CHILDREN: Final = 2
"""One a core: a child hardly ever waits for anything but its core. One of amavisd-new does, a third of its time."""


class Scanners(Enum):
    """Which scanners are asked. The value is what stands in tables."""

    CLAMD = "ClamAV"
    BOTH = "ClamAV and SpamAssassin"
    NONE = "no scanner"

    @property
    def clamd(self) -> bool:
        """Whether ClamAV is asked."""
        return self is not Scanners.NONE

    @property
    def spamd(self) -> bool:
        """Whether SpamAssassin is asked."""
        return self is Scanners.BOTH


@dataclass(frozen=True, slots=True)
class Side:
    """One of those that are measured: where it listens, the process ids at the top of its processes, and its log."""

    name: str
    port: int = 0
    path: str = ""
    roots: tuple[int, ...] = ()
    log: Path | None = None

    @property
    def is_filter(self) -> bool:
        """Whether it is a filter, and not a limit."""
        return self.name in (OURS, THEIRS)


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs. scanners: the process ids of the daemons beside the filters; sink: the port of the next hop.

    clamd, spamd: their addresses, "" where they are not asked.
    """

    sides: tuple[Side, ...]
    scanners: dict[str, int] = field(default_factory=dict)
    sink: int = 0
    clamd: str = ""
    spamd: str = ""

    def side(self, name: str) -> Side:
        """The one of this name. Raises KeyError."""
        return {side.name: side for side in self.sides}[name]


class BusySpamd(Spamd):
    """With as many children as are asked for, all there from the start, and without learning.

    Learning would make each message dearer than the one before, as its database grows.
    """

    def __init__(self, directory: Path, children: int = SPAMD_CHILDREN) -> None:
        super().__init__(directory, options="use_bayes 0")
        self._children = children

    def _arguments(self) -> list[str]:
        counts = ("--max-children", "--min-children", "--min-spare", "--max-spare")
        kept = [word for word in super()._arguments() if word.partition("=")[0] not in counts]
        return [
            *kept,
            *(f"{count}={self._children}" for count in counts[:2]),
            "--min-spare=1",
            f"--max-spare={self._children}",
        ]


@dataclass(frozen=True, slots=True)
class Numbers:
    """How many processes each side has."""

    workers: int = WORKERS
    children: int = CHILDREN
    spamd: int = SPAMD_CHILDREN


@contextlib.contextmanager
def staged(
    scanners: Scanners,
    directory: Path,
    names: tuple[str, ...] = (OURS, THEIRS, DIRECT, SPAMD),
    *,
    numbers: Numbers | None = None,
    settings: dict[str, Any] | None = None,
) -> Iterator[Stage]:
    """Start the scanners, the next hop, and the sides of these names that have a part in it.

    settings: tables of our configuration over those of the benchmark. Raises MissingProgramError, StartError.
    """
    numbers = numbers or Numbers()
    directory.mkdir()
    directory.chmod(0o755)
    with contextlib.ExitStack() as stack:
        daemons: dict[str, int] = {}
        clamd, spamd = None, None
        if scanners.clamd:
            (directory / "clamd").mkdir()
            clamd = stack.enter_context(Clamd(directory / "clamd"))
            daemons["clamd"] = _pid(clamd)
        if scanners.spamd:
            (directory / "spamd").mkdir()
            spamd = stack.enter_context(BusySpamd(directory / "spamd", numbers.spamd))
            daemons["spamd"] = _pid(spamd)
        sink, daemons["smtp-sink"] = stack.enter_context(next_hop(directory))
        stage = Stage((), daemons, sink, clamd.address if clamd else "", spamd.address if spamd else "")
        sides = []
        if OURS in names:
            ours = Filter(
                directory / OURS,
                next_hop_port=sink,
                settings=filter_settings(stage, numbers.workers) | (settings or {}),
            )
            stack.enter_context(ours)
            sides.append(Side(OURS, ours.port, roots=(ours.pid,), log=ours.log))
        if THEIRS in names and Path(PROGRAM).exists():
            theirs = Amavis(
                directory / "amavis",
                next_hop_port=sink,
                clamd_socket=clamd.address.removeprefix("unix:") if clamd else "",
                spamassassin=directory / "spamd/site" if spamd else None,
                children=numbers.children,
            )
            stack.enter_context(theirs)
            sides.append(Side(THEIRS, theirs.port, roots=(theirs.pid,), log=theirs.log))
        if DIRECT in names and scanners is Scanners.NONE:
            sides.append(Side(DIRECT, sink, roots=(daemons["smtp-sink"],)))
        if SPAMD in names and spamd:
            sides.append(Side(SPAMD, path=spamd.address.removeprefix("unix:"), roots=(daemons["spamd"],)))
        yield replace(stage, sides=tuple(sides))


@contextlib.contextmanager
def next_hop(directory: Path) -> Iterator[tuple[int, int]]:
    """A next hop that takes everything: its port and process id."""
    port = free_port()
    as_user = ["-u", "nobody"] if os.geteuid() == 0 else []
    sink = Daemon(
        [find_program("smtp-sink", "postfix"), *as_user, f"127.0.0.1:{port}", "1000"], directory / "smtp-sink.log"
    )
    sink.wait_until(lambda: ask(("127.0.0.1", port), b"QUIT\r\n").startswith(b"220 "), 10)
    try:
        yield port, sink.pid
    finally:
        sink.stop()


def _pid(program: Clamd | Spamd) -> int:
    daemon = program._daemon
    if daemon is None:
        raise RuntimeError("it was not started")
    return daemon.pid


def filter_settings(stage: Stage, workers: int) -> dict[str, Any]:
    """The tables of our configuration, for the scanners of this stage."""
    subject_tag = {"spam_subject_tag2": "***SPAM*** "}
    return {
        "workers": workers,
        "clamav": {"socket": stage.clamd} if stage.clamd else {"enabled": False},
        "spamassassin": {"address": stage.spamd, "size_limit": SPAM_SIZE_LIMIT} if stage.spamd else {"enabled": False},
        "policy": {
            "default": {"kill_level": 9999.0, **subject_tag},
            **{address: {"tag_level": -999.0} for address in STRICT},
            **{address: {"tag_level": -999.0, "tag2_level": -998.0} for address in EAGER},
        },
    }
