"""Where the parts of a multipart lie (RFC 2046 section 5.1.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from contentfilter.message import Buffer

# close-delimiter := delimiter "--"; both may be followed by transport-padding.
_REST = re.compile(rb"(--)?(?=[ \t]*+(?:\r?\n|\Z))")
_PATIENCE = 100
"""Lines that only begin like a delimiter before we compile a pattern: that takes longer than finding a few of them."""

_LINE_END = re.compile(rb"[ \t]*(?:\r?\n|\Z)")
_LIKE_A_DELIMITER = re.compile(rb"\n--([^\r\n]{1,256})(?=\r?\n)")
_GUESSED_WITHIN = 64 * 1024
"""Bytes of a body in which the first delimiter is looked for if no boundary is known."""


@dataclass(slots=True)
class Scan:
    """The extents of the parts, and what was odd between them.

    parts: (start, end) of each; closed: the closing delimiter was there; after_close: how many of the parts lie behind
    it, in the epilogue; more: there are parts beyond the limit.
    """

    parts: list[tuple[int, int]] = field(default_factory=list)
    closed: bool = False
    after_close: int = 0
    more: bool = False


def scan(buffer: Buffer, start: int, end: int, boundary: bytes, limit: int) -> Scan:
    """The parts between the delimiter lines in buffer[start:end], at most limit of them.

    start must be 0 or follow a line end. A delimiter is a whole line; its own line end and the one before it do not
    belong to the parts.
    """
    result = Scan()
    opened: int | None = None
    for before, after, closing in _delimiters(buffer, start, end, boundary):
        if opened is not None:
            # An empty part: the line end before this delimiter is the one after the last.
            result.parts.append((opened, max(opened, before)))
            result.after_close += result.closed
        if len(result.parts) >= limit:
            result.more = True
            return result
        result.closed = result.closed or closing
        opened = None if closing else after
    if opened is not None:
        result.parts.append((opened, end))
        result.after_close += result.closed
    return result


def _delimiters(buffer: Buffer, start: int, end: int, boundary: bytes) -> Iterator[tuple[int, int, bool]]:
    """Each delimiter line: where the line end before it begins, where the line after it begins, whether it closes."""
    marker = b"\n--" + boundary
    position = start - 1
    if start == 0:
        position = 0
        first = _REST.match(buffer, len(marker) - 1, end) if buffer[: len(marker) - 1] == marker[1:] else None
        if first is not None:
            yield 0, _next_line(buffer, first.end(), end), first[1] is not None
            position = first.end()
    while (rest := _next_delimiter(buffer, position, end, marker)) is not None:
        line_end = rest.start() - len(marker)
        before = line_end - (buffer[line_end - 1 : line_end] == b"\r")
        yield max(before, start), _next_line(buffer, rest.end(), end), rest[1] is not None
        position = rest.end()


def _next_delimiter(buffer: Buffer, position: int, end: int, marker: bytes) -> re.Match[bytes] | None:
    """What follows the boundary in the next line that is a delimiter, and does not merely begin like one."""
    for _ in range(_PATIENCE):
        position = buffer.find(marker, position, end)
        if position < 0:
            return None
        rest = _REST.match(buffer, position + len(marker), end)
        if rest is not None:
            return rest
        position += len(marker)
    whole = re.compile(re.escape(marker) + _REST.pattern).search(buffer, position, end)
    return None if whole is None else _REST.match(buffer, whole.start() + len(marker), end)


def _next_line(buffer: Buffer, position: int, end: int) -> int:
    match = _LINE_END.match(buffer, position, end)
    return end if match is None else match.end()


def guess_boundary(buffer: Buffer, start: int, end: int) -> bytes | None:
    """The boundary that the first line in the form of a delimiter uses, if the header names none."""
    for match in _LIKE_A_DELIMITER.finditer(buffer, max(start - 1, 0), min(end, start + _GUESSED_WITHIN)):
        boundary = match[1].rstrip(b" \t")
        if boundary.strip(b"-"):
            return boundary
    return None
