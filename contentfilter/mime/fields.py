"""A header and its fields, each with its exact place in the raw bytes (RFC 5322 section 2.2).

Lines end in LF, with or without a CR before it: a message that was itself encoded may bring either. A bare CR is
content. The first empty line ends the header; a line before it that is no field is kept as a defect, so that fields
and defects together cover the header without gap or overlap.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from contentfilter.message import Buffer
from contentfilter.mime.words import decode_words

# optional-field = field-name ":" unstructured CRLF; ftext is %d33-57 / %d59-126 (RFC 5322 section 3.6.8).
# Blanks before the colon are obs-optional (section 4.5.8); 8-bit names are RFC 6532 at its most generous.
_NAME = re.compile(rb"([!-9;-~\x80-\xff]+)[ \t]*:")
# One field, or what stands in its place: the name, the rest without its line end, the line end's LF.
_PIECE = re.compile(rb"(?:%b)?+([^\n]*+(?:\n[ \t][^\n]*+)*+)(\n?)" % _NAME.pattern)
_END_OF_HEADER = re.compile(rb"\n(\r?\n)")
_FOLD = re.compile(rb"\r?\n(?=[ \t])")


@dataclass(frozen=True, slots=True)
class Field:
    """One header field.

    name: as written; key: in lower case. buffer[start:end] is the whole field with the line end of its last line.
    raw: all between the colon and that line end, folds included.
    """

    name: str
    key: str
    start: int
    end: int
    raw: bytes

    @property
    def value(self) -> bytes:
        """The value unfolded, without blanks around it (RFC 5322 section 2.2.3)."""
        return (_FOLD.sub(b"", self.raw) if b"\n" in self.raw else self.raw).strip(b" \t\r\n")

    @property
    def text(self) -> str:
        """The value as a reader sees it, encoded words decoded (RFC 2047)."""
        return decode_words(self.value)


@dataclass(frozen=True, slots=True)
class Defect:
    """A line in a header that is no field, with its continuation lines: buffer[start:end].

    mbox: the first line, in the form that begins a mailbox entry ("From someone Mon ..."), which programs skip.
    """

    start: int
    end: int
    mbox: bool = False


@dataclass(frozen=True, slots=True)
class Header:
    """The fields of a message or part.

    buffer[start:end] is the header without the empty line; the body begins at body_start. complete is False when a
    limit stopped us: fields then cover the beginning of the header only.
    """

    fields: tuple[Field, ...]
    defects: tuple[Defect, ...]
    start: int
    end: int
    body_start: int
    complete: bool = True
    _by_key: dict[str, list[Field]] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_key: dict[str, list[Field]] = {}
        for field in self.fields:
            by_key.setdefault(field.key, []).append(field)
        object.__setattr__(self, "_by_key", by_key)

    def all(self, name: str) -> tuple[Field, ...]:
        """Every field of this name, in order, whatever its case."""
        return tuple(self._by_key.get(name.lower(), ()))

    def get(self, name: str) -> Field | None:
        """The first field of this name, whatever its case."""
        found = self._by_key.get(name.lower())
        return found[0] if found else None

    def cut(self, offset: int) -> Header:
        """The same header as if it ended at this offset, without an empty line, and the body began there."""
        fields = tuple(field for field in self.fields if field.end <= offset)
        defects = tuple(defect for defect in self.defects if defect.end <= offset)
        return Header(fields, defects, self.start, offset, offset, self.complete)


def parse_header(
    buffer: Buffer, start: int = 0, end: int | None = None, max_bytes: int | None = None, max_fields: int | None = None
) -> Header:
    """The header that begins at start and the offset of the body after it. Never raises.

    end: where the message or part ends, default the end of the buffer. max_bytes, max_fields: look at no more of the
    header than this; the body's place is found all the same.
    """
    stop = len(buffer) if end is None else end
    header_end, body_start = _extent(buffer, start, stop)
    limit = header_end if max_bytes is None else min(header_end, start + max_bytes)
    fields: list[Field] = []
    defects: list[Defect] = []
    position = start
    while position < limit:
        if max_fields is not None and len(fields) + len(defects) >= max_fields:
            break
        piece = _PIECE.match(buffer, position, limit)
        if piece is None or (piece.end() == limit < header_end):
            # Whether the field goes on behind the limit we do not know.
            break
        name, raw, newline = piece.groups()
        line_end = piece.end()
        if name is None:
            mbox = position == start and buffer[position : position + 6].lstrip(b">").startswith(b"From ")
            defects.append(Defect(position, line_end, mbox))
        else:
            fields.append(_field(name, raw.removesuffix(b"\r") if newline else raw, position, line_end))
        position = line_end
    return Header(tuple(fields), tuple(defects), start, header_end, body_start, position >= header_end)


def _extent(buffer: Buffer, start: int, stop: int) -> tuple[int, int]:
    """Where the header ends, and where the body starts."""
    first = buffer[start : min(start + 2, stop)]
    if first == b"\r\n":
        return start, start + 2
    if first[:1] == b"\n":
        return start, start + 1
    blank = _END_OF_HEADER.search(buffer, start, stop)
    return (stop, stop) if blank is None else (blank.start(1), blank.end())


def parse_field(line: bytes, start: int, end: int) -> Field | None:
    """The field that a line is, with its continuation lines; None if it is none. start, end: where it lies."""
    match = _NAME.match(line)
    if match is None:
        return None
    raw = line[match.end() :]
    if raw.endswith(b"\n"):
        raw = raw[:-1].removesuffix(b"\r")
    return _field(match[1], raw, start, end)


def _field(name: bytes, raw: bytes, start: int, end: int) -> Field:
    text = name.decode("ascii", "backslashreplace")
    return Field(text, text.lower(), start, end, raw)
