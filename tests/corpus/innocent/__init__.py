"""Messages as people and programs send them every day. None of them may be withheld."""

from __future__ import annotations

from tests.corpus.case import Innocent
from tests.corpus.innocent import attachments, letters, structures

INNOCENT: tuple[Innocent, ...] = letters.INNOCENT + structures.INNOCENT + attachments.INNOCENT
