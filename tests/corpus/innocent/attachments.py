"""Files that people send: documents, images, archives of documents, contacts, appointments."""

from __future__ import annotations

import base64
import gzip
import io
import struct
import tarfile
import zipfile
import zlib

import pikepdf
from PIL import Image

from tests.corpus.building import TEXT, b64, carrying, entity, letter, mixed, text, uu
from tests.corpus.case import Innocent
from tests.corpus.formats import attached_file, compound, libarchive_file, tnef, zip_file
from tests.corpus.innocent.collecting import Collection

_all = Collection()
_add = _all.add


def _pdf(attachment: bytes = b"") -> bytes:
    with pikepdf.new() as document:
        document.add_blank_page()
        if attachment:
            document.attachments["factur-x.xml"] = attached_file(document, attachment, "factur-x.xml")
        document.Root.AcroForm = pikepdf.Dictionary(SigFlags=3, Fields=pikepdf.Array())
        packed = io.BytesIO()
        document.save(packed)
        return packed.getvalue()


def _image(kind: str) -> bytes:
    packed = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 30, 30)).save(packed, kind)
    return packed.getvalue()


def _tar_gz() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        info = tarfile.TarInfo("notes/a.txt")
        info.size = len(TEXT)
        archive.addfile(info, io.BytesIO(TEXT))
    return packed.getvalue()


def _wav() -> bytes:
    return (
        b"RIFF"
        + struct.pack("<I", 136)
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
        + b"data"
        + struct.pack("<I", 100)
        + b"\x80" * 100
    )


_XML = b'<?xml version="1.0" encoding="UTF-8"?>'
_DOCX = {
    "[Content_Types].xml": _XML
    + b'<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="xml" ContentType="application/xml"/></Types>',
    "_rels/.rels": _XML + b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"/>',
    "word/document.xml": _XML
    + b'<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body/></w:document>',
}
_LINKS = (
    _XML
    + b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/hyperlink" Target="https://example.net/" TargetMode="External"/></Relationships>'
)
_ODT = {
    "mimetype": b"application/vnd.oasis.opendocument.text",
    "content.xml": _XML + b"<office:document-content/>",
    "META-INF/manifest.xml": _XML + b"<manifest/>",
}
_OFFICE = "application/vnd.openxmlformats-officedocument."

for _name, _why, _content, _file, _type in (
    ("pdf", "a PDF", _pdf(), "minutes.pdf", "application/pdf"),
    (
        "pdf-invoice",
        "an invoice as PDF with its data as XML, signed",
        _pdf(_XML + b"<rsm:CrossIndustryInvoice/>"),
        "invoice.pdf",
        "application/pdf",
    ),
    ("pdf-octets", "a PDF that is called octet-stream", _pdf(), "minutes.pdf", "application/octet-stream"),
    ("docx", "a Word document", zip_file(_DOCX), "letter.docx", _OFFICE + "wordprocessingml.document"),
    (
        "docx-links",
        "a Word document with links",
        zip_file(_DOCX | {"word/_rels/document.xml.rels": _LINKS}),
        "letter.docx",
        _OFFICE + "wordprocessingml.document",
    ),
    (
        "xlsx",
        "an Excel sheet",
        zip_file(_DOCX | {"xl/workbook.xml": _XML + b"<workbook/>"}),
        "table.xlsx",
        _OFFICE + "spreadsheetml.sheet",
    ),
    (
        "odt",
        "an OpenDocument text",
        zip_file(_ODT, zipfile.ZIP_STORED),
        "letter.odt",
        "application/vnd.oasis.opendocument.text",
    ),
    (
        "doc",
        "an old Word document",
        compound({"WordDocument": bytes(5000), "1Table": bytes(4500)}),
        "letter.doc",
        "application/msword",
    ),
    ("rtf", "an RTF", b"{\\rtf1\\ansi Hello \\b world\\b0 .}", "letter.rtf", "application/rtf"),
    ("csv", "a table as text", b"name,amount\r\nBob,1\r\n", "table.csv", "text/csv"),
    (
        "zip-documents",
        "a zip of documents",
        zip_file({"a.pdf": _pdf(), "b.docx": zip_file(_DOCX), "c/d.txt": TEXT}),
        "papers.zip",
        "application/zip",
    ),
    (
        "zip-stored",
        "a zip of images, not compressed",
        zip_file({"a.jpg": _image("JPEG"), "b.png": _image("PNG")}, zipfile.ZIP_STORED),
        "photos.zip",
        "application/x-zip-compressed",
    ),
    (
        "zip-japanese",
        "a zip whose names are Japanese",
        zip_file({"\u8acb\u6c42\u66f8.txt": TEXT}),
        "papers.zip",
        "application/zip",
    ),
    ("zip-empty", "an empty zip", zip_file({}), "empty.zip", "application/zip"),
    (
        "dmarc-report",
        "a DMARC report as zip",
        zip_file({"example.net!example.org!1!2.xml": _XML + b"<feedback/>"}),
        "example.net!example.org!1!2.zip",
        "application/zip",
    ),
    (
        "dmarc-report-gz",
        "a DMARC report as gzip",
        gzip.compress(_XML + b"<feedback/>"),
        "example.net!example.org!1!2.xml.gz",
        "application/gzip",
    ),
    ("tar-gz", "sources as tar", _tar_gz(), "sources.tar.gz", "application/x-gtar"),
    (
        "seven-zip",
        "documents as 7z",
        libarchive_file("7zip", {"a.txt": TEXT}),
        "papers.7z",
        "application/x-7z-compressed",
    ),
    ("jpeg", "a photo", _image("JPEG"), "photo.jpg", "image/jpeg"),
    ("png", "a picture", _image("PNG"), "chart.png", "image/png"),
    ("gif", "a picture", _image("GIF"), "smile.gif", "image/gif"),
    ("tiff", "a scan", _image("TIFF"), "scan.tif", "image/tiff"),
    (
        "svg",
        "a drawing",
        _XML + b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle r="3"/></svg>',
        "logo.svg",
        "image/svg+xml",
    ),
    ("wav", "a voice message", _wav(), "voice.wav", "audio/wav"),
    ("vcard", "a contact", b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Bob\r\nEND:VCARD\r\n", "bob.vcf", "text/vcard"),
    (
        "ics",
        "an appointment as file",
        b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
        "lunch.ics",
        "text/calendar",
    ),
    ("html", "a page as file", b"<!DOCTYPE html><html><body>Hello</body></html>", "page.html", "text/html"),
    ("xml", "an invoice as XML", _XML + b"<Invoice/>", "invoice.xml", "application/xml"),
    ("json", "data", b'{"a": 1}', "data.json", "application/json"),
    (
        "patch-file",
        "a patch as file",
        b"diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-a\n+b\n",
        "0001.patch",
        "text/x-patch",
    ),
    (
        "log-gz",
        "a log, compressed",
        gzip.compress(b"Mar  2 10:00:00 mx postfix/qmgr[1]: x\n" * 50),
        "mail.log.gz",
        "application/gzip",
    ),
    (
        "noise",
        "bytes that are nothing",
        zlib.compress(bytes(range(256)) * 4)[7:],
        "data.bin",
        "application/octet-stream",
    ),
    ("winmail", "an old Outlook with a document", tnef(b"letter.txt", TEXT), "winmail.dat", "application/ms-tnef"),
    (
        "key",
        "a public key as file",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n"
        + base64.encodebytes(bytes(range(200)))
        + b"-----END PGP PUBLIC KEY BLOCK-----\n",
        "key.asc",
        "application/pgp-keys",
    ),
    ("no-extension", "a file without an extension", TEXT, "README", "text/plain"),
    ("dotted-name", "a name with many dots", TEXT, "minutes 2026.03.02 v1.2.txt", "text/plain"),
    ("company-com", "a name with a domain in it", TEXT, "offer for example.com 2026.txt", "text/plain"),
):
    _add(_name, _why, carrying(_content, _file, _type))


def _named(disposition: bytes) -> bytes:
    return mixed(
        text(),
        entity(
            b64(TEXT),
            b"Content-Type: text/plain",
            b"Content-Transfer-Encoding: base64",
            b"Content-Disposition: attachment; " + disposition,
        ),
    )


_add("name-japanese", "a Japanese name as RFC 2231", _named(b"filename*=utf-8''%E8%AB%8B%E6%B1%82%E6%9B%B8.txt"))
_add(
    "name-japanese-word",
    "a Japanese name as RFC 2047 word, as Outlook writes it",
    _named(b'filename="=?iso-2022-jp?B?GyRCQEE1YT1xGyhCLnR4dA==?="'),
)
_add("name-arabic", "an Arabic name", _named(b"filename*=utf-8''%D9%81%D8%A7%D8%AA%D9%88%D8%B1%D8%A9.txt"))
_add(
    "name-both", "a name in both forms", _named(b"filename=\"Rechnung.txt\"; filename*=utf-8''Rechnung%20M%C3%A4rz.txt")
)
_add(
    "name-pieces",
    "a long name in pieces",
    _named(b"filename*0*=utf-8''Minutes%20of%20;\r\n filename*1*=the%20meeting.txt"),
)
_add(
    "name-blanks",
    "a name with blanks",
    _named(b'filename="my holiday in june.txt"; size=22; creation-date="Mon, 02 Mar 2026 10:00:00 +0000"'),
)
_add("uuencode-text", "a uuencoded text, as old Unix mail", letter(b"", uu(TEXT, b"notes.txt"), mime=b""))

INNOCENT: tuple[Innocent, ...] = _all.innocent()
