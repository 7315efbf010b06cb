"""The parser: from a message's bytes to the tree of its parts.

A stack of readings, kept by :class:`Progress`, takes the place of recursion. Taking one from it makes a part; the parts
inside have their headers read and go onto the stack in turn, so that the tree comes out in preorder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from contentfilter.message import Buffer
from contentfilter.mime.boundaries import Scan
from contentfilter.mime.charset import decode_unlabelled
from contentfilter.mime.decoded import Decoded
from contentfilter.mime.decoding import Decoding
from contentfilter.mime.divisions import Body, Divisions
from contentfilter.mime.embedded import Embedded, embedded_files, named_files
from contentfilter.mime.entity import Entity
from contentfilter.mime.fields import Header, parse_header
from contentfilter.mime.model import DEFAULT_LIMITS, Ambiguity, Limits, Part, Tree
from contentfilter.mime.names import file_names, too_many_parameters
from contentfilter.mime.progress import Progress
from contentfilter.mime.readings import ContentType, Reading, disposition_of, ignores_mime, understand
from contentfilter.mime.text_files import TextFiles
from contentfilter.mime.variants import STRUCTURAL, has_bare_cr, with_line_ends
from contentfilter.mime.words import decode_words

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
_ALSO_RAW = 1000
"""Bytes in which an encoded message must show a field to be read as one that is not encoded after all."""


def parse(buffer: Buffer, limits: Limits = DEFAULT_LIMITS) -> Tree:
    """The parts of a message, in every reading. Never raises, whatever the bytes."""
    parser = _Parser(limits, len(buffer))
    parser.enter([Entity("1", "", 0, buffer, 0, len(buffer), is_message=True)])
    return parser.tree()


class _Parser:
    """One message's parse."""

    def __init__(self, limits: Limits, size: int) -> None:
        self._limits = limits
        self._progress = Progress(limits, size)
        self._costs = self._progress.costs
        self._exceeded = self._progress.exceeded
        self._header_bytes = limits.header_bytes
        self._decoding = Decoding(self._progress)
        self._divisions = Divisions(self._progress, self._decoding)
        self._files = TextFiles(self._progress)

    def tree(self) -> Tree:
        """Work until nothing is left to do."""
        waiting = self._progress.waiting
        while waiting:
            self._make(*waiting.pop())
        return self._progress.tree()

    def enter(self, entities: Sequence[Entity]) -> None:
        """Read the headers of parts that lie side by side, and put all their readings onto the stack."""
        found = [pair for entity in entities for pair in self._understand(entity)]
        room = self._progress.room()
        if len(found) > room:
            self._exceeded["parts"] = None
        self._progress.waiting += found[:room][::-1]

    def _understand(self, entity: Entity) -> list[tuple[Entity, Reading]]:
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

    def _header(self, entity: Entity) -> Header:
        header = parse_header(entity.buffer, entity.start, entity.end, self._header_bytes, self._limits.fields)
        if not header.complete:
            cut_short = len(header.fields) + len(header.defects) >= self._limits.fields
            self._exceeded["fields" if cut_short else "header_bytes"] = None
        if too_many_parameters(header, self._limits.parameters):
            self._exceeded["parameters"] = None
        self._header_bytes = max(0, self._header_bytes - (header.end - header.start))
        return header

    def _read(self, entity: Entity, header: Header, *ambiguities: str) -> list[tuple[Entity, Reading]]:
        """Every reading of this header. ambiguities: what led to it; then not even the first is the straight one."""
        understood = understand(entity.buffer, header, entity.end, entity.default_type, self._limits.parameters)
        self._progress.note(entity, understood.notes)
        pairs: list[tuple[Entity, Reading]] = []
        for number, reading in enumerate(understood.readings):
            is_straight = number == 0 and not ambiguities
            other = entity if is_straight else self._progress.other_reading(entity, *ambiguities, *reading.ambiguities)
            if other is not None:
                pairs.append((other, reading))
        return pairs

    def _before_mime(self, entity: Entity, straight: Reading, name: str) -> list[tuple[Entity, Reading]]:
        """The message as a program shows it that ignores MIME: only files in its text can make a difference."""
        start = straight.header.body_start
        if not self._costs.may_search(entity.end - start):
            return []
        if not self._files.any(named_files(entity.buffer, start, entity.end, self._costs)):
            return []
        self._progress.note(entity, {name: entity.start})
        other = self._progress.other_reading(entity, name)
        return [] if other is None else [(other, Reading(straight.header, ContentType("text/plain"), "7bit"))]

    def _with_line_ends(self, entity: Entity, header: Header) -> list[tuple[Entity, Reading]]:
        """The entity as read by a program that ends lines at a bare CR, if the header says something else then."""
        other = self._decoding.with_line_ends(entity)
        if other is None:
            return []
        again = parse_header(other.buffer, other.start, None, self._limits.header_bytes, self._limits.fields)
        before = with_line_ends(entity.buffer, header.body_start, min(entity.end, header.body_start + _SAMPLE))
        after = other.buffer[again.body_start : again.body_start + max(len(before), 1)]
        if _told(again) == _told(header) and after == before:
            return []
        self._progress.note(entity, {"bare-cr": entity.start})
        return self._read(other, again, "bare-cr")

    def _make(self, entity: Entity, reading: Reading) -> None:
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

    def _make_leaf(self, entity: Entity, reading: Reading) -> None:
        if reading.content_type.name in _ELSEWHERE:
            self._progress.unchecked.append((reading.content_type.name, entity.path))
        decoded = self._decoding.decode(entity, reading)
        part = self._part(entity, reading, decoded)
        self._progress.parts.append(part)
        self._take_out_files(part)
        for ambiguity, content in decoded.others if decoded else ():
            other = self._progress.other_reading(entity, ambiguity)
            if other is not None and self._progress.room() > 0:
                self._progress.parts.append(replace(part, path=other.path, readings=other.readings, decoded=content))

    def _take_out_files(self, part: Part) -> None:
        """Files in the middle of a text become leaves below it. Other contents are searched if nothing encodes them."""
        is_text = part.declared_type.startswith(_TEXTUAL)
        if not part.size or (part.decoded is not None and not is_text):
            return
        where = (part.buffer, part.start, part.end) if part.decoded is None else (part.decoded, 0, len(part.decoded))
        for number, file in enumerate(self._files.within(where), 1):
            if part.depth >= self._limits.depth:
                self._exceeded["depth"] = None
                return
            if self._progress.ambiguities[-1:] != [Ambiguity(file.way, part.path, file.start)]:
                self._progress.note_at(part.path, file.way, file.start)  # two forks are one file
            self._progress.parts.append(_leaf_below(part, number, file))

    def _make_multipart(self, entity: Entity, reading: Reading) -> None:
        """RFC 2046 section 5.1. A multipart in which no parts can be found is a leaf."""
        made = False
        for division in self._divisions.of(entity, reading):
            if made and self._progress.room() <= 0:
                self._exceeded["parts"] = None
                return
            owner = self._progress.other_reading(entity, *division.ambiguities) if made else entity
            if owner is None:
                return
            self._make_multipart_of(owner, reading, division.body, division.found)
            made = True
        if not made:
            self._progress.note(entity, {"no-delimiter": reading.header.body_start})
            self._make_leaf(entity, reading)

    def _make_multipart_of(self, entity: Entity, reading: Reading, body: Body, found: Scan) -> None:
        if found.more:
            self._exceeded["parts"] = None
        if not found.closed:
            self._progress.note(entity, {"missing-closing-delimiter": body.end})
        if found.after_close:
            self._progress.note(entity, {"part-after-closing-delimiter": found.parts[-found.after_close][0]})
        self._progress.parts.append(self._part(entity, reading, None, is_leaf=False))
        before_close = len(found.parts) - found.after_close
        default_type = "message/rfc822" if reading.content_type.name == "multipart/digest" else "text/plain"
        parts = [
            Entity(
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

    def _payload(self, entity: Entity, body: Body, name: str, number: int, extent: tuple[int, int]) -> list[Entity]:
        """What stands before the first delimiter or behind the closing one, if it is more than a remark for people."""
        start, end = extent
        if end - start < _SHORTEST_PAYLOAD or not self._costs.may_search(end - start):
            return []
        field = _FIRST_FIELD.match(body.buffer, 0, end) if start == 0 else None
        field = field or _FIELD_OF_A_PART.search(body.buffer, max(start - 1, 0), end)
        if field is None and not self._files.any(embedded_files(body.buffer, start, end, self._costs)):
            return []
        begin = start if field is None else field.end()
        self._progress.note(entity, {name: begin})
        return [
            Entity(
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

    def _make_message(self, entity: Entity, reading: Reading) -> None:
        """RFC 2046 section 5.2.1, RFC 6532. An encoding is not allowed on most of these, but occurs."""
        raw = Entity(
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
            self._progress.unchecked.append((reading.content_type.name, entity.path))
        decoded = self._decoding.decode(entity, reading)
        self._progress.parts.append(self._part(entity, reading, decoded, is_leaf=False))
        if decoded is None:
            return self.enter([raw])
        self._progress.note(entity, {"encoded-message": raw.start})
        inside = [replace(raw, buffer=decoded.content, start=0, end=len(decoded.content))]
        if parse_header(raw.buffer, raw.start, min(raw.end, raw.start + _ALSO_RAW), max_fields=1).fields:
            other = self._progress.other_reading(raw, "encoded-message")
            inside += [other] if other else []
        return self.enter(inside)

    def _part(self, entity: Entity, reading: Reading, decoded: Decoded | None, *, is_leaf: bool = True) -> Part:
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
