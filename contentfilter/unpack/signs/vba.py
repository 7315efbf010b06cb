"""Macros in Visual Basic: which run by themselves, and which reach out of the document."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import BinaryIO

from contentfilter.unpack.signs.sign import Sign, sign

_MOST_BYTES = 64 * 1024 * 1024
_MOST_MODULES = 200
_SOURCE_LENGTH = 200_000
_ALL_SOURCES = 1_000_000


def signs(file: BinaryIO) -> Iterator[Sign]:
    """The signs of the macros in a compound file. Raises whatever olevba raises over a damaged one."""
    # olevba and what it brings take 200 ms and 20 MB: only a helper that meets macros pays for them.
    with warnings.catch_warnings(action="ignore"):  # its grammar is written for an older pyparsing
        from oletools import olevba  # noqa: PLC0415

    file.seek(0)
    data = file.read(_MOST_BYTES)
    parser = olevba.VBA_Parser("", data=data, relaxed=True, disable_pcode=True)
    try:
        parser.no_xlm = True
        if not parser.detect_vba_macros():
            return
        sources = 0
        for number, (_, _, name, code) in enumerate(parser.extract_macros()):
            if number == _MOST_MODULES or sources > _ALL_SOURCES:
                break
            sources += len(code)
            yield from _of_code(olevba, name or "", code[:_SOURCE_LENGTH])
        if not sources:
            yield sign("macro-without-source", "the compiled code may do what no source shows")
    finally:
        parser.close()


def _of_code(olevba: ModuleType, name: str, code: str | bytes) -> Iterator[Sign]:
    text = code.decode("latin-1") if isinstance(code, bytes) else code
    text = olevba.vba_collapse_long_lines(text)
    for keyword, _ in olevba.detect_autoexec(text)[:3]:
        yield sign("macro-autorun", f"{keyword} in {name}")
    keywords = [keyword for keyword, _ in olevba.detect_suspicious(text)]
    if keywords:
        yield sign("macro-suspicious", ", ".join(keywords[:8]))
