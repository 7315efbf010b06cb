"""How long a small message takes while twenty of 25 MB are in work, against an idle filter.

smtp-sink is one thread that stays with a connection for as long as something comes over it: what is sent to it beside
large messages waits for those, whoever sends it. Postfix has a process for each connection. And twenty large messages
take all of the machine, most of it for clients, next hops and the kernel's loopback. So there are four figures: with a
next hop of their own for the large messages, which is what the filter itself does to small ones, and with the same next
hop; and each of them for small messages sent to their next hop directly, past the filter: no filter is faster.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from tests.bench.comparison import percentile
from tests.bench.driver import Drive, Driver, Plan, drive, saved
from tests.bench.profiles import RECIPIENT, Letter, Writer, profile
from tests.bench.results import table
from tests.bench.sides import OURS, Scanners, next_hop, staged

LARGE: Final = 20
SIZE: Final = 25_000_000
RATE: Final = 30.0
"""Small messages a second."""
_SPREAD_OUT: Final = 2.0
"""Seconds after which all of the large ones have begun to arrive."""
_APART: Final = ("1" + RECIPIENT, "2" + RECIPIENT)
"""Who receives the large ones that have a next hop of their own."""


def measure(directory: Path, quick: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    """With ClamAV and without."""
    seconds = 4.0 if quick else 8.0
    small = saved(profile("text").letters[0], directory / "small")
    content = Writer(5).blob(SIZE)
    large, apart = (saved(Letter(content, count), directory / f"large-{count}") for count in (1, len(_APART)))
    found = []
    for scanners in (Scanners.NONE, Scanners.CLAMD):
        home = directory / f"crowd-{scanners.name}"
        with _other_next_hop(directory, home.name) as other, staged(scanners, home, (OURS,), settings=other) as stage:
            port = stage.side(OURS).port
            drive(Plan((small,), port, sessions=10, count=200, seconds=60))
            for title, small_to, letter in (
                ("a next hop of their own", port, apart),
                ("a next hop of their own, small ones past the filter", stage.sink, apart),
                ("the same next hop", port, large),
                ("the same next hop, small ones past the filter", stage.sink, large),
            ):
                idle = drive(Plan((small,), small_to, rate=RATE, seconds=seconds))
                crowd = Driver(Plan((letter,), port, sessions=LARGE, seconds=seconds + _SPREAD_OUT))
                time.sleep(_SPREAD_OUT)
                busy = drive(Plan((small,), small_to, rate=RATE, seconds=seconds))
                found.append({"scanners": scanners.value, "large to": title} | _figures(idle, busy, crowd.result()))
                tell(str(found[-1]))
    return {"points": found, "markdown": _markdown(found)}


@contextlib.contextmanager
def _other_next_hop(directory: Path, name: str) -> Iterator[dict[str, Any]]:
    """The tables of a configuration that sends some recipients' mail there."""
    home = directory / f"{name}-apart"
    home.mkdir()
    with next_hop(home) as (port, _):
        to_it = {address: {"next_hop": f"127.0.0.1:{port}"} for address in _APART}
        yield {"policy": {"default": {"kill_level": 9999.0}, **to_it}}


def _figures(idle: Drive, busy: Drive, large: Drive) -> dict[str, Any]:
    figures: dict[str, Any] = {"large": len(large.latencies)}
    figures["failed"] = len(idle.failed) + len(busy.failed) + len(large.failed)
    for name, result in (("idle", idle), ("busy", busy)):
        figures |= {f"{name} p{share}": 1000 * percentile(result.latencies, share / 100) for share in (50, 99)}
    return figures


def _markdown(found: list[dict[str, Any]]) -> str:
    rows = [
        [
            one["scanners"],
            one["large to"],
            *(f"{one[name]:.1f} ms" for name in ("idle p50", "idle p99", "busy p50", "busy p99")),
            f"{one['busy p99'] / one['idle p99']:.1f}" if one["idle p99"] else "",
            f"{one['large']}",
            f"{one['failed']}",
        ]
        for one in found
    ]
    header = ["", "large ones go to", "idle p50", "idle p99", "p50", "p99", "p99 ratio", "large ones done", "failed"]
    return f"## Small messages while {LARGE} of 25 MB are in work, {RATE:g}/s\n\n{table(header, rows)}"
