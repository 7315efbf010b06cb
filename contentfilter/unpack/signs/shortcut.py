"""Files that stand for something else to be opened: shortcuts of Windows and of desktops, and settings files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from contentfilter.text import decode
from contentfilter.unpack.opener import Kind
from contentfilter.unpack.signs.sign import Family, Sign, sign

# HeaderSize and LinkCLSID ([MS-SHLLINK] 2.1).
_LINK = b"\x4c\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46"
_TEXT_BYTES = 64 * 1024
_START_BYTES = 16 * 1024
"""At least 4,096 characters, and all that has to be decoded of most contents."""

_SECTIONS = re.compile(
    r"^[ \t]*\[(InternetShortcut|Desktop Entry|Shell|DEFAULT)\][ \t]*\r?$", re.IGNORECASE | re.MULTILINE
)
_KEYS = {
    "internetshortcut": re.compile(
        r"^[ \t]*(?:URL|IconFile|WorkingDirectory)[ \t]*=[ \t]*(.{1,300})", re.IGNORECASE | re.MULTILINE
    ),
    "desktop entry": re.compile(r"^[ \t]*(?:Exec|URL)[ \t]*=[ \t]*(.{1,300})", re.IGNORECASE | re.MULTILINE),
    "shell": re.compile(r"^[ \t]*(?:Command|IconFile)[ \t]*=[ \t]*(.{1,300})", re.IGNORECASE | re.MULTILINE),
    "default": re.compile(r"^[ \t]*BASEURL[ \t]*=[ \t]*(.{1,300})", re.IGNORECASE | re.MULTILINE),
}
_SETTINGS = re.compile(
    r"<(?:\w+:)?(PCSettings|libraryDescription|searchConnectorDescription|MMC_ConsoleFile)\b|"
    r"<(?:\w+:)?assembly\b[^>]{0,2000}?(asm\.v[12])[^>]*>(?=.{0,4000}<(?:\w+:)?deployment\b)",
    re.IGNORECASE | re.DOTALL,
)
_QUERY = re.compile(r"WEB\r?\n\d+\r?\n[ \t]*(\S{1,300})", re.IGNORECASE)


def _accepts(kind: Kind) -> bool:
    return (
        kind.head.startswith(_LINK) or b"[" in kind.head[:4096] or b"<" in kind.head[:4096] or kind.head[:3] == b"WEB"
    )


def _signs(file: BinaryIO, kind: Kind) -> Iterator[Sign]:
    if kind.head.startswith(_LINK):
        yield sign("shortcut", _strings(file.read(_TEXT_BYTES)))
        return
    text = decode(kind.head[:_START_BYTES], whole=False)
    if _SECTIONS.search(text, 0, 4096):
        text = decode(kind.head[:_TEXT_BYTES])
    section = _SECTIONS.search(text, 0, 4096)
    if section:
        target = _KEYS[section[1].lower()].search(text, section.end())
        if target:
            yield sign("shortcut", f"[{section[1]}] {target[1]}")
    settings = _SETTINGS.search(text, 0, 4096)
    if settings:
        yield sign("shortcut", settings[1] or settings[2])
    query = _QUERY.match(text)
    if query:
        yield sign("external-template", f"web query {query[1]}")


def _strings(data: bytes) -> str:
    """What can be read in a link, where its target and arguments are."""
    wide = [each.decode("utf-16-le") for each in re.findall(rb"(?:[\x20-\x7e]\0){6,300}", data)]
    plain = [each.decode("ascii") for each in re.findall(rb"[\x20-\x7e]{6,300}", data)]
    return " ".join((wide or plain)[:8])


FAMILY = Family("shortcut", _accepts, _signs)
