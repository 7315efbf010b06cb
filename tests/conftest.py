"""Settings for all tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# No deadline: how long an example takes says more about the machine than about the code. CI repeats the same examples,
# so that a change is judged by what it changed; at home every run looks in other places.
settings.register_profile("home", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "home")


@pytest.fixture(autouse=True)
def same_umask() -> Iterator[None]:
    """A command that is called within the test process sets it for the rest of the process."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def same_log() -> Iterator[None]:
    """Nor is the log set up by such a command that of the next test."""
    log = logging.getLogger("contentfilter")
    before = log.handlers[:], log.propagate, log.level
    yield
    log.handlers[:], log.propagate = before[:2]
    log.setLevel(before[2])
