"""Archives that contain themselves.

A deflate stream can print itself if it is made of two instructions, each five bytes long: "print the next n bytes" (a
stored block) and "repeat the last n bytes" (a match). The checksum of the file stands in the file; CRC-32 is linear, so
the value that makes it true is the solution of 32 equations.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

_END = b"\1\0\0\xff\xff"
"""The last block of a stream, stored and empty."""


def gzip_quine() -> bytes:
    """A gzip whose content is itself."""

    def build(crc: int, size: int) -> bytes:
        return _program(b"\x1f\x8b\x08\0\0\0\0\0\2\xff", _END + struct.pack("<II", crc, size))

    size = len(build(0, 0))
    return _with_checksum(lambda crc: build(crc, size))


def zip_quine() -> bytes:
    """A zip whose only member is itself."""
    for day in range(1, 29):
        try:
            return _zip_quine(0x5C60 + day)
        except ArithmeticError:
            continue  # these equations have no solution: with another date they are others
    raise ArithmeticError("no date gives a solution")


def _zip_quine(date: int) -> bytes:
    name = b"r/r.zip"

    def build(crc: int, size: int, packed: int) -> bytes:
        facts = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, date, crc, packed, size, len(name), 0)
        local = b"PK\3\4" + facts + name
        central = b"PK\1\2\x14\0" + facts + bytes(14) + name
        # So much comment that the suffix and its instruction are 258 bytes, the longest match there is.
        comment = 253 - len(_END) - len(central) - 22
        end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local) + packed, comment)
        return _program(local, _END + central + end + bytes(comment))

    size = len(build(0, 0, 0))
    packed = size - (30 + len(name)) - (253 - len(_END))
    return _with_checksum(lambda crc: build(crc, size, packed))


def _program(prefix: bytes, suffix: bytes) -> bytes:
    """The prefix, a stream that prints all of this, the suffix (which begins with the last block of the stream)."""
    head, tail = len(prefix) + 5, len(suffix) + 5
    l1, l4, l0 = _literal(5), _literal(20), _literal(0)
    r4, rh, rt = _repeat(20), _repeat(head), _repeat(tail)
    lh, lt = _literal(head), _literal(tail)
    first = [prefix, lh, prefix, lh, rh, l1, rh, l1, l1, l4, rh, l1, l1, l4]
    last = [r4, l4, r4, l4, r4, l4, r4, l4, r4, l0, l0, lt, r4, l0, l0, lt, rt, suffix, rt, suffix]
    return b"".join((*first, *last))


def _literal(size: int) -> bytes:
    """A stored block's header: the next bytes are printed as they are."""
    return b"\0" + struct.pack("<HH", size, size ^ 0xFFFF)


def _repeat(size: int) -> bytes:
    """Five bytes that repeat the last so many: a block of one or two matches in fixed codes.

    Two bits may be missing: the following stored block's header begins with three zeros, and is aligned.
    """
    for pieces in ([size], [size // 2, size - size // 2]):
        if min(pieces) >= 3 and max(pieces) <= 258:
            bits = "010" + "".join(_match(piece, size) for piece in pieces) + "0" * 7
            for padding in ("", "010" + "0" * 7):
                if 38 <= len(bits + padding) <= 40:
                    whole = (bits + padding).ljust(40, "0")
                    return bytes(int(whole[at : at + 8][::-1], 2) for at in range(0, 40, 8))
    raise ValueError(f"no five bytes repeat {size}")


def _match(length: int, distance: int) -> str:
    """A match in the fixed codes of RFC 1951 section 3.2.6, bit by bit."""
    symbol, bits, extra = _length_symbol(length)
    code = f"{symbol - 256:07b}" if symbol < 280 else f"{symbol - 280 + 0xC0:08b}"
    return code + _number(extra, bits) + _distance(distance)


def _length_symbol(length: int) -> tuple[int, int, int]:
    if length == 258:
        return 285, 0, 0
    base, symbol = 3, 257
    while True:
        bits = 0 if symbol < 265 else (symbol - 261) // 4
        if length < base + (1 << bits):
            return symbol, bits, length - base
        base, symbol = base + (1 << bits), symbol + 1


def _distance(distance: int) -> str:
    base, symbol = 1, 0
    while True:
        bits = 0 if symbol < 4 else symbol // 2 - 1
        if distance < base + (1 << bits):
            return f"{symbol:05b}" + _number(distance - base, bits)
        base, symbol = base + (1 << bits), symbol + 1


def _number(value: int, bits: int) -> str:
    """Extra bits, the lowest first."""
    return "".join(str(value >> bit & 1) for bit in range(bits))


def _with_checksum(build: Callable[[int], bytes]) -> bytes:
    """The file of which the checksum is the one that it was built with. Raises ArithmeticError if there is none."""
    constant = zlib.crc32(build(0))
    # Row by row: the bits of crc(build(x)) ^ x ^ constant must be zero for the sum of the columns x.
    columns = [zlib.crc32(build(1 << bit)) ^ constant ^ 1 << bit for bit in range(32)]
    rows = [sum((column >> row & 1) << bit for bit, column in enumerate(columns)) for row in range(32)]
    solution = _solve(rows, [constant >> row & 1 for row in range(32)])
    found = build(solution)
    if zlib.crc32(found) != solution:
        raise ArithmeticError("no solution")
    return found


def _solve(rows: list[int], wanted: list[int]) -> int:
    """Gauss's elimination over bits."""
    pivots: list[tuple[int, int]] = []
    for bit in range(32):
        pivot = next((row for row in range(len(pivots), 32) if rows[row] >> bit & 1), None)
        if pivot is None:
            continue
        at = len(pivots)
        rows[at], rows[pivot] = rows[pivot], rows[at]
        wanted[at], wanted[pivot] = wanted[pivot], wanted[at]
        for row in range(32):
            if row != at and rows[row] >> bit & 1:
                rows[row] ^= rows[at]
                wanted[row] ^= wanted[at]
        pivots.append((at, bit))
    return sum(1 << bit for row, bit in pivots if wanted[row])
