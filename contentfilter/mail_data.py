"""Mail data: the content of a message as it goes over the wire after DATA (RFC 5321 section 4.5.2). Pure."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator

from contentfilter.search import find

Content = Callable[[], Iterator[bytes | memoryview]]
"""Gives the pieces of a message from its start: lines end in CRLF, dots are not stuffed. May be called twice."""

CHUNK = 262_144
"""Bytes of a message that we hold at a time; large enough for few system calls."""


def dot_stuffed(pieces: Iterable[bytes | memoryview]) -> Generator[bytearray, None, None]:
    """The content as it goes over the wire (RFC 5321 section 4.5.2), in chunks, up to and with the final dot.

    A missing final CRLF is added. In a message every LF has a CR before it, so a dot after LF is a dot after CRLF; and
    should that ever not hold, a peer that takes a bare LF for a line end still finds no end of data inside.
    """
    held = bytearray()
    tail = b"\r\n"
    for chunk in _chunks(pieces):
        if held:
            yield held
        held = chunk.replace(b"\n.", b"\n..") if find(chunk, b"\n.") >= 0 else chunk
        if chunk.startswith(b".") and tail.endswith(b"\n"):
            held.insert(0, ord("."))
        tail = (tail + chunk[-2:])[-2:]
    held += b".\r\n" if tail == b"\r\n" else b"\r\n.\r\n"
    yield held


def all_ascii(content: Content) -> bool:
    """Whether the whole message is 7-bit."""
    pieces = content()
    try:
        return all(chunk.isascii() for chunk in _chunks(pieces))
    finally:
        let_go(pieces)


def header_ascii(content: Content) -> bool:
    """Whether the header of the message is 7-bit."""
    pieces = content()
    tail = b"\r\n"
    try:
        for chunk in _chunks(pieces):
            text = tail + chunk
            header, blank, _ = text.partition(b"\r\n\r\n")
            if blank or not header.isascii():
                return header.isascii()
            tail = text[-3:]
    finally:
        let_go(pieces)
    return True


def _chunks(pieces: Iterable[bytes | memoryview]) -> Iterator[bytearray]:
    """The same bytes in copies of CHUNK bytes: a transport may keep what it is given, a memory map must not be kept."""
    chunk = bytearray()
    for piece in pieces:
        with memoryview(piece) as view:
            start = 0
            while start < len(view):
                end = start + CHUNK - len(chunk)
                chunk += view[start:end]
                start = end
                if len(chunk) >= CHUNK:
                    yield chunk
                    chunk = bytearray()
    if chunk:
        yield chunk


def let_go(pieces: Iterator[bytes | memoryview]) -> None:
    """Close what a content gave, be it read to its end or not."""
    # A view that outlives us, in a traceback perhaps, would keep the message's file mapped.
    close = getattr(pieces, "close", None)
    if close is not None:
        close()
