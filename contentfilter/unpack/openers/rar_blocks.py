"""What both formats of rar share: the archive written anew, and data that is decrypted on the way."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field

from contentfilter.unpack.openers.common import sliced

BLOCK = 16
"""Bytes of a block of AES."""

MOST_BLOCKS = 20_000
"""Blocks of one archive that are walked; far above what any budget lets through."""


class WrongPasswordError(Exception):
    """Not even the headers of the archive can be read with this password."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key of AES and the vector to begin with."""

    key: bytes
    vector: bytes

    def decrypted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The pieces decrypted; what is left over of the last block is dropped."""
        from cryptography.hazmat.primitives.ciphers import Cipher  # noqa: PLC0415 - 7 MB, and rarely wanted
        from cryptography.hazmat.primitives.ciphers.algorithms import AES  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.modes import CBC  # noqa: PLC0415

        decryptor = Cipher(AES(self.key), CBC(self.vector)).decryptor()
        for piece in pieces:
            yield decryptor.update(piece)

    def at_once(self, data: bytes) -> bytes:
        """A few blocks decrypted."""
        return b"".join(self.decrypted(iter((data,))))

    def within(self, content: mmap.mmap, start: int, offset: int, size: int) -> bytes:
        """So many bytes at an offset of what begins at start, decrypted: each block needs only the one before it."""
        first = offset // BLOCK * BLOCK
        vector = content[start + first - BLOCK : start + first] if first else self.vector
        data = content[start + first : start + padded(offset + size)]
        return Key(self.key, vector).at_once(data)[offset - first : offset - first + size]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Data of a member: where it lies, what opens it, and how much of it counts."""

    content: mmap.mmap
    start: int
    end: int
    size: int
    key: Key | None = None

    def pieces(self) -> Iterator[bytes]:
        """The data, a piece at a time."""
        pieces = sliced(self.content, self.start, self.end)
        left = self.size
        for piece in pieces if self.key is None else self.key.decrypted(pieces):
            yield piece[:left]
            left -= len(piece[:left])


@dataclass(slots=True)
class Archive:
    """An archive as it is without its encryption.

    pieces: in order; members: how many of them are files; locked: the names of those that stay encrypted;
    was_locked: there was any encryption; complete: it was read to its end.
    """

    pieces: list[bytes | Stretch] = field(default_factory=list)
    members: int = 0
    locked: list[bytes] = field(default_factory=list)
    was_locked: bool = False
    complete: bool = False

    def content(self) -> Iterator[bytes]:
        """The whole archive, a piece at a time."""
        for piece in self.pieces:
            if isinstance(piece, Stretch):
                yield from piece.pieces()
            else:
                yield piece


def padded(size: int) -> int:
    """The size that encrypted data of this size takes."""
    return -(-size // BLOCK) * BLOCK
