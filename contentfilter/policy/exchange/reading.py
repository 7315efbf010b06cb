"""What comes together while a file is read: entries, list entries, and everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from contentfilter.policy.entry import Entry, Settings
from contentfilter.policy.exchange.content import EVERYTHING, Content, Problem
from contentfilter.policy.keys import stored_key, written_key
from contentfilter.policy.lists import Effect, ListEntry, stored_subject

SOURCE = "file"


class Reading:
    """One file.

    case_sensitive: about local parts, as in `[domains]`; objection: what is wrong with names of sets of banned rules,
    which are the site's; "" if nothing is.
    """

    def __init__(
        self, *, case_sensitive: bool = False, objection: Callable[[Sequence[str]], str] | None = None
    ) -> None:
        self._objection = objection
        self.problems: list[Problem] = []
        self.covers = EVERYTHING
        self._case_sensitive = case_sensitive
        self._entries: dict[str, Entry] = {}
        self._listed: dict[tuple[str, str], ListEntry] = {}
        self._places: dict[tuple[str, ...], str] = {}

    @property
    def content(self) -> Content:
        """All that was read. With problems it is not all that stands in the file."""
        return Content(self._entries, self._listed, self.covers)

    def complain(self, where: str, *what: str) -> None:
        """Something is wrong; what: from the key over the name to the problem."""
        self.problems.append(Problem(where, ": ".join(what)))

    def key(self, where: str, text: str) -> str | None:
        """The key of an entry or the owner of a list; None if it is none."""
        try:
            return stored_key(text, case_sensitive=self._case_sensitive)
        except ValueError as error:
            self.complain(where, repr(text), str(error))
            return None

    def subject(self, where: str, owner: str, text: str) -> str | None:
        """The subject of a list entry; None if it is none."""
        try:
            return stored_subject(text)
        except ValueError as error:
            self.complain(where, written_key(owner), str(error))
            return None

    def put_entry(self, where: str, key: str, settings: Sequence[tuple[str, object]], expires: float | None) -> None:
        """An entry in which nothing is wrong by itself."""
        rules = dict(settings).get("banned_rules")
        problem = self._objection(rules) if self._objection and isinstance(rules, tuple) else ""
        if problem:
            self.complain(where, written_key(key), "banned_rules", problem)
        elif self._first_time(where, key):
            sorted_settings: Settings = tuple(sorted(settings, key=lambda one: one[0]))
            self._entries[key] = Entry(SOURCE, key, sorted_settings, expires)

    def put_listed(
        self, where: str, owner: str, subject: str, what: tuple[Effect, float], expires: float | None
    ) -> None:
        """A list entry in which nothing is wrong. what: its effect, and the score of Effect.SCORE."""
        if self._first_time(where, owner, subject):
            self._listed[owner, subject] = ListEntry(SOURCE, owner, subject, *what, expires)

    def _first_time(self, where: str, *names: str) -> bool:
        other = self._places.get(names)
        self._places.setdefault(names, where)
        if other is not None:
            self.complain(where, written_key(names[0]), *names[1:], f"stands at {other} as well")
        return other is None
