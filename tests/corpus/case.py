"""What a case of the corpus is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from contentfilter.finding import Kind

NOT_VERIFIED = "not verified"
"""In the place of a client where no public source names one."""

TOLERANT = "mail programs forgive this; not verified one by one"
STANDARD = "every program that follows the RFC: it is in order, but unusual"


@dataclass(frozen=True, slots=True)
class Expect:
    """What must be found.

    kinds: a finding of each of these kinds must be there, and the gravest of them decides the category;
    either: a finding of at least one of these, where more than one answer is right;
    names: each must be the name of some part or member, or be in a finding about one;
    sign: the name of the active content that must be told, "" for none.
    """

    kinds: frozenset[Kind]
    either: frozenset[Kind] = frozenset()
    names: tuple[str, ...] = ()
    sign: str = ""


BANNED = Expect(frozenset({Kind.BANNED}))
VIRUS = Expect(frozenset({Kind.VIRUS}))
UNCHECKED = Expect(frozenset({Kind.UNCHECKED}))
EITHER = Expect(frozenset(), frozenset({Kind.BANNED, Kind.UNCHECKED}))
BANNED_AND_UNCHECKED = Expect(frozenset({Kind.BANNED, Kind.UNCHECKED}))


@dataclass(frozen=True, slots=True)
class Case:
    """One hostile message.

    why: what is exploited; client: which real program falls for it, by public knowledge, or :data:`NOT_VERIFIED`;
    build: the message, with CRLF line ends but where other line ends are the point.
    """

    name: str
    family: str
    why: str
    client: str
    build: Callable[[], bytes]
    expect: Expect = BANNED

    def __str__(self) -> str:
        return f"{self.family}/{self.name}"


@dataclass(frozen=True, slots=True)
class Innocent:
    """One message that must stay clean. bad_header: it is allowed to be called badly formed, for the reason given."""

    name: str
    why: str
    build: Callable[[], bytes]
    bad_header: str = ""

    def __str__(self) -> str:
        return self.name
