"""The box of a daemon that is not root: every promise of test_box.py, and each measure that holds without root."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.as_user import UID
from tests.integration.test_measures import measured

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(root: None, open_directory: Path) -> Iterator[Path]:
    """A directory of the user."""
    with tempfile.TemporaryDirectory(dir=open_directory) as name:
        os.chown(name, UID, UID)
        yield Path(name)


def as_user(*command: str, home: Path) -> str:
    """What a command says that the user runs. It must not fail."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fakes.as_user", sys.executable, *command],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return done.stdout


def test_the_box_keeps_its_promises_without_root(home: Path) -> None:
    tests = [f"tests/integration/{name}.py" for name in ("test_box", "test_measures")]
    said = as_user("-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, home=home)
    summary = said.splitlines()[-1]
    assert re.match(r"(\d\d+) passed in ", summary), summary  # and none was skipped


def test_the_same_measures_hold_as_for_root(home: Path) -> None:
    """Where the kernel has Landlock, and lets users make namespaces, it takes no root."""
    program = "import json, pathlib, sys; from tests.integration.test_measures import measured"
    said = as_user("-c", f"{program}; print(json.dumps(measured(pathlib.Path(sys.argv[1]))))", str(home), home=home)
    (home / "of-root").mkdir(0o755)
    assert json.loads(said) == measured(home / "of-root")
