"""Writers of archives with a password: one file, stored."""

from __future__ import annotations

import hashlib
import itertools
import struct
import zlib

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

_SALT = bytes(range(16))
_VECTOR = bytes(range(16, 32))


def _encrypted(key: bytes, vector: bytes, content: bytes) -> bytes:
    encryptor = Cipher(AES(key), CBC(vector)).encryptor()
    return encryptor.update(content + bytes(-len(content) % 16)) + encryptor.finalize()


def rar5_locked(name: bytes, content: bytes, password: str, *, checkable: bool = True) -> bytes:
    """A RAR of version 5. checkable: it holds the value that tells whether a password is right, as rar writes it."""

    def vint(value: int) -> bytes:
        out = bytearray()
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*out, value])

    def block(fields: bytes) -> bytes:
        rest = vint(len(fields)) + fields
        return struct.pack("<I", zlib.crc32(rest)) + rest

    key = hashlib.pbkdf2_hmac("sha256", password.encode(), _SALT, 1 << 15)
    made = hashlib.pbkdf2_hmac("sha256", password.encode(), _SALT, (1 << 15) + 32)
    check = bytes(a ^ b ^ c ^ d for a, b, c, d in zip(made[:8], made[8:16], made[16:24], made[24:], strict=True))
    data = _encrypted(key, _VECTOR, content)
    lock = b"\1\0" + bytes([checkable, 15]) + _SALT + _VECTOR
    lock += check + hashlib.sha256(check).digest()[:4] if checkable else b""
    extra = vint(len(lock)) + lock
    fields = b"\2\3" + vint(len(extra)) + vint(len(data)) + b"\4" + vint(len(content)) + vint(0x20)
    fields += struct.pack("<I", zlib.crc32(content)) + b"\0\0" + vint(len(name)) + name + extra
    return b"Rar!\x1a\x07\1\0" + block(b"\1\0\0") + block(fields) + data + block(b"\5\0\0")


def rar4_locked(name: bytes, content: bytes, password: str) -> bytes:
    """A RAR of version 4."""

    def block(kind: int, flags: int, fields: bytes) -> bytes:
        rest = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
        return struct.pack("<H", zlib.crc32(rest) & 0xFFFF) + rest

    seed = password.encode("utf-16-le") + _SALT[:8]
    rounds = [seed + count.to_bytes(4, "little")[:3] for count in range(1 << 18)]
    made = hashlib.sha1(b"".join(rounds)).digest()
    key = b"".join(made[at : at + 4][::-1] for at in range(0, 16, 4))
    starts = range(1, 1 << 18, 1 << 14)
    vector = bytes(hashlib.sha1(b"".join(rounds[:count])).digest()[19] for count in starts)
    data = _encrypted(key, vector, content)
    sizes = struct.pack("<II", len(data), len(content))
    fields = sizes + struct.pack("<BIIBBHI", 2, zlib.crc32(content), 0x5C625000, 29, 0x30, len(name), 0x20) + name
    file = block(0x74, 0x8404, fields + _SALT[:8]) + data
    return b"Rar!\x1a\x07\0" + block(0x73, 0, bytes(6)) + file + block(0x7B, 0x4000, b"")


def arj_locked(name: bytes, content: bytes, password: bytes) -> bytes:
    """An ARJ."""

    def header(kind: int, called: bytes, size: int, crc: int, modifier: int) -> bytes:
        basic = struct.pack("<BBBBBBBB", 30, 11, 1, 0, 1, 0, kind, modifier)
        basic += struct.pack("<IIIIHHH", 0x5C625000, size, size, crc, 0, 0x20, 0) + called + b"\0\0"
        return b"\x60\xea" + struct.pack("<H", len(basic)) + basic + struct.pack("<IH", zlib.crc32(basic), 0)

    key = itertools.cycle(password)
    data = bytes(byte ^ (next(key) + 77 & 0xFF) for byte in content)
    file = header(0, name, len(content), zlib.crc32(content), 77) + data
    return header(2, b"a.arj", 0, 0, 0) + file + b"\x60\xea\0\0"
