"""What the openers share: the content as memory, names as data, and the translation of what libraries throw."""

from __future__ import annotations

import lzma
import mmap
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from contentfilter.unpack.opener import Sink, UnpackError, Writer

CHUNK = 256 * 1024
"""Bytes handed to a writer at a time."""

NAME_LIMIT = 1024
"""Characters of a member's name that are kept: the beginning and, as the ending counts most, the end."""

FAULTS: tuple[type[Exception], ...] = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, EOFError, OSError,
    RuntimeError, MemoryError, struct.error, zlib.error, lzma.LZMAError,
)  # fmt: skip
"""What a library may throw at hostile input. No narrower list will do: parsers of odd formats do not fail tidily."""


@contextmanager
def mapped(file: BinaryIO) -> Iterator[mmap.mmap | bytes]:
    """The whole content, to be searched and sliced without being read into memory first."""
    size = os.fstat(file.fileno()).st_size
    if not size:
        yield b""
        return
    with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as content:
        yield content


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turns whatever a library throws at hostile input into UnpackError; ours pass through."""
    try:
        yield
    except FAULTS as error:
        reason = str(error).strip().partition("\n")[0][:200]
        raise UnpackError(f"{what}: {reason or type(error).__name__}") from error


def give(sink: Sink, names: str | Sequence[str], pieces: Iterable[bytes], *, reading: str = "") -> None:
    """Write a member piece by piece.

    Raises UnpackError, and makes no member, if not even the first piece is to be had. A member that breaks off later
    stays, and the container has trouble.
    """
    told = (names,) if isinstance(names, str) else tuple(names)
    _give(sink, lambda: sink.member(*told, reading=reading), next(iter(told), "unnamed"), pieces)


def give_stream(sink: Sink, pieces: Iterable[bytes]) -> None:
    """Write what a compressed stream holds. Raises as :func:`give` does."""
    _give(sink, sink.stream, "content", pieces)


def _give(sink: Sink, begin: Callable[[], Writer], name: str, pieces: Iterable[bytes]) -> None:
    guarded = _guarded(pieces)
    first = next(guarded, b"")
    with begin() as writer:
        writer.write(first)
        try:
            for piece in guarded:
                writer.write(piece)
        except UnpackError as error:
            sink.trouble(f"damaged: {name}: {error}")


def _guarded(pieces: Iterable[bytes]) -> Iterator[bytes]:
    with translated("damaged"):
        yield from pieces


def sliced(content: bytes | mmap.mmap | memoryview, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """A stretch of the content, a chunk at a time."""
    end = len(content) if end is None else min(end, len(content))
    for position in range(start, end, CHUNK):
        yield bytes(content[position : min(position + CHUNK, end)])


def readable(name: str | bytes | None, default: str = "") -> str:
    """A member's name as text without lone surrogates: UTF-8 if it is that, else code page 437; never too long."""
    if isinstance(name, bytes):
        try:
            text = name[: 8 * NAME_LIMIT].decode()
        except UnicodeDecodeError:
            text = name[: 8 * NAME_LIMIT].decode("cp437")
        if len(name) > 8 * NAME_LIMIT:
            text += name[-NAME_LIMIT:].decode("cp437")
    else:
        text = (
            (name or "").encode("utf-8", "surrogateescape" if _escaped(name) else "replace").decode("utf-8", "replace")
        )
    if len(text) > NAME_LIMIT:
        text = text[: NAME_LIMIT // 2] + "…" + text[-(NAME_LIMIT // 2 - 1) :]
    return text or default


def _escaped(name: str | None) -> bool:
    """Whether the surrogates in it, if any, all stand for bytes."""
    return all(not "\ud800" <= mark <= "\udfff" or "\udc80" <= mark <= "\udcff" for mark in name or "")
