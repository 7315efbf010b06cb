"""Objects in RTF, by oletools; and the compressed RTF of Outlook (MS-OXRTFCP)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from contentfilter.unpack.opener import Kind, NotThisError, Sink
from contentfilter.unpack.openers.common import give, mapped, readable, sliced, translated

SIZE_LIMIT = 128 * 1024 * 1024
"""Bytes that a compressed body may claim for itself."""


class Rtf:
    """OLE objects and packages in RTF."""

    name = "rtf"
    exclusive = False

    def accepts(self, kind: Kind) -> bool:
        r"""Whether it begins as Word wants it: "{\rt" is enough, and blanks before it do not matter."""
        return kind.head.lstrip()[:4].lower() == b"{\\rt"

    def open(self, file: BinaryIO, kind: Kind, sink: Sink) -> None:
        """Give the objects. Raises NotThisError if there is none."""
        with mapped(file) as content:
            if content.find(b"objdata") < 0:
                raise NotThisError("no object in it")
            data = content[:]
        from oletools.rtfobj import RtfObjParser  # noqa: PLC0415 - takes 0.1 s, and is rarely wanted

        with translated("RTF"):
            parser = RtfObjParser(data)
            parser.parse()
        for found in parser.objects:
            if found.is_package:
                names = package_names(found.filename, found.src_path, found.temp_path)
                give(sink, names, sliced(found.olepkgdata or b""))
            elif found.is_ole:
                give(sink, readable(found.class_name, "object"), sliced(found.oledata or b""))
            elif found.rawdata:
                give(sink, "object", sliced(found.rawdata))


def package_names(*told: str | bytes | None) -> tuple[str, ...]:
    """The names of a package's file: its label is shown, it is opened under the name that its paths end in."""
    names = (readable(each).rpartition("\\")[2] for each in told)
    return tuple(dict.fromkeys(name for name in names if name)) or ("package",)


def decompressed(body: bytes) -> Iterator[bytes]:
    """The RTF behind PidTagRtfCompressed. Raises one of the faults that are translated."""
    from compressed_rtf import decompress  # noqa: PLC0415 - rarely wanted

    if int.from_bytes(body[4:8], "little") > SIZE_LIMIT:
        raise ValueError("a body of more than 128 MiB")
    yield from sliced(decompress(body))
