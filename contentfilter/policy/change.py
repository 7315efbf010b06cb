"""Changes to the entries and lists of a database: what is to be there afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from contentfilter.errors import PolicyError
from contentfilter.policy.entry import Settings
from contentfilter.policy.lists import ListEntry


class ConflictError(PolicyError):
    """Somebody else changed the database since it was read: nothing was changed. Read again, then try again."""


@dataclass(frozen=True, slots=True)
class PutEntry:
    """The entry of this key is to be these settings and no others. expires: seconds since the epoch, None: never."""

    key: str
    settings: Settings
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class DropEntry:
    """There is to be no entry of this key, whatever stands in it now."""

    key: str


@dataclass(frozen=True, slots=True)
class PutListed:
    """The list entry is to stand for its owner and subject. Its source does not matter."""

    entry: ListEntry


@dataclass(frozen=True, slots=True)
class DropListed:
    """There is to be no list entry of this owner and subject."""

    owner: str
    subject: str


Change = PutEntry | DropEntry | PutListed | DropListed
