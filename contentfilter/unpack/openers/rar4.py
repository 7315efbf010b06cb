"""The blocks of rar 2.9 to 4, decrypted: AES-128 in CBC, a key of SHA-1 over 262144 rounds."""

from __future__ import annotations

import hashlib
import mmap
import struct
import zlib
from dataclasses import dataclass, field
from typing import Never

from contentfilter.unpack.opener import UnpackError
from contentfilter.unpack.openers.libarchive import first_entry
from contentfilter.unpack.openers.rar_blocks import (
    BLOCK,
    MOST_BLOCKS,
    Archive,
    Key,
    Stretch,
    WrongPasswordError,
    padded,
)

SIGNATURE = b"Rar!\x1a\x07\x00"

_MAIN, _FILE, _END = 0x73, 0x74, 0x7B
_HEADERS_LOCKED, _SOLID = 0x80, 0x08
_LOCKED, _LARGE, _SALTED, _HAS_SIZE = 0x04, 0x100, 0x400, 0x8000
_FIRST_WITH_AES = 29
_STORED = 0x30
_BASE = 7
_LONGEST_PASSWORD = 28
"""Characters. Of longer ones rar 4 computes SHA-1 wrongly, in a way of its own."""

_TRIED = 64 << 20
"""Bytes of a member, as packed, up to which it serves to try a password on."""


def read(content: mmap.mmap, offset: int, password: str) -> Archive:
    """The archive that begins at this offset. Raises WrongPasswordError."""
    archive = Archive([SIGNATURE])
    keys = _Keys(password if len(password) <= _LONGEST_PASSWORD else "")
    position = offset + len(SIGNATURE)
    headers_locked = tried = False
    for _ in range(MOST_BLOCKS):
        block = _block(content, position, keys if headers_locked else None)
        if block is None:
            break
        if block.kind == _MAIN:
            headers_locked = bool(block.flags & _HEADERS_LOCKED)
            archive.was_locked = headers_locked
            keys.right = headers_locked  # else there would be no header
            archive.pieces.append(block.written(_HEADERS_LOCKED, 0, len(block.header)))
        elif block.kind == _FILE:
            member = _member(content, block, keys)
            archive.was_locked |= member.locked
            if member.locked and not tried and not headers_locked and member.may_be_tried():
                tried = True
                keys.right = member.is_whole()
            member.add_to(archive, right=keys.right)
        elif block.kind == _END:
            archive.pieces.append(block.header)
        position = block.data + block.size
        if block.kind == _END or position >= len(content):
            archive.complete = position <= len(content)
            break
    return archive


@dataclass(frozen=True, slots=True)
class _Block:
    """A header as it is without encryption; data, size: where the data lies that follows it, and how much."""

    header: bytes
    data: int
    size: int

    @property
    def kind(self) -> int:
        return self.header[2]

    @property
    def flags(self) -> int:
        return int.from_bytes(self.header[3:5], "little")

    def written(self, without: int, cut: int, at: int) -> bytes:
        """The header without these flags, and without so many bytes there."""
        rest = self.header[_BASE:at] + self.header[at + cut :]
        body = struct.pack("<BHH", self.kind, self.flags & ~without, _BASE + len(rest)) + rest
        return struct.pack("<H", zlib.crc32(body) & 0xFFFF) + body


@dataclass(slots=True)
class _Keys:
    """The keys that a password makes, one for each salt; right: the password is known to be the right one."""

    password: str
    right: bool = False
    _known: dict[bytes, Key] = field(default_factory=dict)

    def key(self, salt: bytes) -> Key:
        """The key for this salt. Takes a tenth of a second."""
        if salt not in self._known:
            self._known[salt] = _made(self.password, salt)
        return self._known[salt]

    def refuse(self) -> Never:
        """What these keys make of a header is none."""
        raise WrongPasswordError


def _made(password: str, salt: bytes) -> Key:
    seed = password.encode("utf-16-le", "replace") + salt
    digest = hashlib.sha1(usedforsecurity=False)
    vector = bytearray()
    for start in range(0, 1 << 18, 1 << 14):
        digest.update(seed + start.to_bytes(3, "little"))
        vector.append(digest.digest()[19])
        digest.update(b"".join(seed + count.to_bytes(3, "little") for count in range(start + 1, start + (1 << 14))))
    words = struct.unpack(">4L", digest.digest()[:16])
    return Key(struct.pack("<4L", *words), bytes(vector))


def _block(content: mmap.mmap, position: int, keys: _Keys | None) -> _Block | None:
    """The block at this position; None for what is none. keys: of encrypted headers. Raises WrongPasswordError."""
    if keys is None:
        header = content[position : position + 0xFFFF]
        end = position
    else:
        start = position + 8
        if start + BLOCK > len(content):
            return None
        key = keys.key(content[position:start])
        size = int.from_bytes(key.at_once(content[start : start + BLOCK])[5:7], "little")
        end = start + padded(size)
        header = key.at_once(content[start:end])
    size = int.from_bytes(header[5:7], "little")
    if len(header) < _BASE or not _BASE <= size <= len(header):
        return None if keys is None else keys.refuse()
    header = header[:size]
    if zlib.crc32(header[2:]) & 0xFFFF != int.from_bytes(header[:2], "little") and keys is not None:
        keys.refuse()
    flags = int.from_bytes(header[3:5], "little")
    added = int.from_bytes(header[7:11], "little") if flags & _HAS_SIZE else 0
    if header[2] == _FILE and flags & _LARGE:
        added |= int.from_bytes(header[32:36], "little") << 32
    return _Block(header, end if keys is not None else position + size, added)


@dataclass(frozen=True, slots=True)
class _Member:
    """A file: its header without encryption, its data, and what is told of it."""

    name: bytes
    header: bytes
    data: Stretch
    locked: bool
    may_open: bool
    size: int
    crc: int

    def add_to(self, archive: Archive, *, right: bool) -> None:
        """Put it into the archive, or among those that stay encrypted."""
        if self.locked and not (right and self.may_open):
            archive.locked.append(self.name)
            return
        archive.pieces += [self.header, self.data]
        archive.members += 1

    def may_be_tried(self) -> bool:
        """Whether it tells if a password is right."""
        return self.may_open and 0 < self.data.size <= _TRIED

    def is_whole(self) -> bool:
        """Whether its checksum is that of what it holds: then the password is right."""
        main = struct.pack("<BHH6x", _MAIN, 0, 13)
        main = struct.pack("<H", zlib.crc32(main) & 0xFFFF) + main
        crc = 0
        try:
            for piece in first_entry(SIGNATURE + main + self.header + b"".join(self.data.pieces()), "rar"):
                crc = zlib.crc32(piece, crc)
        except UnpackError:
            return False
        return crc == self.crc


def _member(content: mmap.mmap, block: _Block, keys: _Keys) -> _Member:
    """A file. Its header has room for what is read here, or else is damaged and holds zeros."""
    header = block.header.ljust(40, b"\0")
    size, crc = struct.unpack_from("<L", header, 11)[0], struct.unpack_from("<L", header, 16)[0]
    version, method, name_size = struct.unpack_from("<BBH", header, 24)
    name_at = 40 if block.flags & _LARGE else 32
    name = block.header[name_at : name_at + name_size].partition(b"\0")[0]
    locked = bool(block.flags & _LOCKED) and block.size > 0
    salted = bool(block.flags & _SALTED)
    salt = block.header[name_at + name_size : name_at + name_size + 8] if salted else b""
    may_open = bool(keys.password) and version >= _FIRST_WITH_AES and len(salt) in {0, 8}
    key = keys.key(salt) if locked and may_open else None
    left = min(block.size, size) if key and method == _STORED and not block.flags & _LARGE else block.size
    plain = _Block(block.header[:7] + struct.pack("<L", left & 0xFFFFFFFF) + block.header[11:], block.data, block.size)
    return _Member(
        name,
        plain.written(_LOCKED | _SALTED, len(salt), name_at + name_size),
        Stretch(content, block.data, block.data + block.size, left, key),
        locked,
        may_open,
        size,
        crc,
    )
