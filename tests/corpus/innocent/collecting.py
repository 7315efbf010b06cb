"""A list of innocent messages that is filled line by line."""

from __future__ import annotations

from collections.abc import Callable

from tests.corpus.case import Innocent


class Collection:
    """Collects."""

    def __init__(self) -> None:
        self._innocent: list[Innocent] = []

    def add(self, name: str, why: str, build: bytes | Callable[[], bytes], bad_header: str = "") -> None:
        """One more. build: the message, or what makes it where that takes a while."""
        self._innocent.append(Innocent(name, why, build if callable(build) else _constant(build), bad_header))

    def innocent(self) -> tuple[Innocent, ...]:
        """All of them."""
        return tuple(self._innocent)


def _constant(message: bytes) -> Callable[[], bytes]:
    return lambda: message
