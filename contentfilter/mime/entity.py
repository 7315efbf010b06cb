"""Where a part lies, before it is known what it is."""

from __future__ import annotations

from dataclasses import dataclass

from contentfilter.message import Buffer


@dataclass(frozen=True, slots=True)
class Entity:
    """Where a part lies, and what is known of it before its header is read.

    is_message: it is a message, not a part of one; is_text: it has no header and all of it is text.
    """

    path: str
    parent: str
    depth: int
    buffer: Buffer
    start: int
    end: int
    default_type: str = "text/plain"
    readings: tuple[str, ...] = ()
    is_message: bool = False
    is_text: bool = False
