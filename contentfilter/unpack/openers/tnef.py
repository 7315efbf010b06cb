"""TNEF, the winmail.dat of Outlook (MS-OXTNEF): our own walk over its attributes, tnefparse for their properties."""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable, Iterator
from mmap import mmap
from typing import BinaryIO

from contentfilter.unpack.opener import Kind, Sink, UnpackError
from contentfilter.unpack.openers.common import give, mapped, readable, sliced, translated
from contentfilter.unpack.openers.rtf import decompressed

SIGNATURE = b"\x78\x9f\x3e\x22"

logging.getLogger("tnefparse").addHandler(logging.NullHandler())  # what it complains of is told by us

_ATTRIBUTE = struct.Struct("<BHHI")
_BODY, _TITLE, _DATA, _RENDERING, _PROPERTIES, _ATTACHMENT = 0x800C, 0x8010, 0x800F, 0x9002, 0x9003, 0x9005
_LONG_NAME, _SHORT_NAME, _OBJECT = 0x3707, 0x3704, 0x3701
_BODIES = {0x1000: "body.txt", 0x1013: "body.html", 0x1009: "body.rtf"}
_OFTEN_CUT = frozenset(
    {"docx", "docm", "dotx", "xlsx", "xlsm", "xltx", "pptx", "pptm", "ppsx", "html", "xhtml", "jpeg", "tiff", "mpeg"}
)
"""Endings that a short name (8.3) has only the beginning of. Of any other ending no beginning is taken for a copy."""
_MESSAGE_CLASS = b"\x07\x03\x02\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00\x46"

Content = bytes | mmap


class Tnef:
    """winmail.dat: attachments, embedded messages and bodies."""

    name = "tnef"
    exclusive = False

    def accepts(self, kind: Kind) -> bool:
        """Whether it begins with the signature."""
        return kind.head.startswith(SIGNATURE)

    def open(self, file: BinaryIO, kind: Kind, sink: Sink) -> None:
        """Give attachments and bodies; a file that breaks off gives what came before."""
        with mapped(file) as content:
            attachment = _Attachment(content)
            for identifier, start, end in _attributes(content, sink):
                if identifier == _RENDERING:
                    attachment.give(sink)
                    attachment = _Attachment(content)
                elif identifier == _TITLE:
                    attachment.names.append(readable(content[start:end].rstrip(b"\0")))
                elif identifier == _DATA:
                    attachment.stretches.append((start, end))
                elif identifier == _ATTACHMENT:
                    attachment.properties(content[start:end])
                elif identifier == _BODY:
                    give(sink, "body.txt", sliced(content, start, end))
                elif identifier == _PROPERTIES:
                    _give_bodies(content[start:end], sink)
            attachment.give(sink)


def _attributes(content: Content, sink: Sink) -> Iterator[tuple[int, int, int]]:
    """Identifier, start and end of each; the checksum behind each is not asked, Outlook does not either."""
    position = len(SIGNATURE) + 2
    while position + _ATTRIBUTE.size <= len(content):
        _, identifier, _, length = _ATTRIBUTE.unpack(content[position : position + _ATTRIBUTE.size])
        start = position + _ATTRIBUTE.size
        yield identifier, start, min(start + length, len(content))
        position = start + length + 2
        if start + length > len(content):
            sink.trouble("damaged: a TNEF attribute breaks off")


class _Attachment:
    """What belongs to one attachment; its pieces come in any order."""

    def __init__(self, content: Content) -> None:
        self.content = content
        self.names: list[str] = []
        self.stretches: list[tuple[int, int]] = []
        self.objects: list[bytes] = []
        self.damaged = ""

    def properties(self, data: bytes) -> None:
        try:
            found, whole = mapi(data)
        except UnpackError as error:
            self.damaged = str(error)
            return
        if not whole:
            self.damaged = "its properties break off"
        longs = [_text(value) for name, value in found if name == _LONG_NAME]
        shorts = [_text(value) for name, value in found if name == _SHORT_NAME]
        self.names = longs + self.names + shorts
        self.objects += [value for name, value in found if name == _OBJECT and isinstance(value, bytes)]

    def give(self, sink: Sink) -> None:
        names = telling(self.names) or ("attachment",)
        for start, end in self.stretches:
            give(sink, names, sliced(self.content, start, end))
        for data in self.objects:
            give(sink, names, sliced(data.removeprefix(_MESSAGE_CLASS)))
        if self.damaged:
            sink.trouble(f"damaged: {names[0]}: {self.damaged}")


def telling(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each once, without those that only repeat the usual ending of another, shortened to 8.3."""
    known = tuple(dict.fromkeys(name for name in names if name))
    cut = {_ending(name)[:3] for name in known if _ending(name) in _OFTEN_CUT}
    return tuple(name for name in known if _ending(name) not in cut)


def _ending(name: str) -> str:
    return name.rpartition(".")[2].casefold() if "." in name else ""


def _give_bodies(data: bytes, sink: Sink) -> None:
    try:
        found, whole = mapi(data)
    except UnpackError as error:
        sink.trouble(f"damaged: properties: {error}")
        return
    if not whole:
        sink.trouble("damaged: the properties break off")
    for name, value in found:
        if name in _BODIES:
            body = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
            give(sink, _BODIES[name], decompressed(body) if name == 0x1009 else sliced(body))


def mapi(data: bytes) -> tuple[list[tuple[int, object]], bool]:
    """The properties as (identifier, value), and whether these are all: the library stops silently where it fails.

    Raises UnpackError.
    """
    from tnefparse.mapi import decode_mapi  # noqa: PLC0415 - takes its time, and is rarely wanted

    with translated("MAPI properties"):
        (count,) = struct.unpack("<I", data[:4])
        if count > len(data) // 4:  # the library would count to the end, whatever it is
            raise ValueError(f"{count} properties in {len(data)} bytes")
        found = [(attribute.name, attribute.data) for attribute in decode_mapi(data, "cp1252")]
    return found, len(found) >= count


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        value = value[0] if value else ""
    return readable(value if isinstance(value, str | bytes) else "").rstrip("\0")
