"""The count over the whole suite; tests/conftest.py prints it at the end."""

from __future__ import annotations

import pytest

from tests.conftest import TALLY
from tests.faults.accounting import Tally


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """What is counted goes in here."""
    return request.config.stash.setdefault(TALLY, Tally())
