"""Inspectors look at a message and report findings; they decide nothing and change nothing.

One inspector a file, behind one protocol. An inspector that cannot answer raises
:class:`~contentfilter.errors.InspectorError`; it never returns an empty result instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from contentfilter.envelope import Envelope
from contentfilter.finding import Finding
from contentfilter.message import Message
from contentfilter.mime import Tree


@dataclass(frozen=True, slots=True)
class Subject:
    """What is inspected. spam_users: whose SpamAssassin preferences to score with, "" for the configured user."""

    mail_id: str
    envelope: Envelope
    message: Message
    tree: Tree
    spam_users: tuple[str, ...] = ("",)


class Inspector(Protocol):
    """Whoever looks."""

    @property
    def name(self) -> str:
        """Short and fixed: "clamd"."""
        ...

    async def inspect(self, subject: Subject) -> tuple[Finding, ...]:
        """What was found; empty means looked at and nothing found.

        Raises InspectorError when the inspector could not look, or not at all of it.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
