"""Deletes what is too old of the history, every hour or so, unless the clock is not to be believed.

A clock that leapt is said once in the log, and what is too old by it stays until it has gone evenly for an hour.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from contentfilter import history
from quarantine import stamp

_log = logging.getLogger("contentfilter.history")


class Expiry:
    """For one process. clock: seconds since the epoch; monotonic: seconds."""

    def __init__(self, clock: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._patience = stamp.Patience(monotonic)

    def run(self, directory: Path, keep_days: int) -> list[str]:
        """Delete the files that are older than so many days. Returns their names; what goes wrong is logged."""
        now = self._clock()
        try:
            # What is to go whatever its age goes whatever the clock says.
            leap, is_news = self._patience.refused(directory, now) if keep_days else (None, False)
            if leap is not None:
                if is_news:
                    _log.error("nothing is deleted in %s for an hour: %s", directory, leap)
                return []
            gone = history.expire(directory, keep_days, now)
            if keep_days:
                stamp.leave(directory, now)
        except OSError as error:
            _log.error("old files in %s cannot be looked after: %s", directory, error)
            return []
        return gone
