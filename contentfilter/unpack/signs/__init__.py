"""Signs of active content: macros, links that fetch and start things, scripts in documents. Runs in the box.

Each content is looked at by itself. What lies in a zip or another container the engine takes out first, so that the
parts of an Office document (`xl/vbaProject.bin`, `word/_rels/settings.xml.rels`) come by one at a time, and nothing is
looked at twice. Signs are facts; whether one is welcome is for the policy to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import BinaryIO

from contentfilter.unpack.opener import Kind
from contentfilter.unpack.sign_names import BY_NAME, NAMES, UNEXAMINED, name_traits
from contentfilter.unpack.signs import html, ole, onenote, pdf, rtf, shortcut, table, xml
from contentfilter.unpack.signs.sign import Family, Sign, guarded, is_executable_name, sign

__all__ = ["MOST_SIGNS", "NAMES", "UNEXAMINED", "Sign", "look", "name_traits", "signs_of_container"]

MOST_SIGNS = 50
"""Signs of one content."""

_FAMILIES: tuple[Family, ...] = (
    ole.FAMILY,
    rtf.FAMILY,
    pdf.FAMILY,
    onenote.FAMILY,
    shortcut.FAMILY,
    xml.FAMILY,
    html.FAMILY,
    table.FAMILY,
)

_IMAGE_TYPES = frozenset({
    "application/x-iso9660-image",
    "application/x-virtualbox-vhd",
    "application/x-virtualbox-vhdx",
    "application/x-vhd",
    "application/x-udf-image",
    "application/x-raw-disk-image",
    "application/x-qemu-disk",
    "application/x-apple-diskimage",
})  # fmt: skip
_PROGRAM_TYPES = frozenset({
    "application/x-dosexec",
    "application/vnd.microsoft.portable-executable",
    "application/x-executable",
    "application/x-pie-executable",
    "application/x-mach-binary",
    "application/x-ms-shortcut",
    "text/x-shellscript",
    "text/x-msdos-batch",
})  # fmt: skip


def look(file: BinaryIO, kind: Kind) -> Iterator[Sign]:
    """The signs of one content, each once, at most :data:`MOST_SIGNS`. Never raises but for what ends the process.

    A family that fails over a content in its own format gives :data:`UNEXAMINED`: no one may take it for harmless.
    """
    found: set[Sign] = set()
    for family in _FAMILIES:
        for each in guarded(family.name, _signs(family, file, kind)):
            if each not in found:
                found.add(each)
                yield each
            if len(found) == MOST_SIGNS:
                return


def _signs(family: Family, file: BinaryIO, kind: Kind) -> Iterator[Sign]:
    told = kind if family.name in BY_NAME else replace(kind, names=())
    if family.accepts(told):
        file.seek(0)
        yield from family.signs(file, told)


def signs_of_container(kind: Kind, members: Iterable[tuple[str, str]]) -> Iterator[Sign]:
    """The signs that only a container together with its members shows.

    members: name and media type of each. A disk image with a program in it: what is opened from an image bears no mark
    of having come from elsewhere.
    """
    if not _is_image(kind):
        return
    programs = [name for name, media_type in members if media_type in _PROGRAM_TYPES or is_executable_name(name)]
    if programs:
        yield sign("image-with-executable", ", ".join(programs[:5]))


def _is_image(kind: Kind) -> bool:
    return (
        kind.media_type in _IMAGE_TYPES
        or kind.head[32769:32774] in {b"CD001", b"BEA01", b"NSR02"}
        or kind.head.startswith((b"conectix", b"vhdxfile"))
        or kind.tail[-512:].startswith(b"conectix")
        or (kind.head[510:512] == b"\x55\xaa" and kind.head[:1] in {b"\xeb", b"\xe9", b"\x33", b"\xfa"})
    )
