"""Zip files as attackers write them: every header is believed, central and local, and both if they differ.

Readers differ in which record they trust: Windows and Info-ZIP follow the central directory, programs that stream
follow the local headers, repair tools search for them. So an entry may have several readings, each of them a member.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from contentfilter.unpack.opener import Kind, NotThisError, Sink, UnpackError
from contentfilter.unpack.openers import libarchive, sevenzip
from contentfilter.unpack.openers.common import give, mapped, readable, translated
from contentfilter.unpack.openers.inflate import METHODS, Extent
from contentfilter.unpack.openers.zip_records import (
    CENTRAL,
    DESCRIPTOR,
    END,
    ENTRY_LIMIT,
    LOCAL,
    Content,
    Header,
    aes_method,
    central_headers,
    directories,
    local_header,
    single,
)  # fmt: skip
from contentfilter.unpack.store import new_file

BY_7Z = {1: "shrink", 2: "reduce", 3: "reduce", 4: "reduce", 5: "reduce", 6: "implode", 9: "deflate64", 10: "implode",
         97: "wavpack", 98: "ppmd"}  # fmt: skip
"""Methods left to 7z; it lacks some of them, and then the member is unsupported."""

ATTEMPTS = 500
"""Passwords tried in one file, over all its entries."""

OVERLAP = 8
"""How often each byte may be decompressed. Twice is honest (two readings), more a bomb of entries that overlap."""


@dataclass(frozen=True, slots=True)
class _Reading:
    name: bytes
    header: Header
    """The one that is believed here."""
    local: Header
    length: int
    label: str

    @property
    def key(self) -> tuple[object, ...]:
        """Two readings of one entry are one if these are equal."""
        return self.name, self.header.method, self.header.encrypted, self.length if not self.header.method else 0


@dataclass(slots=True)
class _Archive:
    content: Content
    sink: Sink
    ends: dict[int, int] = field(default_factory=dict)
    """Where the data of each entry ends, by the position of its local header."""
    known: set[Header] = field(default_factory=set)
    certain: bool = True
    """Whether this surely is a zip; else four bytes may just look like an entry, and what cannot be read is none."""
    worked: str | None = None
    attempts: int = 0
    read: int = 0
    entries: int = 0

    def covers(self, position: int) -> bool:
        return any(start < position < end for start, end in self.ends.items())


class Zip:
    """Zip and what is a zip underneath: jar, apk, docx, xlsx, odt, epub, xpi; before, behind or inside anything."""

    name = "zip"
    exclusive = False

    def accepts(self, kind: Kind) -> bool:
        """Whether a record of a zip stands near the beginning or the end, where readers look for one."""
        return kind.has(END, LOCAL)

    def open(self, file: BinaryIO, kind: Kind, sink: Sink) -> None:
        """Give the entries of every directory, then those that stand in none. Raises NotThisError."""
        starts = kind.head.startswith((LOCAL, DESCRIPTOR + b"PK", b"PK00PK"))
        with mapped(file) as content:
            archive = _Archive(content, sink, certain=starts)
            for step in (_from_directories, _from_local_headers):
                try:
                    step(archive)
                except UnpackError as error:
                    sink.trouble(str(error))
        if archive.entries or kind.head.startswith(END):  # the end record alone is an empty zip
            return
        raise UnpackError("a zip without a readable entry") if starts else NotThisError("no zip")


def _from_directories(archive: _Archive) -> None:
    label = ""
    for start, delta in directories(archive.content):
        if archive.covers(start):
            continue  # it belongs to a zip that is stored inside this one
        for header in central_headers(archive.content, start, delta):
            local = local_header(archive.content, header.position)
            _give_entry(archive, header, local, label)
        label = "zip-other-directory"


def _from_local_headers(archive: _Archive) -> None:
    position, label = 0, "zip-local-header" if archive.entries else "zip-no-directory"
    while (position := archive.content.find(LOCAL, position)) >= 0:
        if position not in archive.ends:
            header = local_header(archive.content, position)
            if header is None or not _plausible(header, len(archive.content)):
                position += 4
                continue
            _give_entry(archive, None, header, label)
        position = max(archive.ends.get(position, 0), position + 4)


def _plausible(header: Header, size: int) -> bool:
    """Four bytes alone may occur anywhere."""
    return bool(header.names[0]) and header.end <= size and (header.method in METHODS or header.method in {*BY_7Z, 99})


def _give_entry(archive: _Archive, central: Header | None, local: Header | None, label: str) -> None:
    if archive.entries >= ENTRY_LIMIT:
        raise UnpackError(f"a zip of more than {ENTRY_LIMIT} entries")
    if central:
        if central in archive.known:
            return
        archive.known.add(central)
        archive.certain = True
    if local:
        archive.ends.setdefault(local.position, local.end)
        given, failures = _give_readings(archive, _readings(archive.content, central, local, label))
    else:
        given, failures = False, dict.fromkeys(central.names, "damaged") if central else {}
    archive.entries += archive.certain or given or not failures
    for name, why in failures.items() if archive.certain else ():
        archive.sink.listed(readable(name, "unnamed"), why)
    if archive.read > OVERLAP * len(archive.content) + (1 << 20):
        raise UnpackError("a zip bomb: its entries overlap")


def _give_readings(archive: _Archive, readings: Iterable[_Reading]) -> tuple[bool, dict[bytes, str]]:
    """Whether any reading could be had, and the names under which none could, and why."""
    failures: dict[bytes, str] = {}
    given = set()
    for reading in readings:
        try:
            _give_reading(archive, reading)
            given.add(reading.name)
        except _NoContentError as error:
            failures.setdefault(reading.name, error.why)
    # A program may take the name from one header and the content by the other.
    return bool(given), {name: why for name, why in failures.items() if name not in given}


class _NoContentError(Exception):
    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def _readings(content: Content, central: Header | None, local: Header, label: str) -> Iterator[_Reading]:
    """Each distinct way to understand an entry, the straight one first."""
    seen = set()
    for header in (central, local):
        if header is None:
            continue
        for reading in _by_header(content, header, central, local, label):
            if reading.key not in seen:
                seen.add(reading.key)
                yield reading
        label = label or "zip-local-header"


def _by_header(
    content: Content, header: Header, central: Header | None, local: Header, label: str
) -> Iterator[_Reading]:
    lengths = [header.packed]
    if header is local and header.streamed and not header.packed:
        lengths = [central.packed if central else _streamed_length(content, local)]
    if not header.method and not header.encrypted and header.size not in {0, lengths[0]}:
        lengths.append(header.size)
    for length in lengths:
        for name in header.names:
            yield _Reading(name, header, local, length, label)
            label = label or "zip-unicode-name"
        label = "zip-size" if label in {"", "zip-unicode-name"} else label


def _streamed_length(content: Content, local: Header) -> int:
    """Stored data of unknown length ends where a descriptor says just that length, else at the next record."""
    position = local.end
    for _ in range(1000):
        position = content.find(DESCRIPTOR, position)
        if position < 0:
            break
        if int.from_bytes(content[position + 8 : position + 12], "little") == position - local.end:
            return position - local.end
        position += 4
    nexts = [found for mark in (LOCAL, CENTRAL, END) if (found := content.find(mark, local.end)) >= 0]
    return min(nexts, default=len(content)) - local.end


def _give_reading(archive: _Archive, reading: _Reading) -> None:
    header, name = reading.header, readable(reading.name, "unnamed")
    if name.endswith("/") and not reading.length:
        return
    if header.encrypted and not _plain_after_all(archive, reading):
        _decrypt(archive, reading, name)
    elif header.method in METHODS:
        extent = Extent(reading.local.end)
        pieces = METHODS[header.method](archive.content, reading.local.end, reading.length, header.size, extent)
        try:
            give(archive.sink, name, pieces, reading=reading.label)
        except UnpackError as error:
            raise _NoContentError("damaged") from error
        finally:
            archive.read += extent.end - reading.local.end
            _note_end(archive, reading, extent.end)
    elif header.method in BY_7Z:
        data = bytes(archive.content[reading.local.end : reading.local.end + reading.length])
        _note_end(archive, reading, reading.local.end + reading.length)
        _by_7z(archive, reading, name, data, "")
    else:
        raise _NoContentError("unsupported")


def _note_end(archive: _Archive, reading: _Reading, end: int) -> None:
    """The nearest of the ends that are believed: what lies behind it is looked at for further entries."""
    position = reading.local.position
    before = archive.ends[position]
    archive.ends[position] = end if before == reading.local.end else min(before, end)


def _by_7z(archive: _Archive, reading: _Reading, name: str, data: bytes, password: str) -> None:
    with open(new_file(), "w+b") as copy:  # noqa: PTH123 - a descriptor
        copy.write(single(reading.header, data))
        copy.flush()
        pieces = sevenzip.stream(copy.fileno(), password, archive.sink.directory)
        try:
            give(archive.sink, name, pieces, reading=reading.label)
        except UnpackError as error:
            raise _NoContentError("unsupported") from error


def _plain_after_all(archive: _Archive, reading: _Reading) -> bool:
    """Some readers ignore the flag: with a checksum that fits the data as it is, it was set to keep others out."""
    header = reading.header
    if header.method not in METHODS or not header.crc or header.size > len(archive.content) * 100:
        return False
    crc = size = 0
    try:
        with translated("damaged"):
            pieces = METHODS[header.method](
                archive.content, reading.local.end, reading.length, header.size, Extent(reading.local.end)
            )
            for piece in pieces:
                crc, size = zlib.crc32(piece, crc), size + len(piece)
                if size > header.size:
                    return False
    except UnpackError:
        return False
    return crc == header.crc


def _decrypt(archive: _Archive, reading: _Reading, name: str) -> None:
    """Try the passwords, the one that worked last first."""
    data = bytes(archive.content[reading.local.end : reading.local.end + reading.length])
    _note_end(archive, reading, reading.local.end + reading.length)
    method = aes_method(reading.header.extra) if reading.header.method == 99 else reading.header.method
    whole = single(reading.header, data)
    passwords = list(archive.sink.passwords)
    if archive.worked in passwords:
        passwords.remove(archive.worked)
        passwords.insert(0, archive.worked)
    for password in passwords:
        archive.attempts += 1
        if archive.attempts > ATTEMPTS:
            break
        try:
            if method in BY_7Z:
                _by_7z(archive, reading, name, data, password)
            else:
                give(archive.sink, name, libarchive.first_entry(whole, "zip", password), reading=reading.label)
        except (UnpackError, _NoContentError):
            continue
        archive.worked = password
        return
    raise _NoContentError("encrypted")
