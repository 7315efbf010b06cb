"""The parser: from a message's bytes to the tree of its parts.

A stack of readings takes the place of recursion. Taking one from it makes a part; the parts inside have their headers
read and go onto the stack in turn, so that the tree comes out in preorder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from contentfilter.message import Buffer
from contentfilter.mime.boundaries import Scan, guess_boundaries, scan
from contentfilter.mime.charset import decode_unlabelled
from contentfilter.mime.costs import Costs, OutOfTimeError
from contentfilter.mime.decoded import Decoded
from contentfilter.mime.embedded import Embedded, embedded_files, named_files
from contentfilter.mime.encodings import DECODERS
from contentfilter.mime.fields import Header, parse_header
from contentfilter.mime.model import DEFAULT_LIMITS, Ambiguity, Limits, Part, Tree
from contentfilter.mime.names import file_names, too_many_parameters
from contentfilter.mime.readings import ContentType, Reading, disposition_of, ignores_mime, understand
from contentfilter.mime.variants import STRUCTURAL, has_bare_cr, size_with_line_ends, with_line_ends
from contentfilter.mime.words import decode_words
from contentfilter.search import find

_ELSEWHERE = frozenset({"message/partial", "message/external-body"})
_MESSAGES = frozenset({"message/rfc822", "message/global", "message/news", *_ELSEWHERE})
_TEXTUAL = ("text/", "message/", "multipart/")
_SHORTEST_PAYLOAD = 20
_MOST_GAPS = 100
"""Stretches behind closing delimiters that are looked at in one multipart."""

_SAMPLE = 100
"""Bytes of two bodies that tell whether they begin at the same place."""

_FIELD = rb"(?=content-(?:type|transfer-encoding|disposition)[ \t]*:)"
_FIRST_FIELD = re.compile(_FIELD, re.IGNORECASE)
_FIELD_OF_A_PART = re.compile(rb"\n" + _FIELD, re.IGNORECASE)
_DECODED_HALVES = 3
_DECODED_AT_LEAST = 16 * 1024 * 1024
"""All that is held besides the message may be this many halves of it, plus so many bytes: each level of nested
encodings, and each reading of an encoded body, counts again."""
_ALSO_RAW = 1000
"""Bytes in which an encoded message must show a field to be read as one that is not encoded after all."""


def parse(buffer: Buffer, limits: Limits = DEFAULT_LIMITS) -> Tree:
    """The parts of a message, in every reading. Never raises, whatever the bytes."""
    parser = _Parser(limits, len(buffer))
    parser.enter([_Entity("1", "", 0, buffer, 0, len(buffer), is_message=True)])
    return parser.tree()


@dataclass(frozen=True, slots=True)
class _Entity:
    """Where a part lies, and what is known of it before its header is read.

    is_message: it is a message, not a part of one; is_text: it has no header and all of it is text.
    """

    path: str
    parent: str
    depth: int
    buffer: Buffer
    start: int
    end: int
    default_type: str = "text/plain"
    readings: tuple[str, ...] = ()
    is_message: bool = False
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class _Body:
    """The bytes in which to look for parts: not always the message itself, if they were encoded."""

    buffer: Buffer
    start: int
    end: int
    ambiguity: str = ""


class _Parser:
    """One message's parse: the parts so far, what is still to do, and what is left of the limits."""

    def __init__(self, limits: Limits, size: int) -> None:
        self._limits = limits
        held = min(limits.decoded_bytes, size * _DECODED_HALVES // 2 + _DECODED_AT_LEAST)
        self._costs = Costs(held=held, searched=limits.searched_bytes, seconds=limits.seconds)
        self._parts: list[Part] = []
        self._stack: list[tuple[_Entity, Reading]] = []
        self._ambiguities: list[Ambiguity] = []
        self._exceeded = self._costs.exceeded
        self._numbers: dict[str, int] = {}
        self._header_bytes = limits.header_bytes
        self._decoded: dict[tuple[int, int, int, str], tuple[Buffer, Decoded]] = {}
        self._files: dict[tuple[int, int, int], tuple[Buffer, tuple[Embedded, ...]]] = {}
        self._unchecked: list[tuple[str, str]] = []
        self._readings = limits.readings

    def tree(self) -> Tree:
        """Work until nothing is left to do."""
        while self._stack:
            self._make(*self._stack.pop())
        return Tree(tuple(self._parts), tuple(self._ambiguities), tuple(self._exceeded), tuple(self._unchecked))

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
        if entity.is_text:
            header = Header((), (), entity.start, entity.start, entity.start)
            return [(entity, Reading(header, ContentType(entity.default_type), "7bit"))]
        header = self._header(entity)
        pairs = self._read(entity, header)
        straight = pairs[0][1]
        if entity.is_message and (name := ignores_mime(header)):
            pairs += self._before_mime(entity, straight, name)
        if has_bare_cr(entity.buffer[header.start : min(header.end, header.start + self._limits.header_bytes)]):
            pairs += self._with_line_ends(entity, header)
        return pairs

    def _header(self, entity: _Entity) -> Header:
        header = parse_header(entity.buffer, entity.start, entity.end, self._header_bytes, self._limits.fields)
        if not header.complete:
            cut_short = len(header.fields) + len(header.defects) >= self._limits.fields
            self._exceeded["fields" if cut_short else "header_bytes"] = None
        if too_many_parameters(header, self._limits.parameters):
            self._exceeded["parameters"] = None
        self._header_bytes = max(0, self._header_bytes - (header.end - header.start))
        return header

    def _read(self, entity: _Entity, header: Header, *ambiguities: str) -> list[tuple[_Entity, Reading]]:
        """Every reading of this header. ambiguities: what led to it; then not even the first is the straight one."""
        understood = understand(entity.buffer, header, entity.end, entity.default_type, self._limits.parameters)
        self._note(entity, understood.notes)
        pairs: list[tuple[_Entity, Reading]] = []
        for number, reading in enumerate(understood.readings):
            is_straight = number == 0 and not ambiguities
            other = entity if is_straight else self._other_reading(entity, *ambiguities, *reading.ambiguities)
            if other is not None:
                pairs.append((other, reading))
        return pairs

    def _before_mime(self, entity: _Entity, straight: Reading, name: str) -> list[tuple[_Entity, Reading]]:
        """The message as a program shows it that ignores MIME: only files in its text can make a difference."""
        start = straight.header.body_start
        if not self._costs.may_search(entity.end - start):
            return []
        if not self._has_files(named_files(entity.buffer, start, entity.end, self._costs)):
            return []
        self._note(entity, {name: entity.start})
        other = self._other_reading(entity, name)
        return [] if other is None else [(other, Reading(straight.header, ContentType("text/plain"), "7bit"))]

    def _with_line_ends(self, entity: _Entity, header: Header) -> list[tuple[_Entity, Reading]]:
        """The entity as read by a program that ends lines at a bare CR, if the header says something else then."""
        other = self._converted(entity)
        if other is None:
            return []
        again = parse_header(other.buffer, other.start, None, self._limits.header_bytes, self._limits.fields)
        before = with_line_ends(entity.buffer, header.body_start, min(entity.end, header.body_start + _SAMPLE))
        after = other.buffer[again.body_start : again.body_start + max(len(before), 1)]
        if _told(again) == _told(header) and after == before:
            return []
        self._note(entity, {"bare-cr": entity.start})
        return self._read(other, again, "bare-cr")

    def _converted(self, entity: _Entity) -> _Entity | None:
        """The same entity with a line end for each bare CR, behind an empty line; None if there is no room for it."""
        if not self._may_decode(size_with_line_ends(entity.buffer, entity.start, entity.end)):
            return None
        buffer = with_line_ends(entity.buffer, entity.start, entity.end)
        return replace(entity, buffer=buffer, start=0, end=len(buffer))

    def _make(self, entity: _Entity, reading: Reading) -> None:
        """Make the part of one reading, and enter what is inside it."""
        name = reading.content_type.name
        composite = name.startswith("multipart/") or name in _MESSAGES
        if composite and entity.depth >= self._limits.depth:
            self._exceeded["depth"] = None
        elif name.startswith("multipart/") and self._costs.has_time(entity.end - reading.header.body_start):
            return self._make_multipart(entity, reading)
        elif name in _MESSAGES and reading.header.body_start < entity.end:
            return self._make_message(entity, reading)
        return self._make_leaf(entity, reading)

    def _make_leaf(self, entity: _Entity, reading: Reading) -> None:
        if reading.content_type.name in _ELSEWHERE:
            self._unchecked.append((reading.content_type.name, entity.path))
        decoded = self._decode(entity, reading)
        part = self._part(entity, reading, decoded)
        self._parts.append(part)
        self._take_out_files(part)
        for ambiguity, content in decoded.others if decoded else ():
            other = self._other_reading(entity, ambiguity)
            if other is not None and self._room() > 0:
                self._parts.append(replace(part, path=other.path, readings=other.readings, decoded=content))

    def _take_out_files(self, part: Part) -> None:
        """Files in the middle of a text become leaves below it. Other contents are searched if nothing encodes them."""
        is_text = part.declared_type.startswith(_TEXTUAL)
        if not part.size or (part.decoded is not None and not is_text):
            return
        where = (part.buffer, part.start, part.end) if part.decoded is None else (part.decoded, 0, len(part.decoded))
        for number, file in enumerate(self._files_within_limits(where), 1):
            if part.depth >= self._limits.depth:
                self._exceeded["depth"] = None
                return
            if self._ambiguities[-1:] != [Ambiguity(file.way, part.path, file.start)]:
                self._note_at(part.path, file.way, file.start)  # two forks are one file
            self._parts.append(_leaf_below(part, number, file))

    def _files_within_limits(self, where: tuple[Buffer, int, int]) -> Iterator[Embedded]:
        """The files in a text. Further readings of the same bytes have the same."""
        place = (id(where[0]), *where[1:])
        if place not in self._files:
            self._files[place] = (where[0], tuple(self._fresh_files(where)))
        for file in self._files[place][1]:
            if self._room() <= 0:
                self._exceeded["parts"] = None
                return
            yield file

    def _fresh_files(self, where: tuple[Buffer, int, int]) -> Iterator[Embedded]:
        if not self._costs.may_search(where[2] - where[1]):
            return
        with suppress(OutOfTimeError):
            for file in embedded_files(*where, self._costs):
                if file.content:
                    yield file

    def _may_decode(self, size: int) -> bool:
        """Whether so many bytes may still be held besides the message, and there is time; then they count."""
        return self._costs.may_hold(size) and self._costs.has_time(size)

    def _has_files(self, files: Iterator[Embedded]) -> bool:
        """Whether there is a file with any content. It is not kept."""
        with suppress(OutOfTimeError):
            for file in files:
                self._costs.release(len(file.content))
                if file.content:
                    return True
        return False

    def _make_multipart(self, entity: _Entity, reading: Reading) -> None:
        """RFC 2046 section 5.1. A multipart in which no parts can be found is a leaf."""
        made = False
        for body in self._multipart_bodies(entity, reading):
            for way, found in self._scans(entity, reading, body):
                if made and self._room() <= 0:
                    self._exceeded["parts"] = None
                    return
                ambiguities = tuple(each for each in (body.ambiguity, way) if each)
                owner = self._other_reading(entity, *ambiguities) if made else entity
                if owner is None:
                    return
                self._make_multipart_of(owner, reading, body, found)
                made = True
        if not made:
            self._note(entity, {"no-delimiter": reading.header.body_start})
            self._make_leaf(entity, reading)

    def _multipart_bodies(self, entity: _Entity, reading: Reading) -> Iterator[_Body]:
        """As it stands; with bare CRs as line ends, if that makes delimiters; and decoded.

        RFC 2045 section 6.4 allows a multipart no encoding that needs it.
        """
        start = reading.header.body_start
        yield _Body(entity.buffer, start, entity.end)
        boundary = reading.content_type.boundary
        if boundary and self._delimits_at_bare_cr(entity, start, boundary):
            converted = self._converted(replace(entity, start=start))
            if converted is not None:
                self._note(entity, {"bare-cr": start})
                yield _Body(converted.buffer, 0, converted.end, "bare-cr")
        if reading.encoding in DECODERS:
            self._note(entity, {"encoded-multipart": start})
            decoded = self._decode(entity, reading)
            if decoded is not None and not _is_same(decoded.content, entity, start):
                yield _Body(decoded.content, 0, len(decoded.content), "encoded-multipart")

    def _delimits_at_bare_cr(self, entity: _Entity, start: int, boundary: bytes) -> bool:
        if find(entity.buffer, b"\r--" + boundary, start, entity.end) >= 0:
            return True
        first = find(entity.buffer, b"--" + boundary + b"\r", start, entity.end)
        behind = first + len(boundary) + 3
        return first >= 0 and entity.buffer[behind : behind + 1] != b"\n"

    def _scans(self, entity: _Entity, reading: Reading, body: _Body) -> Iterator[tuple[str, Scan]]:
        """Where the parts lie by the declared boundary, or else by the one that seems to be used."""
        boundary = reading.content_type.boundary
        if boundary is not None:
            found = self._search(body, boundary)
            if found.parts:
                yield "", found
            if found.beginnings and boundary:
                further = self._search(body, boundary, prefix=True)
                if further.parts and further.parts != found.parts:
                    self._note(entity, {"boundary-prefix": reading.header.body_start})
                    yield "boundary-prefix", further
            if found.parts and boundary:
                return
        for guess in guess_boundaries(body.buffer, body.start, body.end):
            if guess != boundary and (found := self._search(body, guess)).parts:
                self._note(entity, {"undeclared-boundary": reading.header.body_start})
                yield "undeclared-boundary", found

    def _search(self, body: _Body, boundary: bytes, *, prefix: bool = False) -> Scan:
        if not self._costs.may_search(body.end - body.start):
            return Scan()
        try:
            return scan(body.buffer, body.start, body.end, boundary, self._room(), prefix=prefix, costs=self._costs)
        except OutOfTimeError:
            return Scan()

    def _make_multipart_of(self, entity: _Entity, reading: Reading, body: _Body, found: Scan) -> None:
        if found.more:
            self._exceeded["parts"] = None
        if not found.closed:
            self._note(entity, {"missing-closing-delimiter": body.end})
        if found.after_close:
            self._note(entity, {"part-after-closing-delimiter": found.parts[-found.after_close][0]})
        self._parts.append(self._part(entity, reading, None, is_leaf=False))
        before_close = len(found.parts) - found.after_close
        default_type = "message/rfc822" if reading.content_type.name == "multipart/digest" else "text/plain"
        parts = [
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
        ]
        preamble = self._payload(entity, body, "payload-in-preamble", 0, (body.start, found.begins or body.start))
        epilogue = [
            payload
            for number, gap in enumerate(found.gaps[:_MOST_GAPS], len(parts) + 1)
            for payload in self._payload(entity, body, "payload-in-epilogue", number, gap)
        ]
        self.enter([*preamble, *parts, *epilogue])

    def _payload(self, entity: _Entity, body: _Body, name: str, number: int, extent: tuple[int, int]) -> list[_Entity]:
        """What stands before the first delimiter or behind the closing one, if it is more than a remark for people."""
        start, end = extent
        if end - start < _SHORTEST_PAYLOAD or not self._costs.may_search(end - start):
            return []
        field = _FIRST_FIELD.match(body.buffer, 0, end) if start == 0 else None
        field = field or _FIELD_OF_A_PART.search(body.buffer, max(start - 1, 0), end)
        if field is None and not self._has_files(embedded_files(body.buffer, start, end, self._costs)):
            return []
        begin = start if field is None else field.end()
        self._note(entity, {name: begin})
        return [
            _Entity(
                f"{entity.path}.{number}",
                entity.path,
                entity.depth + 1,
                body.buffer,
                begin,
                end,
                readings=(*entity.readings, name),
                is_text=field is None,
            )
        ]

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
            is_message=reading.content_type.name not in _ELSEWHERE,
        )
        if reading.content_type.name in _ELSEWHERE:
            self._unchecked.append((reading.content_type.name, entity.path))
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
        place = (id(entity.buffer), start, entity.end, reading.encoding)
        if place in self._decoded:
            return self._decoded[place][1]
        # No encoding makes its content longer than itself, but for what its decoder asks for.
        if not self._may_decode(entity.end - start):
            return None
        try:
            decoded = decoder(entity.buffer, start, entity.end, self._costs)
        except OutOfTimeError:
            return None
        self._costs.release(entity.end - start - len(decoded.content))
        # The buffer is kept with it, so that no other can get its identity.
        self._decoded[place] = (entity.buffer, decoded)
        if decoded.too_costly:
            self._exceeded["decoded_bytes"] = None
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
        return replace(entity, path=f"{base}~{number}", readings=tuple(dict.fromkeys((*entity.readings, *ambiguities))))

    def _note(self, entity: _Entity, notes: dict[str, int]) -> None:
        for name, offset in notes.items():
            self._note_at(entity.path, name, offset)

    def _note_at(self, path: str, name: str, offset: int) -> None:
        self._ambiguities.append(Ambiguity(name, path, offset))


def _is_same(content: bytes, entity: _Entity, start: int) -> bool:
    return len(content) == entity.end - start and content == entity.buffer[start : entity.end]


def _told(header: Header) -> list[tuple[str, bytes]]:
    """What the fields say that decide how a message is taken apart."""
    return [(field.key, field.value) for field in header.fields if field.key in STRUCTURAL]


def _leaf_below(part: Part, number: int, file: Embedded) -> Part:
    """A file that stood in the text of this part."""
    return Part(
        f"{part.path}.{number}",
        part.path,
        part.depth + 1,
        file.content,
        Header((), (), 0, 0, 0),
        0,
        len(file.content),
        "application/octet-stream",
        names=(decode_words(file.name),) if file.name else (),
        readings=(*part.readings, file.way),
    )
