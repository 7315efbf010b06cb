"""An index that lost rows gets them back from the files by itself, while mail goes on.

A file beside the index says that rows are missing: it is there from before the new index exists until the rebuilding is
done, so that neither a crash nor a restart forgets it. Who rebuilds holds its lock, so that one process does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from contentfilter.errors import QuarantineError
from contentfilter.printable import printable
from quarantine.durable import create_file, locked, sync_directory, try_lock

_AGAIN = 30.0
"""Seconds after an attempt that failed before there is another one."""
_WAIT = 10.0

_log = logging.getLogger("contentfilter.quarantine")


class Rebuilding:
    """The rebuilding of one index.

    marker, lock_file: files beside it; the second is the one that is held while an index is made. rebuild: does the
    work and says how many items it entered. Raises QuarantineError, also when :attr:`stopped` is set meanwhile.
    """

    def __init__(self, marker: Path, lock_file: Path, rebuild: Callable[[], int]) -> None:
        self._marker = marker
        self._lock_file = lock_file
        self._rebuild = rebuild
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._next = 0.0
        self.stopped = threading.Event()

    @property
    def needed(self) -> bool:
        """Whether rows are missing. Raises OSError."""
        return self.noted() is not None

    def demand(self) -> None:
        """Have it noted that rows are missing, also if somebody is just about to be done with an earlier loss.

        To be called with the lock of lock_file held. Raises OSError.
        """
        self._marker.unlink(missing_ok=True)
        os.close(create_file(self._marker))
        sync_directory(self._marker.parent)

    def noted(self) -> os.stat_result | None:
        """The note that rows are missing, as it is now, for :meth:`done`. Raises OSError."""
        try:
            return self._marker.lstat()
        except FileNotFoundError:
            return None

    def done(self, noted: os.stat_result | None) -> None:
        """Take the note away, unless there is another one by now. Raises OSError."""
        if noted is None:
            return
        with locked(self._lock_file, _WAIT):
            now = self.noted()
            if now is not None and os.path.samestat(now, noted):
                self._marker.unlink()

    def start(self) -> None:
        """Rebuild in a thread, if that is needed and nobody is at it. Never raises: no mail waits for it."""
        with contextlib.suppress(OSError, RuntimeError), self._guard:
            running = self._thread is not None and self._thread.is_alive()
            if running or self.stopped.is_set() or time.monotonic() < self._next or not self.needed:
                return
            self._thread = threading.Thread(target=self._run, name="quarantine-index", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        try:
            self.run()
        except (QuarantineError, OSError) as error:
            if self.stopped.is_set():
                return
            self._next = time.monotonic() + _AGAIN
            _log.error("rebuilding the index failed, it is tried again later: %s", printable(str(error)[:500]))
        except Exception as error:
            self._next = time.monotonic() + 10 * _AGAIN
            _log.error("rebuilding the index failed: %s", type(error).__name__)

    def run(self) -> bool:
        """Rebuild here and now, if that is needed. False: somebody else is at it. Raises QuarantineError, OSError."""
        try:
            marker = create_file(self._marker, flags=0) if self.needed else None
        except OSError as error:
            raise QuarantineError(f"cannot rebuild the quarantine index: {error}") from error
        if marker is None:
            return True
        try:
            if not try_lock(marker):
                return False
            count = self._rebuild()
            _log.warning("the quarantine index %s is rebuilt: %d items", self._marker.parent, count)
        finally:
            os.close(marker)
        return True

    def stop(self) -> None:
        """Have a thread that rebuilds come to its end; another process, or we, start again from the beginning."""
        self.stopped.set()
        with self._guard:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        self.stopped.clear()
