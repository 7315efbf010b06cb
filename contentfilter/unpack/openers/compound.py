"""Compound files (MS-CFB): Outlook's .msg, packages in Office files, documents that are encrypted as a whole."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

import olefile

from contentfilter.unpack.opener import Kind, NotThisError, Sink, UnpackError
from contentfilter.unpack.openers.common import CHUNK, FAULTS, give, readable, sliced, translated
from contentfilter.unpack.openers.rtf import decompressed, package_names
from contentfilter.unpack.openers.tnef import telling

STREAM_LIMIT = 20_000
"""Streams that are looked at."""

DEFAULT_PASSWORD = "VelvetSweatshop"  # noqa: S105 - public knowledge
"""Excel opens what is encrypted with it without asking."""

_PROPERTY = re.compile(r"^__substg1\.0_([0-9A-F]{4})([0-9A-F]{4})$", re.IGNORECASE)
_BODIES = {"1000": "body.txt", "1013": "body.html", "1009": "body.rtf"}
_DOCUMENTS = {"EncryptedPackage", "WordDocument", "Workbook", "Book", "PowerPoint Document"}
"""Streams of documents that may be encrypted."""

_NAMES = ("3707", "3704", "3001")


class Compound:
    """.msg with attachments and messages in it, packages and documents in Office files, encrypted documents."""

    name = "compound"
    exclusive = False

    def accepts(self, kind: Kind) -> bool:
        """Whether it begins with the signature."""
        return kind.head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")

    def open(self, file: BinaryIO, kind: Kind, sink: Sink) -> None:
        """Give what the streams carry. Raises NotThisError if that is nothing, UnpackError."""
        with translated("compound file"):
            compound = olefile.OleFileIO(file)
        found = 0
        with compound:
            paths = _streams(compound)
            for path in paths:
                found += _give_stream(compound, path, sink)
            if any(path[0] in _DOCUMENTS for path in paths) and _is_encrypted(file):
                _decrypt(file, sink)
                found += 1
        if not found:
            raise NotThisError("nothing embedded")


def _streams(compound: olefile.OleFileIO) -> list[list[str]]:
    with translated("compound file"):
        return list(compound.listdir(streams=True, storages=False))[:STREAM_LIMIT]


def _give_stream(compound: olefile.OleFileIO, path: list[str], sink: Sink) -> bool:
    """Give what a stream carries; whether it is of a kind that carries something."""
    last = path[-1]
    if found := _PROPERTY.match(last):
        return _give_property(compound, path, found[1].upper(), found[2].upper(), sink)
    if last.casefold() == "\x01ole10native":
        names, data = package(_read(compound, path))
        give(sink, names, sliced(data))
    elif last.casefold() in {"package", "contents"} and len(path) > 1:
        give(sink, last, _pieces(compound, path))
    else:
        return False
    return True


def _give_property(compound: olefile.OleFileIO, path: list[str], identifier: str, kind: str, sink: Sink) -> bool:
    if identifier in _BODIES and len(path) == 1:
        pieces = decompressed(_read(compound, path)) if identifier == "1009" else _pieces(compound, path)
        _give_or_say(sink, (_BODIES[identifier],), pieces)
        return True
    if identifier == "3701" and kind == "0102":
        _give_or_say(sink, telling(_names(compound, path[:-1])) or ("attachment",), _pieces(compound, path))
        return True
    return False


def _give_or_say(sink: Sink, names: tuple[str, ...], pieces: Iterator[bytes]) -> None:
    try:
        give(sink, names, pieces)
    except UnpackError:
        for name in names:
            sink.listed(name, "damaged")


def _names(compound: olefile.OleFileIO, storage: list[str]) -> list[str]:
    """The names of an attachment: long, short and displayed, each as UTF-16 or in eight bits."""
    names = []
    for identifier in _NAMES:
        for kind, encoding in (("001F", "utf-16-le"), ("001E", "cp1252")):
            path = [*storage, f"__substg1.0_{identifier}{kind}"]
            if compound.exists(path):
                names.append(readable(_read(compound, path)[:8192].decode(encoding, "replace").rstrip("\0")))
    return names


def _read(compound: olefile.OleFileIO, path: list[str]) -> bytes:
    with translated("compound file"):
        return bytes(compound.openstream(path).read())


def _pieces(compound: olefile.OleFileIO, path: list[str]) -> Iterator[bytes]:
    stream = compound.openstream(path)
    while piece := stream.read(CHUNK):
        yield piece


def package(data: bytes) -> tuple[tuple[str, ...], bytes]:
    """Names and content of an OLE package (Ole10Native, MS-OLEDS 2.3.6); if it is not laid out as one, all of it."""
    try:
        label, position = _string(data, 6)
        source, position = _string(data, position)
        (length,) = struct.unpack_from("<I", data, position + 4)
        temporary = data[position + 8 : position + 8 + length].partition(b"\0")[0]
        position += 8 + length
        (size,) = struct.unpack_from("<I", data, position)
        content = data[position + 4 : position + 4 + size]
    except (struct.error, ValueError):
        return ("object",), data[4:]
    return (package_names(label, source, temporary), content) if content else (("object",), data[4:])


def _string(data: bytes, position: int) -> tuple[bytes, int]:
    end = data.index(b"\0", position)
    return data[position:end], end + 1


def _is_encrypted(file: BinaryIO) -> bool:
    import msoffcrypto  # noqa: PLC0415 - takes its time, and is rarely wanted

    file.seek(0)
    try:
        return bool(msoffcrypto.OfficeFile(file).is_encrypted())
    except (*FAULTS, msoffcrypto.exceptions.FileFormatError, msoffcrypto.exceptions.ParseError):
        return False  # no document


def _decrypt(file: BinaryIO, sink: Sink) -> None:
    """Give the document in the clear if a password fits, and else say that it is encrypted."""
    import msoffcrypto  # noqa: PLC0415 - as above

    faults = (*FAULTS, msoffcrypto.exceptions.DecryptionError, msoffcrypto.exceptions.InvalidKeyError,
              msoffcrypto.exceptions.FileFormatError, msoffcrypto.exceptions.ParseError)  # fmt: skip
    target = sink.directory / "decrypted"
    for password in (DEFAULT_PASSWORD, *sink.passwords):
        try:
            file.seek(0)
            document = msoffcrypto.OfficeFile(file)
            # The old formats always check the password; the newer ones would decrypt to garbage.
            document.load_key(password=password, **({"verify_password": True} if document.format == "ooxml" else {}))
            with target.open("wb") as clear:
                document.decrypt(clear)
        except faults:
            continue
        with target.open("rb") as clear:
            give(sink, "decrypted document", iter(lambda: clear.read(CHUNK), b""))
        target.unlink()
        return
    target.unlink(missing_ok=True)
    sink.listed("document", "encrypted")
