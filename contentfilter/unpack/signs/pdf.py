"""PDF (ISO 32000-1): scripts, actions on opening, files inside.

Readers of PDF mend what is broken, so no structure is trusted here: the names of actions are looked for wherever they
can stand, in objects and in object streams, whatever the cross-reference table says.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import SEEK_END, BytesIO
from itertools import islice
from typing import BinaryIO

from contentfilter.unpack.opener import Kind
from contentfilter.unpack.sign_names import UNEXAMINED
from contentfilter.unpack.signs.sign import MOST_BYTES, Family, Sign, sign

_MOST_STREAMS = 50_000
_MOST_ACTIONS = 5
_MOST_SEEN = 1000
_INFLATED_BYTES = 32 * 1024 * 1024
_ONE_STREAM = 8 * 1024 * 1024
_DICTIONARY = 4096
_END_BYTES = 8 * 1024 * 1024
_UNESCAPED_AT_ONCE = 1024 * 1024

_ESCAPE = re.compile(rb"#([0-9A-Fa-f]{2})")
_BYTES = {b"%02x" % code: bytes([code]) for code in range(256)}
_END = rb"(?=[\s\0/<>\[\](){}%]|$)"
_NAME_SIGNS = {
    b"JS": "pdf-javascript",
    b"JavaScript": "pdf-javascript",
    b"Launch": "pdf-launch",
    b"EmbeddedFile": "pdf-embedded-file",
    b"EmbeddedFiles": "pdf-embedded-file",
    b"RichMedia": "pdf-rich-media",
    b"XFA": "pdf-xfa",
    b"GoToE": "pdf-embedded-file",
    b"ImportData": "pdf-launch",
}
_NAMES = re.compile(rb"/(" + b"|".join(_NAME_SIGNS) + rb")" + _END)
# A link may lead to a page about JavaScript.
_LINK = re.compile(rb"\((?:https?|ftp)://[^\s()<>]{0,2000}+\)", re.IGNORECASE)
_ENCRYPT = re.compile(rb"/Encrypt[\s\0]{0,16}(?:\d{1,10}[\s\0]{1,16}\d{1,5}[\s\0]{1,16}R|<<)")
_OPEN = re.compile(rb"/OpenAction[\s\0]{0,16}(?:(\d{1,10})[\s\0]{1,16}\d{1,5}[\s\0]{1,16}R|(?=<<))")
_ACTION = re.compile(rb"/S[\s\0]{0,16}/(\w{1,32})")
_OBJECT = rb"(?<!\d)%d[\s\0]{1,16}\d{1,5}[\s\0]{1,16}obj\b"
_HIDES_OBJECTS = re.compile(rb"\d[\s\0]{1,16}\d{1,5}[\s\0]{1,16}obj\b")
_QUIET_ACTIONS = frozenset({b"GoTo", b"Named"})
_MOST_FILTERS = 4
_IS_HEX = re.compile(rb"[0-9A-Fa-f\s]{32,}+")
_NO_HEX = re.compile(rb"[^0-9A-Fa-f]")
_IS_ASCII85 = re.compile(rb"[!-uz\s]{32,}+")
_PAIR = re.compile(rb"\s*\d+\s+\d+\s")
_FIRST = re.compile(rb"/First[\s\0]{1,16}(\d{1,8})")
_NUMBERS = re.compile(rb"\d{1,10}")


@dataclass(slots=True)
class _Objects:
    """What a PDF holds outside of ordinary streams.

    text: of all objects; packed: where those of object streams lie, by number; odd: why there may be more.
    """

    text: bytes = b""
    packed: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    odd: str = ""

    def get(self, number: int) -> bytes:
        """The beginning of an object, as it was defined last."""
        if number in self.packed:
            content, start = self.packed[number]
            return content[start : start + _DICTIONARY]
        definitions = [found.end() for found in re.finditer(_OBJECT % number, self.text)]
        return self.text[definitions[-1] : definitions[-1] + _DICTIONARY] if definitions else b""


def _accepts(kind: Kind) -> bool:
    return b"%PDF" in kind.head[:1024]


def _signs(file: BinaryIO, _kind: Kind) -> Iterator[Sign]:
    data = file.read(MOST_BYTES)
    if len(data) == MOST_BYTES:
        # The newest objects and the trailer stand at the end.
        file.seek(max(MOST_BYTES, file.seek(0, SEEK_END) - _END_BYTES))
        data += file.read(_END_BYTES)
    objects = _objects(data)
    encrypted = _ENCRYPT.search(objects.text) is not None
    yield from _of(objects)
    if not encrypted and not objects.odd:
        return
    plain = _written_anew(file)
    if encrypted:
        yield sign("pdf-encrypted", "needs a password" if plain is None else "opens without a password")
    elif plain is None:
        yield sign(UNEXAMINED, f"pdf: {objects.odd}")
    if plain is not None:
        yield from _of(_objects(plain))


def _of(objects: _Objects) -> Iterator[Sign]:
    for name in sorted({found[1] for found in _NAMES.finditer(objects.text)}):
        yield sign(_NAME_SIGNS[name], b"/" + name)
    yield from _open_actions(objects)


def _written_anew(file: BinaryIO) -> bytes | None:
    """The document without encryption and object streams; None if that needs a password or cannot be done."""
    import pikepdf  # noqa: PLC0415 - takes 0.1 s, and is rarely wanted

    result = BytesIO()
    try:
        if file.seek(0, SEEK_END) > MOST_BYTES:
            return None
        file.seek(0)
        with pikepdf.open(file, suppress_warnings=True, inherit_page_attributes=False) as document:
            document.save(
                result,
                encryption=False,
                compress_streams=False,
                stream_decode_level=pikepdf.StreamDecodeLevel.none,
                object_stream_mode=pikepdf.ObjectStreamMode.disable,
            )
    except (pikepdf.PdfError, pikepdf.PasswordError, pikepdf.DependencyError, ValueError, RuntimeError, OSError):
        return None
    return result.getvalue()


def _open_actions(objects: _Objects) -> Iterator[Sign]:
    """Actions on opening other than to go to a page, which many programs write into every document."""
    actions = {found[1] or found.start(): found for found in islice(_OPEN.finditer(objects.text), _MOST_SEEN)}
    for found in islice(actions.values(), _MOST_ACTIONS):
        action = objects.get(int(found[1])) if found[1] else objects.text[found.end() : found.end() + _DICTIONARY]
        if not action or action.lstrip(b"\0\t\n\f\r ").startswith(b"["):
            continue
        kind = _ACTION.search(action)
        if kind is None or kind[1] not in _QUIET_ACTIONS:
            yield sign("pdf-open-action", b"action" if kind is None else kind[1])


def _objects(data: bytes) -> _Objects:
    """The objects in plain sight and in object streams; the content of other streams is left out."""
    result = _Objects()
    pieces: list[bytes] = []
    at = inflated = 0
    for _ in range(_MOST_STREAMS):
        start = data.find(b"stream", at)
        if start < 0:
            break
        begin = start + 6
        if data[start - 3 : start] == b"end" or data[begin : begin + 1] not in {b"\r", b"\n", b" "}:
            pieces.append(data[at:begin])
            at = begin
            continue
        end = data.find(b"endstream", begin)
        end = len(data) if end < 0 else end
        pieces.append(data[at:start])
        about = _unescaped(data[at:start])
        if b"/ObjStm" in about:
            content = _unescaped(_decoded(data[begin:end].lstrip(b"\r\n ")))
            inflated += len(content)
            pieces.append(content)
            _take_apart(content, about, result)
            if inflated > _INFLATED_BYTES:
                result.odd = "object streams are too large"
                break
        elif data.find(b"obj", begin, end) >= 0 and _HIDES_OBJECTS.search(data, begin, end):
            # What looks like a stream may be a string or a comment to a reader, and hide the objects behind it.
            pieces.append(data[begin:end])
        at = end
    else:
        result.odd = "too many streams"
    pieces.append(data[at:])
    result.text = _LINK.sub(b"()", _unescaped(b"\n".join(pieces)))
    return result


def _unescaped(data: bytes) -> bytes:
    if b"#" not in data:
        return data
    # In pieces, because a substitution keeps a list of all that it has found.
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + _UNESCAPED_AT_ONCE
        cut = data.rfind(b"#", end - 2, end)
        end = cut if cut > at else end
        pieces.append(_ESCAPE.sub(_unescape, data[at:end]))
        at = end
    return b"".join(pieces)


def _unescape(found: re.Match[bytes]) -> bytes:
    return _BYTES[found[1].lower()]


def _decoded(data: bytes) -> bytes:
    """The content of an object stream, whose filters show in the data, whatever the dictionary says."""
    for _ in range(_MOST_FILTERS):
        if _IS_HEX.match(data):
            digits = _NO_HEX.sub(b"", data.partition(b">")[0])
            data = binascii.unhexlify(digits[: len(digits) & ~1])
        elif data[:1] and data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0:
            data = _inflated(data)
        elif data.startswith(b"<~") or (_IS_ASCII85.match(data) and b"~>" in data):
            data = _from_ascii85(data)
        else:
            break
    return data


def _inflated(data: bytes) -> bytes:
    """As much as can be had: of a damaged stream what comes before the damage."""
    inflater = zlib.decompressobj()
    pieces: list[bytes] = []
    size = 0
    try:
        for at in range(0, len(data), 4096):
            pieces.append(inflater.decompress(data[at : at + 4096], _ONE_STREAM - size))
            size += len(pieces[-1])
            if size >= _ONE_STREAM or inflater.eof:
                break
    except zlib.error:
        pass
    return b"".join(pieces)


def _from_ascii85(data: bytes) -> bytes:
    try:
        return base64.a85decode(data.partition(b"~>")[0].removeprefix(b"<~"))
    except ValueError:
        return b""


def _take_apart(content: bytes, about: bytes, result: _Objects) -> None:
    """The objects of an object stream (section 7.5.7): pairs of number and offset, then the objects."""
    firsts = _FIRST.findall(about)
    if not firsts or b"/Predictor" in about or not _PAIR.match(content):
        result.odd = "an object stream in another filter"
        return
    start = int(firsts[-1])
    numbers = [int(each) for each in _NUMBERS.findall(content[:start])[:20_000]]
    for number, offset in zip(numbers[::2], numbers[1::2], strict=False):
        result.packed[number] = (content, start + offset)


FAMILY = Family("pdf", _accepts, _signs)
