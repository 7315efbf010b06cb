"""What came out of a message's containers, as the worker knows it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from contentfilter.finding import Finding, Kind

NAME: Final = "unpack"


@dataclass(frozen=True, slots=True)
class Member:
    """One content that was found in a container, or the name of one.

    path: "1.2/3" is the third member of part 1.2, "1.2/3/1" the first below that; parent: the path of its container.
    names: as the container has them; declared_type: "" unless the container says; detected_type: libmagic's.
    readings: why it exists in one reading of its container only; () is the straight reading.
    why: the reason for which only the name is known ("encrypted"), "" if the content is there; "copy": the content is
    that of another member, and Unpacked.same says of which.
    """

    path: str
    parent: str
    names: tuple[str, ...]
    declared_type: str
    detected_type: str
    readings: tuple[str, ...]
    why: str
    size: int
    descriptor: int | None = None
    """An open file that holds this content and nothing else; None for a small one. Belongs to the Unpacked."""
    shared: int = -1
    offset: int = 0
    more_names: bool = False
    """Whether it has further names, which are not told."""

    @property
    def name(self) -> str:
        """The first name, "" if there is none."""
        return self.names[0] if self.names else ""

    @property
    def is_leaf(self) -> bool:
        """It has content of its own."""
        return True

    def head(self, size: int) -> bytes:
        """The first bytes of the content. Raises OSError."""
        return os.pread(self.shared, min(size, self.size), self.offset) if self.shared >= 0 else b""

    def content(self) -> bytes:
        """The whole content. Raises OSError."""
        return self.head(self.size)


@dataclass(frozen=True, slots=True)
class Sign:
    """Active content: what it is ("macro-autorun"), where it is, and more for people."""

    path: str
    name: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}" if self.detail else self.name


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came of one message. Close it: members are open files until then.

    unchecked: path and reason of what could not be looked into; exceeded: names of the limits that were hit;
    failed: why the helper did not finish, "" if it did; same: contents that are byte for byte the same as another, as
    (path, that other's path). Only the other was opened and searched for signs; of the copy stands here only what it
    shows more, because of its names.
    """

    members: tuple[Member, ...] = ()
    signs: tuple[Sign, ...] = ()
    unchecked: tuple[tuple[str, str], ...] = ()
    exceeded: tuple[str, ...] = ()
    failed: str = ""
    files: tuple[int, ...] = field(default=(), repr=False)
    same: tuple[tuple[str, str], ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What could not be looked into, and why."""
        found = [Finding(Kind.UNCHECKED, NAME, why, path) for path, why in self.unchecked]
        found += [Finding(Kind.UNCHECKED, NAME, limit) for limit in self.exceeded]
        if self.failed:
            found.append(Finding(Kind.UNCHECKED, NAME, self.failed))
        return (*found, *(Finding(Kind.SIGN, NAME, str(sign), sign.path) for sign in self.signs))

    def close(self) -> None:
        """Let go of the files. To be called once."""
        for descriptor in self.files:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


NOTHING: Final = Unpacked()
