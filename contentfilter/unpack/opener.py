"""The contract between the engine, which decides what is opened, and the openers, which know one family of containers.

An opener gets one content and gives its members to a :class:`Sink`. It knows no budget: whatever it writes is counted
by the sink, and :class:`OverBudgetError` passes through it untouched. It makes no file outside ``sink.directory``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from contentfilter.search import find


class UnpackError(Exception):
    """A container that could not be read: damaged, or not what it seemed. The text is for people."""


class NotThisError(UnpackError):
    """It is no container of this family after all. Says nothing against the content: others may be asked."""


class EncryptedError(UnpackError):
    """The content cannot be had without a password."""


class OverBudgetError(Exception):
    """The message's budget is spent; ``limit`` names which. Raised by the sink, never caught by an opener."""

    def __init__(self, limit: str) -> None:
        super().__init__(f"over budget: {limit}")
        self.limit = limit


COPY = "copy"
"""Stands for the content of a member that is in the same message already: only its name is told."""

HARMLESS = frozenset({"link", "device", "directory"})
"""Reasons of :meth:`Sink.listed` that leave nothing unchecked: such a member has no content to look into."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is known of a content before it is opened.

    ``media_type`` is libmagic's, in lower case; ``head`` the first 64 kB and ``tail`` the last 64 kB of the content;
    ``names`` all names that this copy of it goes by: equal contents are opened once, so no opener may go by them.
    What its container declares that it is, is not told.
    """

    media_type: str
    head: bytes
    names: tuple[str, ...] = ()
    tail: bytes = b""

    def has(self, *marks: bytes) -> bool:
        """Whether one of these stands in the head or in the tail."""
        places = (self.head,) if self.tail == self.head else (self.head, self.tail)
        return any(find(place, mark) >= 0 for mark in marks for place in places)


class Writer(Protocol):
    """Takes the content of one member."""

    def write(self, data: bytes | memoryview) -> None:
        """Take the next piece. Raises OverBudgetError."""

    def close(self) -> None:
        """The member is complete."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Sink(Protocol):
    """Where an opener puts what it finds."""

    @property
    def passwords(self) -> tuple[str, ...]:
        """To be tried on encrypted members, in this order."""

    @property
    def directory(self) -> Path:
        """The helper's own working directory, empty before and after each opener."""

    def member(self, *names: str, reading: str = "") -> Writer:
        """A new member, named as the container has it, the preferred name first; a name is only ever data.

        ``reading`` says why it exists in one reading only ("zip-local-header"); "" is the straight one.
        Raises OverBudgetError.
        """

    def stream(self) -> Writer:
        """The content of a compressed stream. It is called as the stream is, but for the ending.

        So it has a further name wherever a copy of the stream is called otherwise. Raises OverBudgetError.
        """

    def listed(self, name: str, why: str) -> None:
        """A member without its content: "encrypted", "unsupported", "damaged", or one of :data:`HARMLESS`."""

    def trouble(self, what: str) -> None:
        """Something that leaves the container as a whole unchecked."""


class Opener(Protocol):
    """Knows one family of containers."""

    @property
    def name(self) -> str:
        """Which family: "zip", "libarchive", "7z", "tnef", ..."""

    @property
    def exclusive(self) -> bool:
        """False: always runs, beside others (a PDF may be a zip as well).

        True: only if no exclusive one before it gave members.
        """

    def accepts(self, kind: Kind) -> bool:
        """Whether it is worth trying, by the content and not by its name."""

    def open(self, file: BinaryIO, kind: Kind, sink: Sink) -> None:
        """Give the members of ``file``, which is seekable and has a file descriptor.

        Raises NotThisError, EncryptedError or UnpackError; the next opener that accepts is tried then, unless members
        were already given. OverBudgetError passes through.
        """
