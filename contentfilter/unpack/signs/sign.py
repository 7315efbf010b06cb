"""One sign of active content, and what the families that look for signs share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from contentfilter.unpack.opener import Kind
from contentfilter.unpack.sign_names import UNEXAMINED

MOST_BYTES = 32 * 1024 * 1024
"""Bytes of one content that are looked at."""

_EXECUTABLE = re.compile(
    r"\.(?:exe|dll|scr|com|pif|cpl|ocx|sys|msi|msp|bat|cmd|ps1|psm1|vbs|vbe|js|jse|wsf|wsh|wsc|sct|hta|lnk|url|jar|reg|"
    r"inf|scf|chm|xll|application|appref-ms|msc|settingcontent-ms|library-ms|iso|img|vhdx?)[. \0]*$",
    re.IGNORECASE,
)
_MARKS = (b"MZ", b"\x7fELF", b"L\0\0\0\x01\x14\x02\0", b"#!")


@dataclass(frozen=True, slots=True)
class Sign:
    """A place where a content can act by itself, or lead its reader to something that does.

    name: one of a fixed set, for rules ("macro-autorun"); detail: what was seen, for people, up to 200 printable
    characters that come from the message.
    """

    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """Looks for the signs of one family of formats. Its `signs` may raise: what it does then, the caller knows.

    It is told the names of a content only if it stands in :data:`contentfilter.unpack.sign_names.BY_NAME`.
    """

    name: str
    accepts: Callable[[Kind], bool]
    signs: Callable[[BinaryIO, Kind], Iterator[Sign]]


def sign(name: str, detail: str | bytes = "") -> Sign:
    """A sign with a detail made fit to be shown."""
    text = detail[:800].decode("latin-1") if isinstance(detail, bytes) else detail[:800]
    return Sign(name, " ".join("".join(char if char.isprintable() else " " for char in text).split())[:200])


def guarded(what: str, signs: Iterable[Sign]) -> Iterator[Sign]:
    """These signs, and :data:`UNEXAMINED` in place of an exception."""
    # The libraries for these formats raise whatever their code happens to run into, RecursionError included.
    try:
        yield from signs
    except Exception as error:
        yield sign(UNEXAMINED, f"{what}: {type(error).__name__}: {error}")


def is_executable_name(name: str) -> bool:
    """Whether opening a file of this name runs it."""
    return bool(_EXECUTABLE.search(name[-64:]))


def is_executable(head: bytes) -> bool:
    """Whether these are the first bytes of a program or of a shortcut to one."""
    return head.startswith(_MARKS)
