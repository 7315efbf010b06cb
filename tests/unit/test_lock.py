"""What a release is installed with is what pyproject.toml asks for and what these tests run with."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
LOCKED = dict(re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)", LOCK, re.MULTILINE))
NEEDED = [Requirement(one) for one in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]]


@pytest.mark.parametrize("needed", NEEDED, ids=lambda one: one.name)
def test_what_pyproject_needs_is_locked_in_a_version_that_it_allows(needed: Requirement) -> None:
    locked = {canonicalize_name(name): number for name, number in LOCKED.items()}
    assert needed.specifier.contains(locked[canonicalize_name(needed.name)], prereleases=True)


@pytest.mark.parametrize("name", LOCKED)
def test_what_is_locked_is_what_is_tested(name: str) -> None:
    assert version(name) == LOCKED[name], "scripts/setup --dev installs what is locked; scripts/lock locks anew"


def test_every_package_has_hashes_and_nothing_else_is_in_the_lock() -> None:
    lines = [line for line in LOCK.splitlines() if line and not line.startswith("#")]
    pinned = [line for line in lines if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==\S+ \\", line)]
    hashes = [line for line in lines if re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?", line)]
    assert len(pinned) == len(LOCKED)
    assert len(pinned) + len(hashes) == len(lines)
    for line, after in itertools.pairwise(lines):
        assert line not in pinned or after in hashes, line


def test_the_lock_has_all_that_its_packages_need() -> None:
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    broken = [line for line in done.stdout.splitlines() if line.split()[0] in LOCKED]
    assert broken == []
