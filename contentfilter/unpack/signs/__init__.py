"""Signs of active content: macros, links that fetch and start things, scripts in documents. Runs in the box.

Each content is looked at by itself. What lies in a zip or another container the engine takes out first, so that the
parts of an Office document (`xl/vbaProject.bin`, `word/_rels/settings.xml.rels`) come by one at a time, and nothing is
looked at twice. Signs are facts; whether one is welcome is for the policy to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import BinaryIO

from contentfilter.unpack.opener import Kind
from contentfilter.unpack.signs import html, ole, onenote, pdf, rtf, shortcut, table, xml
from contentfilter.unpack.signs.sign import UNEXAMINED, Family, Sign, guarded, is_executable_name, sign

__all__ = ["MOST_SIGNS", "NAMES", "UNEXAMINED", "Sign", "look", "name_traits", "signs_of_container"]

MOST_SIGNS = 50
"""Signs of one content."""

NAMES: Mapping[str, str] = MappingProxyType({
    "macro": "macros in Visual Basic or in OpenDocument Basic",
    "macro-autorun": "a macro that runs when the document is opened, closed or changed",
    "macro-suspicious": "a macro that starts programs, fetches or writes files, or hides what it does",
    "macro-without-source": "compiled macros whose source is missing",
    "xlm-macro": "macros of Excel 4.0, also in SYLK",
    "dde": "a field, cell or link that asks another program for data",
    "external-template": "a template, object or frame that is fetched from elsewhere when the document is opened",
    "ole-package": "a file of any kind embedded in a document",
    "ole-executable": "an embedded file that is a program or a script",
    "ole-exploited-class": "an embedded object of a class known from exploits",
    "equation-editor": "an object of the Equation Editor (CVE-2017-11882)",
    "office-encrypted": "an Office document that needs a password",
    "pdf-javascript": "a script in a PDF",
    "pdf-launch": "a PDF that starts a program or imports data",
    "pdf-open-action": "a PDF that does more than go to a page when it is opened",
    "pdf-embedded-file": "a file in a PDF",
    "pdf-rich-media": "Flash or another medium in a PDF",
    "pdf-xfa": "a form in XML in a PDF",
    "pdf-encrypted": "an encrypted PDF",
    "html-script": "a script in HTML",
    "html-script-in-svg": "a script in an SVG picture",
    "html-smuggling": "HTML that makes a file, or a page, out of encoded text",
    "html-application": "HTML that runs as a program (HTA)",
    "html-protocol-handler": "a link that starts a local program",
    "encoded-script": "a script in the encoded form of Windows Script",
    "script-object": "a script that uses the objects of Windows Script",
    "script-in-xml": "a Windows Script file or component, or a script in a style sheet",
    "shortcut": "a shortcut, or a settings file that works as one",
    "image-with-executable": "a disk image with a program or shortcut in it",
    "onenote-embedded": "a file other than a picture in a OneNote section",
    UNEXAMINED: "a content that claims a format and could not be read as such",
})  # fmt: skip
"""Every sign there is, for the documentation and for checking rules."""

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
    told = kind if family.by_name else replace(kind, names=())
    if family.accepts(told):
        file.seek(0)
        yield from family.signs(file, told)


def name_traits(names: Iterable[str]) -> frozenset[str]:
    """The families of signs that look otherwise at a content because of one of these names.

    Contents with equal bytes and equal traits have equal signs.
    """
    known = tuple(names)
    return frozenset(each.name for each in _FAMILIES if each.by_name and any(map(each.by_name, known)))


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
