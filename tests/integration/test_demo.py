"""`make demo` is a check itself: it has to fail when something is wrong, and to leave nothing behind in any case."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from demo import __main__ as demo
from demo.messages import BOB, Passes, scenes
from demo.stage import still_running

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("root")


@pytest.fixture
def place(open_directory: Path) -> Path:
    """Where the demo puts its directory."""
    return Path(tempfile.mkdtemp(prefix="d-", dir=open_directory))


@pytest.fixture
def running_demo(place: Path) -> Iterator[subprocess.Popen[str]]:
    place.chmod(0o755)
    # In a job that runs in the background SIGINT is ignored, and so it would be in the demo.
    command = ["env", "--default-signal=INT", sys.executable, "-u", "-m", "demo"]
    environment = {**os.environ, "TMPDIR": str(place), "COLUMNS": "150"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        yield process
        process.kill()


def test_the_demo_shows_each_outcome_and_leaves_nothing(running_demo: subprocess.Popen[str], place: Path) -> None:
    output, _ = running_demo.communicate(timeout=120)
    assert running_demo.returncode == 0, output
    for words in (
        "Passed CLEAN",
        "Passed SPAMMY",
        "Blocked SPAM",
        "Blocked INFECTED",
        "Blocked BANNED",
        "It has arrived",
    ):
        assert words in output
    assert list(place.iterdir()) == []
    assert still_running(place) == []


@pytest.mark.parametrize("moment", ["Starting", "Started"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interruption_leaves_nothing(
    running_demo: subprocess.Popen[str], place: Path, moment: str, number: signal.Signals
) -> None:
    assert running_demo.stdout is not None
    while moment not in running_demo.stdout.readline():
        assert running_demo.poll() is None
    running_demo.send_signal(number)
    output, _ = running_demo.communicate(timeout=120)
    assert running_demo.returncode == 130, output
    assert list(place.iterdir()) == []
    assert still_running(place) == []


def test_an_outcome_that_is_not_as_expected_fails_the_demo(
    open_directory: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    directory = open_directory / "failing-demo"
    directory.mkdir()
    wrong = tuple(replace(scene, expected={BOB: Passes()}) for scene in scenes() if "virus" in scene.title)
    monkeypatch.setattr(demo, "scenes", lambda: wrong)
    with (tmp_path / "output").open("w") as output:
        console = Console(file=output)
        with pytest.raises(demo.DemoError, match=r"virus .* has arrived 0 times"):
            demo.run(console, directory)
        assert demo.failed(console, directory, "as a test", 1) == 1
    shown = (tmp_path / "output").read_text()
    assert str(directory / "filter" / "contentfilter.log") in "".join(shown.split("\n"))
    assert still_running(directory) == []
