"""What it means when an inspector cannot answer: `on_failure` and `failure_grace`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum


class OnFailure(Enum):
    """What becomes of a message that an inspector could not look at, the strictest first."""

    DEFER = "defer"
    """The message waits at Postfix."""
    QUARANTINE = "quarantine"
    """It is withheld, with a copy in quarantine."""
    TAG = "tag"
    """It passes, and its local recipients see that it was not inspected."""
    PASS = "pass"  # noqa: S105 - not a password
    """It passes as if nobody had been asked."""

    @property
    def laxer(self) -> tuple[OnFailure, ...]:
        """The modes that let more through, the strictest of them first."""
        return _STRICTEST_FIRST[_STRICTEST_FIRST.index(self) + 1 :]

    @property
    def stricter(self) -> tuple[OnFailure, ...]:
        """The modes that let less through, the strictest first."""
        return _STRICTEST_FIRST[: _STRICTEST_FIRST.index(self)]


_STRICTEST_FIRST = tuple(OnFailure)


def strictest(modes: Iterable[OnFailure]) -> OnFailure:
    """The strictest of the modes; "pass" if there are none."""
    return min(modes, key=_STRICTEST_FIRST.index, default=OnFailure.PASS)


def in_force(on_failure: Mapping[str, OnFailure], grace: Mapping[str, float], age: float) -> Mapping[str, OnFailure]:
    """The modes that count for a message of this age in seconds, by inspector.

    grace: seconds by inspector; a message that is younger is deferred first, whatever the mode.
    """
    return {
        inspector: OnFailure.DEFER if age < grace.get(inspector, 0.0) else mode
        for inspector, mode in on_failure.items()
    }
