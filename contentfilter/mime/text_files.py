"""The files in the texts of one message, as far as its limits allow to look for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from contentfilter.message import Buffer
from contentfilter.mime.costs import OutOfTimeError
from contentfilter.mime.embedded import Embedded, embedded_files
from contentfilter.mime.progress import Progress


class TextFiles:
    """Looks for them; what was found in the same bytes before is not looked for again."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._costs = progress.costs
        self._files: dict[tuple[int, int, int], tuple[Buffer, tuple[Embedded, ...]]] = {}

    def within(self, where: tuple[Buffer, int, int]) -> Iterator[Embedded]:
        """The files in a text. Further readings of the same bytes have the same."""
        place = (id(where[0]), *where[1:])
        if place not in self._files:
            self._files[place] = (where[0], tuple(self._fresh_files(where)))
        for file in self._files[place][1]:
            if self._progress.room() <= 0:
                self._progress.exceeded["parts"] = None
                return
            yield file

    def _fresh_files(self, where: tuple[Buffer, int, int]) -> Iterator[Embedded]:
        if not self._costs.may_search(where[2] - where[1]):
            return
        with suppress(OutOfTimeError):
            for file in embedded_files(*where, self._costs):
                if file.content:
                    yield file

    def any(self, files: Iterator[Embedded]) -> bool:
        """Whether there is a file with any content. It is not kept."""
        with suppress(OutOfTimeError):
            for file in files:
                self._costs.release(len(file.content))
                if file.content:
                    return True
        return False
