"""Writes compound files ([MS-CFB]) and VBA projects in them ([MS-OVBA]), as small as readers of such files accept."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from uuid import UUID

_SECTOR, _MINI, _CUTOFF = 512, 64, 4096
_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD

Storage = Mapping[str, "bytes | Storage"]


@dataclass
class _Entry:
    name: str
    kind: int
    data: bytes = b""
    clsid: str = ""
    right: int = _FREE
    child: int = _FREE
    start: int = _END
    children: list[int] = field(default_factory=list)

    def packed(self) -> bytes:
        name = (self.name + "\0").encode("utf-16-le")
        clsid = UUID(self.clsid).bytes_le if self.clsid else bytes(16)
        start = 0 if self.kind == 1 else self.start
        head = name.ljust(64, b"\0") + struct.pack("<HBB", len(name), self.kind, 1)
        tail = struct.pack("<III", _FREE, self.right, self.child) + clsid + bytes(20)
        return head + tail + struct.pack("<IQ", start, len(self.data))


def compound_file(content: Storage, clsids: Mapping[str, str] | None = None) -> bytes:
    """A compound file with these storages (mappings) and streams (bytes). clsids: of storages, by name, "" the root."""
    clsids = clsids or {}
    entries = [_Entry("Root Entry", 5, clsid=clsids.get("", ""))]
    _fill(entries, 0, content, clsids)
    mini_fat: list[int] = []
    mini = bytearray()
    for entry in entries[1:]:
        if entry.kind == 2 and entry.data and len(entry.data) < _CUTOFF:
            entry.start = len(mini) // _MINI
            _chain(mini_fat, -(-len(entry.data) // _MINI))
            mini += entry.data.ljust(-(-len(entry.data) // _MINI) * _MINI, b"\0")
    entries[0].data = bytes(mini)
    fat: list[int] = []
    sectors = bytearray()

    def put(data: bytes) -> int:
        start = len(fat)
        count = -(-len(data) // _SECTOR)
        _chain(fat, count)
        sectors.extend(data.ljust(count * _SECTOR, b"\0"))
        return start if count else _END

    for entry in entries:
        if entry.kind == 5 or (entry.kind == 2 and len(entry.data) >= _CUTOFF):
            entry.start = put(entry.data)
    while len(entries) % 4:
        entries.append(_Entry("", 0))
    directory = put(b"".join(entry.packed() for entry in entries))
    mini_start = put(struct.pack(f"<{len(mini_fat)}I", *mini_fat).ljust(-(-len(mini_fat) // 128) * _SECTOR, b"\xff"))
    fat_start = len(fat)
    count = 1
    while (fat_start + count) * 4 > count * _SECTOR:
        count += 1
    fat += [_FAT] * count
    sectors += struct.pack(f"<{len(fat)}I", *fat).ljust(count * _SECTOR, b"\xff")
    difat = [fat_start + number for number in range(count)]
    header = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack(
        "<IIIIIIIII", 0, count, directory, 0, _CUTOFF, mini_start, len(mini_fat) // 128 + 1 if mini_fat else 0, _END, 0
    )
    return header + struct.pack("<109I", *(difat + [_FREE] * (109 - len(difat)))) + bytes(sectors)


def _fill(entries: list[_Entry], parent: int, content: Storage, clsids: Mapping[str, str]) -> None:
    numbers = []
    for name, value in sorted(content.items(), key=lambda item: (len(item[0]), item[0].upper())):
        numbers.append(len(entries))
        entries.append(
            _Entry(name, 2, value) if isinstance(value, bytes) else _Entry(name, 1, clsid=clsids.get(name, ""))
        )
        if not isinstance(value, bytes):
            _fill(entries, numbers[-1], value, clsids)
    entries[parent].child = numbers[0] if numbers else _FREE
    for number, following in pairwise(numbers):
        entries[number].right = following


def _chain(table: list[int], count: int) -> None:
    start = len(table)
    table += [start + number + 1 for number in range(count)]
    if count:
        table[-1] = _END


def compressed(data: bytes) -> bytes:
    """A container of one compressed chunk of literals ([MS-OVBA] 2.4.1), for up to 3,600 bytes."""
    tokens = b"".join(b"\0" + data[at : at + 8] for at in range(0, len(data), 8))
    return b"\x01" + struct.pack("<H", 0xB000 | (len(tokens) + 2 - 3)) + tokens


def vba_project(source: str, module: str = "ThisDocument") -> dict[str, bytes | Storage]:
    """The content of a vbaProject.bin with one module, without compiled code."""
    code = f'Attribute VB_Name = "{module}"\r\n{source}'.encode("cp1252")
    wide = module.encode("utf-16-le")
    name = module.encode("cp1252")

    def record(number: int, data: bytes) -> bytes:
        return struct.pack("<HI", number, len(data)) + data

    language = struct.pack("<I", 0x409)
    directory = b"".join([
        record(0x01, struct.pack("<I", 1)), record(0x02, language), record(0x14, language),
        record(0x03, struct.pack("<H", 1252)), record(0x04, b"Project"), record(0x05, b""), record(0x40, b""),
        record(0x06, b""), record(0x3D, b""), record(0x07, bytes(4)), record(0x08, bytes(4)),
        struct.pack("<HIIH", 0x09, 4, 1, 1), record(0x0C, b""), record(0x3C, b""),
        record(0x0F, struct.pack("<H", 1)), record(0x13, b"\xff\xff"),
        record(0x19, name), record(0x47, wide), record(0x1A, name), record(0x32, wide),
        record(0x1C, b""), record(0x48, b""),
        record(0x31, bytes(4)), record(0x1E, bytes(4)), record(0x2C, b"\xff\xff"), record(0x21, b""), record(0x2B, b""),
        record(0x10, b""),
    ])  # fmt: skip
    return {
        "PROJECT": f'ID="{{00000000-0000-0000-0000-000000000000}}"\r\nDocument={module}/&H00000000\r\n'.encode(),
        "VBA": {"_VBA_PROJECT": b"\xcc\x61\xff\xff\0\0\0", "dir": compressed(directory), module: compressed(code)},
    }


def package(label: str, content: bytes) -> bytes:
    """An OLENativeStream with a file ([MS-OLEDS] 2.3.6)."""
    name = label.encode("cp1252") + b"\0"
    body = struct.pack("<H", 2) + name + name + struct.pack("<HHI", 0, 3, len(name)) + name
    body += struct.pack("<I", len(content)) + content
    return struct.pack("<I", len(body)) + body
