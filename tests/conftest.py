"""Settings for all tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.faults.accounting import Tally

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


TALLY = pytest.StashKey[Tally]()
"""What the fault suite counts, printed at the end and written where FAULTS_REPORT says."""


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process that runs a part of the tests hands its count to the one that reports."""
    counted = session.config.stash.get(TALLY, None)
    if counted is not None and hasattr(session.config, "workeroutput"):
        session.config.workeroutput["faults"] = counted.values()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    counted = getattr(node, "workeroutput", {}).get("faults")
    if counted is not None:
        node.config.stash.setdefault(TALLY, Tally()).merge(counted)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    counted = config.stash.get(TALLY, None)
    if counted is None:
        return
    terminalreporter.section("faults")
    for line in counted.lines():
        terminalreporter.write_line(line)
    if file := os.environ.get("FAULTS_REPORT"):
        counted.write(Path(file))
