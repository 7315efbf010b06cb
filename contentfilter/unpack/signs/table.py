"""Tables as text, in which a spreadsheet program takes a cell for a formula: CSV, and SYLK with its macros."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from contentfilter.text import decode
from contentfilter.unpack.opener import Kind
from contentfilter.unpack.sign_names import is_called_table
from contentfilter.unpack.signs.sign import Family, Sign, sign

_BYTES = 4 * 1024 * 1024
# A cell that asks another program: =cmd|'/c calc'!A1, also as +cmd|, -2+3+cmd|, @SUM(1+1)*cmd|
_DDE = re.compile(
    r"""(?:^|[,;\t"\n])["' \t]{0,8}[=+@-][^\n,;\t|]{0,200}?\b([A-Za-z][\w.]{1,30})\|[ \t]*'[^'\n]{1,300}'![^\n]{1,40}"""
)
_FETCH = re.compile(
    r"""(?:^|[,;\t"\n])["' \t]{0,8}[=+@-][^\n,;\t]{0,90}?\b(WEBSERVICE|IMPORTXML|IMPORTDATA|RTD|CALL|REGISTER)\(""",
    re.IGNORECASE,
)
_SYLK_DDE = re.compile(r";E([^;\n]{1,60})\|[^\n]{1,300}")
_SYLK_MACRO = re.compile(
    r"^O;[^\n]{0,100}?E\b|^NN;NAuto_open|;E(?:EXEC|CALL|REGISTER|FORMULA|RUN|HALT|ALERT)\(",
    re.IGNORECASE | re.MULTILINE,
)


def _accepts(kind: Kind) -> bool:
    if b"\0" in kind.head[:512] and not kind.head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return False
    return kind.head.startswith(b"ID;") or kind.media_type == "text/csv" or any(map(is_called_table, kind.names))


def _signs(file: BinaryIO, kind: Kind) -> Iterator[Sign]:
    text = decode(file.read(_BYTES)).replace("\r", "\n")
    if text.startswith("ID;"):
        for found in _SYLK_DDE.finditer(text):
            yield sign("dde", found[0])
        if found_macro := _SYLK_MACRO.search(text):
            yield sign("xlm-macro", f"SYLK {found_macro[0]}")
        return
    if "|" in text:
        for found in _DDE.finditer(text):
            yield sign("dde", found[0].strip())
    for found in _FETCH.finditer(text):
        yield sign("dde", found[0].strip())


FAMILY = Family("table", _accepts, _signs)
