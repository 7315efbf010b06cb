"""Where the parts of a multipart lie (RFC 2046 section 5.1.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from contentfilter.message import Buffer
from contentfilter.mime.costs import Costs
from contentfilter.search import find

# close-delimiter := delimiter "--"; both may be followed by transport-padding.
_REST = re.compile(rb"(--)?(?=[ \t]*+(?:\r?\n|\Z))")
_PATIENCE = 100
"""Lines that only begin like a delimiter before we compile a pattern: that takes longer than finding a few of them."""

_OFTEN = 1000
_CLOSINGS = 1000
"""Delimiters, beside two a part, that are looked at: any number of closing ones may follow each other."""

_LINE_END = re.compile(rb"[ \t]*(?:\r?\n|\Z)")
_CLOSING = re.compile(rb"(--)?(?=[^\n]*+(?:\n|\Z))")
_REST_OF_LINE = re.compile(rb"[^\n]*+(?:\n|\Z)")
_LIKE_A_DELIMITER = re.compile(rb"(?:\n|\A)--([^\r\n]{1,256}+)(?=\r?\n(content-)?)", re.IGNORECASE)
_GUESSED_WITHIN = 64 * 1024
"""Bytes of a body in which the first delimiter is looked for if no boundary is known."""


@dataclass(slots=True)
class Scan:
    """The extents of the parts, and what was odd between them.

    parts: (start, end) of each; closed: the closing delimiter was there; after_close: how many of the parts lie behind
    it, in the epilogue; more: there are parts beyond the limit; begins: where the first delimiter line begins;
    gaps: the stretches behind closing delimiters; beginnings: some lines only begin like a delimiter.
    """

    parts: list[tuple[int, int]] = field(default_factory=list)
    closed: bool = False
    after_close: int = 0
    more: bool = False
    begins: int | None = None
    gaps: list[tuple[int, int]] = field(default_factory=list)
    beginnings: bool = False


def scan(
    buffer: Buffer,
    start: int,
    end: int,
    boundary: bytes,
    limit: int,
    *,
    prefix: bool = False,
    costs: Costs | None = None,
) -> Scan:
    """The parts between the delimiter lines in buffer[start:end], at most limit of them. Raises OutOfTimeError.

    start must be 0 or follow a line end. A delimiter is a whole line; its own line end and the one before it do not
    belong to the parts. prefix: a line that only begins with the boundary is one, too, as RFC 2046 has it in the
    notes of section 5.1.1.
    """
    result = Scan()
    opened: int | None = None
    gap: int | None = None
    found = _Delimiters(buffer, start, end, boundary, result, prefix=prefix)
    for number, (before, after, closing) in enumerate(found):
        if costs and number % _OFTEN == 0:
            costs.check()
        result.begins = before if result.begins is None else result.begins
        if opened is not None:
            # An empty part: the line end before this delimiter is the one after the last.
            result.parts.append((opened, max(opened, before)))
            result.after_close += result.closed
        if len(result.parts) >= limit or number >= 2 * limit + _CLOSINGS:
            result.more = True
            return result
        result.closed = result.closed or closing
        if closing:
            gap = after if gap is None else gap
        elif gap is not None:
            result.gaps.append((gap, max(gap, before)))
            gap = None
        opened = None if closing else after
    if gap is not None:
        result.gaps.append((gap, end))
    if opened is not None:
        result.parts.append((opened, end))
        result.after_close += result.closed
    return result


class _Delimiters:
    """Each delimiter line: where the line end before it begins, where the line after it begins, whether it closes."""

    def __init__(self, buffer: Buffer, start: int, end: int, boundary: bytes, result: Scan, *, prefix: bool) -> None:
        self._buffer = buffer
        self._start = start
        self._end = end
        self._marker = b"\n--" + boundary
        self._result = result
        self._rest = _CLOSING if prefix else _REST
        self._line_end = _REST_OF_LINE if prefix else _LINE_END

    def __iter__(self) -> Iterator[tuple[int, int, bool]]:
        position = self._start - 1
        if self._start == 0:
            position = 0
            first = self._first()
            if first is not None:
                yield 0, self._next_line(first.end()), first[1] is not None
                position = first.end()
        while (rest := self._next(position)) is not None:
            line_end = rest.start() - len(self._marker)
            before = line_end - (self._buffer[line_end - 1 : line_end] == b"\r")
            yield max(before, self._start), self._next_line(rest.end()), rest[1] is not None
            position = rest.end()

    def _first(self) -> re.Match[bytes] | None:
        """A delimiter at the very beginning, without a line end before it."""
        length = len(self._marker) - 1
        if self._buffer[:length] != self._marker[1:]:
            return None
        found = self._rest.match(self._buffer, length, self._end)
        self._result.beginnings |= found is None
        return found

    def _next(self, position: int) -> re.Match[bytes] | None:
        """What follows the boundary in the next line that is a delimiter, and does not merely begin like one."""
        for _ in range(_PATIENCE):
            position = find(self._buffer, self._marker, position, self._end)
            if position < 0:
                return None
            rest = self._rest.match(self._buffer, position + len(self._marker), self._end)
            if rest is not None:
                return rest
            self._result.beginnings = True
            position += len(self._marker)
        whole = re.compile(re.escape(self._marker) + self._rest.pattern).search(self._buffer, position, self._end)
        return None if whole is None else self._rest.match(self._buffer, whole.start() + len(self._marker), self._end)

    def _next_line(self, position: int) -> int:
        match = self._line_end.match(self._buffer, position, self._end)
        return self._end if match is None else match.end()


def guess_boundaries(buffer: Buffer, start: int, end: int) -> list[bytes]:
    """What the boundary may be if the header names none, the likeliest first.

    Those of lines in the form of a delimiter: of the first that fields of a part follow, and of the first at all.
    """
    any_line: dict[bytes, None] = {}
    before_fields: dict[bytes, None] = {}
    for match in _LIKE_A_DELIMITER.finditer(buffer, max(start - 1, 0), min(end, start + _GUESSED_WITHIN)):
        boundary = match[1].rstrip(b" \t")
        if boundary.strip(b"-"):
            any_line.setdefault(boundary)
            if match[2] is not None:
                before_fields.setdefault(boundary)
                break
    return list(dict.fromkeys([*before_fields, *list(any_line)[:1]]))
