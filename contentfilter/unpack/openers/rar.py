"""rar 4 and 5 with a password. libarchive reads what is compressed so, but decrypts nothing of it.

An archive is walked block by block and written anew without its encryption, which libarchive then opens. The format of
rar 5 is public (technote of RARLAB); rar 4 is AES-128 with a key that SHA-1 makes of the password and a salt.

Not done: the ciphers of rar 1.5 to 2.6, volumes, and passwords longer than rar 4 keeps its word on (28 characters).
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from contentfilter.unpack.opener import EncryptedError, Kind, NotThisError, Sink
from contentfilter.unpack.openers import rar4, rar5
from contentfilter.unpack.openers.common import readable
from contentfilter.unpack.openers.libarchive import entries_at
from contentfilter.unpack.openers.rar_blocks import Archive, WrongPasswordError

PASSWORD_LIMIT = 10
"""Passwords tried on one archive: making a key of one takes a tenth of a second."""

_FORMATS: tuple[tuple[bytes, Callable[[mmap.mmap, int, str], Archive]], ...] = (
    (rar4.SIGNATURE, rar4.read),
    (rar5.SIGNATURE, rar5.read),
)


class Rar:
    """rar with encrypted members, or encrypted names; any other is left to libarchive."""

    name = "rar"
    exclusive = True

    def accepts(self, kind: Kind) -> bool:
        """Whether it begins as a rar."""
        return kind.head.startswith(b"Rar!\x1a\x07")

    def open(self, file: BinaryIO, kind: Kind, sink: Sink) -> None:
        """Give the members. Raises NotThisError if nothing is encrypted, EncryptedError, UnpackError."""
        size = file.seek(0, 2)
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as content:
            locked_entries_at(content, 0, kind, sink)


def locked_entries_at(content: mmap.mmap, offset: int, kind: Kind, sink: Sink) -> None:
    """Give the members of an encrypted rar that begins at this offset. Raises as its opener does."""
    read = next((read for signature, read in _FORMATS if content[offset : offset + len(signature)] == signature), None)
    if read is None:
        raise NotThisError("no rar")
    archive = _unlocked(sink, lambda password: read(content, offset, password))
    if archive is None:
        raise EncryptedError("even the names in it are encrypted")
    if not archive.was_locked:
        raise NotThisError("not encrypted")
    if archive.members:
        with _written(archive, sink) as plain:
            entries_at(plain, 0, kind, sink)
    for name in archive.locked:
        sink.listed(readable(name, "unnamed"), "encrypted")


def _unlocked(sink: Sink, read: Callable[[str], Archive]) -> Archive | None:
    """The archive with the password that opens most of it; None if not even its names can be had."""
    best: Archive | None = None
    passwords = [word for word in sink.passwords if word and "\0" not in word][:PASSWORD_LIMIT]
    for password in ("", *passwords):
        try:
            archive = read(password)
        except WrongPasswordError:
            continue
        if best is None or len(archive.locked) < len(best.locked):
            best = archive
        if not archive.locked:
            break
    return best


@contextmanager
def _written(archive: Archive, sink: Sink) -> Iterator[mmap.mmap]:
    """The archive as a private mapping. What is missing of it is told."""
    if not archive.complete:
        sink.trouble("damaged: it ends in the middle")
    with tempfile.TemporaryFile(dir=sink.directory) as file:
        for piece in archive.content():
            file.write(piece)
        file.flush()
        with mmap.mmap(file.fileno(), file.tell(), access=mmap.ACCESS_COPY) as content:
            yield content
