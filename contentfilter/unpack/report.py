"""What is told of contents while they are opened: members, signs, and what could not be looked into."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from contentfilter.unpack.store import Place


@dataclass(frozen=True, slots=True)
class Described:
    """What is told of a member. why: the reason for which only its name is known, else ""."""

    path: str
    names: tuple[str, ...]
    declared_type: str = ""
    media_type: str = ""
    readings: tuple[str, ...] = ()
    why: str = ""


class Sign(Protocol):
    """Active content, as :mod:`contentfilter.unpack.signs` names it."""

    @property
    def name(self) -> str:
        """Which: "macro-autorun"."""

    @property
    def detail(self) -> str:
        """For people."""


class Report(Protocol):
    """Is told what was found, as it is found."""

    def member(self, member: Described, place: Place | None) -> None:
        """A member, with its content unless only its name is known or it is a copy."""

    def sign(self, path: str, sign: Sign) -> None:
        """Active content."""

    def unchecked(self, path: str, why: str) -> None:
        """A content that could not be looked into, or not wholly."""

    def same(self, path: str, as_path: str) -> None:
        """A content that is another's very copy: what was told of that one goes for it as well, and what follows."""

    def exceeded(self, limit: str) -> None:
        """A limit of the budget was hit."""
