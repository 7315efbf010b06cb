"""Archives and other files that hold files."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import struct
import subprocess
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pikepdf
import zstandard

from tests.corpus import images, locked
from tests.corpus.building import EICAR, PROGRAM, TEXT, Family, attached, carrying, mixed, text, uu
from tests.corpus.case import BANNED, BANNED_AND_UNCHECKED, EITHER, NOT_VERIFIED, STANDARD, UNCHECKED, VIRUS, Expect
from tests.corpus.formats import (
    Entry,
    apple,
    arj,
    attached_file,
    binhex,
    cab,
    compound,
    encrypted_entry,
    lha,
    libarchive_file,
    macbinary,
    ole10_native,
    rar4,
    rar5,
    rtf_object,
    szdd,
    tnef,
    zip_file,
    zip_of,
)

_family = Family("containers")
_HIDDEN = {"photo.jpg": PROGRAM}
_PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
_JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(100) + b"\xff\xd9"


def _add(
    name: str,
    why: str,
    client: str,
    content: bytes | Callable[[], bytes],
    expect: Expect = BANNED,
    file_name: str = "papers.dat",
    note: bytes = TEXT,
) -> None:
    def build() -> bytes:
        return carrying(content() if callable(content) else content, file_name, note=note)

    _family.add(name, why, client, build, expect)


# Zip, as it should be and as it should not.

_add("zip", "a program in a zip, by what it is", STANDARD, zip_file(_HIDDEN))
_add("zip-name", "a program in a zip, by its name", STANDARD, zip_file({"run.exe": TEXT}))
_add("zip-virus", "a virus in a zip", STANDARD, zip_file({"a.txt": EICAR}), VIRUS)
_add("zip-many", "the last of a hundred", STANDARD, zip_file({f"{n}.txt": TEXT for n in range(100)} | _HIDDEN))


def _nested(levels: int) -> bytes:
    packed = zip_file(_HIDDEN)
    for level in range(levels):
        packed = zip_file({f"level{level}.dat": packed})
    return packed


_add("zip-in-zip", "four zips within each other", STANDARD, _nested(3))
_add("zip-too-deep", "thirty zips within each other: deeper than the limit", STANDARD, _nested(29), UNCHECKED)
_add(
    "zip-called-jpg",
    "a zip under the name of an image",
    "content decides for 7-Zip and WinRAR",
    zip_file(_HIDDEN),
    file_name="a.jpg",
)
_add(
    "zip-junk-before",
    "a zip behind other bytes",
    "Windows Explorer, 7-Zip and WinRAR look from the end",
    b"not a zip\r\n" * 50 + zip_file(_HIDDEN),
)
_add(
    "zip-junk-before-counted",
    "the same, with offsets that count the other bytes",
    "Windows Explorer, 7-Zip and WinRAR",
    b"x" * 500 + zip_of(Entry(b"photo.jpg", PROGRAM), offset=500),
)
_add("zip-junk-after", "a zip before other bytes", "7-Zip and WinRAR", zip_file(_HIDDEN) + bytes(1000))
_add("zip-after-jpeg", "an image that is also a zip", "7-Zip and WinRAR", _JPEG + zip_file(_HIDDEN), file_name="a.jpg")
_add("zip-after-png", "an image that is also a zip", "7-Zip and WinRAR", _PNG + zip_file(_HIDDEN), file_name="a.png")
_add(
    "zip-after-gif",
    "an image that is also a zip",
    "7-Zip and WinRAR",
    b"GIF89a\1\0\1\0\0\0\0;" + zip_file(_HIDDEN),
    file_name="a.gif",
)
_add(
    "zip-after-pdf",
    "a PDF that is also a zip",
    "7-Zip and WinRAR",
    b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n" + zip_file(_HIDDEN),
    file_name="a.pdf",
)
_add("zip-after-rar", "a rar that is also a zip", NOT_VERIFIED, rar4(b"a.txt", TEXT) + zip_file(_HIDDEN))
_two = "7-Zip shows the first, WinRAR and Windows Explorer the last (Perception Point, 2024)"
_add(
    "zip-two-first", "two zips in a row, the program in the first", _two, zip_file(_HIDDEN) + zip_file({"a.txt": TEXT})
)
_add("zip-two-last", "two zips in a row, the program in the last", _two, zip_file({"a.txt": TEXT}) + zip_file(_HIDDEN))
_add(
    "zip-in-comment",
    "a zip in the comment of a zip",
    NOT_VERIFIED,
    zip_of(Entry(b"a.txt", TEXT), comment=zip_file(_HIDDEN)),
)
_add(
    "zip-end-in-comment",
    "the comment holds the end record of an empty zip",
    NOT_VERIFIED,
    zip_of(Entry(b"photo.jpg", PROGRAM), comment=b"PK\5\6" + bytes(18)),
)
_add(
    "zip-same-name-first",
    "two members of one name, the program first",
    "the first or the last wins, by program",
    zip_of(Entry(b"a.txt", PROGRAM), Entry(b"a.txt", TEXT)),
)
_add(
    "zip-same-name-last",
    "two members of one name, the program last",
    "the first or the last wins, by program",
    zip_of(Entry(b"a.txt", TEXT), Entry(b"a.txt", PROGRAM)),
)
_add(
    "zip-local-name",
    "only the local header has the name of a program",
    "programs that read from the beginning",
    zip_of(Entry(b"a.txt", TEXT, local_name=b"run.exe")),
)
_add(
    "zip-central-name",
    "only the central directory has the name of a program",
    "programs that read the directory",
    zip_of(Entry(b"run.exe", TEXT, local_name=b"a.txt")),
)
_add(
    "zip-not-listed",
    "a member that the central directory does not list",
    "programs that read from the beginning",
    zip_of(Entry(b"a.txt", TEXT), Entry(b"photo.jpg", PROGRAM, in_directory=False)),
)
_add(
    "zip-no-directory",
    "the central directory is missing",
    "WinRAR repairs it",
    zip_of(Entry(b"photo.jpg", PROGRAM), directory=False),
    BANNED,
)
_add(
    "zip-cut",
    "the file ends within the last member",
    "WinRAR repairs it",
    zip_of(Entry(b"photo.jpg", PROGRAM), Entry(b"b.txt", TEXT * 90, deflated=False))[:900],
)
_add(
    "zip-says-stored",
    "the directory and header say stored, the content is deflated",
    "loaders made for it (called Zombie ZIP)",
    zip_of(Entry(b"photo.jpg", PROGRAM, method=0)),
    EITHER,
)
_add(
    "zip-local-says-stored",
    "the local header says stored, the directory deflated",
    "programs that read the directory",
    zip_of(Entry(b"photo.jpg", PROGRAM, local_method=0)),
)
_add(
    "zip-central-says-stored",
    "the directory says stored, the local header deflated",
    "programs that read from the beginning",
    zip_of(Entry(b"photo.jpg", PROGRAM, method=0, local_method=8)),
)
_add("zip-small-size", "the sizes told are too small", NOT_VERIFIED, zip_of(Entry(b"photo.jpg", PROGRAM, size=2)))
_add(
    "zip-huge-size",
    "the sizes told are far too large",
    NOT_VERIFIED,
    zip_of(Entry(b"photo.jpg", PROGRAM, size=0xFFFFFFF0)),
)
_add(
    "zip-wrong-crc", "the checksum is wrong", "most unpack with a warning", zip_of(Entry(b"photo.jpg", PROGRAM, crc=1))
)
_add(
    "zip-descriptor", "sizes stand behind the content", STANDARD, zip_of(Entry(b"photo.jpg", PROGRAM, descriptor=True))
)
_add("zip-directory-with-content", "a directory that has content", NOT_VERIFIED, zip_of(Entry(b"photo/", PROGRAM)))
_add("zip-absolute", "an absolute name", "path traversal in many programs", zip_of(Entry(b"/etc/run.exe", TEXT)))
_add(
    "zip-upwards",
    "a name that climbs out of the directory",
    "path traversal in many programs",
    zip_of(Entry(b"../../../run.exe", TEXT)),
)
_add("zip-backslash", "a path with backslashes", "Windows", zip_of(Entry(b"a.txt\\run.exe", TEXT)))
_add("zip-nul-name", "NUL in the name", "programs in C", zip_of(Entry(b"run.exe\0.txt", TEXT)))
_add("zip-empty-name", "a member without a name", NOT_VERIFIED, zip_of(Entry(b"", PROGRAM)))
_add("zip-cp437", "a name in code page 437", STANDARD, zip_of(Entry(b"\x81ber.exe", TEXT)))
_unicode = b"up" + struct.pack("<HBI", 12, 1, zlib.crc32(b"a.txt")) + b"run.exe"
_add(
    "zip-unicode-extra",
    "another name in the extra field for Unicode",
    "Info-ZIP and 7-Zip prefer it",
    zip_of(Entry(b"a.txt", TEXT, extra=_unicode)),
    BANNED,
)
_add(
    "zip-unicode-extra-twice",
    "two such fields, the name of a program in the second",
    NOT_VERIFIED,
    zip_of(Entry(b"a.txt", TEXT, extra=_unicode.replace(b"run.exe", b"bbb.txt") + _unicode)),
)
_add(
    "zip-local-name-unreadable",
    "only the local header has the name of a program, and a method that nobody knows",
    NOT_VERIFIED,
    zip_of(Entry(b"a.txt", TEXT, local_name=b"run.exe", local_method=0x51)),
    BANNED_AND_UNCHECKED,
)
_add("zip-bzip2", "bzip2 in a zip", "7-Zip and WinRAR", zip_file(_HIDDEN, zipfile.ZIP_BZIP2))
_add("zip-lzma", "LZMA in a zip", "7-Zip and WinRAR", zip_file(_HIDDEN, zipfile.ZIP_LZMA))
_add(
    "zip-unknown-method",
    "a method that nobody knows",
    NOT_VERIFIED,
    zip_of(Entry(b"a.txt", TEXT, method=77)),
    UNCHECKED,
)
_add(
    "zip-damaged",
    "a member whose content is damaged",
    NOT_VERIFIED,
    zip_of(Entry(b"a.txt", TEXT, raw=b"\xff" * 60)),
    UNCHECKED,
)
_add("zip-encrypted", "an encrypted zip", STANDARD, zip_of(encrypted_entry(b"a.txt", TEXT, b"8vkEq1")), UNCHECKED)
_add(
    "zip-encrypted-name",
    "an encrypted zip with the name of a program",
    STANDARD,
    zip_of(encrypted_entry(b"run.exe", TEXT, b"8vkEq1")),
    BANNED_AND_UNCHECKED,
)
_add(
    "zip-encrypted-among",
    "one encrypted member among others, a program",
    STANDARD,
    zip_of(Entry(b"photo.jpg", PROGRAM), encrypted_entry(b"a.txt", TEXT, b"8vkEq1")),
    BANNED_AND_UNCHECKED,
)
_add(
    "zip-password-in-text",
    "the password stands in the text",
    "the reader",
    zip_of(encrypted_entry(b"photo.jpg", PROGRAM, b"s3cret77")),
    note=b"Please find the papers.\r\nPassword: s3cret77\r\n",
)
_add(
    "zip-encrypted-flag-lie",
    "the flag says encrypted, but nothing is",
    "Android's loader ignores the flag",
    zip_of(Entry(b"run.exe", TEXT, flags=1)),
    BANNED_AND_UNCHECKED,
)

# What is a zip by another name.

_add(
    "jar",
    "a Java archive, which is a program",
    "Java",
    zip_file({"META-INF/MANIFEST.MF": b"Main-Class: A\n", "A.class": b"\xca\xfe\xba\xbe\0\0\0\x34" + bytes(50)}),
    file_name="a.dat",
)
_docx = {"[Content_Types].xml": b"<Types/>", "_rels/.rels": b"<Relationships/>", "word/document.xml": b"<w:document/>"}
_add(
    "docx-ole",
    "an OLE package with a program in a Word document",
    "Word",
    zip_file(
        _docx | {"word/embeddings/oleObject1.bin": compound({"\1Ole10Native": ole10_native(b"run.exe", PROGRAM)})}
    ),
    file_name="a.docx",
)
_add(
    "docx-plain",
    "a program as an ordinary member of a Word document",
    NOT_VERIFIED,
    zip_file(_docx | {"word/media/image1.jpg": PROGRAM}),
    file_name="a.docx",
)
_add(
    "doc-ole",
    "an OLE package with a program in an old Word document",
    "Word",
    compound({"WordDocument": bytes(5000), "ObjectPool/_1/\1Ole10Native": ole10_native(b"run.exe", PROGRAM)}),
    file_name="a.doc",
)
_add(
    "odt-object",
    "a program in an OpenDocument text",
    "LibreOffice",
    zip_file({"mimetype": b"application/vnd.oasis.opendocument.text", "Object 1": PROGRAM}),
    file_name="a.odt",
)
_add(
    "rtf-object",
    "a package with a program in RTF",
    "Word (used by CVE-2017-11882 documents)",
    rtf_object(b"run.exe", PROGRAM),
    file_name="a.rtf",
)
_add("rtf-called-doc", "the same, called .doc", "Word", rtf_object(b"run.exe", PROGRAM), file_name="a.doc")
_add(
    "office-encrypted",
    "an encrypted Office document",
    STANDARD,
    compound({"EncryptionInfo": b"\4\0\4\0" + bytes(200), "EncryptedPackage": bytes(5000)}),
    UNCHECKED,
    "a.docx",
)


def _pdf(name: str = "", content: bytes = b"", password: str = "") -> bytes:
    with pikepdf.new() as document:
        document.add_blank_page()
        if name:
            document.attachments[name] = attached_file(document, content, name)
        packed = io.BytesIO()
        encryption = pikepdf.Encryption(owner=password, user=password) if password else False
        document.save(packed, encryption=encryption, object_stream_mode=pikepdf.ObjectStreamMode.generate)
        return packed.getvalue()


_add(
    "pdf-embedded",
    "a program in a PDF, by what it is",
    "Adobe Reader",
    lambda: _pdf("photo.jpg", PROGRAM),
    file_name="a.pdf",
)
_add(
    "pdf-embedded-name",
    "a program in a PDF, by its name",
    "Adobe Reader",
    lambda: _pdf("run.exe", TEXT),
    file_name="a.pdf",
)
_add("pdf-encrypted", "an encrypted PDF", STANDARD, lambda: _pdf(password="8vkEq1"), UNCHECKED, "a.pdf")

# The others.


def _tar(members: dict[str, bytes], mode: str = "w:") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:  # type: ignore[call-overload]  # the mode is a variable
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def _tar_link(kind: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:") as archive:
        info = tarfile.TarInfo("run.exe")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    return packed.getvalue()


_add("tar", "a tar", STANDARD, _tar(_HIDDEN))
_add("tar-symlink", "a link with the name of a program", "path traversal through links", _tar_link(tarfile.SYMTYPE))
_add("tar-device", "a device with the name of a program", NOT_VERIFIED, _tar_link(tarfile.CHRTYPE))
_add("tar-gz", "a compressed tar", STANDARD, gzip.compress(_tar(_HIDDEN)))
_add("tar-bz2", "a compressed tar", STANDARD, bz2.compress(_tar(_HIDDEN)))
_add("tar-xz", "a compressed tar", STANDARD, lzma.compress(_tar(_HIDDEN)))
_add("gz", "gzip", STANDARD, gzip.compress(PROGRAM))
_add(
    "gz-members",
    "two gzip members, the program in both together",
    STANDARD,
    gzip.compress(PROGRAM[:100]) + gzip.compress(PROGRAM[100:]),
)
_add("gz-junk", "other bytes behind the gzip", STANDARD, gzip.compress(PROGRAM) + b"junk" * 9)
_add("gz-cut", "a gzip without its end", NOT_VERIFIED, gzip.compress(PROGRAM)[:-6])
_named_gz = io.BytesIO()
with gzip.GzipFile("run.exe", "wb", fileobj=_named_gz, mtime=0) as _file:
    _file.write(TEXT)
_add("gz-name", "the name of a program in the gzip header", "gunzip -N, 7-Zip", _named_gz.getvalue())
_add(
    "gz-twice",
    "compressed twice, the program by its name only",
    "programs that undo one compression after the other",
    gzip.compress(gzip.compress(TEXT, mtime=0), mtime=0),
    file_name="run.exe.gz.gz",
)
_same_gz = gzip.compress(TEXT, mtime=0)
_family.add(
    "gz-second-name",
    "the same gzip twice; by its second name it holds a program",
    STANDARD,
    mixed(text(), attached(_same_gz, b"a.txt.gz"), attached(_same_gz, b"run.exe.gz")),
)
_family.add(
    "gz-second-name-in-zip",
    "the same gzip by itself and in a zip, where its name is that of a program's",
    STANDARD,
    mixed(text(), attached(_same_gz, b"a.txt.gz"), attached(zip_file({"run.exe.gz": _same_gz}), b"a.zip")),
)
_add("bz2", "bzip2", STANDARD, bz2.compress(PROGRAM))
_add("xz", "xz", STANDARD, lzma.compress(PROGRAM))
_add("lzma", "lzma alone", STANDARD, lzma.compress(PROGRAM, lzma.FORMAT_ALONE))
_add("zst", "Zstandard", STANDARD, zstandard.compress(PROGRAM))
_add(
    "gz-gz-gz", "gzip of bzip2 of xz of a zip", STANDARD, gzip.compress(bz2.compress(lzma.compress(zip_file(_HIDDEN))))
)
for _format in ("7zip", "cpio", "xar", "ar_svr4", "iso9660", "pax", "gnutar"):
    _add(
        f"libarchive-{_format}",
        f"the format {_format}",
        "7-Zip and file managers",
        partial(libarchive_file, _format, _HIDDEN),
    )
for _filter in ("lz4", "compress", "lzip", "zstd"):
    _add(
        f"tar-{_filter}",
        f"a tar compressed with {_filter}",
        "tar and file managers",
        partial(libarchive_file, "ustar", _HIDDEN, _filter),
    )
_add("cab", "a cabinet", "Windows Explorer", cab(b"photo.jpg", PROGRAM))
_add("arj", "an ARJ that does not say so", "7-Zip and WinRAR", arj(b"photo.jpg", PROGRAM))
_add("lha", "an LHA", "7-Zip and WinRAR", lha(b"photo.jpg", PROGRAM))
_add("rar4", "a RAR of version 4", "WinRAR and Windows 11", rar4(b"photo.jpg", PROGRAM))
_add("rar5", "a RAR of version 5", "WinRAR and Windows 11", rar5(b"photo.jpg", PROGRAM))
_add(
    "rar4-encrypted",
    "an encrypted RAR with the name of a program",
    "WinRAR",
    rar4(b"run.exe", bytes(320), encrypted=True),
    BANNED_AND_UNCHECKED,
)
_add("szdd", "a file that old Windows compressed", "expand.exe", szdd(PROGRAM))
_add("tnef", "a winmail.dat", "Outlook", tnef(b"photo.jpg", PROGRAM), file_name="winmail.dat")
_add("tnef-name", "a winmail.dat, by the name", "Outlook", tnef(b"run.exe", TEXT), file_name="winmail.dat")
_add(
    "tnef-two-names",
    "two names in a winmail.dat, of which one seems to be the other cut short",
    NOT_VERIFIED,
    tnef(b"run.exetxt", TEXT, b"run.exe"),
    file_name="winmail.dat",
)
_add("tnef-called-doc", "TNEF under another name", NOT_VERIFIED, tnef(b"photo.jpg", PROGRAM), file_name="a.doc")
_add("uu-in-zip", "a uuencoded program in a zip", "7-Zip and WinZip open .uue", zip_file({"a.uue": uu(PROGRAM)}))
_add("hqx-in-zip", "a BinHex program in a zip", "StuffIt", zip_file({"a.hqx": binhex(PROGRAM, b"photo.jpg")}))
_add(
    "eml-in-zip",
    "a message with a program in a zip",
    "every client that opens .eml",
    zip_file({"a.eml": mixed(text(), attached())}),
)
_add(
    "eml-called-txt-in-zip",
    "the same under another name",
    "every client that opens .eml",
    zip_file({"a.txt": mixed(text(), attached())}),
)
_add(
    "mbox-in-zip",
    "a mailbox with a program in a zip",
    "Thunderbird and Apple Mail",
    zip_file({"a.mbox": b"From a@b.example Mon Mar  2 10:00:00 2026\r\n" + mixed(text(), attached())}),
)
_add(
    "msg",
    "an Outlook message with a program",
    "Outlook",
    compound(
        {
            "__properties_version1.0": bytes(64),
            "__substg1.0_0037001E": b"hi",
            "__attach_version1.0_#00000000/__substg1.0_37010102": PROGRAM,
            "__attach_version1.0_#00000000/__substg1.0_3707001F": "photo.jpg".encode("utf-16-le"),
        }
    ),
    file_name="a.msg",
)
_add(
    "msg-name",
    "an Outlook message with a program, by its name",
    "Outlook",
    compound(
        {
            "__properties_version1.0": bytes(64),
            "__substg1.0_0037001E": b"hi",
            "__attach_version1.0_#00000000/__substg1.0_37010102": TEXT,
            "__attach_version1.0_#00000000/__substg1.0_3707001F": "run.exe".encode("utf-16-le"),
        }
    ),
    file_name="a.msg",
)
_add("zip-in-tnef", "a zip in a winmail.dat", "Outlook", tnef(b"a.zip", zip_file(_HIDDEN)), file_name="winmail.dat")
_add(
    "iso-in-zip",
    "an image of a disk in a zip",
    "Windows Explorer",
    lambda: zip_file({"a.dat": libarchive_file("iso9660", _HIDDEN)}),
    EITHER,
)


def _seven_zip(*options: str, content: bytes = TEXT) -> bytes:
    program = shutil.which("7zz") or shutil.which("7z")
    if program is None:
        raise FileNotFoundError("7zz of the package 7zip")
    with TemporaryDirectory() as directory:
        (Path(directory) / "run.exe").write_bytes(content)
        command = [program, "a", "-p8vkEq1", *options, "a.7z", "run.exe"]
        subprocess.run(command, cwd=directory, check=True, capture_output=True)
        return (Path(directory) / "a.7z").read_bytes()


_add("7z-encrypted", "an encrypted 7z with the name of a program", "7-Zip", _seven_zip, BANNED_AND_UNCHECKED)
_add(
    "7z-encrypted-names",
    "an encrypted 7z whose names are encrypted too",
    "7-Zip",
    lambda: _seven_zip("-mhe=on"),
    UNCHECKED,
)

_add(
    "7z-in-program-password-in-text",
    "a 7z whose names are encrypted, behind other bytes, with the password in the text",
    "7-Zip looks for it; the reader",
    lambda: _JPEG + _seven_zip("-mhe=on"),
    note=b"Please find the papers.\r\nPassword: 8vkEq1\r\n",
)


def _zip_of_7z(method: str) -> bytes:
    program = shutil.which("7zz") or shutil.which("7z")
    if program is None:
        raise FileNotFoundError("7zz of the package 7zip")
    with TemporaryDirectory() as directory:
        (Path(directory) / "photo.jpg").write_bytes(PROGRAM * 3)
        command = [program, "a", "-tzip", f"-mm={method}", "a.zip", "photo.jpg"]
        subprocess.run(command, cwd=directory, check=True, capture_output=True)
        return (Path(directory) / "a.zip").read_bytes()


_add("zip-deflate64", "Deflate64 in a zip", "Windows Explorer, 7-Zip and WinRAR", lambda: _zip_of_7z("Deflate64"))
for _name, _archive in {
    "rar4": partial(locked.rar4_locked, b"photo.jpg", PROGRAM, "s3cret77"),
    "rar5": partial(locked.rar5_locked, b"photo.jpg", PROGRAM, "s3cret77"),
    "arj": partial(locked.arj_locked, b"photo.jpg", PROGRAM, b"s3cret77"),
}.items():
    _add(
        f"{_name}-password-in-text",
        "the password stands in the text",
        "the reader",
        _archive,
        note=b"Please find the papers.\r\nPassword: s3cret77\r\n",
    )
    _add(f"{_name}-password-elsewhere", "the password comes by another way", "the reader", _archive, UNCHECKED)
_add(
    "rar5-encrypted-name",
    "an encrypted RAR 5 with the name of a program",
    "WinRAR",
    lambda: locked.rar5_locked(b"run.exe", TEXT, "s3cret77"),
    BANNED_AND_UNCHECKED,
)
_add(
    "rar5-in-program-encrypted",
    "an encrypted RAR 5 behind other bytes",
    "WinRAR looks for it",
    lambda: _JPEG + locked.rar5_locked(b"run.exe", TEXT, "s3cret77"),
    BANNED_AND_UNCHECKED,
)

# Images and packages.

_add("rpm", "a program in a package", "7-Zip and file managers", images.rpm("photo.jpg", PROGRAM))
_add("chm", "a program in a help file", "the help of Windows runs what is in it", images.chm(b"photo.jpg", PROGRAM))
_add("squashfs", "a program in a squashfs", "7-Zip; Snap and AppImage", images.sample("squashfs.img"))
_add(
    "nsis",
    "a program in an installer, which is one itself",
    "Windows",
    images.sample("nsis-installer.bin"),
    Expect(BANNED.kinds, names=("photo.jpg",)),
)
_add("fat", "an image of a floppy disk", "7-Zip and Windows", images.fat(b"PHOTO   JPG", PROGRAM), EITHER)
_add(
    "vhd",
    "a disk with a partition with a program",
    "Windows mounts it on a double click",
    images.vhd(images.disk(images.fat(b"PHOTO   JPG", PROGRAM))),
    file_name="papers.vhd",
)
_add(
    "vhd-dynamic",
    "the same as a dynamic disk",
    "Windows mounts it on a double click",
    images.vhd_dynamic(images.disk(images.fat(b"PHOTO   JPG", PROGRAM))),
    file_name="papers.vhd",
)
_add(
    "msi",
    "an installer with a cabinet with a program",
    "Windows Installer",
    compound(
        {"photo.cab": cab(b"photo.jpg", PROGRAM)},
        uuid.UUID("000c1084-0000-0000-c000-000000000046").bytes_le,
    ),
)

# Files of the Macintosh.

_add("applesingle", "a program as data fork of an AppleSingle", "Apple Mail", apple(b"photo.jpg", PROGRAM, b"harmless"))
_add("applesingle-name", "the name of a program in an AppleSingle", "Apple Mail", apple(b"run.exe", TEXT, b""))
_add("appledouble-resource", "a program as resource fork", "Apple Mail", apple(b"photo.jpg", b"", PROGRAM))
_add("macbinary", "a program in a MacBinary", "StuffIt", macbinary(b"photo.jpg", PROGRAM, b""))

CASES = tuple(_family.cases)
