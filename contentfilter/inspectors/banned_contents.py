"""The contents of a message as banned rules see them: names in every form, types, and all places where each lies.

A content that lies in a message twice is opened and searched for signs once. What was found then goes for both, and
what is in it lies in both: whoever sends the same archive under two names must not choose which of them counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Self

from contentfilter.filetype import SAMPLE, detect, is_text
from contentfilter.inspectors import Content, Subject
from contentfilter.inspectors.file_name import extension, plain_names
from contentfilter.mime import Part
from contentfilter.unpack.unpacked import Member, Sign

ENCRYPTED = "encrypted"
"""Stands among the marks of a content that cannot be seen without a password, or that holds such a one."""

DEEPEST = 63
"""Depths from this on are not told apart."""

MOST_COMPARISONS = 1_000_000
"""Comparisons of contents with rules that one message may cost, about a second. Mail with fifty attachments and a
hundred rules takes five thousand."""

_NONE: frozenset[str] = frozenset()

_TOP = ""
"""What a content lies in that lies in no container."""


class OverBudgetError(Exception):
    """A message with more contents and names than can be compared with so many rules."""


class One:
    """One content. Everything about it is worked out when it is asked for, and once."""

    # Every part of every message gets one: what cached_property of Python 3.11 locks would cost more than the rest.
    __slots__ = (
        *("_as_container", "_content", "_detected", "_extensions", "_knows_names", "_names"),
        *("contents", "declared", "is_leaf", "key", "path"),
    )

    def __init__(self, content: Content, contents: Contents) -> None:
        self._content = content
        self.contents = contents
        self.path = path = content.path
        self.key = contents.first_of.get(path, path)
        """The path of the first content with the very same bytes."""
        self.declared = content.declared_type
        self.is_leaf = content.is_leaf
        self._names: tuple[tuple[str, str], ...] | None = None if content.names else ()
        self._extensions: frozenset[str] | None = None if content.names else _NONE
        self._detected: str | None = None
        self._as_container: str | None = None
        self._knows_names: bool | None = None

    @property
    def name(self) -> str:
        """Its first name, or ""."""
        return self._content.name

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """Each name as it stands there, with each of the names that a file called so may get."""
        if self._names is None:
            self._names = tuple((name, plain) for name in self._content.names for plain in plain_names(name))
        return self._names

    @property
    def extensions(self) -> frozenset[str]:
        """Of all its names; "" of a name that has none."""
        if self._extensions is None:
            self._extensions = frozenset([extension(plain) for _, plain in self.names])
        return self._extensions

    @property
    def knows_names(self) -> bool:
        """Whether it has names, and these are all: of a member with very many a helper tells the first."""
        if self._knows_names is None:
            names = self._content.names
            told_all = not (isinstance(self._content, Member) and self._content.more_names)
            self._knows_names = told_all and bool(names) and {name for name, _ in self.names} == set(names)
        return self._knows_names

    @property
    def detected(self) -> str:
        """Its type as libmagic has it; "" if it has no content of its own, or it is text and no rule minds text.

        Asking about text takes half a millisecond. Raises InspectorError if libmagic fails.
        """
        if self._detected is None:
            self._detected = self._detect(text=self.contents.minds_text)
        return self._detected

    @property
    def detected_as_container(self) -> str:
        """The same, for something that has others in it: it may be text, and an attached message is what it says."""
        if self._as_container is None:
            self._as_container = (self.detected or self._detect(text=True)) if self.is_leaf else self.declared
        return self._as_container

    def _detect(self, *, text: bool) -> str:
        if not self.is_leaf:
            return ""
        if isinstance(self._content, Member):
            return self._content.detected_type
        sample = self._content.head(SAMPLE)
        return detect(sample) if text or not is_text(sample) else ""

    @property
    def signs(self) -> tuple[Sign, ...]:
        """Active content that was found in it, in none of its members."""
        return self.contents.signs.get(self.key, ())

    @property
    def encrypted(self) -> bool:
        """Whether it cannot be seen without a password."""
        return self.key in self.contents.encrypted

    @property
    def marks(self) -> frozenset[str]:
        """The names of its signs and of those in all that is in it, and :data:`ENCRYPTED`."""
        return self.contents.marks.get(self.key, frozenset())

    @property
    def depths(self) -> int:
        """A bit for each number of containers and attached messages that it lies in, the lowest for 0."""
        return self.contents.depths[self.key]


class Contents:
    """All contents of a message. minds_text: whether a rule asks for types that a plain text may have.

    A context manager: contents know of each other until it is left, and that holds them, megabytes of them, together.
    """

    def __init__(self, subject: Subject, *, minds_places: bool, minds_text: bool) -> None:
        self.minds_text = minds_text
        self._subject = subject
        self.first_of: Mapping[str, str] = dict(subject.opened.same) if minds_places else {}
        """Of each content that is a copy the path of the first one."""
        self._spent = 0
        self._within: dict[Callable[[One], bool], frozenset[str]] = {}
        self._directly: dict[Callable[[One], bool], frozenset[str]] = {}
        contents: tuple[Content, ...] = (*subject.tree.parts, *subject.opened.members, *_lost(subject))
        self.all: tuple[One, ...] = tuple(One(content, self) for content in contents)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.all = ()
        self.__dict__.pop("_copies", None)

    def spend(self, comparisons: int) -> None:
        """Count work. Raises OverBudgetError."""
        self._spent += comparisons
        if self._spent > MOST_COMPARISONS:
            raise OverBudgetError

    def _key(self, path: str) -> str:
        return self.first_of.get(path, path)

    @cached_property
    def signs(self) -> dict[str, tuple[Sign, ...]]:
        """The signs of each content that has some."""
        found: defaultdict[str, tuple[Sign, ...]] = defaultdict(tuple)
        for sign in self._subject.opened.signs:
            found[self._key(sign.path)] += (sign,)
        return dict(found)

    @cached_property
    def encrypted(self) -> frozenset[str]:
        """The contents that cannot be seen without a password."""
        opened = self._subject.opened
        paths = [path for path, why in opened.unchecked if why.startswith(ENCRYPTED)]
        return frozenset(map(self._key, paths + [each.path for each in opened.members if each.why == ENCRYPTED]))

    @cached_property
    def _containers(self) -> dict[str, frozenset[str]]:
        """What each content lies in directly: containers and attached messages, or the message itself."""
        parts = {part.path: part for part in self._subject.tree.parts}
        found: defaultdict[str, set[str]] = defaultdict(set)
        for part in parts.values():
            found[self._key(part.path)].add(self._key(_message_around(part, parts)))
        for member in (*self._subject.opened.members, *_lost(self._subject)):
            found[self._key(member.path)].add(self._key(member.parent))
        return {key: frozenset(containers) for key, containers in found.items()}

    @cached_property
    def _members(self) -> dict[str, tuple[str, ...]]:
        """What lies directly in each container."""
        found: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
        lists: defaultdict[str, list[str]] = defaultdict(list)
        for key, containers in self._containers.items():
            for container in containers:
                lists[container].append(key)
        found.update((container, tuple(keys)) for container, keys in lists.items())
        return dict(found)

    @cached_property
    def _copies(self) -> dict[str, list[One]]:
        """The copies of each container."""
        found: defaultdict[str, list[One]] = defaultdict(list)
        for one in self.all:
            if one.key in self._members:
                found[one.key].append(one)
        return dict(found)

    @cached_property
    def marks(self) -> dict[str, frozenset[str]]:
        """Names of signs, and whether something is encrypted, by content with all that is in it."""
        found = {key: frozenset(sign.name for sign in signs) for key, signs in self.signs.items()}
        for key in self.encrypted:
            found[key] = found.get(key, frozenset()) | {ENCRYPTED}
        waiting = list(found)
        while waiting:
            key = waiting.pop()
            for container in self._containers.get(key, frozenset()) - {_TOP}:
                more = found.get(container, frozenset()) | found[key]
                if more != found.get(container):
                    found[container] = more
                    waiting.append(container)
        return found

    @cached_property
    def depths(self) -> dict[str, int]:
        """The depths of each content, a bit for each. A container of itself has all."""
        found = dict.fromkeys(self._containers, 0)
        waiting = [_TOP]
        found[_TOP] = 0
        while waiting:
            container = waiting.pop()
            below = 1 if container == _TOP else _one_deeper(found[container])
            for key in self._members.get(container, ()):
                if below & ~found[key]:
                    found[key] |= below
                    waiting.append(key)
        return found

    def within(self, means: Callable[[One], bool]) -> frozenset[str]:
        """The contents that lie, at whatever depth and in whatever place, in a container that is meant.

        It is enough if one of its copies is meant.
        """
        if means not in self._within:
            waiting = [key for key, copies in self._counted() if any(map(means, copies))]
            found: set[str] = set()
            while waiting:
                inside = [key for key in self._members.get(waiting.pop(), ()) if key not in found]
                found.update(inside)
                waiting += inside
            self._within[means] = frozenset(found)
        return self._within[means]

    def directly_in(self, means: Callable[[One], bool]) -> frozenset[str]:
        """The contents that lie nowhere but directly in containers that are meant, with all their copies."""
        if means not in self._directly:
            meant = {key for key, copies in self._counted() if all(map(means, copies))}
            self._directly[means] = frozenset(key for key, places in self._containers.items() if places <= meant)
        return self._directly[means]

    def _counted(self) -> Iterable[tuple[str, list[One]]]:
        self.spend(len(self.all))
        return self._copies.items()


def _lost(subject: Subject) -> Iterable[Member]:
    """Members that a helper told the signs of, and then not the content."""
    if not subject.opened.signs:
        return ()
    known = {part.path for part in subject.tree.parts} | {member.path for member in subject.opened.members}
    paths = dict.fromkeys(sign.path for sign in subject.opened.signs if sign.path not in known)
    return (Member(path, path.rpartition("/")[0], (), "", "", (), "damaged", 0) for path in paths)


def _message_around(part: Part, parts: dict[str, Part]) -> str:
    """The path of the attached message that a part lies in, or the top. Multiparts are no containers."""
    while part.parent:
        above = parts.get(part.parent)
        if above is None:
            break
        if not above.is_leaf and above.declared_type.startswith("message/"):
            return above.path
        part = above
    return _TOP


def _one_deeper(depths: int) -> int:
    return (depths << 1) & ((1 << DEEPEST + 1) - 1) | depths & (1 << DEEPEST)
