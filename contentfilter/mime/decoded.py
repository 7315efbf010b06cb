"""What comes out of a decoder, and how its pieces are put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from contentfilter.mime.costs import Costs


@dataclass(frozen=True, slots=True)
class Decoded:
    """Content with its encoding removed.

    defects: what was wrong with the encoding; others: (defect, content) as programs read it that treat it differently;
    names: file names that stand in the encoded data itself; too_costly: oddities beyond a number were not looked at.
    """

    content: bytes
    defects: tuple[str, ...] = ()
    others: tuple[tuple[str, bytes], ...] = ()
    names: tuple[bytes, ...] = ()
    too_costly: bool = False


class Others:
    """Collects the other contents, each once, without those that are the same as the first, and as far as they fit."""

    def __init__(self, content: bytes, costs: Costs) -> None:
        self._seen = {content}
        self._costs = costs
        self._found: list[tuple[str, bytes]] = []

    def add(self, name: str, most: int, make: Callable[[], bytes]) -> None:
        """One more. most: bytes that it and its making may take; where there is no room it is not made."""
        if not self._costs.may_hold(most):
            return
        content = make()
        if content in self._seen:
            self._costs.release(most)
            return
        self._costs.release(most - len(content))
        self._seen.add(content)
        self._found.append((name, content))

    @property
    def found(self) -> tuple[tuple[str, bytes], ...]:
        """All of them, in order."""
        return tuple(self._found)
