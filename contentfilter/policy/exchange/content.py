"""What a file or a database holds, what is wrong with a file, and what would have to change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from contentfilter.policy import forms
from contentfilter.policy.change import Change, DropEntry, DropListed, PutEntry, PutListed
from contentfilter.policy.entry import Entry
from contentfilter.policy.lists import ListEntry

EXPIRES = "expires"
EVERYTHING = frozenset({*forms.NAMES, EXPIRES})


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a file. where: "line 7", or a table of TOML; text: what, and what would be right."""

    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" if self.where else self.text


@dataclass(frozen=True, slots=True)
class Content:
    """Entries by key, list entries by owner and subject, all canonical.

    covers: the settings, and "expires", that a file has something to say about; what it does not cover stays as it is.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    listed: Mapping[tuple[str, str], ListEntry] = field(default_factory=dict)
    covers: frozenset[str] = EVERYTHING


def content(entries: Iterable[Entry], listed: Iterable[ListEntry]) -> Content:
    """Both as one."""
    return Content({one.key: one for one in entries}, {(one.owner, one.subject): one for one in listed})


@dataclass(frozen=True, slots=True)
class EntryStep:
    """What the entry of a key was and is to be; None: it is not there."""

    key: str
    before: Entry | None
    after: Entry | None

    @property
    def values(self) -> Iterator[tuple[str, str | None, str | None]]:
        """Name, old value and new value as text of all that differs, "expires" last; None: not set."""
        old, new = _texts(self.before), _texts(self.after)
        for name in (*sorted({*old, *new} - {EXPIRES}), EXPIRES):
            if old.get(name) != new.get(name):
                yield name, old.get(name), new.get(name)


@dataclass(frozen=True, slots=True)
class ListStep:
    """What the list entry of an owner about a subject was and is to be; None: it is not there."""

    owner: str
    subject: str
    before: ListEntry | None
    after: ListEntry | None


Step = EntryStep | ListStep


def _texts(entry: Entry | None) -> dict[str, str]:
    if entry is None:
        return {}
    texts = {name: forms.to_text(value) for name, value in entry.settings}
    return texts if entry.expires is None else {**texts, EXPIRES: forms.expiry_to_text(entry.expires)}


def steps(now: Content, wanted: Content, *, replace: bool = False) -> list[Step]:
    """What leads from what is there to what a file wants, in the order of keys.

    An entry of the file takes the place of the one with its key, but for what the file does not cover. What the file
    does not have stays, unless it is to replace everything.
    """
    found: list[Step] = []
    for key in sorted({*now.entries, *wanted.entries} if replace else wanted.entries):
        before, after = now.entries.get(key), wanted.entries.get(key)
        after = after and _with_uncovered(after, before, wanted.covers)
        if not _alike(before, after):
            found.append(EntryStep(key, before, after))
    for pair in sorted({*now.listed, *wanted.listed} if replace else wanted.listed):
        was, will = now.listed.get(pair), wanted.listed.get(pair)
        if will and was and EXPIRES not in wanted.covers:
            will = ListEntry(will.source, will.owner, will.subject, will.effect, will.score, was.expires)
        if not _alike_listed(was, will):
            found.append(ListStep(*pair, was, will))
    return found


def _with_uncovered(after: Entry, before: Entry | None, covers: frozenset[str]) -> Entry:
    if before is None or covers >= EVERYTHING:
        return after
    kept = tuple((name, value) for name, value in before.settings if name not in covers)
    expires = after.expires if EXPIRES in covers else before.expires
    return Entry(after.source, after.key, tuple(sorted((*after.settings, *kept), key=lambda one: one[0])), expires)


def _alike(one: Entry | None, other: Entry | None) -> bool:
    return one is other or (
        one is not None and other is not None and (one.settings, one.expires) == (other.settings, other.expires)
    )


def _alike_listed(one: ListEntry | None, other: ListEntry | None) -> bool:
    return one is other or (
        one is not None
        and other is not None
        and (one.effect, one.score, one.expires) == (other.effect, other.score, other.expires)
    )


def changes(of: Iterable[Step]) -> list[Change]:
    """The steps as a database takes them."""
    return [_entry_change(step) if isinstance(step, EntryStep) else _list_change(step) for step in of]


def _entry_change(step: EntryStep) -> Change:
    after = step.after
    return DropEntry(step.key) if after is None else PutEntry(after.key, after.settings, after.expires)


def _list_change(step: ListStep) -> Change:
    return PutListed(step.after) if step.after else DropListed(step.owner, step.subject)
