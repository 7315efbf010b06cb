"""The parser: from a message's bytes to the tree of its parts.

A stack of readings takes the place of recursion. Taking one from it makes a part; the parts inside have their headers
read and go onto the stack in turn, so that the tree comes out in preorder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from contentfilter.message import Buffer
from contentfilter.mime.boundaries import Scan, guess_boundary, scan
from contentfilter.mime.charset import decode_unlabelled
from contentfilter.mime.encodings import DECODERS, Decoded
from contentfilter.mime.fields import parse_header
from contentfilter.mime.model import DEFAULT_LIMITS, Ambiguity, Limits, Part, Tree
from contentfilter.mime.names import file_names, too_many_parameters
from contentfilter.mime.readings import Reading, disposition_of, understand

_MESSAGES = frozenset({"message/rfc822", "message/global", "message/news"})
_ALSO_RAW = 1000
"""Bytes in which an encoded message must show a field to be read as one that is not encoded after all."""


def parse(buffer: Buffer, limits: Limits = DEFAULT_LIMITS) -> Tree:
    """The parts of a message, in every reading. Never raises, whatever the bytes."""
    parser = _Parser(limits)
    parser.enter([_Entity("1", "", 0, buffer, 0, len(buffer))])
    return parser.tree()


@dataclass(frozen=True, slots=True)
class _Entity:
    """Where a part lies, and what is known of it before its header is read."""

    path: str
    parent: str
    depth: int
    buffer: Buffer
    start: int
    end: int
    default_type: str = "text/plain"
    readings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Body:
    """The bytes in which to look for parts: not always the message itself, if they were encoded."""

    buffer: Buffer
    start: int
    end: int
    ambiguity: str = ""


class _Parser:
    """One message's parse: the parts so far, what is still to do, and what is left of the limits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parts: list[Part] = []
        self._stack: list[tuple[_Entity, Reading]] = []
        self._ambiguities: list[Ambiguity] = []
        self._exceeded: dict[str, None] = {}
        self._numbers: dict[str, int] = {}
        self._header_bytes = limits.header_bytes
        self._decoded_bytes = limits.decoded_bytes
        self._searched_bytes = limits.searched_bytes
        self._readings = limits.readings

    def tree(self) -> Tree:
        """Work until nothing is left to do."""
        while self._stack:
            self._make(*self._stack.pop())
        return Tree(tuple(self._parts), tuple(self._ambiguities), tuple(self._exceeded))

    def enter(self, entities: Sequence[_Entity]) -> None:
        """Read the headers of parts that lie side by side, and put all their readings onto the stack."""
        found = [pair for entity in entities for pair in self._understand(entity)]
        room = self._room()
        if len(found) > room:
            self._exceeded["parts"] = None
        self._stack += found[:room][::-1]

    def _room(self) -> int:
        return self._limits.parts - len(self._parts) - len(self._stack)

    def _understand(self, entity: _Entity) -> list[tuple[_Entity, Reading]]:
        header = parse_header(entity.buffer, entity.start, entity.end, self._header_bytes, self._limits.fields)
        if not header.complete:
            cut_short = len(header.fields) + len(header.defects) >= self._limits.fields
            self._exceeded["fields" if cut_short else "header_bytes"] = None
        if too_many_parameters(header, self._limits.parameters):
            self._exceeded["parameters"] = None
        self._header_bytes = max(0, self._header_bytes - (header.end - header.start))
        understood = understand(header, entity.default_type, self._limits.parameters)
        self._note(entity, understood.notes)
        pairs = [(entity, understood.readings[0])]
        for reading in understood.readings[1:]:
            other = self._other_reading(entity, *reading.ambiguities)
            if other is not None:
                pairs.append((other, reading))
        return pairs

    def _make(self, entity: _Entity, reading: Reading) -> None:
        """Make the part of one reading, and enter what is inside it."""
        name = reading.content_type.name
        composite = name.startswith("multipart/") or name in _MESSAGES
        if composite and entity.depth >= self._limits.depth:
            self._exceeded["depth"] = None
        elif name.startswith("multipart/"):
            return self._make_multipart(entity, reading)
        elif name in _MESSAGES and reading.header.body_start < entity.end:
            return self._make_message(entity, reading)
        return self._make_leaf(entity, reading)

    def _make_leaf(self, entity: _Entity, reading: Reading) -> None:
        decoded = self._decode(entity, reading)
        part = self._part(entity, reading, decoded)
        self._parts.append(part)
        for ambiguity, content in decoded.others if decoded else ():
            other = self._other_reading(entity, ambiguity)
            if other is not None and self._room() > 0:
                self._parts.append(replace(part, path=other.path, readings=other.readings, decoded=content))

    def _make_multipart(self, entity: _Entity, reading: Reading) -> None:
        """RFC 2046 section 5.1. A multipart in which no parts can be found is a leaf."""
        made = False
        for body in self._multipart_bodies(entity, reading):
            owner = self._other_reading(entity, body.ambiguity) if made else entity
            if owner is None:
                return
            made = self._make_multipart_in(owner, reading, body) or made
        if not made:
            self._note(entity, {"no-delimiter": reading.header.body_start})
            self._make_leaf(entity, reading)

    def _multipart_bodies(self, entity: _Entity, reading: Reading) -> list[_Body]:
        """As it stands; and decoded, although RFC 2045 section 6.4 allows a multipart no encoding that needs it."""
        start = reading.header.body_start
        bodies = [_Body(entity.buffer, start, entity.end)]
        if reading.encoding in DECODERS:
            self._note(entity, {"encoded-multipart": start})
            decoded = self._decode(entity, reading)
            if decoded is not None and decoded.content != entity.buffer[start : entity.end]:
                # The scan for delimiters wants a line end before the first.
                content = b"\r\n" + decoded.content
                bodies.append(_Body(content, 2, len(content), "encoded-multipart"))
        return bodies

    def _make_multipart_in(self, entity: _Entity, reading: Reading, body: _Body) -> bool:
        found = self._scan(entity, reading, body)
        if not found.parts:
            return False
        if found.more:
            self._exceeded["parts"] = None
        if not found.closed:
            self._note(entity, {"missing-closing-delimiter": body.end})
        if found.after_close:
            self._note(entity, {"part-after-closing-delimiter": found.parts[-found.after_close][0]})
        self._parts.append(self._part(entity, reading, None, is_leaf=False))
        before_close = len(found.parts) - found.after_close
        default_type = "message/rfc822" if reading.content_type.name == "multipart/digest" else "text/plain"
        self.enter([
            _Entity(
                f"{entity.path}.{number}",
                entity.path,
                entity.depth + 1,
                body.buffer,
                start,
                end,
                default_type,
                entity.readings if number <= before_close else (*entity.readings, "part-after-closing-delimiter"),
            )
            for number, (start, end) in enumerate(found.parts, 1)
        ])  # fmt: skip
        return True

    def _scan(self, entity: _Entity, reading: Reading, body: _Body) -> Scan:
        """The parts between the delimiters of the declared boundary, or else of the one that seems to be used."""
        boundary = reading.content_type.boundary
        found = Scan() if boundary is None else self._search(body, boundary)
        if not found.parts:
            guess = guess_boundary(body.buffer, body.start, body.end)
            if guess is not None and guess != boundary:
                self._note(entity, {"undeclared-boundary": reading.header.body_start})
                return self._search(body, guess)
        return found

    def _search(self, body: _Body, boundary: bytes) -> Scan:
        size = body.end - body.start
        if size > self._searched_bytes:
            self._exceeded["searched_bytes"] = None
            return Scan()
        self._searched_bytes -= size
        return scan(body.buffer, body.start, body.end, boundary, self._room())

    def _make_message(self, entity: _Entity, reading: Reading) -> None:
        """RFC 2046 section 5.2.1, RFC 6532. An encoding is not allowed on most of these, but occurs."""
        raw = _Entity(
            f"{entity.path}.1",
            entity.path,
            entity.depth + 1,
            entity.buffer,
            reading.header.body_start,
            entity.end,
            readings=entity.readings,
        )
        decoded = self._decode(entity, reading)
        self._parts.append(self._part(entity, reading, decoded, is_leaf=False))
        if decoded is None:
            return self.enter([raw])
        self._note(entity, {"encoded-message": raw.start})
        inside = [replace(raw, buffer=decoded.content, start=0, end=len(decoded.content))]
        if parse_header(raw.buffer, raw.start, min(raw.end, raw.start + _ALSO_RAW), max_fields=1).fields:
            other = self._other_reading(raw, "encoded-message")
            inside += [other] if other else []
        return self.enter(inside)

    def _decode(self, entity: _Entity, reading: Reading) -> Decoded | None:
        """The content with its encoding removed; None where there is none, or no room to decode it."""
        decoder = DECODERS.get(reading.encoding)
        if decoder is None:
            return None
        start = reading.header.body_start
        # No encoding makes its content longer than itself.
        if entity.end - start > self._decoded_bytes:
            self._exceeded["decoded_bytes"] = None
            return None
        self._decoded_bytes -= entity.end - start
        decoded = decoder(entity.buffer, start, entity.end)
        self._note(entity, dict.fromkeys(decoded.defects, start))
        return decoded

    def _part(self, entity: _Entity, reading: Reading, decoded: Decoded | None, *, is_leaf: bool = True) -> Part:
        header = reading.header
        content_type = reading.content_type
        names = file_names(header, self._limits.parameters)
        if decoded is not None and decoded.names:
            names = tuple(dict.fromkeys([*names, *map(decode_unlabelled, decoded.names)]))
        return Part(
            entity.path,
            entity.parent,
            entity.depth,
            entity.buffer,
            header,
            header.body_start,
            entity.end,
            content_type.name,
            tuple((each.name, decode_unlabelled(each.value)) for each in content_type.parameters),
            content_type.text("charset").lower(),
            reading.encoding,
            disposition_of(header),
            names,
            entity.readings,
            is_leaf,
            None if decoded is None else decoded.content,
        )

    def _other_reading(self, entity: _Entity, *ambiguities: str) -> _Entity | None:
        """The same place, to be read in a further way; None when no further readings are allowed."""
        if self._readings == 0:
            self._exceeded["readings"] = None
            return None
        self._readings -= 1
        above, dot, last = entity.path.rpartition(".")
        base = f"{above}{dot}{last.partition('~')[0]}"
        number = self._numbers.get(base, 1) + 1
        self._numbers[base] = number
        return replace(entity, path=f"{base}~{number}", readings=(*entity.readings, *ambiguities))

    def _note(self, entity: _Entity, notes: dict[str, int]) -> None:
        for name, offset in notes.items():
            self._ambiguities.append(Ambiguity(name, entity.path, offset))
