"""Contents of one message in another form: without their encoding, or with proper line ends."""

from __future__ import annotations

from dataclasses import replace

from contentfilter.message import Buffer
from contentfilter.mime.costs import OutOfTimeError
from contentfilter.mime.decoded import Decoded
from contentfilter.mime.encodings import DECODERS
from contentfilter.mime.entity import Entity
from contentfilter.mime.progress import Progress
from contentfilter.mime.readings import Reading
from contentfilter.mime.variants import size_with_line_ends, with_line_ends


class Decoding:
    """Makes them, within the limits of the parse."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._costs = progress.costs
        self._decoded: dict[tuple[int, int, int, str], tuple[Buffer, Decoded]] = {}

    def decode(self, entity: Entity, reading: Reading) -> Decoded | None:
        """The content with its encoding removed; None where there is none, or no room for it. Decoded once."""
        decoder = DECODERS.get(reading.encoding)
        if decoder is None:
            return None
        start = reading.header.body_start
        place = (id(entity.buffer), start, entity.end, reading.encoding)
        if place in self._decoded:
            return self._decoded[place][1]
        # No encoding makes its content longer than itself, but for what its decoder asks for.
        if not self._may_hold(entity.end - start):
            return None
        try:
            decoded = decoder(entity.buffer, start, entity.end, self._costs)
        except OutOfTimeError:
            return None
        self._costs.release(entity.end - start - len(decoded.content))
        # The buffer is kept with it, so that no other can get its identity.
        self._decoded[place] = (entity.buffer, decoded)
        if decoded.too_costly:
            self._progress.exceeded["decoded_bytes"] = None
        self._progress.note(entity, dict.fromkeys(decoded.defects, start))
        return decoded

    def with_line_ends(self, entity: Entity) -> Entity | None:
        """The same entity with a line end for each bare CR, behind an empty line; None if there is no room for it."""
        if not self._may_hold(size_with_line_ends(entity.buffer, entity.start, entity.end)):
            return None
        buffer = with_line_ends(entity.buffer, entity.start, entity.end)
        return replace(entity, buffer=buffer, start=0, end=len(buffer))

    def _may_hold(self, size: int) -> bool:
        """Whether so many bytes may still be held besides the message, and there is time; then they count."""
        return self._costs.may_hold(size) and self._costs.has_time(size)
