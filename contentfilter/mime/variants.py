"""The ways in which a damaged header is read: where it ends, and what its lines say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO

from contentfilter.message import Buffer
from contentfilter.mime.fields import Defect, Field, Header, parse_field

# Without SO, SI and ESC, which switch alphabets in Japanese, Korean and Chinese names that were not encoded.
_CONTROLS = bytes([*range(9), 11, 12, *range(16, 27), *range(28, 32), 127])
_CHUNK = 1024 * 1024
_BLANK_LINE = re.compile(rb"\n([ \t]+\r?\n)")
_LINE_END = re.compile(rb"[ \t]*\r?\n[ \t]*")

STRUCTURAL = frozenset({"content-type", "content-transfer-encoding", "content-disposition", "mime-version"})
"""Keys of the fields that decide what a message is taken apart into, and what its files are called."""


def variants(buffer: Buffer, header: Header) -> Iterator[tuple[str, int, Header]]:
    """Each further way to read this header: the ambiguity's name, its offset, and the header as it is then.

    Nothing for a header in proper form.
    """
    pieces: list[Field | Defect] = sorted([*header.fields, *header.defects], key=lambda piece: piece.start)
    if not pieces:
        return
    # Of a header beyond its limit only the beginning was read.
    end = pieces[-1].end
    defect = next((each for each in header.defects if not each.mbox), None)
    if defect is not None:
        yield "header-defect", defect.start, header.cut(defect.start)
        joined = _joined(buffer, header)
        if joined is not None:
            yield "unindented-continuation", defect.start, joined
    delimiter = next((each for each in header.fields if each.name.startswith("--")), None)
    if delimiter is not None and header.get("content-type") is not None:
        # A boundary may hold a colon, and the empty line before the first delimiter be missing.
        yield "delimiter-in-header", delimiter.start, header.cut(delimiter.start)
    blank = _BLANK_LINE.search(buffer, header.start, end)
    if blank is not None:
        yield "blank-line-in-header", blank.start(1), _until(buffer, header, blank.start(1), blank.end())
    yield from _without_controls(buffer, header, pieces)


def has_bare_cr(raw: bytes) -> bool:
    """Whether a CR stands anywhere without an LF behind it."""
    # A CR at the very end may have its LF behind what was looked at.
    return b"\r" in raw and raw.count(b"\r") - raw.endswith(b"\r") != raw.count(b"\r\n")


def with_line_ends(buffer: Buffer, start: int, end: int) -> bytes:
    """The same bytes with each bare CR, and each bare LF, made a line end."""
    converted = BytesIO()
    position = start
    while position < end:
        stop = min(position + _CHUNK, end)
        stop += stop < end and buffer[stop - 1 : stop + 1] == b"\r\n"
        data = buffer[position:stop].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        converted.write(data.replace(b"\n", b"\r\n"))
        position = stop
    return converted.getvalue()


def size_with_line_ends(buffer: Buffer, start: int, end: int) -> int:
    """How long :func:`with_line_ends` makes them."""
    size = 0
    for position in range(start, end, _CHUNK):
        # A line end that stands across two chunks makes this one more than it is.
        data = buffer[position : min(position + _CHUNK, end)]
        size += len(data) + data.count(b"\r") + data.count(b"\n") - 2 * data.count(b"\r\n")
    return size


def _until(buffer: Buffer, header: Header, end: int, body_start: int) -> Header:
    """The header as if it ended at this offset, inside a field or not."""
    inside = next((field for field in header.fields if field.start < end < field.end), None)
    last = None if inside is None else parse_field(buffer[inside.start : end], inside.start, end)
    cut = header.cut(end)
    return replace(cut, fields=cut.fields + (() if last is None else (last,)), body_start=body_start)


def _joined(buffer: Buffer, header: Header) -> Header | None:
    """Lines that are no fields taken as the continuation of the field before, if that is one that matters."""
    fields: list[Field] = list(header.fields)
    changed = False
    for defect in header.defects:
        number = next((number for number, field in enumerate(fields) if field.end == defect.start), None)
        if number is None:
            continue
        field = fields[number]
        line = buffer[defect.start : defect.end]
        if field.key in STRUCTURAL and (b"=" in line or not field.value):
            raw = field.raw + b" " + _LINE_END.sub(b" ", line)
            fields[number] = replace(field, end=defect.end, raw=raw)
            changed = True
    return replace(header, fields=tuple(fields)) if changed else None


def _without_controls(
    buffer: Buffer, header: Header, pieces: list[Field | Defect]
) -> Iterator[tuple[str, int, Header]]:
    """Control characters dropped; and fields that end at the first NUL, as strings do in C."""
    raw = buffer[header.start : pieces[-1].end]
    if len(raw.translate(None, _CONTROLS)) == len(raw):
        return
    dropped = [_dropped(buffer, piece) for piece in pieces]
    fields = tuple(piece for piece in dropped if isinstance(piece, Field))
    if fields != header.fields:
        yield "control-character", header.start, replace(header, fields=fields)
    cut = tuple(replace(each, raw=each.raw.partition(b"\0")[0]) if _matters(each) else each for each in header.fields)
    if cut != header.fields:
        yield "nul-in-field", header.start, replace(header, fields=cut)


def _dropped(buffer: Buffer, piece: Field | Defect) -> Field | Defect:
    """A field that matters, or may have been one but for the control characters, without them."""
    line = buffer[piece.start : piece.end]
    clean = line.translate(None, _CONTROLS)
    if len(clean) == len(line):
        return piece
    found = parse_field(clean, piece.start, piece.end)
    return found if found is not None and _matters(found) else piece


def _matters(field: Field) -> bool:
    return field.key in STRUCTURAL
