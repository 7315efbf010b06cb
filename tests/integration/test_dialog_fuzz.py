"""Anything in any order, said to a real daemon: each reply as the model has it, each message where it was promised."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fuzz.ground import Ground
from tests.fuzz.talk import Talk

EXAMPLES, STEPS = 30, 40


def test_anything_in_any_order(tmp_path: Path) -> None:
    with Ground(tmp_path / "filter") as ground:
        machine = type("Talk", (Talk,), {"ground": ground})
        how = settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(machine, settings=how)
        ground.check_nothing_held()
        print("dialog:", ", ".join(f"{count} {what}" for what, count in sorted(ground.sums.items())))
        assert ground.sums["messages"] > EXAMPLES
