"""Archives, compressed streams, images and self-extractors: what each opener gives, and what it never makes."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import os
import struct
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import libarchive
import pytest
import zstandard

from contentfilter.unpack.opener import EncryptedError
from contentfilter.unpack.openers import OPENERS, missing_helpers, sevenzip
from contentfilter.unpack.openers.libarchive import FILTERS, FORMATS, Libarchive
from tests.corpus import images
from tests.corpus.building import PROGRAM
from tests.unit.opener_sink import unpack

TEXT, OTHER = b"hello arj hello arj hello arj\n", b"second\n"

# Made by arj, gcab and msibuild, which this package does not ask for.
ARJ = base64.b64decode(
    "YOopACILAQIQAAJ20A0Ba9ANAWsAAAAAAAAAAAAAAAAAAAAAAAB0LmFyagAAB3FiAwAAYOo1AC4LAQIQAQDQ0A0BaxkAAAAeAAAAOhph+AAApB"
    "EAAAAAAADQDQFr0A0BawAAAABhLnR4dAAAxfXpPAAAAAw6iY1EeeQDkWbggjHhBKJgEyw1PovNAGDqNQAuCwECEAAA0NANAWsHAAAABwAAAH7A"
    "DwYAAKQRAAAAAAAA0A0Ba9ANAWsAAAAAYi50eHQAAKroKmcAAHNlY29uZApg6gAA"
)
ARJ_LOCKED = base64.b64decode(
    "YOopACILAQIRAAIA0A0Ba9ANAWsAAAAAAAAAAAAAAAABAAAAAABlLmFyagAAOoKivAAAYOo1AC4LAQIRAQDQ0A0BaxkAAAAeAAAAOhph+AAApB"
    "EAAAAAAADQDQFr0A0BawAAAABhLnR4dAAA1tqxswAAQzl5uLAHTKcyrCXVwQDcR5cjIhF2C8j8PWDqAAA="
)
CAB = base64.b64decode(
    "TVNDRgAAAAB5AAAAAAAAACwAAAAAAAAAAwEBAAIAAAAAAAAAWAAAAAEAAQAeAAAAAAAAAAAAdV12GiAAYS50eHQABwAAAB4AAAAAAHVddhogAG"
    "IudHh0AOVs39oZACUAQ0vLSM3JyVdILMpSyMBkcRWnJufnpXABAA=="
)
MSI = zlib.decompress(
    base64.b64decode(
        "eNrtVr9v00AY/ZzgJk0DDQyVqFDkgapINDRVAg6K1NSNnSZDoaICFSEGpzZKKidGjg2tECIDldgQGxtiRkgUdtSRDVa2IvEHoEwwEPOdfS5W+a"
        "E4mQp5p6e7+y53z75798Uf3h/fe74z+QkOYB7C0LVHYcQXY5Bhr5MACNFY17ZtEmKR9hCHCiuGfls1zK1rsmap2FGsdfOS3FA3oXdE0RUsOmEM"
        "yTiO6B1dm/gm9EucrLK3/azz7XIt8eJJFM5Ov/mYxhiHAzFwvbdG/Uie9QjyEfXgU2QE+Qo5itxFHkN+QY4jv7r2dUROkOfHOon1BLLSbJmyps"
        "lmXW9yomzKVbmlgjtO1iZ7A7RPNATLrOmG2x//OV81Zrjl1YobJ3coP5fOZOi8aeQ9ocSf53khk8oKWT6VzcxlU0IuU0qJvChczImLQq4o3Hff"
        "753v3nl1kr6DVq82WnUOWbXqmgJBsbxaLJF6m/ZnPB2G2T+VNXoeyf1Z1s07kxzI58xN09mFpC9adaLCjavKFExBTdU0nZONDe43rVhLXdebSg"
        "z6R9g5+f7BAAw4H0s71Ca7VX4Jj+GQgeRuwjC9Qyz1a4SOkfsT8/3O4xD/Bq6AjsUEDiRoYm3AViD/TADLeGsR/zxMxJ34rjtc+tO8Nk1kC+VC"
        "4a6kiRv5z9LpcnD/JiDk6Ifot0ev807CAf351+LsAPrhAPok55yibRZWwYIGFtnZ+wqewi08EcOJmFDHdvMva52h+h560Sd7tUITX3rpraAI/e"
        "ePKNWPBHj/qO//ZqF8XeqINYlf6k8/TvWZAPpjNNe5+g8KijC7eKE8mD4bQD9Oz4D6L98p5sQdaTD9kQD6R73vH9/3e5feX1J/H6bF/wY/ALZO"
        "Uuc="
    )
)


def made(format_name: str, files: dict[str, bytes] | None = None, filter_name: str | None = None) -> bytes:
    """By libarchive's own writer."""
    pieces: list[bytes] = []

    def keep(data: bytes) -> int:
        pieces.append(bytes(data))
        return len(data)

    with libarchive.custom_writer(keep, format_name, filter_name) as archive:
        for name, content in (files or {"a.txt": TEXT, "b.txt": OTHER}).items():
            archive.add_file_from_memory(name, len(content), content)
    return b"".join(pieces)


def rar4(name: bytes, content: bytes, flags: int = 0) -> bytes:
    """One stored file (technote.txt of RAR 2)."""

    def block(kind: int, flags: int, body: bytes) -> bytes:
        header = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
        return struct.pack("<H", zlib.crc32(header) & 0xFFFF) + header

    size = len(content)
    told = struct.pack("<LLBLLBBHL", size, size, 3, zlib.crc32(content), 0x21, 20, 0x30, len(name), 0x81A4)
    return (
        b"Rar!\x1a\7\0"
        + block(0x73, 0, bytes(6))
        + block(0x74, 0x8000 | flags, told + name)
        + content
        + block(0x7B, 0x4000, b"")
    )


def rar5(name: bytes, content: bytes) -> bytes:
    """One stored file (technote.txt of RAR 5); all numbers fit one byte."""

    def block(body: bytes) -> bytes:
        body = bytes([len(body)]) + body
        return struct.pack("<L", zlib.crc32(body)) + body

    told = (
        bytes([2, 2, len(content), 4, len(content), 0])
        + struct.pack("<L", zlib.crc32(content))
        + bytes([0, 1, len(name)])
    )
    return b"Rar!\x1a\7\1\0" + block(bytes([1, 0, 0])) + block(told + name) + content + block(bytes([5, 0, 0]))


def lha(name: bytes, content: bytes) -> bytes:
    """One stored file, header level 0."""
    crc = 0
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    told = (
        struct.pack("<5sLLLBBB", b"-lh0-", len(content), len(content), 0x210000, 0x20, 0, len(name))
        + name
        + struct.pack("<H", crc)
    )
    return bytes([len(told), sum(told) & 255]) + told + content + b"\0"


def tar(*entries: tuple[str, bytes, bytes, str], mode: str = "w:") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, kind, content, link in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.linkname = kind, len(content), link
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def szdd(content: bytes) -> bytes:
    """Literals only: a byte of ones before each eight (COMPRESS.EXE)."""
    groups = (b"\xff" + content[start : start + 8] for start in range(0, len(content), 8))
    return b"SZDD\x88\xf0\x27\x33A\0" + struct.pack("<L", len(content)) + b"".join(groups)


BOTH = {"a.txt": TEXT, "b.txt": OTHER}
PLAIN_TAR = tar(("a.txt", tarfile.REGTYPE, TEXT, ""), ("b.txt", tarfile.REGTYPE, OTHER, ""))
PE = b"MZ" + bytes(58) + struct.pack("<L", 64) + b"PE\0\0" + bytes(2000)
JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(500) + b"\xff\xd9"

ARCHIVES = {
    **{
        name: (made(name), BOTH)
        for name in ("7zip", "ar_bsd", "ar_svr4", "cpio", "cpio_newc", "iso9660", "pax", "ustar", "xar")
    },
    "tar": (PLAIN_TAR, BOTH),
    "tar.gz": (gzip.compress(PLAIN_TAR), BOTH),
    "tar.bz2": (bz2.compress(PLAIN_TAR), BOTH),
    "tar.xz": (lzma.compress(PLAIN_TAR), BOTH),
    "tar.lzma": (lzma.compress(PLAIN_TAR, lzma.FORMAT_ALONE), BOTH),
    "tar.zst": (zstandard.compress(PLAIN_TAR), BOTH),
    "rar4": (rar4(b"a.txt", TEXT), {"a.txt": TEXT}),
    "rar5": (rar5(b"a.txt", TEXT), {"a.txt": TEXT}),
    "lha": (lha(b"a.txt", TEXT), {"a.txt": TEXT}),
    "arj": (ARJ, BOTH),
    "cab": (CAB, BOTH),
    "rpm": (images.rpm("a.txt", TEXT), {"a.txt": TEXT}),
    "chm": (images.chm(b"a.txt", TEXT), {"a.txt": TEXT}),
    "fat": (images.fat(b"A       TXT", TEXT), {"A.TXT": TEXT}),
    "vhd": (images.vhd(images.disk(images.fat(b"A       TXT", TEXT))), {"A.TXT": TEXT}),
    "vhd of a file system": (images.vhd(images.fat(b"A       TXT", TEXT)), {"A.TXT": TEXT}),
    "dynamic vhd": (images.vhd_dynamic(images.disk(images.fat(b"A       TXT", TEXT))), {"A.TXT": TEXT}),
    "squashfs": (images.sample("squashfs.img"), {"photo.jpg": PROGRAM}),
    "nsis": (images.sample("nsis-installer.bin"), {"$TEMP/photo.jpg": PROGRAM}),
    "szdd": (szdd(TEXT), None),
    "rar in a program": (PE + rar4(b"a.txt", TEXT), {"a.txt": TEXT}),
    "rar5 behind a picture": (JPEG + rar5(b"a.txt", TEXT), {"a.txt": TEXT}),
    "7z in a program": (PE + made("7zip"), BOTH),
    "7z behind a picture": (JPEG + made("7zip"), BOTH),
    "cab in a program": (PE + CAB, BOTH),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_members_of_archives(name: str) -> None:
    content, expected = ARCHIVES[name]
    sink = unpack(content)
    if expected is None:
        assert list(sink.found.values()) == [TEXT]
    else:
        assert {name.removesuffix("/"): data for name, data in sink.found.items() if data != b"!<arch>\n"} == expected
    assert not sink.troubles
    assert not sink.errors


STREAMS = {
    "gz": gzip.compress(TEXT),
    "gz in two members": gzip.compress(TEXT[:9]) + gzip.compress(TEXT[9:]),
    "bz2": bz2.compress(TEXT),
    "xz": lzma.compress(TEXT),
    "lzma": lzma.compress(TEXT, lzma.FORMAT_ALONE),
    "zst": zstandard.compress(TEXT),
    **{name: made("raw", {"x": TEXT}, name) for name in ("compress", "lz4", "lzip")},
}


@pytest.mark.parametrize("name", STREAMS)
def test_compressed_streams(name: str) -> None:
    assert unpack(STREAMS[name], names=("report.txt.gz",)).found == {"report.txt": TEXT}


def test_installer_package() -> None:
    sink = unpack(MSI)
    assert sink.found["my.cab"].startswith(b"MSCF")
    assert not sink.errors


def test_links_and_devices_are_never_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = tar(
        ("../../escape", tarfile.REGTYPE, TEXT, ""),
        ("/absolute", tarfile.REGTYPE, TEXT, ""),
        ("to-passwd", tarfile.SYMTYPE, b"", "/etc/passwd"),
        ("to-passwd/below", tarfile.REGTYPE, TEXT, ""),
        ("hard", tarfile.LNKTYPE, b"", "../../escape"),
        ("null", tarfile.CHRTYPE, b"", ""),
        ("disk", tarfile.BLKTYPE, b"", ""),
        ("pipe", tarfile.FIFOTYPE, b"", ""),
        ("folder", tarfile.DIRTYPE, b"", ""),
    )
    sink = unpack(content)
    assert sink.found == {"../../escape": TEXT, "/absolute": TEXT, "to-passwd/below": TEXT}
    assert sorted(sink.without_content) == [
        ("disk", "device"), ("folder/", "directory"), ("hard", "link"), ("null", "device"), ("pipe", "device"),
        ("to-passwd", "link"),
    ]  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def seven(directory: Path, name: str, *options: str, files: Iterable[str] = ("a.txt",)) -> bytes:
    program = sevenzip.program()
    assert program, "needs 7z"
    (directory / "a.txt").write_bytes(TEXT)
    subprocess.run([program, "a", "-bso0", *options, name, *files], cwd=directory, check=True)
    return (directory / name).read_bytes()


def test_links_in_what_7z_extracts(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    content = seven(tmp_path, "t.wim", "-snl", files=("a.txt", "link"))
    sink = unpack(content)
    assert sink.found == {"a.txt": TEXT}


def test_encrypted_7z(tmp_path: Path) -> None:
    content = seven(tmp_path, "t.7z", "-psesam")
    assert unpack(content).without_content == [("a.txt", "encrypted")]
    assert unpack(content, ("wrong", "worse")).without_content == [("a.txt", "encrypted")]
    sink = unpack(content, ("wrong", "sesam"))
    assert sink.found == {"a.txt": TEXT}
    assert not sink.without_content


def test_7z_with_encrypted_names(tmp_path: Path) -> None:
    content = seven(tmp_path, "t.7z", "-psesam", "-mhe")
    for locked in (content, PE + content):
        assert any(isinstance(error, EncryptedError) for error in unpack(locked, ("wrong",)).errors)
        assert unpack(locked, ("wrong", "sesam")).found == {"a.txt": TEXT}


@pytest.mark.parametrize("name", ["tar.gz", "7zip", "rar4", "cab", "arj", "xar", "lha"])
def test_damaged_archives_are_not_clean(name: str) -> None:
    content, expected = ARCHIVES[name]
    sink = unpack(content[: len(content) * 6 // 10])
    assert sink.errors or sink.troubles or sink.without_content
    assert sink.found != expected


def test_what_was_had_before_the_damage_stays() -> None:
    first, second = os.urandom(3000), os.urandom(3000)
    content = tar(("a", tarfile.REGTYPE, first, ""), ("b", tarfile.REGTYPE, second, ""))
    sink = unpack(content[:5500])
    assert sink.found["a"] == first
    assert sink.troubles or sink.without_content


@pytest.mark.parametrize(
    "content", [TEXT, bytes(5000), os.urandom(5000), JPEG, PE, b"\x7fELF" + bytes(900), b"x"], ids=len
)
def test_what_is_no_archive_gives_nothing(content: bytes) -> None:
    sink = unpack(content)
    assert (sink.members, sink.troubles, sink.errors, sink.without_content) == ([], [], [], [])


def test_a_gzip_bomb_ends_at_the_budget() -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(compressor.compress(bytes(1_000_000)) for _ in range(20)) + compressor.flush()
    sink = unpack(bomb, room=2_000_000)
    assert sink.over == "bytes"
    assert unpack(gzip.compress(gzip.compress(bomb)), room=2_000_000).over == "bytes"


def test_a_tar_of_many_files_ends_at_the_budget() -> None:
    entries = [(f"{number}", tarfile.REGTYPE, b"", "") for number in range(4000)]
    assert unpack(tar(*entries, mode="w:gz")).over == "parts"


def test_nothing_runs_but_7z() -> None:
    """Filters that libarchive leaves to external programs stay off, and so does what reads files of ours."""
    assert not {"grzip", "lrzip", "lzop", "uu"} & set(FILTERS)
    assert not {"mtree", "all"} & set(FORMATS)


def test_an_mtree_names_no_file_of_ours() -> None:
    sink = unpack(b"#mtree\n./passwd type=file contents=/etc/passwd\n")
    assert not sink.members


def test_the_doctor_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_helpers() == []
    monkeypatch.setattr(sevenzip, "program", lambda: None)
    (missing,) = missing_helpers()
    assert "7zip" in missing[0]
    assert "arj" in missing[1]
    assert not unpack(ARJ).members


def test_a_filter_that_libarchive_lacks_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contentfilter.unpack.openers.libarchive.missing", lambda: (["rar"], ["zstd"]))
    assert unpack(STREAMS["gz"], only=Libarchive()).members
    assert not unpack(STREAMS["zst"], only=Libarchive()).members
    assert [name for name, _ in missing_helpers()] == [
        "libarchive without the format rar",
        "libarchive without the filter zstd",
    ] or (missing_helpers() == [])


def test_names_of_openers_are_distinct() -> None:
    assert len({opener.name for opener in OPENERS}) == len(OPENERS)


def test_a_stream_of_zeros_is_no_empty_tar() -> None:
    """Two blocks of zeros end a tar: what follows them must not hide behind that."""
    hidden = bytes(2048) + TEXT * 50
    assert unpack(gzip.compress(hidden), names=("x.gz",)).found == {"x": hidden}


@pytest.mark.parametrize("first", range(0, 225, 9))
def test_numbers_that_look_like_lzma_are_no_damage(first: int) -> None:
    """The format has no mark but a plausible size, and tables of small numbers have those too."""
    content = bytes([first, 0, 0, 0x80, 0, 8, 0, 3, 0, 5, 0, 1, 0, 0xB, 0, 1, 0, 1, 0]) + bytes(range(40))
    sink = unpack(content)
    assert (sink.members, sink.errors, sink.troubles) == ([], [], [])


# Made by genisoimage: b.exe stands in the tree with long names only, and in the UDF half only.
ISO_JOLIET = lzma.decompress(
    base64.b64decode(
        "/Td6WFoAAATm1rRGAgAhARwAAAAQz1jM5bf/A1VdAABv/f//o7f/Rz5IFXI5YVG4kijmo4YH+e7kHoLTL8U6PAFLsX7JiopNL6MN2X+m44wjEVPg"
        "WRjFdYrid/dE790OjkefKuUNdUG7Q609LBi0BT3LYTAYxkCvjNa5M9Ey+IH8A42Qb0Y2D67d4cKrEhZJ+uoXhDyUYYGrNoE0xa9edgm6YEYg5hl1"
        "VuiI15+NMYaLSdh9g6YxTIGJn1IMxyEiI77//GId5FEOYWaxDkOdhCG6qxx1T1uU4IAcsuZGHBYxevk/D1FpdJD1cyxkPe6by5KDNIebCi6DK5Tm"
        "i30KZulOP+ZHO0aTIxJr9qWGvnB3zyXeq8Z6huT3ZTnejawRBfItD3UjW51LKymVZFfvynpkZ3GQMgKUdPJjU18IsfY1/4qSTepx/rYTJgd5dRut"
        "aHwMHVZMgBrfPGwepBen+6yDM30X7veslhhWy1n3tBIo3wOxkh+X/uugs/WVvOCHnBC2rWb2ZgrHu30nF7qMJ8kJfYsLniNJsQutzSD7emfTQREn"
        "n0f95KPm0tlffFNeccHxmI8m/XWBrhUpr/shvzMyQQRYl8qsx02DB6jtLm0mmnh79fM3R4boNDsICxT1y7mqPNcdPgfo0t/X9Y1wQQlnU66D+VtR"
        "B/WxaA5BoOMWP7KSL5DCNXYvjNXlj7yZELha2d6T/fsJv1ynz1vEs4ycAOkY96+2c2wyS+l5BY3TD0N+sGWAJAFwq+7PSNA80dXFBifpp5iUJujP"
        "u62sQRdRQxeUYDQDy52uK0X1hNjW6pouDWMgX6ijrGfRDYfDvcLojFYvgqc+3qehG+/1F+0KZ2tW0sEk5QWjuLTM/JyCKZ7FbVteSAFWbEV+aA++"
        "dYIn5Qm6+oWRBGNidTLby8px1gSgWGW2sMzV5kQJUCzHgZ+6id99gReGFfPhXHu49dPTCdsVBl2JmDz/nG9p58PfdOcWFZaI8Kg0GjDKhAfhf2vt"
        "dKImzjDc+LuFRPVbaf0eRHJl/pCNfwQA0hwRmaEIrJMId/p0uRHT/B1sEE/E7Rmco8cYHYupq4LHZTpoVtVD8PaEwNzzDUkxTW3zQiSiwPfdcB5K"
        "MPunowaUQ2zR2cbbMEme6KMJKuyq/1omrHIMFpKnvjmPJOFwnqcU+6/+YAAAAAAAnIq2kFav1EsAAfEGgPAWAP2b3taxxGf7AgAAAAAEWVo="
    )
)
ISO_UDF = lzma.decompress(
    base64.b64decode(
        "/Td6WFoAAATm1rRGAgAhARwAAAAQz1jM7Sf/BiNdAABv/f//o7f/Rz5IFXI5YVG4kijmo4YH+e7kHoLTL8U6PAFLsX7JiopNL6MN2X+m44wjEVPg"
        "WRjFdYrid/dE790OjkefKuUNdUG7Q609LBi0BT3LYTAYxkCviT2TeLMi3eBf00CbDZI6kQ67x0hngMYpLX3PGpmgPMGaIBAsP1Q55LjfVKeETDVA"
        "eYFyEfyZv/C/xKAxTDzKGOrqaiWaFUTPFl3RYjZTdtP1i/NpvPRm8Oh8b+4Xjxx/2Hge2hqoc8IZ7Fh/TDIC5Yat4V1b7oKbJ8Vn7JeWil5yEL34"
        "LKmhy20sC6W1MLsqxuUVSclOUxMIQX8vNqSdXCySM3ROecSoBWIeqVzWOAAE6t9ar1cT43teba+rF/pRfwt4XEXTwjY7zmVC/15MDnMORlMWhSrV"
        "rUCPhiDKIUYD13/oU3ixHBwXsYoyhgGoUiMH7wRppnh1++xa2c5LDhJ0+nqXL7nitInsAq64ynOND9ivLxaT9cQQzRNns6vk9uqutcScSk0aOEwz"
        "CYFnvU7n58Fs070+0KlBwKtkehe5A7hc5V9IhG2dutXpwobfFZ9YBKf4WGnFPTl1RmTI7pJxqNBEtY/PjaT6HBidSdNaubckm5ch3ZqymNOahz+V"
        "LqjdSndQ0/5KGdOgDKG1ieFXFPKplQ8Ocj/n9KxeRDNAcIV302YsIboiHe9MDDOoesdKRKGdnUsHmwt3vPDTmLnJCTiiYAp9RH6f+JeZJV3yNg84"
        "X3rMq7VUKgLUxtfPbRBA3ivppEoYpcf02gMvWoraXF8LBzlB4m8R2S837t5TDmc7T6HAPPQdmuD6G/lb/fsVJzwcZuWFXs3fSWXIZEbKt5tA8akx"
        "2ZVPSyMaMuDBUog3wiGSCV6Z/yBmcgvZinNasUve60EpVqTKR8H8B8QMtoK8vvXRXsHYzl29Ut/hyP55IbWoM49ihH1aUWKSdElcxG2ykuegyM4H"
        "BO6f3qVCy3r8diHeVtOZOH5UGh8cjvHvHq3Pirdoj8tbUSaN481m9C3Y71LmMARICO7Chf8Ez5jj6T9zCcr1djXjpADXE4XPMy/uZ7sNdp9byOHC"
        "/l0CKtJU6mTR4h/vGhkkmYMQ24MlcxgzmtmoHDBuxX3kkg0rOWdhthwmUX9giNnpU58j2TPZeFquC9WsjOl2HLiUwmR3UjkvIzc2y3N5YjKXh24L"
        "/OgLj0uRnKgfkt9FX6Jl2Qt8dGdU8IBRi0Iaeana2fY6WgV0ks2+/w0fKhcA0nPtvlevW5LY2dPF9W8Tr4IeVb5M1Ns+BBBmJld/7rXfGRCgDV75"
        "OpCmi5ZoVHOwfR5EJPYs0KFzvuq9wnqmxGRj8/IuIV4FWAy+iZciaxgR27KDhyS+waZGH6c/cLgZ3YZxUfLE5wOFrrYqUBj74Eeci/50DcrbvfzG"
        "Ubkq3AkNs3evoFkZnRw+jYaKtZA2cPGIQa1yMivXc7dy67hiBOhlMmfz64oxVtFG86DqShrEI7aUYD+60iNk8SjnBAHYAXSkPA8SG7i9htto6F3m"
        "5QSatfmitjPStl9X3LS2MPyS+Ys/0DkaNT/scnN7nPHLG05FZ8mBXUeek3sMDtshpvb99kNIQKFox/X+28Y6YGOfxS6sixEAaMWBxEDQLyeI7Cuu"
        "YCbt+/w92wEd+pUSImR+KdtKY5K3mxJrmnT+NpL24SziJOPxqUFQB3sIgxyPws4HSY/FwUHCjNCIsVpjzCkLuHy58ZqYnIVCextMq19ohAT7AjLt"
        "7NwwOQGrfEKyKficPeEyttjuuUgKtrly5LJoC55ra2EAw6r97j8DXuCcnZjDES5iseXvYRQFRJHPQOHeS+vJyO5SnHC1DTKttXB5kVmXX4egcgeD"
        "6uzy+oSUk5+NnEpycMLCicStGVAYjOWF4fO8pysi1bRio7o+ib5su2DSrTftk6ZipOF7g7ZZk15nKak5TQdOTP0QorMcOasVAkepf8s88wH1iUao"
        "IW+BRtbIgLOpdNDc9D2TNGfdhMFSGPvK0znsYBAaKoX0JvrnWo2wExsugOG6ADidiH3ac9t122niW5D8rsko8+/C++4UlfcOL1+/KrJnRRo3da9D"
        "rMRqBR1AAAD9vEEVHOHS2gABvwyA0DQAgOjDNrHEZ/sCAAAAAARZWg=="
    )
)


@pytest.mark.parametrize(("content", "plain"), [(ISO_JOLIET, "a.txt"), (ISO_UDF, "A.TXT")], ids=["joliet", "udf"])
def test_every_tree_of_an_image_is_read(content: bytes, plain: str) -> None:
    sink = unpack(content)
    assert sink.readings >= {(plain, TEXT), ("b.exe", b"hidden program\n")}
    assert not sink.errors
    assert not sink.troubles


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"])
def test_a_stream_that_breaks_off_gives_what_it_can(pack: Callable[[bytes], bytes]) -> None:
    content = pack(TEXT)
    sink = unpack(content[:-6], names=("x.gz",))
    assert sink.troubles
    assert TEXT.startswith(sink.found["x"])
    assert sink.found["x"] or pack is not gzip.compress


def test_both_names_of_a_gzip_count() -> None:
    buffer = io.BytesIO()
    with gzip.GzipFile("run.exe", "wb", fileobj=buffer) as file:
        file.write(TEXT)
    sink = unpack(buffer.getvalue(), names=("notes.txt.gz",))
    assert [(member.name, member.reading) for member in sink.members] == [("notes.txt", ""), ("run.exe", "gzip-name")]
    assert sink.readings == {("notes.txt", TEXT), ("run.exe", TEXT)}
    assert len(unpack(buffer.getvalue(), names=("run.exe.gz",)).members) == 1
