"""Quoted-printable (RFC 2045 section 6.7), a stretch of lines at a time."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from io import BytesIO

from contentfilter.message import Buffer
from contentfilter.mime.costs import Costs
from contentfilter.mime.decoded import Decoded, Others

_CHUNK = 1024 * 1024
_PADDED_SOFT_BREAK = re.compile(rb"=[ \t]++(?=\r?(?:\n|\Z))")
_BAD_ESCAPE = re.compile(rb"=(?![0-9A-Fa-f]{2}|\r?\n|\Z)")
_SOFT_BREAK = re.compile(rb"=[ \t]*+\r?\n")
_LONGEST_BEGUN = 100
_BREAK_BEGUN = re.compile(rb"=[ \t]*+\r?\Z")
_BEGUN = re.compile(rb"=++(?:[ \t]*\r?|[0-9A-Fa-f])\Z")
_MOST_ODD_ESCAPES = 100_000
"""Escapes in one body that are looked at one by one. Ordinary content has none."""


def decode_quoted_printable(buffer: Buffer, start: int, end: int, costs: Costs | None = None) -> Decoded:
    """The content. An escape that is none stays as it is, or in the other reading loses its sign.

    Raises OutOfTimeError.
    """
    costs = costs or Costs()
    content = BytesIO()
    room = _MOST_ODD_ESCAPES
    odd = False
    for data in _stretches(buffer, start, end, costs):
        clean, padded = _without_padding(data, room)
        decoded = binascii.a2b_qp(clean)
        # What is left of an escape in proper form is no "=", except where it stood for one.
        left = decoded.count(b"=") - clean.count(b"=3D") - clean.count(b"=3d")
        odd = odd or left > 0 or b"==" in data
        room -= padded + left
        content.write(decoded)
    whole = content.getvalue()
    others = Others(whole, costs)
    if odd and room >= 0:
        others.add("quoted-printable-escape", end - start, lambda: _without_bad_escapes(buffer, start, end, costs))
        others.add("quoted-printable-escape", end - start, lambda: _breaks_first(buffer, start, end, costs))
    return Decoded(whole, ("quoted-printable-escape",) if odd else (), others.found, too_costly=room < 0)


def _stretches(buffer: Buffer, start: int, end: int, costs: Costs) -> Iterator[bytes]:
    """The data in pieces that end with a line, or at least not within an escape."""
    position = start
    while position < end:
        costs.check()
        stop = min(position + _CHUNK, end)
        if stop < end:
            stop = buffer.rfind(b"\n", position, stop) + 1 or stop
            escape = buffer.rfind(b"=", stop - 2, stop)
            stop = escape if escape > position else stop
        yield buffer[position:stop]
        position = stop


def _without_padding(data: bytes, room: int) -> tuple[bytes, int]:
    """The data with blanks behind soft line breaks removed, and how many places were looked at for it."""
    padded = data.count(b"= ") + data.count(b"=\t")
    if 0 < padded <= room:
        # Blanks at the end of a line are transport padding (rule 3), so this is a soft line break.
        data = _PADDED_SOFT_BREAK.sub(b"=", data)
    if data.count(b"=\r") != data.count(b"=\r\n"):
        # a2b_qp would drop everything up to the next LF.
        data = data.replace(b"=\r\n", b"=\n").replace(b"=\r", b"=3D\r")
    if b"==" in data:
        # The first is no escape, and a2b_qp would take it for one whose sign is doubled. Two passes reach all of a row.
        padded += data.count(b"==")
        data = data.replace(b"==", b"=3D=").replace(b"==", b"=3D=")
    return data, padded


def _without_bad_escapes(buffer: Buffer, start: int, end: int, costs: Costs) -> bytes:
    content = BytesIO()
    for data in _stretches(buffer, start, end, costs):
        content.write(binascii.a2b_qp(_BAD_ESCAPE.sub(b"", _PADDED_SOFT_BREAK.sub(b"=", data))))
    return content.getvalue()


def _breaks_first(buffer: Buffer, start: int, end: int, costs: Costs) -> bytes:
    """As a program reads it that joins the lines first: then a break may stand in the middle of an escape."""
    content = BytesIO()
    broken = begun = b""
    for data in _stretches(buffer, start, end, costs):
        # What the next stretch may make a soft break of waits as it came: taking breaks out makes no new ones.
        raw, broken = _apart(broken + data, _BREAK_BEGUN)
        joined, begun = _apart(begun + _SOFT_BREAK.sub(b"", raw), _BEGUN)
        content.write(_unescaped(joined))
    content.write(_unescaped(begun + _SOFT_BREAK.sub(b"", broken)))
    return content.getvalue()


def _apart(data: bytes, begun: re.Pattern[bytes]) -> tuple[bytes, bytes]:
    """The data without what is begun at its end, and that."""
    end = begun.search(data, max(0, len(data) - _LONGEST_BEGUN))
    cut = len(data) if end is None else end.start()
    return data[:cut], data[cut:]


def _unescaped(data: bytes) -> bytes:
    # a2b_qp would drop everything from "=" and a bare CR up to the next LF.
    return binascii.a2b_qp(data.replace(b"=\r", b"=3D\r"))
