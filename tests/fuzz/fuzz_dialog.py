"""Says anything to a real daemon for so many seconds, each round with a seed of its own.

    make fuzz-dialog SECONDS=600

A finding ends it with the steps that led there, made as few as can be. The seed of the round repeats it:
python -m tests.fuzz.fuzz_dialog SECONDS SEED
"""

from __future__ import annotations

import secrets
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fuzz.ground import Ground
from tests.fuzz.talk import Talk

ROUND = 20
"""Examples with one seed, and with one daemon that must hold no more at their end than at the beginning."""
STEPS = 60


def one_round(number: int) -> None:
    """Raises AssertionError on a finding."""
    with tempfile.TemporaryDirectory() as directory, Ground(Path(directory) / "filter") as ground:
        machine = seed(number)(type("Talk", (Talk,), {"ground": ground}))
        how = settings(
            max_examples=ROUND,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=False,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(machine, settings=how)
        ground.check_nothing_held()
        print(
            f"seed {number}:", ", ".join(f"{count} {what}" for what, count in sorted(ground.sums.items())), flush=True
        )


def main() -> None:
    """Rounds until the time is over; at least one."""
    end = time.monotonic() + float(sys.argv[1])
    number = int(sys.argv[2]) if len(sys.argv) > 2 else secrets.randbelow(1 << 31)
    while True:
        print(f"seed {number} begins", flush=True)
        one_round(number)
        if time.monotonic() >= end:
            return
        number = secrets.randbelow(1 << 31)


if __name__ == "__main__":
    main()
