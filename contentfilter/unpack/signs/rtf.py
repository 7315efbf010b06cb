"""RTF: embedded objects behind many disguises, and templates fetched from elsewhere (RTF 1.9.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from typing import BinaryIO

from contentfilter.unpack.opener import Kind
from contentfilter.unpack.sign_names import UNEXAMINED
from contentfilter.unpack.signs.ole import signs_of_ole
from contentfilter.unpack.signs.sign import Family, Sign, guarded, is_executable, is_executable_name, sign

_BYTES = 32 * 1024 * 1024
_MOST_OBJECTS = 50

# Word needs no more than "{\rt" and forgives blanks and marks before it.
_START = re.compile(rb"(?:\xef\xbb\xbf)?[\s\0]{0,64}\{\s{0,8}\\rt", re.IGNORECASE)
_TEMPLATE = re.compile(rb"\\\*\s{0,8}\\template\s{0,8}((?:[^{}]|\{[^{}]{0,200}\}){1,600})")
_FIELD = re.compile(rb"\\fldinst\b")
_FIELD_LENGTH = 1000
_MOST_FIELDS = 20_000
_CONTROL = re.compile(rb"\\[a-z]{1,32}-?\d{0,10} ?|[{}\r\n]")
_CODE = re.compile(r"\s{0,8}(DDE(?:AUTO)?|INCLUDEPICTURE|INCLUDETEXT|LINK)\b", re.IGNORECASE)
_UNICODE = re.compile(rb"\\u(-?\d{1,6})\s?\??|\\'([0-9a-fA-F]{2})")
_REMOTE = re.compile(r"(?:https?|ftp|file|mhtml):|(?:\\\\|//)[\w.]", re.IGNORECASE)


def _accepts(kind: Kind) -> bool:
    return _START.match(kind.head) is not None


def _signs(file: BinaryIO, _kind: Kind) -> Iterator[Sign]:
    data = file.read(_BYTES)
    if file.read(1):
        yield sign(UNEXAMINED, "rtf: too large")
    for found in islice(_TEMPLATE.finditer(data), 10):
        target = _plain(found[1])
        if _REMOTE.search(target):
            yield sign("external-template", target)
    for found in islice(_FIELD.finditer(data), _MOST_FIELDS):
        yield from _field(data[found.end() : found.end() + _FIELD_LENGTH])
    if re.search(rb"\\ob", data) or re.search(rb"\\bin\d", data):
        yield from guarded("rtf objects", _objects(data))


def _field(instruction: bytes) -> Iterator[Sign]:
    code = _CONTROL.sub(b"", _UNICODE.sub(_char, instruction.replace(b"\\\\", b"/"))).decode("utf-8", "replace")
    kind = _CODE.match(code)
    if kind is None:
        return
    if kind[1].upper().startswith("DDE"):
        yield sign("dde", code[:200])
    elif _REMOTE.search(code[:300]):
        yield sign("external-template", code[:200])


def _char(found: re.Match[bytes]) -> bytes:
    code = int(found[1]) % 65536 if found[1] else int(found[2], 16)
    return chr(code).encode("utf-8", "replace")


def _plain(text: bytes) -> str:
    plain = _UNICODE.sub(_char, text).decode("utf-8", "replace")
    return plain.replace("{", "").replace("}", "").replace("\\\\", "\\").strip()


def _objects(data: bytes) -> Iterator[Sign]:
    # rtfobj takes 90 ms and 14 MB to import: only a helper that meets objects pays for it.
    from oletools import rtfobj  # noqa: PLC0415

    parser = rtfobj.RtfObjParser(data)
    parser.parse()
    for each in parser.objects[:_MOST_OBJECTS]:
        name = each.class_name or b""
        if b"equation." in name.lower():
            yield sign("equation-editor", name)
        if each.is_package:
            yield from _package(each)
        if each.is_ole and each.oledata:
            yield from guarded("rtf object", _ole(each.oledata))
        if not each.is_ole and len(each.rawdata or b"") > 64:
            yield sign("ole-package", b"malformed object " + each.rawdata[:16])


def _package(each: object) -> Iterator[Sign]:
    label = getattr(each, "filename", None) or ""
    yield sign("ole-package", label)
    names = [getattr(each, key, None) or "" for key in ("filename", "src_path", "temp_path")]
    if any(map(is_executable_name, names)) or is_executable((getattr(each, "olepkgdata", None) or b"")[:8]):
        yield sign("ole-executable", label)


def _ole(data: bytes) -> Iterator[Sign]:
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        yield from signs_of_ole(BytesIO(data))
    elif b"\x02\xce\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46" in data:
        yield sign("equation-editor", "class id")


FAMILY = Family("rtf", _accepts, _signs)
