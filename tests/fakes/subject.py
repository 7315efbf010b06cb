"""Subjects for inspectors, made without the MIME parser."""

from __future__ import annotations

from collections.abc import Sequence

from contentfilter.envelope import Envelope
from contentfilter.inspectors import Subject
from contentfilter.message import Message
from contentfilter.mime import Part, Tree, parse_header


def subject_of(
    raw: bytes,
    leaves: Sequence[bytes] = (),
    *,
    envelope: Envelope | None = None,
    spam_users: tuple[str, ...] = ("",),
) -> Subject:
    """A message with these decoded leaves, whose paths are "1", "2" and so on."""
    header = parse_header(b"", 0, 0)
    parts = tuple(
        Part(str(number), "", 0, content, header, 0, len(content), "text/plain", decoded=content)
        for number, content in enumerate(leaves, 1)
    )
    return Subject("id", envelope or Envelope("", ()), Message(raw), Tree(parts), spam_users)
