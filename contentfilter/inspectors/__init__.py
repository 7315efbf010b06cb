"""Inspectors look at a message and report findings; they decide nothing and change nothing.

One inspector a file, behind one protocol. An inspector that cannot answer raises
:class:`~contentfilter.errors.InspectorError`; it never returns an empty result instead.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from contentfilter.envelope import Envelope
from contentfilter.finding import Finding
from contentfilter.message import Message
from contentfilter.mime import Tree
from contentfilter.unpack.unpacked import NOTHING, Unpacked


class Content(Protocol):
    """What inspectors look at, one by one: a node of the message's tree, or a member of a container in it."""

    @property
    def path(self) -> str:
        """Where it is: "1.2", "1.2/3"."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """All names that it goes by."""
        ...

    @property
    def name(self) -> str:
        """The first of them, or ""."""
        ...

    @property
    def declared_type(self) -> str:
        """What is said that it is, or ""."""
        ...

    @property
    def detected_type(self) -> str:
        """What it is, if somebody has looked already, or ""."""
        ...

    @property
    def is_leaf(self) -> bool:
        """Whether it has content of its own."""
        ...

    @property
    def size(self) -> int:
        """Bytes of content."""
        ...

    @property
    def descriptor(self) -> int | None:
        """An open file with this content and nothing else, which stays its owner's; None if there is none."""
        ...

    def head(self, size: int) -> bytes:
        """The first bytes."""
        ...

    def content(self) -> bytes:
        """All bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Subject:
    """What is inspected. spam_users: by whose preferences to score, "" for the configured user.

    opened: what came out of the containers among the tree's leaves; banned_rules: the sets of banned rules to judge by,
    once for each way in which recipients combine them. pause: what a remote inspector waits for in `with pause()`, its
    turn among other messages, does not count towards the time that it may take.
    """

    mail_id: str
    envelope: Envelope
    message: Message
    tree: Tree
    spam_users: tuple[str, ...] = ("",)
    opened: Unpacked = NOTHING
    banned_rules: tuple[tuple[str, ...], ...] = (("default",),)
    pause: Callable[[], AbstractContextManager[object]] = nullcontext

    @property
    def contents(self) -> tuple[Content, ...]:
        """Every leaf of the tree in every reading, and every member of a container."""
        return (*self.tree.leaves, *self.opened.members)


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


@runtime_checkable
class Remote(Protocol):
    """An inspector that asks another process."""

    @property
    def looks_inside(self) -> bool:
        """Whether it is shown what is in containers; one that is not is asked before they are open."""
        ...

    async def answers(self) -> bool:
        """Whether that one answers at all, within seconds."""
        ...
