"""The blocks of rar 5, decrypted (technote of RARLAB, "RAR 5.0 archive format")."""

from __future__ import annotations

import hashlib
import mmap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from contentfilter.unpack.openers.rar_blocks import (
    BLOCK,
    MOST_BLOCKS,
    Archive,
    Key,
    Stretch,
    WrongPasswordError,
    padded,
)

SIGNATURE = b"Rar!\x1a\x07\x01\x00"

_FILE, _SERVICE, _ENCRYPTION, _END = 2, 3, 4, 5
_HAS_EXTRA, _HAS_DATA = 0x01, 0x02
_HAS_TIME, _HAS_CRC = 0x02, 0x04
_LOCK, _HASH = 1, 2
_CHECK_PRESENT = 0x01
_MOST_ROUNDS = 19
"""The power of two of rounds that make a key. rar writes 15, and 24 are allowed, which take ten seconds."""

_LONGEST_HEADER = 2 << 20
_CHECK_ROUNDS = 32
_LAST_TABLE = 0x40
_MOST_TABLES = 100_000


def read(content: mmap.mmap, offset: int, password: str) -> Archive:
    """The archive that begins at this offset. Raises WrongPasswordError."""
    archive = Archive([SIGNATURE])
    keys = _Keys(password)
    position = offset + len(SIGNATURE)
    headers: bytes | None = None
    for _ in range(MOST_BLOCKS):
        block = _block(content, position, headers)
        if block is None:
            break
        if block.kind == _ENCRYPTION:
            archive.was_locked = True
            headers = keys.of_headers(_Numbers(block.fields))
        elif block.kind == _FILE:
            _add_file(archive, content, block, keys)
        elif block.kind != _SERVICE:
            archive.pieces.append(_written(block.kind, block.flags & ~_HAS_EXTRA, b"", block.fields, 0))
        if block.kind == _END:
            archive.complete = True
            break
        position = block.data + block.size
    return archive


class _Numbers:
    """Reads what stands in a header. IndexError at its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def number(self) -> int:
        """Seven bits a byte, the lowest first."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self._data[self.position]
            self.position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        return value

    def taken(self, size: int) -> bytes:
        if size > len(self._data) - self.position:
            raise IndexError(size)
        self.position += size
        return self._data[self.position - size : self.position]

    def rest(self) -> bytes:
        return self._data[self.position :]


@dataclass(frozen=True, slots=True)
class _Block:
    """kind, flags; fields: what follows the sizes; extra: records; data, size: where data lies, and how much."""

    kind: int
    flags: int
    fields: bytes
    extra: bytes
    data: int
    size: int


def _block(content: mmap.mmap, position: int, headers: bytes | None) -> _Block | None:
    """The block at this position; None for what is none. Raises WrongPasswordError."""
    header, after = _header(content, position, headers)
    try:
        start = _Numbers(header[4:])
        numbers = _Numbers(start.taken(start.number()))
        proper = zlib.crc32(header[4 : 4 + start.position]) == int.from_bytes(header[:4], "little")
        kind, flags = numbers.number(), numbers.number()
        extra = numbers.number() if flags & _HAS_EXTRA else 0
        data = numbers.number() if flags & _HAS_DATA else 0
        fields = numbers.rest()
    except IndexError:
        proper = False
    if not proper:
        if headers is not None:
            raise WrongPasswordError from None
        return None
    end = position + 4 + start.position if headers is None else after
    cut = max(0, len(fields) - extra)
    return _Block(kind, flags, fields[:cut], fields[cut:], end, data)


def _header(content: mmap.mmap, position: int, headers: bytes | None) -> tuple[bytes, int]:
    """A header and what follows it, decrypted if need be; and where an encrypted one ends."""
    start = position if headers is None else position + BLOCK
    key = None if headers is None else Key(headers, content[position:start])
    if key is not None and len(key.vector) < BLOCK:
        return b"", 0
    begun = content[start : start + BLOCK]
    numbers = _Numbers((begun if key is None else key.at_once(begun))[4:])
    try:
        size = min(numbers.number() + 4 + numbers.position, _LONGEST_HEADER)
    except IndexError:
        return b"", 0
    if key is None:
        return content[start : start + size], 0
    end = start + padded(size)
    return key.at_once(content[start:end]), end


@dataclass(slots=True)
class _Keys:
    """The keys that a password makes: one for each salt."""

    password: str
    _known: dict[tuple[bytes, int], tuple[bytes, bytes]] = field(default_factory=dict)

    def of_headers(self, numbers: _Numbers) -> bytes:
        """The key of the headers that follow an encryption header. Raises WrongPasswordError."""
        try:
            numbers.number()
            flags, rounds = numbers.number(), numbers.taken(1)[0]
            salt, check = numbers.taken(16), numbers.rest()
        except IndexError:
            raise WrongPasswordError from None
        key = self._key(salt, rounds, check if flags & _CHECK_PRESENT else b"")
        if key is None:
            raise WrongPasswordError
        return key

    def of_file(self, record: bytes) -> Key | None:
        """The key that a file's encryption record asks for; None if it is not this password's."""
        numbers = _Numbers(record)
        try:
            numbers.number()
            flags, rounds = numbers.number(), numbers.taken(1)[0]
            salt, vector, check = numbers.taken(16), numbers.taken(BLOCK), numbers.rest()
        except IndexError:
            return None
        key = self._key(salt, rounds, check if flags & _CHECK_PRESENT else b"")
        return None if key is None else Key(key, vector)

    def _key(self, salt: bytes, rounds: int, check: bytes) -> bytes | None:
        if not self.password or rounds > _MOST_ROUNDS:
            return None
        if (salt, rounds) not in self._known:
            self._known[salt, rounds] = (self._made(salt, 1 << rounds), self._made(salt, (1 << rounds) + _CHECK_ROUNDS))
        key, made = self._known[salt, rounds]
        folded = bytes(made[at] ^ made[at + 8] ^ made[at + 16] ^ made[at + 24] for at in range(8))
        return key if not check or check[:8] == folded else None

    def _made(self, salt: bytes, rounds: int) -> bytes:
        return hashlib.pbkdf2_hmac("sha256", self.password.encode(errors="replace"), salt, rounds)


def _records(extra: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Kind, content and the whole of each record of an extra area."""
    numbers = _Numbers(extra)
    try:
        while True:
            start = numbers.position
            record = _Numbers(numbers.taken(numbers.number()))
            yield record.number(), record.rest(), extra[start : numbers.position]
    except IndexError:
        return


def _add_file(archive: Archive, content: mmap.mmap, block: _Block, keys: _Keys) -> None:
    records = list(_records(block.extra))
    lock = next((record for kind, record, _ in records if kind == _LOCK), None)
    numbers = _Numbers(block.fields)
    try:
        flags, size = numbers.number(), numbers.number()
        before = _number(size) + _number(numbers.number())
        before += numbers.taken(4) if flags & _HAS_TIME else b""
        crc = numbers.taken(4) if flags & _HAS_CRC else b""
        compression = numbers.number()
        after = _number(compression) + numbers.rest()
        numbers.number()
        name = numbers.taken(numbers.number())
    except IndexError:
        return
    key = None
    if lock is not None and block.size:
        archive.was_locked = True
        key = keys.of_file(lock)
        if key is None:
            archive.locked.append(name)
            return
    # Checksums of what is encrypted are changed by the password; that this is the right one is known already.
    kept = b"".join(whole for kind, _, whole in records if kind != _LOCK and not (key and kind == _HASH))
    flags, crc = (flags & ~_HAS_CRC, b"") if key else (flags, crc)
    left = block.size
    if key:
        left = min(size, left) if compression >> 7 & 7 == 0 else _compressed_size(content, block, key)
    archive.pieces.append(_written(_FILE, block.flags & ~_HAS_EXTRA, kept, _number(flags) + before + crc + after, left))
    archive.pieces.append(Stretch(content, block.data, block.data + block.size, left, key))
    archive.members += 1


def _compressed_size(content: mmap.mmap, block: _Block, key: Key) -> int:
    """How much of decrypted data is no padding: it is a row of blocks, of which the last one says so."""
    offset = 0
    for _ in range(_MOST_TABLES):
        header = key.within(content, block.data, offset, 5)
        if len(header) < 5 or offset >= block.size:
            break
        length = (header[0] >> 3 & 3) + 1
        offset += 2 + length + int.from_bytes(header[2 : 2 + length], "little")
        if header[0] & _LAST_TABLE:
            return min(offset, block.size)
    return block.size


def _written(kind: int, flags: int, extra: bytes, fields: bytes, size: int) -> bytes:
    """A block's header."""
    body = _number(kind) + _number(flags | (_HAS_EXTRA if extra else 0))
    body += _number(len(extra)) if extra else b""
    body += _number(size) if flags & _HAS_DATA else b""
    body += fields + extra
    body = _number(len(body)) + body
    return zlib.crc32(body).to_bytes(4, "little") + body


def _number(value: int) -> bytes:
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
