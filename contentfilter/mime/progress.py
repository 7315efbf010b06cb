"""How far a parse has come: what it has found, what is still to do, and what is left of the limits."""

from __future__ import annotations

from dataclasses import replace

from contentfilter.mime.costs import Costs
from contentfilter.mime.entity import Entity
from contentfilter.mime.model import Ambiguity, Limits, Part, Tree
from contentfilter.mime.readings import Reading

_DECODED_HALVES = 3
_DECODED_AT_LEAST = 16 * 1024 * 1024
"""All that is held besides the message may be this many halves of it, plus so many bytes: each level of nested
encodings, and each reading of an encoded body, counts again."""


class Progress:
    """Of one message's parse.

    size: bytes of the message; costs: what may still be held and searched; exceeded: names of the limits that were hit;
    waiting: what is still to be made parts of, the last one first; unchecked: (declared type, path) of parts whose
    content is elsewhere.
    """

    def __init__(self, limits: Limits, size: int) -> None:
        self.limits = limits
        held = min(limits.decoded_bytes, size * _DECODED_HALVES // 2 + _DECODED_AT_LEAST)
        self.costs = Costs(held=held, searched=limits.searched_bytes, seconds=limits.seconds)
        self.exceeded = self.costs.exceeded
        self.parts: list[Part] = []
        self.waiting: list[tuple[Entity, Reading]] = []
        self.ambiguities: list[Ambiguity] = []
        self.unchecked: list[tuple[str, str]] = []
        self._readings = limits.readings
        self._numbers: dict[str, int] = {}

    def tree(self) -> Tree:
        """What was found."""
        return Tree(tuple(self.parts), tuple(self.ambiguities), tuple(self.exceeded), tuple(self.unchecked))

    def room(self) -> int:
        """How many more parts there may be."""
        return self.limits.parts - len(self.parts) - len(self.waiting)

    def note(self, entity: Entity, notes: dict[str, int]) -> None:
        """Ambiguities in an entity: the name of each, and its offset."""
        for name, offset in notes.items():
            self.note_at(entity.path, name, offset)

    def note_at(self, path: str, name: str, offset: int) -> None:
        """One ambiguity."""
        self.ambiguities.append(Ambiguity(name, path, offset))

    def other_reading(self, entity: Entity, *ambiguities: str) -> Entity | None:
        """The same place, to be read in a further way; None when no further readings are allowed."""
        if self._readings == 0:
            self.exceeded["readings"] = None
            return None
        self._readings -= 1
        above, dot, last = entity.path.rpartition(".")
        base = f"{above}{dot}{last.partition('~')[0]}"
        number = self._numbers.get(base, 1) + 1
        self._numbers[base] = number
        return replace(entity, path=f"{base}~{number}", readings=tuple(dict.fromkeys((*entity.readings, *ambiguities))))
