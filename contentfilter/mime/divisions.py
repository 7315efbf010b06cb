"""Every way in which a multipart falls into parts (RFC 2046 section 5.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from contentfilter.message import Buffer
from contentfilter.mime.boundaries import Scan, guess_boundaries, scan
from contentfilter.mime.costs import OutOfTimeError
from contentfilter.mime.decoding import Decoding
from contentfilter.mime.encodings import DECODERS
from contentfilter.mime.entity import Entity
from contentfilter.mime.progress import Progress
from contentfilter.mime.readings import Reading
from contentfilter.search import find


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes in which to look for parts: not always the message itself, if they were encoded."""

    buffer: Buffer
    start: int
    end: int
    ambiguity: str = ""


@dataclass(frozen=True, slots=True)
class Division:
    """One of them. ambiguities: what led to it, nothing for the straight one; found: where the parts lie in body."""

    body: Body
    ambiguities: tuple[str, ...]
    found: Scan


class Divisions:
    """Finds those of one message's multiparts, within the limits of the parse."""

    def __init__(self, progress: Progress, decoding: Decoding) -> None:
        self._progress = progress
        self._costs = progress.costs
        self._decoding = decoding

    def of(self, entity: Entity, reading: Reading) -> Iterator[Division]:
        """One after the other: what is found in an earlier one takes of the room for the next."""
        for body in self._bodies(entity, reading):
            for way, found in self._scans(entity, reading, body):
                yield Division(body, tuple(each for each in (body.ambiguity, way) if each), found)

    def _bodies(self, entity: Entity, reading: Reading) -> Iterator[Body]:
        """As it stands; with bare CRs as line ends, if that makes delimiters; and decoded.

        RFC 2045 section 6.4 allows a multipart no encoding that needs it.
        """
        start = reading.header.body_start
        yield Body(entity.buffer, start, entity.end)
        boundary = reading.content_type.boundary
        if boundary and self._delimits_at_bare_cr(entity, start, boundary):
            converted = self._decoding.with_line_ends(replace(entity, start=start))
            if converted is not None:
                self._progress.note(entity, {"bare-cr": start})
                yield Body(converted.buffer, 0, converted.end, "bare-cr")
        if reading.encoding in DECODERS:
            self._progress.note(entity, {"encoded-multipart": start})
            decoded = self._decoding.decode(entity, reading)
            if decoded is not None and not _is_same(decoded.content, entity, start):
                yield Body(decoded.content, 0, len(decoded.content), "encoded-multipart")

    def _delimits_at_bare_cr(self, entity: Entity, start: int, boundary: bytes) -> bool:
        if find(entity.buffer, b"\r--" + boundary, start, entity.end) >= 0:
            return True
        first = find(entity.buffer, b"--" + boundary + b"\r", start, entity.end)
        behind = first + len(boundary) + 3
        return first >= 0 and entity.buffer[behind : behind + 1] != b"\n"

    def _scans(self, entity: Entity, reading: Reading, body: Body) -> Iterator[tuple[str, Scan]]:
        """Where the parts lie by the declared boundary, or else by the one that seems to be used."""
        boundary = reading.content_type.boundary
        if boundary is not None:
            found = self._search(body, boundary)
            if found.parts:
                yield "", found
            if found.beginnings and boundary:
                further = self._search(body, boundary, prefix=True)
                if further.parts and further.parts != found.parts:
                    self._progress.note(entity, {"boundary-prefix": reading.header.body_start})
                    yield "boundary-prefix", further
            if found.parts and boundary:
                return
        for guess in guess_boundaries(body.buffer, body.start, body.end):
            if guess != boundary and (found := self._search(body, guess)).parts:
                self._progress.note(entity, {"undeclared-boundary": reading.header.body_start})
                yield "undeclared-boundary", found

    def _search(self, body: Body, boundary: bytes, *, prefix: bool = False) -> Scan:
        if not self._costs.may_search(body.end - body.start):
            return Scan()
        try:
            return scan(
                body.buffer, body.start, body.end, boundary, self._progress.room(), prefix=prefix, costs=self._costs
            )
        except OutOfTimeError:
            return Scan()


def _is_same(content: bytes, entity: Entity, start: int) -> bool:
    return len(content) == entity.end - start and content == entity.buffer[start : entity.end]
