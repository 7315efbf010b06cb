"""OLE compound files ([MS-CFB]): Word, Excel and PowerPoint of old, VBA projects of new ones, embedded objects."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from typing import BinaryIO

import olefile

from contentfilter.unpack.opener import Kind
from contentfilter.unpack.sign_names import UNEXAMINED
from contentfilter.unpack.signs import vba
from contentfilter.unpack.signs.objects import signs_of_class, signs_of_package
from contentfilter.unpack.signs.sign import MOST_BYTES, Family, Sign, guarded, sign

_ACTIVE_MIME = b"ActiveMime"
_MOST_STREAMS = 2000
_STREAM_BYTES = 16 * 1024 * 1024
_MOST_RECORDS = 500_000

_FIELD = re.compile(
    rb"""\x13(?:[\s"\\]{0,16}+DDE[^\x14\x15]{0,200}|\0(?:[\s"\\]\0){0,16}+D\0D\0E\0[^\x14\x15]{0,400})""", re.IGNORECASE
)
_STORED_OBJECT = re.compile(rb"([\x00\x10])\x00\x11\x10(....)(?=.{4}\x78|\xd0\xcf\x11\xe0)", re.DOTALL)
_SLIDES_NAME = "PowerPoint Document".encode("utf-16-le")
_MOST_OBJECTS = 50
_URL_MONIKER = bytes.fromhex("e0c9ea79f9bace118c8200aa004ba90b")
_REMOTE = re.compile(
    rb"(?:h\0?t\0?t\0?p\0?s?\0?|f\0?t\0?p\0?|f\0?i\0?l\0?e\0?|m\0?h\0?t\0?m\0?l\0?):[\x20-\x7e\0]{4,300}|(?:\\\0?){2}[\w.\0]{2,200}\\[\x20-\x7e\0]{1,200}",
    re.IGNORECASE,
)


def _accepts(kind: Kind) -> bool:
    return kind.head.startswith((olefile.MAGIC, _ACTIVE_MIME))


def _signs(file: BinaryIO, kind: Kind) -> Iterator[Sign]:
    if kind.head.startswith(_ACTIVE_MIME):
        yield sign("macro", "ActiveMime")
        file = BytesIO(_inflated(file.read(MOST_BYTES)))
    yield from signs_of_ole(file)


def signs_of_ole(file: BinaryIO) -> Iterator[Sign]:
    """The signs of a compound file. Raises whatever olefile raises over one that it cannot read at all."""
    with olefile.OleFileIO(file) as ole:
        paths = ole.listdir(streams=True, storages=True)
        if len(paths) > _MOST_STREAMS:
            yield sign(UNEXAMINED, f"ole: {len(paths)} streams")
            del paths[_MOST_STREAMS:]
        project = next((path for path in paths if _is_project(path)), None)
        if project is not None:
            yield sign("macro", "/".join(project))
            yield from guarded("vba", vba.signs(file))
        yield from guarded("ole classes", _classes(ole, paths))
        for path in paths:
            if ole.get_type(path) == olefile.STGTY_STREAM:
                yield from guarded("ole stream", _stream(ole, path))


def _is_project(path: list[str]) -> bool:
    last = [name.lower() for name in path[-2:]]
    return last[-1] == "_vba_project" or last == ["vba", "dir"]


def _classes(ole: olefile.OleFileIO, streams: list[list[str]]) -> Iterator[Sign]:
    yield from signs_of_class(ole.root.clsid)
    for path in streams:
        yield from signs_of_class(ole.getclsid(path))


def _stream(ole: olefile.OleFileIO, path: list[str]) -> Iterator[Sign]:
    name = path[-1].lower()
    looker = _LOOKERS.get(name)
    if looker is not None:
        yield from looker(ole.openstream(path).read(_STREAM_BYTES))


def _word(data: bytes) -> Iterator[Sign]:
    if len(data) > 12 and data[11] & 1:
        yield sign("office-encrypted", "Word")
    for found in islice(_FIELD.finditer(data), 5):
        yield sign("dde", found[0].replace(b"\0", b""))


def _workbook(data: bytes) -> Iterator[Sign]:
    """The records of a workbook ([MS-XLS] 2.4): what its sheets are, what it is linked to."""
    at = records = 0
    while at + 4 <= len(data) and records < _MOST_RECORDS:
        kind, length = struct.unpack_from("<HH", data, at)
        body = data[at + 4 : at + 4 + length]
        yield from _record(kind, body)
        at, records = at + 4 + length, records + 1


def _record(kind: int, body: bytes) -> Iterator[Sign]:
    if kind == 0x2F:
        yield sign("office-encrypted", "Excel")
    elif kind == 0x85 and len(body) > 6 and body[5] == 1:
        hidden = ("", " hidden", " very hidden", "")[body[4] & 3]
        yield sign("xlm-macro", f"{body[8:].decode('latin-1')}{hidden}")
    elif kind == 0x18 and len(body) > 15 and body[0] & 0x20 and body[3] == 1 and body[15] in {1, 2, 10, 11}:
        yield sign(
            "macro-autorun", {1: "Auto_Open", 2: "Auto_Close", 10: "Auto_Activate", 11: "Auto_Deactivate"}[body[15]]
        )
    elif kind == 0x1AE and len(body) > 5 and b"\x03" in body[4:]:
        yield sign("dde", body[4:].replace(b"\0", b"").replace(b"\x03", b"|"))


def _link(data: bytes) -> Iterator[Sign]:
    """The stream of a linked object ([MS-OLEDS] 2.3.3): what it is fetched from when the document opens."""
    if _URL_MONIKER in data or (len(data) > 4 and data[4] & 1):
        found = _REMOTE.search(data)
        if found:
            yield sign("external-template", found[0].replace(b"\0", b""))


def _slides(data: bytes) -> Iterator[Sign]:
    """The objects in a presentation, its macros among them: compound files in records ([MS-PPT] 2.10.34 and 2.4.10)."""
    for found in islice(_STORED_OBJECT.finditer(data), _MOST_OBJECTS):
        start, length = found.end(), int.from_bytes(found[2], "little")
        content = data[start : start + length]
        if found[1] == b"\x10":
            content = zlib.decompressobj().decompress(content[4:], _STREAM_BYTES)
        # A presentation in a presentation is not gone into; the engine takes it out.
        if content.startswith(olefile.MAGIC) and _SLIDES_NAME not in content:
            yield from guarded("ppt object", signs_of_ole(BytesIO(content)))


def _equation(_data: bytes) -> Iterator[Sign]:
    yield sign("equation-editor", "Equation Native")


def _encrypted(_data: bytes) -> Iterator[Sign]:
    yield sign("office-encrypted", "EncryptedPackage")


_LOOKERS = {
    "worddocument": _word,
    "workbook": _workbook,
    "book": _workbook,
    "\x01ole": _link,
    "\x01ole10native": signs_of_package,
    "powerpoint document": _slides,
    "equation native": _equation,
    "encryptedpackage": _encrypted,
}


def _inflated(data: bytes) -> bytes:
    """The compound file in an ActiveMime file, which follows a header whose length differs."""
    start = data.find(b"\x78", len(_ACTIVE_MIME), 0x400)
    while start >= 0:
        try:
            return zlib.decompressobj().decompress(data[start:], MOST_BYTES)
        except zlib.error:
            start = data.find(b"\x78", start + 1, 0x400)
    return b""


FAMILY = Family("ole", _accepts, _signs)
