from __future__ import annotations

import os
from pathlib import Path

import pytest

from contentfilter.mail_id import new_id
from quarantine.expire import Limits, due, expire
from quarantine.index import Holding, Query
from quarantine.record import State
from tests.unit.quarantine_items import NOON, files, keep, open_quarantine

DAY = 86_400.0


def silent(_done: int, _all: int) -> None:
    """Take no notice of progress."""


def holding(name: str, age: float, stored: int = 10, state: State = State.PENDING) -> Holding:
    return Holding(name, NOON - age * DAY, state, stored)


HOLDINGS = (
    holding("old", 31),
    holding("edge", 30),
    holding("released", 2, state=State.RELEASED),
    holding("older", 20),
    holding("new", 1, 30),
)


@pytest.mark.parametrize(
    ("limits", "gone"),
    [
        (Limits(60), []),
        (Limits(30), ["old", "edge"]),
        (Limits(30, 1000), ["old", "edge"]),
        (Limits(30, 50), ["old", "edge"]),
        (Limits(30, 49), ["old", "edge", "released"]),
        (Limits(30, 39), ["old", "edge", "released", "older"]),
        (Limits(60, 65), ["released"]),
        (Limits(30, 1), ["old", "edge", "released", "older", "new"]),
    ],
)
def test_age_first_then_size_then_who_waits_longest(limits: Limits, gone: list[str]) -> None:
    assert [one.id for one in due(HOLDINGS, limits, NOON)] == gone


def test_what_is_due_goes_with_its_files_and_empty_days(tmp_path: Path) -> None:
    quarantine = open_quarantine(tmp_path)
    old = keep(quarantine, time=NOON - 40 * DAY)
    busy = keep(quarantine, time=NOON - 35 * DAY)
    new = keep(quarantine, time=NOON)
    half = tmp_path / "quarantine" / "2026-11-21" / f"{new_id()}.eml.zst"
    half.write_bytes(b"half")
    os.utime(half, (1, 1))

    dry = expire(quarantine, Limits(30), NOON, silent, dry_run=True)
    assert ({one.id for one in dry.expired}, dry.leftovers) == ({old.id, busy.id}, (str(half),))
    assert quarantine.count(Query()) == 3
    assert half.exists()

    steps: list[tuple[int, int]] = []
    with quarantine.lock(busy.id):
        done = expire(quarantine, Limits(30), NOON, lambda *step: steps.append(step), dry_run=False)
    assert ([one.id for one in done.expired], done.busy, done.leftovers) == ([old.id], (busy.id,), (str(half),))
    assert done.kept == sum(one.stored for one in quarantine.holdings())
    assert steps == [(1, 2), (2, 2)]
    assert {item.id for item in quarantine.find(Query())} == {busy.id, new.id}
    assert not list(tmp_path.glob(f"quarantine/*/{old.id}*"))
    assert not (tmp_path / "quarantine" / "2026-10-12").exists()
    quarantine.close()


def test_without_a_quarantine_there_is_nothing_to_expire(tmp_path: Path) -> None:
    quarantine = open_quarantine(tmp_path)
    assert expire(quarantine, Limits(1), NOON, silent, dry_run=False).expired == ()
    assert files(tmp_path) == []
    assert not (tmp_path / "quarantine").exists()
