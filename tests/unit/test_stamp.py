"""A clock that leapt deletes neither quarantine nor history; one that is right after all is believed in the end."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from contentfilter.history_expiry import Expiry
from quarantine import stamp
from quarantine.cli import cli
from quarantine.store import Quarantine
from tests.unit.quarantine_items import NOON, files, keep, open_quarantine

DAY, HOUR = 86_400.0, 3600.0
YEARS = 3 * 365 * DAY


@pytest.mark.parametrize(
    ("passed", "leapt"),
    [(0, False), (DAY, False), (89 * DAY, False), (91 * DAY, True), (YEARS, True), (-HOUR / 2, False), (-DAY, True)],
)
def test_a_leap_is_more_than_ninety_days_ahead_or_before(tmp_path: Path, passed: float, leapt: bool) -> None:
    assert stamp.leap(tmp_path, NOON) is None
    stamp.leave(tmp_path, NOON)
    found = stamp.leap(tmp_path, NOON + passed)
    assert (found is not None) == leapt
    if found is not None:
        assert "2026-11-21T12:00:00+00:00" in str(found)
        assert f"{abs(passed) / DAY:.1f} days {'ahead of' if passed > 0 else 'before'}" in str(found)


def test_a_stamp_is_durable_text_that_others_cannot_read(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        stamp.leave(tmp_path, NOON)
        stamp.leave(tmp_path, NOON)
    finally:
        os.umask(old)
    (file,) = tmp_path.iterdir()
    assert (file.name, file.read_text()) == (stamp.NAME, "2026-11-21T12:00:00+00:00\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.parametrize("content", [b"", b"yesterday", b"\xff\0", b"9" * 100])
def test_a_stamp_that_says_nothing_is_no_reason_to_delete(tmp_path: Path, content: bytes) -> None:
    (tmp_path / stamp.NAME).write_bytes(content)
    assert "tells no time" in str(stamp.leap(tmp_path, NOON))


def test_no_directory_is_no_leap_and_gets_no_stamp(tmp_path: Path) -> None:
    assert stamp.leap(tmp_path / "none", NOON) is None
    stamp.leave(tmp_path / "none", NOON)
    assert not (tmp_path / "none").exists()


# quarantine expire


@pytest.fixture
def quarantine(tmp_path: Path) -> Iterator[Quarantine]:
    (tmp_path / "c.toml").write_text(f'state_directory = "{tmp_path}"\n')
    opened = open_quarantine(tmp_path)
    yield opened
    opened.close()


def expire(tmp_path: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["expire", "--config", str(tmp_path / "c.toml"), *options])


@pytest.mark.parametrize("passed", [YEARS, -DAY], ids=["ahead", "before"])
def test_the_quarantine_is_expired_by_a_clock_that_leapt_only_when_somebody_says_so(
    quarantine: Quarantine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passed: float
) -> None:
    now = time.time()
    keep(quarantine, time=now - DAY)
    assert expire(tmp_path).exit_code == 0
    monkeypatch.setattr(time, "time", lambda: now + passed)
    for _ in range(2):
        refused = expire(tmp_path, "--max-size", "1")
        assert refused.exit_code == os.EX_TEMPFAIL
        assert refused.stdout == ""
        assert "nothing deleted: the clock says " in refused.stderr
        assert "--clock-is-right" in refused.stderr
        assert len(files(tmp_path)) == 2
    dry = expire(tmp_path, "--max-size", "1", "--dry-run")
    assert (dry.exit_code, "1 items" in dry.stdout, "the clock says" in dry.stderr) == (0, True, True)
    assert len(files(tmp_path)) == 2
    done = expire(tmp_path, "--max-size", "1", "--clock-is-right")
    assert (done.exit_code, files(tmp_path)) == (0, [])
    assert expire(tmp_path).exit_code == 0  # what was said counts from then on


def test_the_quarantine_is_expired_when_the_clock_is_put_right(
    quarantine: Quarantine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    keep(quarantine, time=now - 40 * DAY)
    keep(quarantine, time=now)
    stamp.leave(tmp_path / "quarantine", now - DAY)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now + YEARS)
        assert expire(tmp_path).exit_code == os.EX_TEMPFAIL
    assert expire(tmp_path).exit_code == 0
    assert len(files(tmp_path)) == 2


# the history


class Clocks:
    """One that may leap, and one that cannot."""

    def __init__(self) -> None:
        self.wall, self.steady = NOON, 1000.0

    def go(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def expiry(clocks: Clocks) -> Expiry:
    return Expiry(lambda: clocks.wall, lambda: clocks.steady)


TODAY = "2026-11-21.jsonl"


def test_the_history_outlives_a_clock_that_is_wrong_for_a_while(
    tmp_path: Path, clocks: Clocks, expiry: Expiry, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / TODAY).touch()
    assert expiry.run(tmp_path, 7) == []
    clocks.go(HOUR)
    clocks.wall += YEARS
    for _ in range(3):
        assert expiry.run(tmp_path, 7) == []
        clocks.go(600)  # as reloads have it
    (said,) = [one.getMessage() for one in caplog.records]
    assert f"nothing is deleted in {tmp_path} for an hour: the clock says 2029-11-20T13:00:00+00:00" in said
    assert "the last run at 2026-11-21T12:00:00+00:00" in said
    clocks.wall -= YEARS
    clocks.go(HOUR)
    assert expiry.run(tmp_path, 7) == []
    clocks.go(8 * DAY)
    assert expiry.run(tmp_path, 7) == [TODAY]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("passed", [YEARS, -5 * DAY], ids=["ahead", "before"])
def test_the_history_believes_a_clock_that_goes_evenly_for_an_hour(
    tmp_path: Path, clocks: Clocks, expiry: Expiry, passed: float, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (TODAY, "2026-11-01.jsonl"):
        (tmp_path / name).touch()
    stamp.leave(tmp_path, clocks.wall)
    clocks.wall += passed
    assert expiry.run(tmp_path, 7) == []
    clocks.go(HOUR)
    gone = expiry.run(tmp_path, 7)
    assert gone == (["2026-11-01.jsonl", TODAY] if passed > 0 else ["2026-11-01.jsonl"])
    assert stamp.leap(tmp_path, clocks.wall) is None
    assert len(caplog.records) == 1


def test_a_clock_that_leaps_again_has_to_settle_again(
    tmp_path: Path, clocks: Clocks, expiry: Expiry, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / TODAY).touch()
    stamp.leave(tmp_path, clocks.wall)
    for _ in range(3):
        clocks.wall += YEARS
        assert expiry.run(tmp_path, 7) == []
        clocks.go(HOUR)
    assert len(caplog.records) == 3
    assert expiry.run(tmp_path, 7) == [TODAY]


def test_a_history_that_is_not_wanted_goes_whatever_the_clock_says(
    tmp_path: Path, clocks: Clocks, expiry: Expiry
) -> None:
    (tmp_path / TODAY).touch()
    stamp.leave(tmp_path, clocks.wall)
    clocks.wall += YEARS
    assert expiry.run(tmp_path, 0) == [TODAY]


def test_a_stamp_that_cannot_be_written_is_told(
    tmp_path: Path, expiry: Expiry, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / f"{stamp.NAME}.new").mkdir()
    assert expiry.run(tmp_path, 7) == []
    assert f"old files in {tmp_path} cannot be looked after" in caplog.text
