"""The quarantine for a process that may never need it: it is loaded at first use, and of its index what is needed."""

from __future__ import annotations

import threading
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from contentfilter.message import Message
from quarantine.record import Record

if TYPE_CHECKING:
    from quarantine.store import Quarantine


class LateQuarantine:
    """What the journey needs of :class:`quarantine.store.Quarantine`. Calls block. Safe for several threads."""

    def __init__(self, directory: Path, database: str) -> None:
        self._directory, self._database = directory, database
        self._guard = threading.Lock()
        self._loaded: Quarantine | None = None

    def keep(self, record: Record, message: Message) -> None:
        """Store a message. On disk, synced, and its row committed when this returns. Raises QuarantineError."""
        self._quarantine().keep(record, message)

    def withdraw(self, mail_id: str, keeping: Collection[str] = ()) -> None:
        """Undo keep, but for these addresses. Raises QuarantineError."""
        self._quarantine().withdraw(mail_id, keeping)

    def _quarantine(self) -> Quarantine:
        with self._guard:
            if self._loaded is None:
                from quarantine.store import Quarantine  # noqa: PLC0415 - what this is for

                self._loaded = Quarantine(self._directory, self._database, late=True)
            return self._loaded
