"""The count over the whole suite, printed at its end and written where FAULTS_REPORT says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.accounting import Tally

_KEY = pytest.StashKey[Tally]()


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """What is counted goes in here."""
    return request.config.stash.setdefault(_KEY, Tally())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    counted = config.stash.get(_KEY, None)
    if counted is None:
        return
    terminalreporter.section("faults")
    for line in counted.lines():
        terminalreporter.write_line(line)
    if file := os.environ.get("FAULTS_REPORT"):
        counted.write(Path(file))
