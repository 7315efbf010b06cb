"""What documents carry inside: TNEF, .msg, OLE packages, RTF, PDF, and documents that are encrypted."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Any

import compressed_rtf
import msoffcrypto.format.ooxml
import pikepdf
import pytest

from contentfilter.unpack.opener import EncryptedError
from contentfilter.unpack.openers.compound import package
from tests.unit.compound_file import compound_file
from tests.unit.opener_sink import unpack
from tests.unit.test_openers_archives import TEXT, rar4
from tests.unit.test_openers_zip import EVIL, EVIL_ZIP

PROGRAM, BIG = b"MZ evil program " * 20, b"MZ large program " * 1000
RTF = rb"{\rtf1 hello world}"


def attribute(level: int, identifier: int, data: bytes) -> bytes:
    return struct.pack("<BLL", level, identifier, len(data)) + data + struct.pack("<H", sum(data) & 0xFFFF)


def properties(*found: tuple[int, int, bytes]) -> bytes:
    """MAPI properties (kind, identifier, value) of variable length."""
    packed = struct.pack("<L", len(found))
    for kind, identifier, value in found:
        packed += struct.pack("<HHLL", kind, identifier, 1, len(value)) + value + bytes(-len(value) % 4)
    return packed


def tnef(*attributes: bytes) -> bytes:
    return (
        b"\x78\x9f\x3e\x22"
        + struct.pack("<H", 1)
        + attribute(1, 0x89006, struct.pack("<L", 0x10000))
        + b"".join(attributes)
    )


RENDERING = attribute(2, 0x69002, bytes(14))


def attachment(title: bytes, data: bytes, *found: tuple[int, int, bytes]) -> bytes:
    more = attribute(2, 0x69005, properties(*found)) if found else b""
    return RENDERING + attribute(2, 0x18010, title + b"\0") + attribute(2, 0x6800F, data) + more


def test_tnef() -> None:
    content = tnef(
        attribute(1, 0x2800C, b"plain body\0"),
        attribute(1, 0x69003, properties((0x0102, 0x1009, compressed_rtf.compress(RTF)))),
        attachment(b"EVIL.EXE", PROGRAM),
        attachment(b"SHORT~1.TXT", BIG, (0x1F, 0x3707, "long näme.exe\0".encode("utf-16-le"))),
    )
    sink = unpack(content, names=("winmail.dat",))
    assert sink.readings >= {
        ("body.txt", b"plain body\0"),
        ("body.rtf", RTF),
        ("EVIL.EXE", PROGRAM),
        ("long näme.exe", BIG),
        ("SHORT~1.TXT", BIG),
    }
    assert [member.others for member in sink.members if member.name == "long näme.exe"] == [("SHORT~1.TXT",)]
    assert not sink.troubles
    assert not sink.errors


def test_a_message_in_tnef_is_a_member() -> None:
    inner = tnef(attachment(b"EVIL.EXE", PROGRAM))
    signature = b"\x07\x03\x02\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00\x46"
    sink = unpack(tnef(RENDERING, attribute(2, 0x69005, properties((0x0D, 0x3701, signature + inner)))))
    (member,) = sink.members
    assert unpack(bytes(member.content)).found == {"EVIL.EXE": PROGRAM}


@pytest.mark.parametrize(
    "content",
    [
        tnef(attachment(b"EVIL.EXE", PROGRAM))[:-100],
        tnef(attachment(b"EVIL.EXE", PROGRAM), RENDERING, attribute(2, 0x69005, b"\xff\xff\xff\xff")),
        tnef(attachment(b"EVIL.EXE", PROGRAM), attribute(1, 0x69003, struct.pack("<L", 2**31) + bytes(40))),
    ],
    ids=["cut off", "too many properties of an attachment", "too many properties"],
)
def test_damaged_tnef_gives_what_it_can(content: bytes) -> None:
    sink = unpack(content)
    assert PROGRAM.startswith(sink.found["EVIL.EXE"])
    assert sink.found["EVIL.EXE"]
    assert sink.troubles


def named(name: str, short: str = "") -> dict[tuple[str, ...], bytes]:
    found: dict[tuple[str, ...], bytes] = {("__substg1.0_3707001F",): name.encode("utf-16-le")}
    return found | ({("__substg1.0_3704001F",): short.encode("utf-16-le")} if short else {})


def under(storage: str, streams: dict[tuple[str, ...], bytes]) -> dict[tuple[str, ...], bytes]:
    return {(storage, *path): data for path, data in streams.items()}


def test_outlook_message() -> None:
    data = {("__substg1.0_37010102",): PROGRAM}
    inner = under(
        "__substg1.0_3701000D",
        under("__attach_version1.0_#00000000", named("inner.exe") | {("__substg1.0_37010102",): BIG}),
    )
    content = compound_file(
        {
            ("__properties_version1.0",): bytes(64),
            ("__substg1.0_1000001F",): "body text".encode("utf-16-le"),
            ("__substg1.0_10090102",): compressed_rtf.compress(RTF),
        }
        | under("__attach_version1.0_#00000000", named("outer ü.exe", "OUTER~1.EXE") | data)
        | under("__attach_version1.0_#00000001", named("nice.txt", "EVIL.EXE") | data)
        | under("__attach_version1.0_#00000002", inner)
    )
    sink = unpack(content, names=("a.msg",))
    assert sink.readings == {
        ("body.txt", "body text".encode("utf-16-le")),
        ("body.rtf", RTF),
        ("outer ü.exe", PROGRAM),
        ("OUTER~1.EXE", PROGRAM),
        ("nice.txt", PROGRAM),
        ("EVIL.EXE", PROGRAM),
        ("inner.exe", BIG),
    }
    assert not sink.errors


def ole_package(name: bytes, data: bytes) -> bytes:
    path = b"C:\\" + name + b"\0"
    body = struct.pack("<H", 2) + name + b"\0" + path + struct.pack("<LL", 3 << 16, len(path)) + path
    body += struct.pack("<L", len(data)) + data + bytes(2)
    return struct.pack("<L", len(body)) + body


@pytest.mark.parametrize("place", ["label", "source", "temporary"])
def test_each_name_of_a_package_counts(place: str) -> None:
    told = {"label": b"a.pdf", "source": b"C:\\x\\a.pdf", "temporary": b"C:\\y\\a.pdf"}
    told[place] = told[place].replace(b"a.pdf", b"run.exe")
    label, source, temporary = (told[each] + b"\0" for each in ("label", "source", "temporary"))
    inside = b"\2\0" + label + source + struct.pack("<HHI", 0, 3, len(temporary)) + temporary
    names, content = package(bytes(4) + inside + struct.pack("<I", len(BIG)) + BIG)
    assert sorted(names) == ["a.pdf", "run.exe"]
    assert content == BIG


def test_packages_in_office_files() -> None:
    content = compound_file(
        {
            ("WordDocument",): bytes(5000),
            ("ObjectPool", "_1", "\x01Ole10Native"): ole_package(b"evil.exe", PROGRAM),
            ("ObjectPool", "_2", "Package"): b"PK\3\4" + BIG,
            ("ObjectPool", "_3", "CONTENTS"): b"%PDF-1.4",
        }
    )
    sink = unpack(content)
    assert sink.readings == {("evil.exe", PROGRAM), ("Package", b"PK\3\4" + BIG), ("CONTENTS", b"%PDF-1.4")}


@pytest.mark.parametrize("cut", [0, 3, 5, 7, 12, 30, 50])
def test_a_package_in_disorder_is_given_as_it_is(cut: int) -> None:
    data = ole_package(b"evil.exe", PROGRAM)[:cut]
    _, content = package(data)
    assert content in {data[4:], PROGRAM} or PROGRAM.startswith(content)


def test_a_compound_file_without_anything_embedded() -> None:
    sink = unpack(compound_file({("WordDocument",): bytes(5000), ("1Table",): bytes(100)}))
    assert (sink.members, sink.errors, sink.troubles, sink.without_content) == ([], [], [], [])


def test_a_damaged_compound_file_is_not_clean() -> None:
    content = compound_file({("WordDocument",): bytes(5000)})
    assert unpack(content[:600]).errors


@pytest.fixture(scope="module")
def document() -> bytes:
    """A workbook of a kind; what is encrypted need not be more than a zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(
            "[Content_Types].xml", '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
        )
        archive.writestr("xl/workbook.xml", "x" * 9000)
    return buffer.getvalue()


def encrypted(document: bytes, password: str) -> bytes:
    target = io.BytesIO()
    msoffcrypto.format.ooxml.OOXMLFile(io.BytesIO(document)).encrypt(password, target)
    return target.getvalue()


def test_encrypted_documents(document: bytes) -> None:
    locked = encrypted(document, "sesam")
    assert unpack(locked, ("wrong",)).without_content == [("document", "encrypted")]
    assert unpack(locked, ("wrong", "sesam")).found == {"decrypted document": document}


def test_the_password_that_excel_knows_itself(document: bytes) -> None:
    assert unpack(encrypted(document, "VelvetSweatshop")).found == {"decrypted document": document}


def ole1(name: bytes, data: bytes) -> bytes:
    """An OLE 1.0 embedded object, as in \\objdata."""
    native = ole_package(name, data)[4:]
    return struct.pack("<LLL", 0x501, 2, 8) + b"Package\0" + bytes(8) + struct.pack("<L", len(native)) + native


@pytest.mark.parametrize("broken_up", [False, True])
def test_objects_in_rtf(broken_up: bool) -> None:
    digits = ole1(b"evil.exe", PROGRAM).hex().encode()
    if broken_up:
        digits = b"\r\n".join(digits[at : at + 61] for at in range(0, len(digits), 61))
    sink = unpack(rb"{\rtf1{\object\objemb{\*\objdata " + digits + rb"}}}")
    assert sink.readings == {("evil.exe", PROGRAM)}


@pytest.mark.parametrize("beginning", [rb"{\rt", rb"{\rtx99", b"  \r\n{\\rtf1", rb"{\RTF1"])
def test_rtf_as_word_takes_it(beginning: bytes) -> None:
    digits = ole1(b"evil.exe", PROGRAM).hex().encode()
    assert unpack(beginning + rb"{\object{\*\objdata " + digits + rb"}}}").members


def test_rtf_without_objects() -> None:
    sink = unpack(RTF)
    assert (sink.members, sink.errors, sink.troubles) == ([], [], [])


def pdf_with(name: str, data: bytes, **options: Any) -> bytes:
    document = pikepdf.new()
    document.add_blank_page()
    document.attachments[name] = data
    target = io.BytesIO()
    document.save(target, **options)
    return target.getvalue()


def test_files_in_pdf() -> None:
    sink = unpack(pdf_with("évil.exe", BIG))
    assert sink.readings == {("évil.exe", BIG)}
    assert not sink.errors
    packed = pdf_with("évil.exe", BIG, object_stream_mode=pikepdf.ObjectStreamMode.generate, compress_streams=True)
    assert unpack(b"junk\n" + packed).readings == {("évil.exe", BIG)}


def test_a_file_that_no_name_leads_to() -> None:
    document = pikepdf.new()
    document.add_blank_page()
    document.Root.Loose = document.make_stream(PROGRAM, {"/Type": pikepdf.Name.EmbeddedFile})
    document.Root.Annotation = pikepdf.Dictionary(
        FS=pikepdf.Dictionary(F="a.exe", UF="b.txt", EF=pikepdf.Dictionary(F=document.make_stream(BIG)))
    )
    target = io.BytesIO()
    document.save(target)
    assert unpack(target.getvalue()).readings == {("embedded", PROGRAM), ("a.exe", BIG), ("b.txt", BIG)}


def test_encrypted_pdf() -> None:
    locked = pdf_with("evil.exe", BIG, encryption=pikepdf.Encryption(owner="o", user="sesam"))
    assert any(isinstance(error, EncryptedError) for error in unpack(locked, ("wrong",)).errors)
    assert unpack(locked, ("wrong", "sesam")).readings == {("evil.exe", BIG)}
    readable = pdf_with("evil.exe", BIG, encryption=pikepdf.Encryption(owner="o", user=""))
    assert unpack(readable).readings == {("evil.exe", BIG)}


def test_a_bomb_in_pdf_ends_at_the_budget() -> None:
    document = pikepdf.new()
    document.add_blank_page()
    stream = pikepdf.Stream(document, zlib.compress(bytes(50_000_000), 9))
    stream.Filter = pikepdf.Name.FlateDecode
    document.Root.Annotation = pikepdf.Dictionary(F="a", EF=pikepdf.Dictionary(F=document.make_indirect(stream)))
    target = io.BytesIO()
    document.save(target)
    assert len(target.getvalue()) < 100_000
    assert unpack(target.getvalue(), room=1_000_000).over == "bytes"


def test_a_pdf_may_be_another_archive_too() -> None:
    outer = pdf_with("évil.exe", BIG)
    assert unpack(outer + EVIL_ZIP).readings == {("évil.exe", BIG), ("evil.exe", EVIL)}
    assert unpack(outer + rar4(b"a.txt", TEXT)).readings == {("évil.exe", BIG), ("a.txt", TEXT)}


@pytest.mark.parametrize("name", [b"/EF", b"/EmbeddedFile", b"/ObjStm", b"/Encrypt", b"/#45F", b"/Emb#65ddedFile"])
def test_a_damaged_pdf_that_may_have_files_in_it_is_not_clean(name: bytes) -> None:
    assert unpack(b"%PDF-1.7\n" + name + bytes(3000)).errors


def test_a_pdf_that_names_no_file_is_not_read() -> None:
    assert not unpack(b"%PDF-1.7\n/Type /Page /E#F" + bytes(3000)).errors
