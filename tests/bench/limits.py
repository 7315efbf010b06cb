"""The benches beside the comparison, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.bench import crowd, growth, latency, loop_monitor, memory

Bench = Callable[[Path, bool, Callable[[str], None]], dict[str, Any]]
"""Takes a directory to work in, whether to be quick, and where to tell how far it is. The result has "markdown"."""

BENCHES: Final[dict[str, Bench]] = {
    "crowd": crowd.measure,
    "growth": growth.measure,
    "concurrent": memory.concurrent,
    "endurance": memory.endurance,
    "start": memory.start,
    "latency": latency.measure,
    "loop": loop_monitor.measure,
}
