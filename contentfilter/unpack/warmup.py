"""Samples of what is common, opened once before helpers are forked: what is made at the first use they then share.

That is libmagic's compiled patterns, Python's own, codecs, tables of libraries: megabytes that each helper would make
for itself at its first messages. The samples are ours: the process that opens them sees no mail.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import libarchive

from contentfilter.unpack.budget import DEFAULT_BUDGET, Meter
from contentfilter.unpack.engine import Engine, Look
from contentfilter.unpack.opener import Opener
from contentfilter.unpack.report import Described, Sign
from contentfilter.unpack.source import Source
from contentfilter.unpack.store import Place, Store

_TEXT: Final = b"Gr\xc3\xbc\xc3\x9fe and a line that goes on for a while.\r\n" * 20
_PAGE: Final = b"<html><head><title>Minutes</title></head><body>%b<script>x = 1</script></body></html>" % _TEXT
_PICTURE: Final = b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(range(256))
_DOCUMENT: Final = b'<?xml version="1.0"?><w:document xmlns:w="http://example.org/w"><w:body/></w:document>'
_NOWHERE: Final = Path(os.devnull)
"""No opener needs a directory for one of these."""
_SIZE: Final = 1 << 20
"""Bytes of the message that the samples pass for."""


def warm_up(openers: Sequence[Opener], look: Look) -> None:
    """Open the samples. Never raises: what does not work is told where mail is opened."""
    with suppress(Exception), closing(Store()) as store, closing(Store()) as members:
        samples = [Source(name, store.add(content), (name,)) for name, content in _samples()]
        meter = Meter(DEFAULT_BUDGET, _SIZE)
        Engine(openers, look, meter, _Silence(), members, _NOWHERE).run(store, samples)


def _samples() -> Iterator[tuple[str, bytes]]:
    yield "photo.jpg", _PICTURE
    yield "page.html", _PAGE
    yield "report.zip", _zip({"report.txt": _TEXT, "word/document.xml": _DOCUMENT})
    yield "minutes.pdf", _pdf()


def _zip(members: Mapping[str, bytes]) -> bytes:
    """By the library that we have at hand: Python's own is 0.3 MB for nothing else."""
    file = io.BytesIO()
    with libarchive.custom_writer(file.write, "zip") as packed:
        for name, content in members.items():
            packed.add_file_from_memory(name, len(content), content)
    return file.getvalue()


def _pdf() -> bytes:
    """With its objects in a stream, as most are written."""
    import pikepdf  # noqa: PLC0415 - takes 0.1 s

    file = io.BytesIO()
    with pikepdf.new() as document:
        document.add_blank_page()
        document.save(file, object_stream_mode=pikepdf.ObjectStreamMode.generate)
    return file.getvalue()


class _Silence:
    """Is told what was found, and tells nobody."""

    def member(self, member: Described, place: Place | None) -> None:
        pass

    def sign(self, path: str, sign: Sign) -> None:
        pass

    def unchecked(self, path: str, why: str) -> None:
        pass

    def same(self, path: str, as_path: str) -> None:
        pass

    def exceeded(self, limit: str) -> None:
        pass
