"""XML: parts of Office Open XML and OpenDocument, Office 2003 documents, scripts in XML clothes.

Read with expat as a stream of events: nothing is built up, and a document type, which no office program writes, ends
the reading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO
from xml.parsers import expat

from contentfilter.text import decode
from contentfilter.unpack.opener import Kind
from contentfilter.unpack.sign_names import UNEXAMINED, is_macro_sheet
from contentfilter.unpack.signs.sign import Family, Sign, sign

_BYTES = 64 * 1024 * 1024
_CHUNK = 64 * 1024
_SEARCHED_AT_ONCE = 4 * 1024 * 1024
_LONGEST_NAME = 32
_FIELD_LENGTH = 4096
_MOST_SIGNS = 50
_MOST_ELEMENTS = 3_000_000
_FIELDS = frozenset({"instrtext", "fldchar", "fldsimple"})

_LOCAL = re.compile(r"^(?:file:/{0,3})?/*[A-Za-z]:[/\\]|^(?!file:)[\w.%-]+(?:[/\\][\w.% -]+)*$", re.IGNORECASE)
_REMOTE = re.compile(
    r"^\s*(?:https?|ftp|mhtml|file|smb|ms-[\w-]+|search-ms|javascript|script|x-usc):|^\s*[/\\]{2}", re.IGNORECASE
)
# Relationships whose target is fetched without a click. An image is, too, but half of all newsletters have one.
_FETCHED = frozenset(
    {
        "attachedtemplate",
        "oleobject",
        "frame",
        "subdocument",
        "externallinkpath",
        "package",
        "control",
        "afchunk",
        "webextension",
    }
)
_DDE = re.compile(r"""^[\s"]{0,16}DDE(?:AUTO)?\b""", re.IGNORECASE)
_QUOTE = re.compile(r"""\bQUOTE\s{1,8}"?((?:\d{1,3}\s{0,8}){1,300})"?""", re.IGNORECASE)
_INCLUDE = re.compile(
    r"""^[\s"]{0,16}(?:INCLUDEPICTURE|INCLUDETEXT|LINK|IMPORT)\b.{0,80}?((?:https?|ftp|file|mhtml):[^\s"]{1,300}|\\\\[^\s"]{1,300})""",
    re.IGNORECASE | re.DOTALL,
)
_SCRIPT = re.compile(
    r"<(?:\w+:)?(?:(msxsl:script)\b|(scriptlet)\b|(job)\b[^>]{0,200}>|(package)\s*>\s*<job|(component)\b[^>]{0,200}>\s*<(?:registration|public))",
    re.IGNORECASE,
)


def _accepts(kind: Kind) -> bool:
    start = decode(kind.head[:2048]).lstrip("\ufeff \t\r\n\0")
    return start.startswith("<") and not re.match(r"<(?:!doctype\s+)?html", start, re.IGNORECASE)


def _signs(file: BinaryIO, kind: Kind) -> Iterator[Sign]:
    start = decode(kind.head)
    script = _SCRIPT.search(start)
    if script:
        yield sign("script-in-xml", script[0])
    if sheet := next(filter(is_macro_sheet, kind.names), ""):
        yield sign("xlm-macro", sheet)
    if _worth_reading(file):
        file.seek(0)
        yield from _Reader().read(file.read(_BYTES))
        if file.read(1):
            yield sign(UNEXAMINED, "xml: too large")


def _worth_reading(file: BinaryIO) -> bool:
    """A large sheet has millions of elements; in UTF-8 the few that matter can be looked for before all are read."""
    end = b""
    while data := file.read(_SEARCHED_AT_ONCE):
        if not end and not data.lstrip().startswith((b"<", b"\xef\xbb\xbf<")):
            return True
        if _TELLING.search(end + data):
            return True
        end = data[-_LONGEST_NAME:]
    return False


class _Reader:
    """Collects the signs that elements give; `signs` is what the elements so far gave."""

    def __init__(self) -> None:
        self.signs: list[Sign] = []
        self._instruction: list[str] = []
        self._in_instruction = False
        self._length = self._elements = 0
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._document_type

    def read(self, data: bytes) -> list[Sign]:
        """The signs of the document up to its end, or to where it stops being XML."""
        try:
            for at in range(0, len(data), _CHUNK):
                self._parser.Parse(data[at : at + _CHUNK], False)
                if len(self.signs) >= _MOST_SIGNS:
                    break
        except (expat.ExpatError, LookupError, ValueError):
            pass
        self._field()
        return self.signs

    def _document_type(self, *_: object) -> None:
        raise ValueError("document type")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(":")[2].lower()
        self._elements += 1
        if self._elements > _MOST_ELEMENTS:
            self.signs.append(sign(UNEXAMINED, "xml: too many elements"))
            raise ValueError("too many elements")
        handler = _ELEMENTS.get(local)
        if handler is None and local not in _FIELDS:
            return
        values = {key.rpartition(":")[2].lower(): value for key, value in attributes.items()}
        if handler is not None:
            self.signs += handler(values)
        if local == "instrtext":
            self._in_instruction = True
        elif local == "fldchar" and values.get("fldchartype") != "begin":
            self._field()
        elif local == "fldsimple":
            self._instruction = [values.get("instr", "")]
            self._field()

    def _end(self, name: str) -> None:
        local = name.rpartition(":")[2].lower()
        if local == "instrtext":
            self._in_instruction = False

    def _text(self, text: str) -> None:
        if self._in_instruction and self._length < _FIELD_LENGTH:
            self._instruction.append(text)
            self._length += len(text)

    def _field(self) -> None:
        """A field's instruction is complete, which may have been cut into pieces or spelt in numbers."""
        code = _QUOTE.sub(_quoted, "".join(self._instruction)[:_FIELD_LENGTH])
        self._instruction, self._length = [], 0
        if _DDE.match(code):
            self.signs.append(sign("dde", code))
        elif found := _INCLUDE.match(code):
            self.signs.append(sign("external-template", found[1]))


def _quoted(found: re.Match[str]) -> str:
    return "".join(chr(int(each)) for each in found[1].split())


def _relationship(values: dict[str, str]) -> list[Sign]:
    kind = values.get("type", "").rpartition("/")[2].lower()
    target = values.get("target", "")
    if kind in {"xlmacrosheet", "xlintlmacrosheet"}:
        return [sign("xlm-macro", target)]
    if values.get("targetmode", "").lower() != "external":
        return []
    remote = _REMOTE.match(target) and not _LOCAL.match(target)
    if kind in _FETCHED and remote:
        return [sign("external-template", f"{kind} {target}")]
    if kind == "image" and re.match(r"\s*(?:file:/*[\w.]+/|[/\\]{2})", target) and not _LOCAL.match(target):
        return [sign("external-template", f"{kind} {target}")]
    if re.match(r"\s*(?:mhtml|ms-msdt|search-ms|ms-officecmd|x-usc):", target, re.IGNORECASE) or "!x-usc:" in target:
        return [sign("external-template", f"{kind} {target}")]
    return []


def _dde_link(values: dict[str, str]) -> list[Sign]:
    return [sign("dde", f"{values.get('ddeservice', '')}|{values.get('ddetopic', '')}")]


def _defined_name(values: dict[str, str]) -> list[Sign]:
    name = values.get("name", "").lower()
    is_auto = re.match(r"(?:_xlnm\.)?auto_(?:open|close|activate|deactivate)", name)
    return [sign("macro-autorun", values["name"])] if is_auto else []


def _flat_part(values: dict[str, str]) -> list[Sign]:
    return [sign("macro", values["name"])] if values.get("name", "").lower().endswith("vbaproject.bin") else []


def _binary(values: dict[str, str]) -> list[Sign]:
    return [sign("macro", values["name"])] if values.get("name", "").lower().endswith(".mso") else []


def _odf_macro(values: dict[str, str]) -> list[Sign]:
    return [sign("macro", f"Basic {values.get('name', '')}")]


def _odf_event(values: dict[str, str]) -> list[Sign]:
    event = values.get("event-name", "")
    target = values.get("href", values.get("macro-name", ""))
    opens = re.search(r"(?:on-?)?(?:load|open|new|focus|create)\b", event.rpartition(":")[2], re.IGNORECASE)
    return [sign("macro-autorun", f"{event} {target}")] if opens and target else []


def _odf_dde(values: dict[str, str]) -> list[Sign]:
    return [sign("dde", " ".join(values.get(key, "") for key in ("dde-application", "dde-topic", "dde-item")))]


def _custom_ui(values: dict[str, str]) -> list[Sign]:
    return [sign("macro-autorun", f"onLoad {values['onload']}")] if values.get("onload") else []


_ELEMENTS = {
    "relationship": _relationship,
    "ddelink": _dde_link,
    "definedname": _defined_name,
    "macrosheet": lambda _values: [sign("xlm-macro", "macrosheet")],
    "part": _flat_part,
    "bindata": _binary,
    "module": _odf_macro,
    "event-listener": _odf_event,
    "dde-source": _odf_dde,
    "dde-connection-decl": _odf_dde,
    "customui": _custom_ui,
}  # fmt: skip
_TELLING = re.compile("|".join([*_ELEMENTS, "instrtext", "fldsimple"]).encode(), re.IGNORECASE)

FAMILY = Family("xml", _accepts, _signs)
