"""What a helper says that holds it: the truth, also where a measure is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from contentfilter.unpack.box import Box, BoxSettings

ALL = ("user", "no new privileges", "seccomp", "Landlock", "network namespace", "resource limits")

PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from contentfilter.unpack.box import Box, BoxSettings

async def measure():
    box = Box(BoxSettings(Path(sys.argv[1]), helpers=1))
    found = await box.measures()
    await box.close()
    print(json.dumps({each.name: each.holds for each in found}))

def run():
    asyncio.run(measure())
"""
WITHOUT_NAMESPACES = """
import errno
import pyseccomp
rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
rules.add_rule(pyseccomp.ERRNO(errno.EPERM), "unshare")
rules.load()
"""


@pytest.fixture
def place(open_directory: Path) -> Iterator[Path]:
    """A directory that helpers can reach when they are not root any more."""
    with tempfile.TemporaryDirectory(dir=open_directory) as name:
        Path(name).chmod(0o755)
        yield Path(name)


def measured(directory: Path, before: str = "", path: Sequence[Path] = ()) -> dict[str, bool]:
    """What holds a helper that a process of its own starts, which does something before."""
    done = subprocess.run(
        [sys.executable, "-c", f"{PROGRAM}\n{before}\nrun()", str(directory)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, bool] = json.loads(done.stdout)
    return found


async def test_all_measures_are_told_and_hold_where_the_nursery_misses_nothing(place: Path) -> None:
    box = Box(BoxSettings(place, helpers=1))
    found = await box.measures()
    assert tuple(each.name for each in found) == ALL
    lacking = {each.name for each in found if not each.holds}
    assert lacking == {name for name in ALL for each in box.missing if each.startswith(name)}
    assert await box.measures() == found  # by the same helper, which goes on
    await box.close()


@pytest.mark.parametrize(("module", "name"), [("landlock", "Landlock"), ("pyseccomp", "seccomp")])
def test_a_library_that_is_missing_shows(place: Path, module: str, name: str) -> None:
    hiding = place / "hiding"
    hiding.mkdir()
    (hiding / f"{module}.py").write_text("raise ImportError('not installed')\n")
    whole = measured(place)
    assert measured(place, path=[hiding]) == {**whole, name: False}


def test_namespaces_that_are_forbidden_show(place: Path) -> None:
    whole = measured(place)
    assert measured(place, WITHOUT_NAMESPACES) == {**whole, "network namespace": False}
