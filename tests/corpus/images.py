"""Writers of images and packages: a disk with a file system, a help file, an rpm. As small as readers accept."""

from __future__ import annotations

import gzip
import struct
import uuid
from pathlib import Path

from tests.corpus.formats import libarchive_file

_SECTOR = 512
_SAMPLES = Path(__file__).parents[1] / "samples"


def sample(name: str) -> bytes:
    """A file of tests/samples; the README.md there says where it is from."""
    return (_SAMPLES / name).read_bytes()


def fat(name: bytes, content: bytes) -> bytes:
    """A file system FAT12 with one file. name: in the form "PHOTO   JPG"."""
    clusters = -(-len(content) // _SECTOR)
    sectors = 3 + 64 + clusters
    boot = b"\xeb\x3c\x90MSDOS5.0" + struct.pack("<HBHBHHBHHHLL", _SECTOR, 1, 1, 1, 16, sectors, 0xF8, 1, 32, 2, 0, 0)
    boot += struct.pack("<BBBL", 0x80, 0, 0x29, 1) + b"DISK       FAT12   "
    chain = [0xFF8, 0xFFF, *(number + 1 for number in range(2, clusters + 1)), 0xFFF]
    chain += [0] * (len(chain) % 2)
    pairs = zip(chain[::2], chain[1::2], strict=True)
    table = b"".join((one | other << 12).to_bytes(3, "little") for one, other in pairs)
    entry = struct.pack("<11sB10xHHHL", name, 0x20, 0, 0x5A62, 2, len(content))
    return b"".join(
        (
            boot.ljust(_SECTOR - 2, b"\0") + b"\x55\xaa",
            table.ljust(_SECTOR, b"\0"),
            entry.ljust(_SECTOR, b"\0"),
            content.ljust((sectors - 3) * _SECTOR, b"\0"),
        )
    )


def disk(partition: bytes) -> bytes:
    """A disk with one partition, by its master boot record."""
    entry = struct.pack("<B3xB3xLL", 0x80, 0x01, 1, len(partition) // _SECTOR)
    return entry.rjust(446 + 16, b"\0").ljust(_SECTOR - 2, b"\0") + b"\x55\xaa" + partition


def vhd(raw: bytes) -> bytes:
    """A disk as a fixed VHD: the disk itself, and a footer."""
    return raw + _vhd_footer(len(raw), 2, (1 << 64) - 1)


def vhd_dynamic(raw: bytes) -> bytes:
    """A disk of one block as a dynamic VHD: footer, header, table, the block with its bitmap, footer."""
    block = 0x20_0000
    footer = _vhd_footer(block, 3, _SECTOR)
    header = struct.pack(">8sQQLLL", b"cxsparse", (1 << 64) - 1, 3 * _SECTOR, 0x10000, 1, block).ljust(1024, b"\0")
    header = header[:36] + struct.pack(">L", ~sum(header) & 0xFFFFFFFF) + header[40:]
    table = struct.pack(">L", 4).ljust(_SECTOR, b"\xff")
    return footer + header + table + b"\xff" * _SECTOR + raw.ljust(block, b"\0") + footer


def _vhd_footer(size: int, kind: int, data: int) -> bytes:
    footer = struct.pack(
        ">8sLLQL4sL4sQQHBBLL16s",
        *(b"conectix", 2, 0x10000, data, 0, b"vpc ", 0x50003, b"Wi2k", size, size, 1, 4, 17, kind, 0),
        uuid.UUID(int=1).bytes,
    ).ljust(_SECTOR, b"\0")
    return footer[:64] + struct.pack(">L", ~sum(footer) & 0xFFFFFFFF) + footer[68:]


def rpm(name: str, content: bytes) -> bytes:
    """A package: the lead, an empty signature, an empty header, a compressed cpio."""
    lead = struct.pack(">4sBBHH66sHH16x", b"\xed\xab\xee\xdb", 3, 0, 0, 1, b"papers-1-1", 1, 5)
    empty = b"\x8e\xad\xe8\x01" + bytes(12)
    return lead + empty + empty + gzip.compress(libarchive_file("cpio_newc", {name: content}), mtime=0)


_LZX = "{7FC28940-9D31-11D0-9B27-00A0C91E9C7C}"
_STORAGE = b"::DataSpace/Storage/MSCompressed/"
_FRAME = 0x8000
_TOLD = 0x7000
"""Bytes that the tables tell of: 7z takes a table with one entry only for less than a whole frame."""


def chm(name: bytes, content: bytes) -> bytes:
    """A help file (ITSF 3) with one content, at most 28 kB long, in a stream of LZX whose only block is not packed."""
    frame = content.ljust(_FRAME, b"\0")
    # Three bits tell the kind of a block, 24 its length, one before them that no calls are translated: words of 16 bits.
    bits = f"{0:01b}{3:03b}{_FRAME:024b}".ljust(32, "0")
    packed = b"".join(int(bits[at : at + 16], 2).to_bytes(2, "little") for at in (0, 16))
    packed += struct.pack("<LLL", 1, 1, 1) + frame
    streams = {
        b"::DataSpace/NameList": _name_list("Uncompressed", "MSCompressed"),
        _STORAGE + b"ControlData": struct.pack("<L4sLLLLL", 6, b"LZXC", 2, 2, 2, 1, 0),
        _STORAGE + b"Content": packed,
        _STORAGE + b"SpanInfo": struct.pack("<Q", _TOLD),
        _STORAGE + b"Transform/List": _LZX.encode("utf-16-le")[:38],
        _STORAGE + f"Transform/{_LZX}/InstanceData/ResetTable".encode(): struct.pack(
            "<LLLLQQQQ", 2, 1, 8, 40, _TOLD, len(packed), _FRAME, 0
        ),
    }
    entries, offset = _entry(b"/", 0, 0, 0) + _entry(b"/" + name, 1, 0, len(content)), 0
    for path, stream in streams.items():
        entries += _entry(path, 0, offset, len(stream))
        offset += len(stream)
    return _itsf(entries, 2 + len(streams), b"".join(streams.values()))


def _itsf(entries: bytes, count: int, data: bytes) -> bytes:
    guid = uuid.UUID("7c01fd10-7baa-11d0-9e0c-00a0c922e6ec").bytes_le
    directory = uuid.UUID("5d02926a-212e-11d0-9df9-00a0c922e6ec").bytes_le
    chunk = struct.pack("<4sLLll", b"PMGL", 4096 - 20 - len(entries), 0, -1, -1) + entries
    chunk = chunk.ljust(4094, b"\0") + struct.pack("<H", count)
    listing = struct.pack("<4s9lLL", b"ITSP", 1, 84, 10, 4096, 2, 1, -1, 0, 0, 0xFFFFFFFF, 1)
    listing += struct.pack("<L", 0x409) + directory + struct.pack("<Llll", 84, -1, -1, -1) + chunk
    end = 96 + 24 + len(listing)
    head = struct.pack("<4sLLLLL", b"ITSF", 3, 96, 1, 0, 0x409) + guid + guid.replace(b"\x10", b"\x11", 1)
    head += struct.pack("<QQQQQ", 96, 24, 96 + 24, len(listing), end)
    return head + struct.pack("<LLQLL", 0x1FE, 0, end + len(data), 0, 0) + listing + data


def _name_list(*names: str) -> bytes:
    written = b"".join(struct.pack("<H", len(name)) + f"{name}\0".encode("utf-16-le") for name in names)
    return struct.pack("<HH", (4 + len(written)) // 2, len(names)) + written


def _entry(path: bytes, section: int, offset: int, size: int) -> bytes:
    return bytes([len(path)]) + path + bytes([section]) + _encoded(offset) + _encoded(size)


def _encoded(value: int) -> bytes:
    """Seven bits a byte, the highest first."""
    written = bytes([value & 0x7F])
    while value := value >> 7:
        written = bytes([value & 0x7F | 0x80]) + written
    return written
