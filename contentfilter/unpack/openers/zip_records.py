"""The records of a zip file (PKWARE APPNOTE 6.3), each read by itself and none believed more than another."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

from contentfilter.unpack.opener import UnpackError

LOCAL = b"PK\x03\x04"
CENTRAL = b"PK\x01\x02"
END = b"PK\x05\x06"
DESCRIPTOR = b"PK\x07\x08"
END_64 = b"PK\x06\x06"
LOCATOR_64 = b"PK\x06\x07"

ENTRY_LIMIT = 20_000
"""Entries that are looked at in one file; far above what any budget lets through."""

END_LIMIT = 1_000
"""End records that are looked at; each zip that is stored in this one has its own."""

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_UNKNOWN = 0xFFFFFFFF
_AES_METHOD = 99
_EXTRA_ZIP64, _EXTRA_UNICODE_PATH, _EXTRA_AES = 0x0001, 0x7075, 0x9901

Content = bytes | mmap


@dataclass(frozen=True, slots=True)
class Header:
    """What one header, local or central, says of an entry. ``position``: where the local header is said to be."""

    position: int
    end: int
    """Just after this header: where the data begins, if it is a local one."""
    names: tuple[bytes, ...]
    """The name and, where extra fields give others, those too."""
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    extra: bytes
    time: int
    """As stored: traditional encryption keeps a byte of it to check the password."""

    @property
    def encrypted(self) -> bool:
        """Bit 0, or the method that only ever stands for encryption."""
        return bool(self.flags & 1) or self.method == _AES_METHOD

    @property
    def streamed(self) -> bool:
        """Bit 3: the sizes follow the data."""
        return bool(self.flags & 8)


def local_header(content: Content, position: int) -> Header | None:
    """The local header that stands there, if one does."""
    fixed = content[position : position + _LOCAL.size] if position >= 0 else b""
    if len(fixed) < _LOCAL.size or not fixed.startswith(LOCAL):
        return None
    _, _, flags, method, time, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack(fixed)
    after_name = position + _LOCAL.size + name_length
    name = content[position + _LOCAL.size : after_name]
    extra = content[after_name : after_name + extra_length]
    size, packed, _ = _zip64(extra, size, packed, 0)
    return Header(
        position, after_name + extra_length, _names(name, extra), flags, method, crc, packed, size, extra, time
    )


def central_headers(content: Content, position: int, delta: int) -> Iterator[Header]:
    """The headers of a central directory, as long as one follows the other. ``delta``: bytes before the zip began."""
    for _ in range(ENTRY_LIMIT):
        fixed = content[position : position + _CENTRAL.size]
        if len(fixed) < _CENTRAL.size or not fixed.startswith(CENTRAL):
            return
        _, _, _, flags, method, time, _, crc, packed, size, *lengths, _, _, _, offset = _CENTRAL.unpack(fixed)
        name_length, extra_length, comment_length = lengths
        after_name = position + _CENTRAL.size + name_length
        name = content[position + _CENTRAL.size : after_name]
        extra = content[after_name : after_name + extra_length]
        size, packed, offset = _zip64(extra, size, packed, offset)
        position = after_name + extra_length + comment_length
        yield Header(offset + delta, position, _names(name, extra), flags, method, crc, packed, size, extra, time)
    raise UnpackError(f"a zip directory of more than {ENTRY_LIMIT} entries")


def directories(content: Content) -> Iterator[tuple[int, int]]:
    """(position, delta) of each central directory that some end record leads to, beginning with the last end record.

    Raises UnpackError if there are more end records than an honest zip of zips has.
    """
    seen = set()
    position = len(content)
    for _ in range(END_LIMIT):
        position = content.rfind(END, 0, position)
        if position < 0:
            return
        for start, delta in _leads_to(content, position):
            if content[start : start + 4] == CENTRAL and (start, delta) not in seen:
                seen.add((start, delta))
                yield start, delta
    raise UnpackError(f"more than {END_LIMIT} end records of zips")


def _leads_to(content: Content, position: int) -> Iterator[tuple[int, int]]:
    """Where the directory may begin: right before its end record, as most programs hold, or where the record says."""
    record = content[position : position + _END.size]
    if len(record) < _END.size:
        return
    size, offset = _END.unpack(record)[5:7]
    before = position
    if content[position - 20 : position - 16] == LOCATOR_64 and position >= 20:
        told = struct.unpack("<Q", content[position - 12 : position - 4])[0]
        near = content.rfind(END_64, max(0, position - 20 - 4096), position - 20)
        for end_64 in (told, near):
            wide = content[end_64 : end_64 + 56] if 0 <= end_64 < len(content) else b""
            if len(wide) == 56 and wide.startswith(END_64):
                wide_size, wide_offset = struct.unpack("<2Q", wide[40:56])
                yield end_64 - wide_size, end_64 - wide_size - wide_offset
                yield wide_offset, 0
    yield before - size, before - size - offset
    yield offset, 0


def _names(name: bytes, extra: bytes) -> tuple[bytes, ...]:
    # There should be one such field at most; of several each program takes its own.
    others = (field[5:] for field in _extras(extra, _EXTRA_UNICODE_PATH) if len(field) > 5)
    return tuple(dict.fromkeys((name, *others)))


def _zip64(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Sizes of which all bits are set stand, in this order, in an extra field."""
    field = _extra(extra, _EXTRA_ZIP64)
    values = []
    for value in (size, packed, offset):
        if value == _UNKNOWN and len(field) >= 8:
            values.append(struct.unpack("<Q", field[:8])[0])
            field = field[8:]
        else:
            values.append(value)
    return values[0], values[1], values[2]


def aes_method(extra: bytes) -> int | None:
    """The compression under AES encryption."""
    field = _extra(extra, _EXTRA_AES)
    return struct.unpack("<H", field[5:7])[0] if len(field) >= 7 else None


def _extra(extra: bytes, wanted: int) -> bytes:
    return next(_extras(extra, wanted), b"")


def _extras(extra: bytes, wanted: int) -> Iterator[bytes]:
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack("<2H", extra[position : position + 4])
        if kind == wanted:
            yield extra[position + 4 : position + 4 + length]
        position += 4 + length


def single(header: Header, data: bytes) -> bytes:
    """A zip of one entry with this data, for a library that shall read what our own reader does not."""
    name, flags = b"member", header.flags & ~0x0800
    extra = header.extra if header.method == _AES_METHOD else b""
    told = (flags, header.method, header.time, 0x21, header.crc, len(data), header.size, len(name), len(extra))
    local = _LOCAL.pack(LOCAL, 51, *told) + name + extra
    central = _CENTRAL.pack(CENTRAL, 51, 51, *told, 0, 0, 0, 0, 0)
    end = _END.pack(END, 0, 0, 1, 1, len(central) + len(name) + len(extra), len(local) + len(data), 0)
    return b"".join((local, data, central, name, extra, end))
