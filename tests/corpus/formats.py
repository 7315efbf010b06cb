"""Writers of file formats: as small as readers accept, and able to lie where a case needs it."""

from __future__ import annotations

import binascii
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import libarchive
import pikepdf

from tests.corpus.building import CRLF


def zip_file(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An ordinary zip."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 3, 2, 10, 0, 0)), content, method)
    return packed.getvalue()


@dataclass(frozen=True, slots=True)
class Entry:
    """A member of a zip. What the local header and the central directory say may differ.

    deflated: how the content is really stored; method, local_method: how the two say it is; size: the uncompressed size
    that is told; in_directory, in_file: where it stands at all; extra: an extra field, in both places.
    """

    name: bytes
    content: bytes
    local_name: bytes | None = None
    deflated: bool = True
    method: int | None = None
    local_method: int | None = None
    size: int | None = None
    crc: int | None = None
    flags: int = 0
    in_directory: bool = True
    extra: bytes = b""
    descriptor: bool = False
    raw: bytes | None = None


def zip_of(*entries: Entry, comment: bytes = b"", directory: bool = True, offset: int = 0) -> bytes:
    """A zip, byte by byte. offset: how far all offsets are told to be from where they are."""
    out, central, listed = bytearray(), bytearray(), 0
    for entry in entries:
        stored = _stored(entry) if entry.raw is None else entry.raw
        really = 8 if entry.deflated else 0
        method = really if entry.method is None else entry.method
        local_method = method if entry.local_method is None else entry.local_method
        size = len(entry.content) if entry.size is None else entry.size
        crc = zlib.crc32(entry.content) if entry.crc is None else entry.crc
        flags = entry.flags | (8 if entry.descriptor else 0)
        local_name = entry.name if entry.local_name is None else entry.local_name
        told = (0, 0, 0) if entry.descriptor else (crc, len(stored), size)
        at = len(out) + offset
        out += struct.pack(
            "<4sHHHHHIIIHH",
            b"PK\3\4",
            20,
            flags,
            local_method,
            0x5000,
            0x5C62,
            *told,
            len(local_name),
            len(entry.extra),
        )
        out += local_name + entry.extra + stored
        if entry.descriptor:
            out += struct.pack("<4sIII", b"PK\7\x08", crc, len(stored), size)
        if entry.in_directory:
            listed += 1
            central += struct.pack(
                "<4sHHHHHHIIIHHHHHII",
                b"PK\1\2",
                20,
                20,
                flags,
                method,
                0x5000,
                0x5C62,
                crc,
                len(stored),
                size,
                len(entry.name),
                len(entry.extra),
                0,
                0,
                0,
                0,
                at,
            )
            central += entry.name + entry.extra
    if not directory:
        return bytes(out)
    end = struct.pack(
        "<4sHHHHIIH", b"PK\5\6", 0, 0, listed & 0xFFFF, listed & 0xFFFF, len(central), len(out) + offset, len(comment)
    )
    return bytes(out + central) + end + comment


def _stored(entry: Entry) -> bytes:
    return deflate(entry.content) if entry.deflated else entry.content


def deflate(content: bytes) -> bytes:
    """A raw deflate stream."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def encrypted_entry(name: bytes, content: bytes, password: bytes) -> Entry:
    """A member in the old encryption of PKWARE (APPNOTE section 6.1)."""
    keys = [0x12345678, 0x23456789, 0x34567890]

    def update(byte: int) -> None:
        keys[0] = zlib.crc32(bytes([byte]), keys[0] ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = zlib.crc32(bytes([keys[1] >> 24]), keys[2] ^ 0xFFFFFFFF) ^ 0xFFFFFFFF

    for byte in password:
        update(byte)
    encrypted = bytearray()
    for byte in bytes(11) + bytes([zlib.crc32(content) >> 24]) + content:
        temporary = (keys[2] | 2) & 0xFFFF
        encrypted.append(byte ^ (temporary * (temporary ^ 1) >> 8 & 0xFF))
        update(byte)
    return Entry(name, content, deflated=False, flags=1, raw=bytes(encrypted))


def libarchive_file(format_name: str, members: Mapping[str, bytes], filter_name: str | None = None) -> bytes:
    """An archive as libarchive writes it: "7zip", "cpio", "xar", "ar_svr4", "iso9660"; filters: "lz4", "compress"."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "archive"
        with libarchive.file_writer(str(path), format_name, filter_name) as archive:
            for name, content in members.items():
                archive.add_file_from_memory(name, len(content), content)
        return path.read_bytes()


def cab(name: bytes, content: bytes) -> bytes:
    """A cabinet with one file, not compressed (MS-CAB)."""
    file = struct.pack("<IIHHHH", len(content), 0, 0, 0x5C62, 0x5000, 0x20) + name + b"\0"
    block = struct.pack("<IHH", 0, len(content), len(content)) + content
    files_at = 36 + 8
    header = struct.pack(
        "<4sIIIIIBBHHHHH", b"MSCF", 0, files_at + len(file) + len(block), 0, files_at, 0, 3, 1, 1, 1, 0, 1, 0
    )
    return header + struct.pack("<IHH", files_at + len(file), 1, 0) + file + block


def arj(name: bytes, content: bytes) -> bytes:
    """An ARJ with one file, stored."""

    def header(kind: int, called: bytes, size: int, crc: int) -> bytes:
        basic = struct.pack("<BBBBBBBBIIIIHHH", 30, 11, 1, 0, 0, 0, kind, 0, 0x5C625000, size, size, crc, 0, 0x20, 0)
        basic += called + b"\0\0"
        return b"\x60\xea" + struct.pack("<H", len(basic)) + basic + struct.pack("<IH", zlib.crc32(basic), 0)

    return header(2, b"a.arj", 0, 0) + header(0, name, len(content), zlib.crc32(content)) + content + b"\x60\xea\0\0"


def _crc_arc(content: bytes) -> int:
    crc = 0
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def lha(name: bytes, content: bytes) -> bytes:
    """An LHA with one file, stored, with a header of level 0."""
    rest = b"-lh0-" + struct.pack("<IIIBBB", len(content), len(content), 0x5C625000, 0x20, 0, len(name)) + name
    rest += struct.pack("<H", _crc_arc(content))
    return bytes([len(rest), sum(rest) & 0xFF]) + rest + content + b"\0"


def rar4(name: bytes, content: bytes, *, encrypted: bool = False) -> bytes:
    """A RAR of version 4 with one file, stored."""

    def block(kind: int, flags: int, fields: bytes) -> bytes:
        rest = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
        return struct.pack("<H", zlib.crc32(rest) & 0xFFFF) + rest

    size = len(content)
    fields = struct.pack("<IIBIIBBHI", size, size, 2, zlib.crc32(content), 0x5C625000, 29, 0x30, len(name), 0x20) + name
    flags = 0x8404 if encrypted else 0x8000
    file = block(0x74, flags, fields + (b"saltsalt" if encrypted else b"")) + content
    return b"Rar!\x1a\x07\0" + block(0x73, 0, bytes(6)) + file + block(0x7B, 0x4000, b"")


def rar5(name: bytes, content: bytes) -> bytes:
    """A RAR of version 5 with one file, stored."""

    def vint(value: int) -> bytes:
        out = bytearray()
        while value > 0x7F:
            out.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*out, value])

    def block(fields: bytes) -> bytes:
        rest = vint(len(fields)) + fields
        return struct.pack("<I", zlib.crc32(rest)) + rest

    size = vint(len(content))
    file = b"\2\2" + size + b"\4" + size + vint(0x20) + struct.pack("<I", zlib.crc32(content)) + b"\0\0"
    file += vint(len(name)) + name
    return b"Rar!\x1a\x07\1\0" + block(b"\1\0\0") + block(file) + content + block(b"\5\0\0")


def szdd(content: bytes) -> bytes:
    """What compress.exe of old Windows wrote; every byte as a literal."""
    packed = b"".join(b"\xff" + content[at : at + 8] for at in range(0, len(content), 8))
    return b"SZDD\x88\xf0\x27\x33Ae" + struct.pack("<I", len(content)) + packed


def tnef(name: bytes, content: bytes, *others: bytes) -> bytes:
    """A winmail.dat with one attachment (MS-OXTNEF). others: further names of it."""

    def attribute(level: int, number: int, data: bytes) -> bytes:
        return struct.pack("<BII", level, number, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)

    return (
        struct.pack("<IH", 0x223E9F78, 1)
        + attribute(1, 0x00089006, b"\0\0\1\0")
        + attribute(1, 0x00069007, struct.pack("<II", 1252, 0))
        + attribute(1, 0x00078008, b"IPM.Microsoft Mail.Note\0")
        + attribute(2, 0x00069002, struct.pack("<HIHHI", 1, 0xFFFFFFFF, 0x20, 0x20, 0))
        + b"".join(attribute(2, 0x00018010, each + b"\0") for each in (name, *others))
        + attribute(2, 0x0006800F, content)
    )


def package(name: bytes, content: bytes) -> bytes:
    """What an OLE package holds: labels, paths, content."""
    path = b"C:\\" + name + b"\0"
    return (
        struct.pack("<H", 2)
        + name
        + b"\0"
        + path
        + struct.pack("<HHI", 0, 3, len(path))
        + path
        + struct.pack("<I", len(content))
        + content
    )


def ole10_native(name: bytes, content: bytes) -> bytes:
    """The stream "\\1Ole10Native" of a package."""
    inside = package(name, content)
    return struct.pack("<I", len(inside)) + inside


def rtf_object(name: bytes, content: bytes) -> bytes:
    """An RTF with a package in it."""
    inside = package(name, content)
    ole1 = struct.pack("<III", 0x501, 2, 8) + b"Package\0" + struct.pack("<III", 0, 0, len(inside)) + inside
    digits = binascii.hexlify(ole1)
    lines = CRLF.join(digits[at : at + 128] for at in range(0, len(digits), 128))
    return b"{\\rtf1\\ansi Hello{\\object\\objemb{\\*\\objclass Package}{\\*\\objdata " + lines + b"}}}"


_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


def compound(streams: Mapping[str, bytes], class_id: bytes = bytes(16)) -> bytes:
    """A compound file (MS-CFB) with these streams; "A/B" is the stream B in the storage A."""
    nodes: list[tuple[str, int, bytes]] = [("Root Entry", -1, b"")]
    storages = {"": 0}
    for path, data in streams.items():
        above, _, name = path.rpartition("/")
        parts = above.split("/") if above else []
        for depth in range(len(parts)):
            whole = "/".join(parts[: depth + 1])
            if whole not in storages:
                nodes.append((parts[depth], storages["/".join(parts[:depth])], b""))
                storages[whole] = len(nodes) - 1
        nodes.append((name, storages[above], data))
    return _compound(nodes, set(storages.values()), class_id)


def _compound(nodes: list[tuple[str, int, bytes]], storages: set[int], class_id: bytes) -> bytes:
    small = bytearray()
    mini_fat: list[int] = []
    starts: dict[int, int] = {}
    for number, (_, _, data) in enumerate(nodes):
        if number not in storages and 0 < len(data) < 4096:
            starts[number] = len(mini_fat)
            count = -(-len(data) // 64)
            mini_fat += [*range(len(mini_fat) + 1, len(mini_fat) + count), _END]
            small += data.ljust(count * 64, b"\0")
    fat: list[int] = []
    sectors = bytearray()

    def chain(data: bytes) -> int:
        count = -(-len(data) // 512)
        if not count:
            return _END
        first = len(fat)
        fat.extend([*range(first + 1, first + count), _END])
        sectors.extend(data.ljust(count * 512, b"\0"))
        return first

    for number, (_, _, data) in enumerate(nodes):
        if number not in storages and len(data) >= 4096:
            starts[number] = chain(data)
    root_start = chain(bytes(small))
    mini_start = chain(struct.pack(f"<{len(mini_fat)}I", *mini_fat).ljust(-(-len(mini_fat) // 128) * 512, b"\xff"))
    directory = b"".join(
        _directory_entry(number, nodes, storages, class_id, starts.get(number, _END), (root_start, len(small)))
        for number in range(len(nodes))
    )
    directory += (bytes(68) + b"\xff" * 12 + bytes(48)) * (-len(nodes) % 4)
    directory_start = chain(directory)
    fat_sectors = 1
    while (len(fat) + fat_sectors) > fat_sectors * 128:
        fat_sectors += 1
    fat_start = len(fat)
    fat += [_FAT] * fat_sectors
    sectors += struct.pack(f"<{len(fat)}I", *fat).ljust(fat_sectors * 512, b"\xff")
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    header += struct.pack(
        "<IIIIIIIII",
        0,
        fat_sectors,
        directory_start,
        0,
        4096,
        mini_start if mini_fat else _END,
        -(-len(mini_fat) // 128),
        _END,
        0,
    )
    header += struct.pack("<109I", *range(fat_start, fat_start + fat_sectors), *[_FREE] * (109 - fat_sectors))
    return header + bytes(sectors)


def _directory_entry(
    number: int,
    nodes: list[tuple[str, int, bytes]],
    storages: set[int],
    class_id: bytes,
    start: int,
    root: tuple[int, int],
) -> bytes:
    """Siblings hang in a plain list to the right, which readers take for a very lean tree."""
    name, parent, data = nodes[number]
    children = [other for other, (_, above, _) in enumerate(nodes) if above == number]
    children.sort(key=lambda other: (len(nodes[other][0]), nodes[other][0].upper()))
    siblings = [other for other, (_, above, _) in enumerate(nodes) if above == parent and number]
    siblings.sort(key=lambda other: (len(nodes[other][0]), nodes[other][0].upper()))
    right = _FREE
    if siblings and siblings.index(number) + 1 < len(siblings):
        right = siblings[siblings.index(number) + 1]
    encoded = name.encode("utf-16-le") + b"\0\0"
    kind = 5 if number == 0 else 1 if number in storages else 2
    size = root[1] if number == 0 else len(data)
    begins = root[0] if number == 0 else 0 if number in storages else start
    return (
        encoded.ljust(64, b"\0")
        + struct.pack("<HBBIII", len(encoded), kind, 1, _FREE, right, children[0] if children else _FREE)
        + (class_id if number == 0 else bytes(16))
        + bytes(20)
        + struct.pack("<IQ", begins, size)
    )


def binhex(content: bytes, name: bytes, resource: bytes = b"") -> bytes:
    """BinHex 4.0 (RFC 1741) of a data fork and a resource fork."""
    header = bytes([len(name)]) + name + b"\0TEXTttxt" + struct.pack(">HII", 0, len(content), len(resource))
    raw = b"".join(part + struct.pack(">H", binascii.crc_hqx(part, 0)) for part in (header, content, resource))
    raw = raw.replace(b"\x90", b"\x90\0")
    alphabet = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    digits = binascii.b2a_base64(raw, newline=False).rstrip(b"=").translate(bytes.maketrans(plain, alphabet))
    digits = b":" + digits + b":"
    lines = CRLF.join(digits[at : at + 64] for at in range(0, len(digits), 64))
    return b"(This file must be converted with BinHex 4.0)\r\n\r\n" + lines + CRLF


def apple(name: bytes, content: bytes, resource: bytes) -> bytes:
    """AppleSingle (RFC 1740) of both forks; AppleDouble if there is no data fork."""
    entries = {3: name, 2: resource, 1: content} if content else {3: name, 2: resource}
    offset = 26 + 12 * len(entries)
    table = b""
    for kind, data in entries.items():
        table += struct.pack(">III", kind, offset, len(data))
        offset += len(data)
    mark = 0x51600 if content else 0x51607
    return struct.pack(">II16xH", mark, 0x20000, len(entries)) + table + b"".join(entries.values())


def macbinary(name: bytes, content: bytes, resource: bytes, *, first: bool = False) -> bytes:
    """MacBinary of both forks. first: version I, which has no checksum."""
    header = struct.pack(">BB63s8s", 0, len(name), name, b"APPLtest").ljust(83, b"\0")
    header += struct.pack(">II", len(content), len(resource))
    header = header.ljust(122, b"\0") + (b"" if first else b"\x81\x81")
    header += b"" if first else struct.pack(">H", binascii.crc_hqx(header, 0))
    return b"".join(part + bytes(-len(part) % 128) for part in (header, content, resource))


def yenc(content: bytes, name: bytes, *, part: bool = False) -> bytes:
    """YEnc (yenc.org, version 1.3)."""
    encoded = bytearray()
    lines = []
    for byte in content:
        coded = (byte + 42) & 0xFF
        encoded += bytes((0x3D, (coded + 64) & 0xFF)) if coded in b"\0\r\n=\t ." else bytes((coded,))
        if len(encoded) >= 128:
            lines.append(bytes(encoded))
            encoded.clear()
    lines.append(bytes(encoded))
    size = len(content)
    begin = b"=ybegin part=1 total=2 line=128 size=%d name=%s" if part else b"=ybegin line=128 size=%d name=%s"
    head = [begin % (size * 2 if part else size, name)] + ([b"=ypart begin=1 end=%d" % size] if part else [])
    tail = b"=yend size=%d%s pcrc32=%08x" % (size, b" part=1" if part else b"", zlib.crc32(content))
    return CRLF.join([*head, *lines, tail if part else tail.replace(b"pcrc32", b"crc32"), b""])


def vba_compressed(source: bytes) -> bytes:
    """A compressed container of MS-OVBA section 2.4.1, of literals only."""
    out = bytearray(b"\1")
    for at in range(0, len(source), 3640):
        chunk = source[at : at + 3640]
        tokens = b"".join(b"\0" + chunk[each : each + 8] for each in range(0, len(chunk), 8))
        out += struct.pack("<H", 0xB000 | len(tokens) - 1) + tokens
    return bytes(out)


def vba_project(source: bytes) -> bytes:
    """A vbaProject.bin with one module "Module1"."""

    def record(number: int, data: bytes) -> bytes:
        return struct.pack("<HI", number, len(data)) + data

    both = b"Module1"
    wide = both.decode().encode("utf-16-le")
    directory = (
        record(1, struct.pack("<I", 1))
        + record(2, struct.pack("<I", 0x409))
        + record(0x14, struct.pack("<I", 0x409))
        + record(3, struct.pack("<H", 1252))
        + record(4, b"Project")
        + record(5, b"")
        + record(0x40, b"")
        + record(6, b"")
        + record(0x3D, b"")
        + record(7, bytes(4))
        + record(8, bytes(4))
        + struct.pack("<HIIH", 9, 4, 1, 1)
        + record(0x0C, b"")
        + record(0x3C, b"")
        + record(0x0F, struct.pack("<H", 1))
        + record(0x13, struct.pack("<H", 0xFFFF))
        + record(0x19, both)
        + record(0x47, wide)
        + record(0x1A, both)
        + record(0x32, wide)
        + record(0x1C, b"")
        + record(0x48, b"")
        + record(0x31, bytes(4))
        + record(0x1E, bytes(4))
        + record(0x2C, struct.pack("<H", 0xFFFF))
        + record(0x21, b"")
        + record(0x2B, b"")
        + record(0x10, b"")
    )
    return compound(
        {
            "VBA/dir": vba_compressed(directory),
            "VBA/_VBA_PROJECT": b"\xcc\x61\xff\xff\0\0\0",
            "VBA/Module1": vba_compressed(b'Attribute VB_Name = "Module1"\r\n' + source),
            "PROJECT": b'ID="{00000000-0000-0000-0000-000000000000}"\r\nModule=Module1\r\nName="Project"\r\n',
        }
    )


def attached_file(document: pikepdf.Pdf, content: bytes, name: str) -> pikepdf.AttachedFileSpec:
    """A file for the attachments of a PDF."""
    told = {"description": "", "mime_type": "", "creation_date": "", "mod_date": ""}
    return pikepdf.AttachedFileSpec(document, content, filename=name, **told)
