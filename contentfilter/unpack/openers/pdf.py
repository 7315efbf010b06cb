"""Files embedded in PDF, by pikepdf (qpdf): in the name tree, at annotations, wherever a file specification stands."""

from __future__ import annotations

import mmap
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, BinaryIO

from contentfilter.search import find
from contentfilter.unpack.opener import EncryptedError, Kind, Sink, UnpackError
from contentfilter.unpack.openers.common import CHUNK, FAULTS, give, readable, sliced

if TYPE_CHECKING:
    import pikepdf

OBJECT_LIMIT = 200_000
"""Objects that are looked at; a document of a thousand pages has some ten thousand."""


class Pdf:
    """Embedded files, portfolios included."""

    name = "pdf"
    exclusive = False

    def accepts(self, kind: Kind) -> bool:
        """Whether the mark stands in the first kilobyte, where Acrobat looks for it."""
        return b"%PDF-" in kind.head[:1024]

    def open(self, file: BinaryIO, kind: Kind, sink: Sink) -> None:
        """Give the embedded files. Raises EncryptedError, UnpackError."""
        if not _may_embed(file):
            return
        import pikepdf  # noqa: PLC0415 - takes 0.1 s, and is rarely wanted

        faults: tuple[type[Exception], ...] = (*FAULTS, pikepdf.PdfError, pikepdf.DependencyError)
        try:
            with _opened(file, sink.passwords) as document:
                for name, stream in _embedded(document):
                    try:
                        give(sink, name, _pieces(stream))
                    except UnpackError:
                        sink.listed(name, "damaged")
        except pikepdf.PasswordError as error:
            raise EncryptedError("the document asks for a password") from error
        except faults as error:
            raise UnpackError(f"PDF: {readable(str(error))[:200]}") from error


_TELLING = (b"/EF", b"/EmbeddedFile", b"/ObjStm", b"/Encrypt")
"""Without one of these names no file is embedded where anybody finds it: the dictionary of a file is /EF. A name may
stand in escapes, in a compressed object, or in an encrypted document."""
_ESCAPED_NAME = re.compile(rb"/[^\s/<>()\[\]{}%#]{0,12}#[0-9A-Fa-f]{2}[^\s/<>()\[\]{}%]{0,36}")
_ESCAPE = re.compile(rb"#([0-9A-Fa-f]{2})")
_MOST_ESCAPED = 1000
"""Names in escapes that are read. Compressed data has one by chance in each hundred kilobytes."""


def _may_embed(file: BinaryIO) -> bool:
    """Whether it is worth the milliseconds to read the document: most have no file in them."""
    with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
        if any(find(content, name) >= 0 for name in _TELLING):
            return True
        for number, name in enumerate(_ESCAPED_NAME.finditer(content)):
            if number == _MOST_ESCAPED or _unescaped(name[0]).startswith(_TELLING):
                return True
    return False


def _unescaped(name: bytes) -> bytes:
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode("ascii")), name)


def _opened(file: BinaryIO, passwords: tuple[str, ...]) -> pikepdf.Pdf:
    import pikepdf  # noqa: PLC0415 - as above

    for password in ("", *passwords):
        try:
            file.seek(0)
            return pikepdf.open(file, password=password, suppress_warnings=True, inherit_page_attributes=False)
        except pikepdf.PasswordError:
            continue
    raise pikepdf.PasswordError("no password fits")


def _embedded(document: pikepdf.Pdf) -> Iterator[tuple[str, pikepdf.Stream]]:
    """(name, stream) of each embedded file once; of those to which no specification leads, too."""
    import pikepdf  # noqa: PLC0415 - as above

    seen = set()
    loose = []
    for index, found in enumerate(document.objects):
        if index > OBJECT_LIMIT:
            raise UnpackError(f"more than {OBJECT_LIMIT} objects")
        if isinstance(found, pikepdf.Stream):
            if found.get("/Type") == "/EmbeddedFile":
                loose.append(found)
        elif b"/EF" in found.unparse(resolved=True):  # written out in C++, which is faster than to walk here
            for name, stream in _specified(found):
                if (name, stream.objgen) not in seen:
                    seen.add((name, stream.objgen))
                    yield name, stream
    given = {objgen for _, objgen in seen}
    yield from (("embedded", stream) for stream in loose if stream.objgen not in given)


def _specified(found: pikepdf.Object) -> Iterator[tuple[str, pikepdf.Stream]]:
    """The files of all file specifications that stand in an object, under each name that they have."""
    import pikepdf  # noqa: PLC0415 - as above

    waiting = [found]
    for _ in range(OBJECT_LIMIT):
        if not waiting:
            return
        candidate = waiting.pop()
        if isinstance(candidate, pikepdf.Array):
            inside = list(candidate)
        elif isinstance(candidate, pikepdf.Dictionary):
            told = dict(candidate.as_dict().items())
            inside = list(told.values())
            if "/EF" in told:
                yield from _files(told)
        else:
            continue
        waiting += [item for item in inside if isinstance(item, pikepdf.Object) and not item.is_indirect]
    raise UnpackError(f"more than {OBJECT_LIMIT} objects in one")


def _files(told: Mapping[str, pikepdf.Object]) -> Iterator[tuple[str, pikepdf.Stream]]:
    """The streams of one file specification."""
    import pikepdf  # noqa: PLC0415 - as above

    names = {readable(str(told[key])): None for key in ("/UF", "/F", "/DOS", "/Unix") if key in told}
    if isinstance(told["/EF"], pikepdf.Dictionary):
        for stream in told["/EF"].as_dict().values():
            if isinstance(stream, pikepdf.Stream):
                for name in names or {"embedded": None}:
                    yield name, stream


def _pieces(stream: pikepdf.Stream) -> Iterator[bytes]:
    """Plain deflate is undone here, a piece at a time: a small stream may become a large one. The rest is for qpdf."""
    filters = stream.get("/Filter")
    if filters is None or (str(filters) == "/FlateDecode" and "/DecodeParms" not in stream):
        data = stream.read_raw_bytes()
        yield from sliced(data) if filters is None else _inflated(data)
    else:
        yield from sliced(stream.read_bytes())


def _inflated(data: bytes) -> Iterator[bytes]:
    decompressor = zlib.decompressobj()
    while data and not decompressor.eof:
        yield decompressor.decompress(data, CHUNK)
        data = decompressor.unconsumed_tail
