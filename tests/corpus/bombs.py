"""Small messages that become large, deep, or many."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zlib
from collections.abc import Callable
from functools import cache

from tests.corpus.building import CRLF, TEXT, Family, carrying, delimited, entity, letter, multipart, text
from tests.corpus.case import NOT_VERIFIED, UNCHECKED
from tests.corpus.formats import Entry, zip_file, zip_of
from tests.corpus.quines import gzip_quine, zip_quine

_family = Family("bombs")
_SCANNERS = "filters and scanners without a budget"
_MEBIBYTE = 1 << 20
_AMBIGUOUS = b"Content-Type: multipart/mixed; boundary=%s\r\nContent-Type: multipart/mixed; boundary=%s\r\n"


def _add(name: str, why: str, client: str, content: Callable[[], bytes], file_name: str = "a.dat") -> None:
    _family.add(name, why, client, lambda: carrying(content(), file_name), UNCHECKED)


@cache
def _zeros(mebibytes: int) -> Entry:
    """A member of so many zeros. The deflate stream is put together from equal pieces."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bytes(_MEBIBYTE)
    piece = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    crc = 0
    for _ in range(mebibytes):
        crc = zlib.crc32(block, crc)
    return Entry(b"zeros", b"", raw=piece * mebibytes + b"\3\0", size=mebibytes * _MEBIBYTE, crc=crc)


def _ten_gigabytes() -> bytes:
    """Ten zips with a gigabyte of zeros each, in a tar, in two zips: each layer packs the layer below a thousand times."""
    inner = zip_of(_zeros(1024))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:") as archive:
        for number in range(10):
            info = tarfile.TarInfo(f"{number}.zip")
            info.size = len(inner)
            archive.addfile(info, io.BytesIO(inner))
    return zip_file({"a.zip": zip_file({"a.tar": packed.getvalue()})})


def _overlapping() -> bytes:
    """A thousand entries of the central directory for one and the same member."""
    whole = zip_of(_zeros(10))
    at = whole.index(b"PK\1\2")
    end = whole.index(b"PK\5\6", at)
    central = whole[at:end] * 1000
    return whole[:at] + central + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1000, 1000, len(central), at, 0)


def _many_entries() -> bytes:
    """A hundred thousand empty members: more than the directory of a zip can count."""
    local = b"".join(_small_local(number) for number in range(100_000))
    size = len(_small_local(0))
    central = b"".join(
        struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 0, 0, 0x21, 0, 0, 0, 6, 0, 0, 0, 0, 0, number * size)
        + b"%06d" % number
        for number in range(100_000)
    )
    zip64 = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 100_000, 100_000, len(central), len(local))
    zip64 += struct.pack("<4sIQI", b"PK\6\7", 0, len(local) + len(central), 1)
    return (
        local
        + central
        + zip64
        + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(central), len(local), 0)
    )


def _small_local(number: int) -> bytes:
    return struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 0, 0, 0x21, 0, 0, 0, 6, 0) + b"%06d" % number


def _nested(pack: Callable[[bytes], bytes], levels: int) -> bytes:
    content = TEXT
    for _ in range(levels):
        content = pack(content)
    return content


def _mime_nest(levels: int) -> bytes:
    """Written from the outside to the inside, so that making it does not take the square of the levels."""
    opening = b"".join(
        b"--l%d\r\nContent-Type: multipart/mixed; boundary=l%d\r\n\r\n" % (level, level + 1) for level in range(levels)
    )
    closing = b"".join(b"\r\n--l%d--" % level for level in range(levels, -1, -1))
    body = opening + b"--l%d\r\n" % levels + text() + closing + CRLF
    return letter(b"Content-Type: multipart/mixed; boundary=l0\r\n", body)


def _message_nest(levels: int) -> bytes:
    return letter(b"Content-Type: message/rfc822\r\n", b"Content-Type: message/rfc822\r\n\r\n" * levels + TEXT)


def _billion_laughs() -> bytes:
    entities = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 12))
    xml = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "ha">' + entities + b"]><x>&l11;</x>"
    return zip_file({"[Content_Types].xml": xml, "word/document.xml": xml, "zeros": bytes(5 * _MEBIBYTE)})


_add("zip-10-gigabytes", "ten kilobytes that become ten gigabytes", _SCANNERS, _ten_gigabytes)
_add("zip-overlapping", "a thousand members that lie in the same place", _SCANNERS, _overlapping)
_add("zip-100000", "a hundred thousand members", _SCANNERS, _many_entries)
_add("zip-one-gigabyte", "one member of a gigabyte", _SCANNERS, lambda: zip_of(_zeros(1024)))
_add("gzip-of-gzip", "a thousand gzips within each other", _SCANNERS, lambda: _nested(gzip.compress, 1000))
_add("bzip2-of-bzip2", "a hundred bzip2s within each other", _SCANNERS, lambda: _nested(bz2.compress, 100))
_add(
    "gzip-one-gigabyte",
    "a gzip of a gigabyte",
    _SCANNERS,
    lambda: _nested(gzip.compress, 1)[:10] + (_zeros(1024).raw or b""),
)
_add(
    "bzip2-zeros",
    "half a gigabyte of zeros in four hundred bytes",
    _SCANNERS,
    lambda: bz2.compress(bytes(_MEBIBYTE)) * 512,
)
_add("xz-zeros", "zeros as xz", _SCANNERS, lambda: lzma.compress(bytes(64 * _MEBIBYTE), preset=1))
_add("zip-quine", "a zip that contains itself", _SCANNERS, zip_quine, "r.zip")
_add("gzip-quine", "a gzip that contains itself", _SCANNERS, gzip_quine, "r.gz")
_add(
    "billion-laughs",
    "entities that grow, in a Word document that is also large",
    "XML parsers without a limit",
    _billion_laughs,
    "a.docx",
)
_family.add("mime-nest", "a thousand multiparts within each other", _SCANNERS, lambda: _mime_nest(1000), UNCHECKED)
_family.add(
    "message-nest", "ten thousand messages within each other", _SCANNERS, lambda: _message_nest(10_000), UNCHECKED
)
_family.add(
    "multipart-100000",
    "a multipart of a hundred thousand parts",
    _SCANNERS,
    lambda: letter(b"Content-Type: multipart/mixed; boundary=frontier\r\n", delimited([text()] * 100_000)),
    UNCHECKED,
)
_family.add(
    "header-50-megabytes",
    "a header of fifty megabytes in short fields",
    _SCANNERS,
    lambda: letter(b"X-Filler: 123456789\r\n" * 2_500_000, TEXT),
    UNCHECKED,
)
_family.add(
    "field-50-megabytes",
    "one field of fifty megabytes",
    _SCANNERS,
    lambda: letter(b"X-Filler:" + b" 1234567890\r\n" * 4_000_000, TEXT),
    UNCHECKED,
)
_family.add(
    "parameters-100000",
    "a hundred thousand parameters",
    _SCANNERS,
    lambda: letter(
        b"Content-Type: multipart/mixed" + b"; a=b" * 100_000 + b"; boundary=frontier\r\n",
        delimited([text(), text()]),
    ),
    UNCHECKED,
)
_family.add(
    "readings",
    "every part can be read in several ways, at every level",
    NOT_VERIFIED,
    lambda: letter(_AMBIGUOUS % (b"a", b"b"), _ambiguous(12)),
    UNCHECKED,
)


def _ambiguous(levels: int) -> bytes:
    part = entity(TEXT * 100, b"Content-Type: text/plain")
    for level in range(levels):
        names = (b"a%d" % level, b"b%d" % level)
        inside = delimited([part], names[0]) + delimited([part[:2000]], names[1])
        part = entity(inside, (_AMBIGUOUS % names).rstrip())
    return delimited([part], b"a") + delimited([multipart(text(), boundary=b"x")], b"b")


CASES = tuple(_family.cases)
