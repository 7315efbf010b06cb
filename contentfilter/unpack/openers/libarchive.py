"""What libarchive reads: one library for most archives and compressions. Nothing is extracted to disk.

Formats and filters are switched on one by one: some filters of libarchive start external programs, and mtree, which
only names files, could make it look at files of ours.
"""

from __future__ import annotations

import ctypes
import logging
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import BinaryIO

from libarchive import ffi
from libarchive.entry import ArchiveEntry
from libarchive.exception import ArchiveError

from contentfilter.unpack.naming import stream_names
from contentfilter.unpack.opener import EncryptedError, Kind, NotThisError, Sink, UnpackError
from contentfilter.unpack.openers.common import CHUNK, give, give_stream, readable
from contentfilter.unpack.openers.streams import gzip_name, salvaged

FORMATS = ("7zip", "ar", "cab", "cpio", "iso9660", "lha", "rar", "rar5", "tar", "xar")
FILTERS = ("bzip2", "compress", "gzip", "lz4", "lzip", "lzma", "rpm", "xz", "zstd")

logging.getLogger("libarchive").addHandler(logging.NullHandler())  # what it complains of is told by us

_LZMA_MARKS = (b"]\0\0", b"\xfd7zXZ\0", b"LZIP")


_set_options = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(
    ("archive_read_set_options", ffi.libarchive)
)
_is_encrypted = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(("archive_entry_is_encrypted", ffi.libarchive))


class Libarchive:
    """7z, rar, cab, iso, lha, cpio, tar, xar, ar, deb, rpm, through any compression; or one compressed stream."""

    name = "libarchive"
    exclusive = True

    def accepts(self, kind: Kind) -> bool:
        """Anything that is not plain text: libarchive itself tells, from the first bytes, what it does not know."""
        return len(kind.head) > 1 and not kind.head.startswith(b"%PDF-")

    def open(self, file: BinaryIO, kind: Kind, sink: Sink) -> None:
        """Give the entries, or what a stream decompresses to. Raises NotThisError, EncryptedError, UnpackError."""
        size = file.seek(0, 2)
        if not size:
            raise NotThisError("empty")
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as content:
            entries_at(content, 0, kind, sink)


def entries_at(content: mmap.mmap, offset: int, kind: Kind, sink: Sink) -> None:
    """Give the entries of an archive that begins at this offset of a private mapping. Raises as its opener does."""
    try:
        _entries_at(content, offset, kind, sink)
    except UnpackError as error:
        if "Lzma library error" in str(error) and not content[offset : offset + 6].startswith(_LZMA_MARKS):
            raise NotThisError("no lzma") from error  # it has no real mark, so it is often seen where there is none
        pieces = salvaged(content, offset)
        if pieces is None or isinstance(error, EncryptedError):
            raise
        give_stream(sink, pieces)


def _entries_at(content: mmap.mmap, offset: int, kind: Kind, sink: Sink) -> None:
    with _memory(content, offset) as (pointer, size):
        if _has_two_trees(content, offset):
            # Windows shows the tree with long names, others the other one; they need not hold the same files.
            for options, reading in ((b"iso9660:!joliet", ""), (b"iso9660:!rockridge", "iso-joliet")):
                with _reader(pointer, size, ("iso9660",), (), options=options) as archive:
                    _Reading(archive, sink, reading).run()
            return
        with _reader(pointer, size, (*FORMATS, "raw"), FILTERS) as archive:
            first = _Reading(archive, sink)
            try:
                first.run()
            except UnpackError:
                if first.given or not _is_compressed(archive):
                    raise
            else:
                if first.raw:
                    _give_other_name(content, offset, kind, sink)
                return
        # What was compressed is no archive that can be read, but a content all the same.
        with _reader(pointer, size, ("raw",), FILTERS) as archive:
            _Reading(archive, sink).run()
        _give_other_name(content, offset, kind, sink)


def _give_other_name(content: mmap.mmap, offset: int, kind: Kind, sink: Sink) -> None:
    """A gzip's header may name its content otherwise, and some programs go by that."""
    name, pieces = gzip_name(content, offset), salvaged(content, offset)
    if name and pieces and name.casefold() not in map(str.casefold, stream_names(kind.names)):
        give(sink, name, pieces, reading="gzip-name")


def _has_two_trees(content: mmap.mmap, offset: int) -> bool:
    """Whether an ISO 9660 image has a supplementary volume descriptor with the marks of Joliet."""
    for start in range(offset + 16 * 2048, offset + 32 * 2048, 2048):
        if content[start + 1 : start + 6] != b"CD001":
            return False
        if content[start : start + 1] == b"\2" and content[start + 88 : start + 91] in {b"%/@", b"%/C", b"%/E"}:
            return True
    return False


@contextmanager
def _memory(content: mmap.mmap, offset: int) -> Iterator[tuple[int, int]]:
    """Address and size of what follows the offset."""
    start = ctypes.c_char.from_buffer(content, offset)
    try:
        yield ctypes.addressof(start), len(content) - offset
    finally:
        del start  # else the mapping could not be closed


@contextmanager
def _reader(
    pointer: int,
    size: int,
    formats: tuple[str, ...],
    filters: tuple[str, ...],
    password: str = "",
    *,
    options: bytes = b"",
) -> Iterator[int]:
    archive = ffi.read_new()
    try:
        lacking_formats, lacking_filters = missing()
        for name in filters:
            if name not in lacking_filters:
                ffi.get_read_filter_function(name)(archive)
        for name in formats:
            if name not in lacking_formats:
                ffi.get_read_format_function(name)(archive)
        if options:
            _set_options(archive, options)
        if password:
            ffi.read_add_passphrase(archive, password.encode("utf-8", "surrogateescape"))
        try:
            ffi.read_open_memory(archive, pointer, size)
        except ArchiveError as error:
            unknown = "nrecognized" in _reason(error)  # else a filter knew its own and then broke down
            raise (NotThisError if unknown else UnpackError)(_reason(error)) from error
        yield archive
    finally:
        ffi.read_free(archive)


class _Reading:
    """One pass over an archive."""

    def __init__(self, archive: int, sink: Sink, reading: str = "") -> None:
        self.archive, self.sink, self.reading = archive, sink, reading
        self.given = 0
        self.raw = False

    def run(self) -> None:
        while True:
            entry = ArchiveEntry(self.archive)
            try:
                answer = ffi.read_next_header2(self.archive, entry._entry_p)  # noqa: SLF001 - no other way to fill it
            except ArchiveError as error:
                self._broken(error)
                return
            if answer == ffi.ARCHIVE_EOF:
                break
            if answer == ffi.ARCHIVE_WARN:
                self._warned()
            if not self._entry(entry):
                break
        if not self.given:  # a disk image begins with zeros, as an empty tar does
            raise NotThisError("nothing in it")

    def _warned(self) -> None:
        """Most warnings are about dates and owners; a volume of several holds only some of the content."""
        reason = readable(ffi.error_string(self.archive), "")
        if "olume" in reason:
            self.sink.trouble(reason)

    def _format(self) -> bytes:
        return bytes(ffi.format_name(self.archive) or b"")

    def _broken(self, error: ArchiveError) -> None:
        """The archive cannot be followed any further."""
        reason = _reason(error)
        if self.given:
            self.sink.trouble(f"damaged: {reason}")
        elif "ncrypt" in reason:
            raise EncryptedError(reason) from error
        elif not _is_compressed(self.archive) and (not self._format() or "Unrecognized archive format" in reason):
            raise NotThisError(reason) from error
        else:
            raise UnpackError(reason) from error

    def _entry(self, entry: ArchiveEntry) -> bool:
        """Give one entry; False if it was the only one."""
        if self._format() == b"raw":
            self._raw()
            return False
        name = readable(_name(entry), "unnamed")
        if entry.islnk or entry.issym:
            self.sink.listed(name, "link")
        elif entry.isdev:
            self.sink.listed(name, "device")
        elif entry.isdir:
            if name != ".":
                self.sink.listed(name, "directory")
        elif _is_encrypted(entry._entry_p):  # noqa: SLF001 - asked of the library directly, libarchive-c does not offer it
            self._locked_entry(name)
            return True
        else:
            self._regular(name)
        self.given += 1
        return True

    def _locked_entry(self, name: str) -> None:
        if not self.given and self._format().startswith(b"7-Zip"):
            raise EncryptedError(f"{name} is encrypted")  # 7z knows how to decrypt it, libarchive does not
        self.sink.listed(name, "encrypted")
        self.given += 1

    def _regular(self, name: str) -> None:
        try:
            give(self.sink, name, self._data(), reading=self.reading)
        except UnpackError:
            self.sink.listed(name, "damaged")

    def _raw(self) -> None:
        """A compressed stream that holds no archive; without a filter it is just any content."""
        if not _is_compressed(self.archive):
            raise NotThisError("no archive")
        give_stream(self.sink, self._data())
        self.given += 1
        self.raw = True

    def _data(self) -> Iterator[bytes]:
        return _stretches(self.archive) if self._format() == b"xar" else _blocks(self.archive)


def _is_compressed(archive: int) -> bool:
    return int(ffi.filter_count(archive)) > 1


def _stretches(archive: int) -> Iterator[bytes]:
    """What stands in the archive, without regard to where it belongs: of xar it counts on from file to file."""
    pointer, length, offset = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_longlong()
    told = ctypes.byref(pointer), ctypes.byref(length), ctypes.byref(offset)
    try:
        while ffi.read_data_block(archive, *told) != ffi.ARCHIVE_EOF:
            for start in range(0, length.value, CHUNK):
                yield ctypes.string_at((pointer.value or 0) + start, min(CHUNK, length.value - start))
    except ArchiveError as error:
        raise UnpackError(_reason(error)) from error


def _blocks(archive: int) -> Iterator[bytes]:
    buffer = ctypes.create_string_buffer(CHUNK)
    view = memoryview(buffer)
    try:
        while length := ffi.read_data(archive, buffer, CHUNK):
            yield bytes(view[:length])
    except ArchiveError as error:
        raise UnpackError(_reason(error)) from error


def first_entry(data: bytes, format_name: str, password: str = "") -> Iterator[bytes]:
    """The content of an archive's first entry. Raises UnpackError: not this password, or damaged."""
    buffer = ctypes.create_string_buffer(data, len(data))
    with _reader(ctypes.addressof(buffer), len(data), (format_name,), (), password) as archive:
        entry = ArchiveEntry(archive)
        try:
            ffi.read_next_header2(archive, entry._entry_p)  # noqa: SLF001 - the class has no other way to be filled
        except ArchiveError as error:
            raise UnpackError(_reason(error)) from error
        yield from _blocks(archive)


@cache
def missing() -> tuple[list[str], list[str]]:
    """The formats and the filters of ours that this build of libarchive lacks, or leaves to external programs."""
    formats: list[str] = []
    filters: list[str] = []
    archive = ffi.read_new()
    try:
        for names, lookup, lacking in (
            (FORMATS, ffi.get_read_format_function, formats),
            (FILTERS, ffi.get_read_filter_function, filters),
        ):
            for name in names:
                try:
                    if lookup(name)(archive) != ffi.ARCHIVE_OK:
                        lacking.append(name)
                except (ValueError, ArchiveError):
                    lacking.append(name)
    finally:
        ffi.read_free(archive)
    return formats, filters


def _name(entry: ArchiveEntry) -> str | bytes:
    name = entry.pathname
    return name if isinstance(name, str | bytes) else ""


def _reason(error: ArchiveError) -> str:
    text = error.msg
    return readable(text, "unreadable")[:200]
