"""Zip files that say two things at once: whichever record a reader believes, we have seen what it gets."""

from __future__ import annotations

import io
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path

import pytest

from contentfilter.unpack.openers import sevenzip
from tests.unit.opener_sink import unpack

GOOD, EVIL = b"harmless text " * 20, b"MZ evil program " * 20


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(data) + compressor.flush()


def local(name: bytes, stored: bytes, data: bytes, method: int = 8, **lies: int) -> bytes:
    told = {"flags": 0, "method": method, "crc": zlib.crc32(data), "packed": len(stored), "size": len(data)} | lies
    return (
        struct.pack("<4s5H3L2H", b"PK\3\4", 20, told["flags"], told["method"], 0, 0x21, told["crc"], told["packed"],
                    told["size"], len(name), 0) + name + stored
    )  # fmt: skip


def central(
    name: bytes, stored: bytes, data: bytes, offset: int, method: int = 8, extra: bytes = b"", **lies: int
) -> bytes:
    told = {"flags": 0, "method": method, "crc": zlib.crc32(data), "packed": len(stored), "size": len(data)} | lies
    return (
        struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, told["flags"], told["method"], 0, 0x21, told["crc"],
                    told["packed"], told["size"], len(name), len(extra), 0, 0, 0, 0, offset) + name + extra
    )  # fmt: skip


def end(count: int, size: int, offset: int, comment: bytes = b"") -> bytes:
    return struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, offset, len(comment)) + comment


def a_zip(locals_: list[bytes], centrals: list[bytes], count: int | None = None) -> bytes:
    body, directory = b"".join(locals_), b"".join(centrals)
    return body + directory + end(len(centrals) % 65536 if count is None else count, len(directory), len(body))


def ordinary(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


PACKED_GOOD, PACKED_EVIL = raw_deflate(GOOD), raw_deflate(EVIL)
GOOD_LOCAL = local(b"good.txt", PACKED_GOOD, GOOD)
EVIL_LOCAL = local(b"evil.exe", PACKED_EVIL, EVIL)
ONE = a_zip([GOOD_LOCAL], [central(b"good.txt", PACKED_GOOD, GOOD, 0)])
EVIL_ZIP = ordinary(**{"evil.exe": EVIL})
UNICODE = struct.pack("<HHBL", 0x7075, 5 + 8, 1, 0) + b"evil.exe"
JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(500) + b"\xff\xd9"


def lies() -> dict[str, bytes]:
    """Each of them hides evil.exe, or its content, from some reader."""
    both = len(GOOD_LOCAL)
    stored_evil = local(b"evil.exe", EVIL, EVIL, 0)
    return {
        "only in the local headers": a_zip([GOOD_LOCAL, EVIL_LOCAL], [central(b"good.txt", PACKED_GOOD, GOOD, 0)]),
        "before the first entry of the directory": a_zip(
            [EVIL_LOCAL, GOOD_LOCAL], [central(b"good.txt", PACKED_GOOD, GOOD, len(EVIL_LOCAL))]
        ),
        "another name in the local header": a_zip([EVIL_LOCAL], [central(b"good.txt", PACKED_EVIL, EVIL, 0)]),
        "another name in the central header": a_zip(
            [local(b"good.txt", PACKED_EVIL, EVIL)], [central(b"evil.exe", PACKED_EVIL, EVIL, 0)]
        ),
        "another name in an extra field": a_zip(
            [local(b"good.txt", PACKED_EVIL, EVIL)], [central(b"good.txt", PACKED_EVIL, EVIL, 0, extra=UNICODE)]
        ),
        "central header says stored": a_zip([EVIL_LOCAL], [central(b"evil.exe", PACKED_EVIL, EVIL, 0, method=0)]),
        "local header says stored": a_zip(
            [local(b"evil.exe", PACKED_EVIL, EVIL, method=0)], [central(b"evil.exe", PACKED_EVIL, EVIL, 0)]
        ),
        "unknown method in the central header": a_zip(
            [EVIL_LOCAL], [central(b"evil.exe", PACKED_EVIL, EVIL, 0, method=77)]
        ),
        "packed size zero in both": a_zip(
            [local(b"evil.exe", PACKED_EVIL, EVIL, packed=0)], [central(b"evil.exe", PACKED_EVIL, EVIL, 0, packed=0)]
        ),
        "packed size too large": a_zip(
            [local(b"evil.exe", PACKED_EVIL, EVIL, packed=10**6)],
            [central(b"evil.exe", PACKED_EVIL, EVIL, 0, packed=10**6)],
        ),
        "size too small": a_zip(
            [local(b"evil.exe", PACKED_EVIL, EVIL, size=2)], [central(b"evil.exe", PACKED_EVIL, EVIL, 0, size=2)]
        ),
        "stored, packed size one, true size": a_zip(
            [stored_evil], [central(b"evil.exe", EVIL, EVIL, 0, method=0, packed=1)]
        ),
        "stored, size only in the local header": a_zip(
            [stored_evil], [central(b"evil.exe", EVIL, EVIL, 0, method=0, packed=1, size=1)]
        ),
        "wrong checksum": a_zip(
            [local(b"evil.exe", PACKED_EVIL, EVIL, crc=1)], [central(b"evil.exe", PACKED_EVIL, EVIL, 0, crc=1)]
        ),
        "encrypted in the central header only": a_zip(
            [EVIL_LOCAL], [central(b"evil.exe", PACKED_EVIL, EVIL, 0, flags=1)]
        ),
        "encrypted in both, and not so": a_zip(
            [local(b"evil.exe", PACKED_EVIL, EVIL, flags=1)], [central(b"evil.exe", PACKED_EVIL, EVIL, 0, flags=1)]
        ),
        "the same name twice": a_zip(
            [local(b"evil.exe", PACKED_GOOD, GOOD), EVIL_LOCAL],
            [
                central(b"evil.exe", PACKED_GOOD, GOOD, 0),
                central(b"evil.exe", PACKED_EVIL, EVIL, len(local(b"evil.exe", PACKED_GOOD, GOOD))),
            ],
        ),
        "count of entries one": a_zip(
            [GOOD_LOCAL, EVIL_LOCAL],
            [central(b"good.txt", PACKED_GOOD, GOOD, 0), central(b"evil.exe", PACKED_EVIL, EVIL, both)],
            count=1,
        ),
        "count of entries zero": a_zip([EVIL_LOCAL], [central(b"evil.exe", PACKED_EVIL, EVIL, 0)], count=0),
        "a second zip behind": ONE + EVIL_ZIP,
        "a second zip before": EVIL_ZIP + ONE,
        "in the comment of another": ONE[:-2] + struct.pack("<H", len(EVIL_ZIP)) + EVIL_ZIP,
        "junk before": b"GARBAGE" * 99 + EVIL_ZIP,
        "junk behind": EVIL_ZIP + b"GARBAGE" * 99,
        "more junk behind than a comment may be long": EVIL_ZIP + bytes(70_000),
        "behind a picture": JPEG + EVIL_ZIP,
        "no directory": a_zip([EVIL_LOCAL], [])[:-22],
        "the directory is cut off": EVIL_ZIP[:-30],
        "directory offset too large": EVIL_ZIP[:-6] + struct.pack("<L", 10**6) + EVIL_ZIP[-2:],
        "directory size too large": EVIL_ZIP[:-10] + struct.pack("<L", 10**6) + EVIL_ZIP[-6:],
        "a directory in the middle": EVIL_LOCAL
        + central(b"evil.exe", PACKED_EVIL, EVIL, 0)
        + end(1, 54, len(EVIL_LOCAL))
        + b"x" * 99
        + ONE,
    }


@pytest.mark.parametrize("name", lies())
def test_no_lie_hides_a_content(name: str) -> None:
    sink = unpack(lies()[name])
    assert ("evil.exe", EVIL) in sink.readings, sink.readings


def test_the_honest_name_is_seen_beside_the_other() -> None:
    sink = unpack(lies()["another name in the local header"])
    assert [(member.name, member.reading) for member in sink.members] == [
        ("good.txt", ""),
        ("evil.exe", "zip-local-header"),
    ]


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=str
)
@pytest.mark.parametrize("streamed", [False, True])
def test_an_ordinary_zip_has_one_reading(method: int, streamed: bool) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return not streamed

        def tell(self) -> int:
            if streamed:
                raise io.UnsupportedOperation
            return super().tell()

    buffer = Pipe()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.mkdir("folder")
        archive.writestr("folder/a.txt", GOOD)
        archive.writestr("empty", b"")
        archive.writestr("b.bin", bytes(300_000))
    sink = unpack(buffer.getvalue())
    assert sink.found == {"folder/a.txt": GOOD, "empty": b"", "b.bin": bytes(300_000)}
    assert len(sink.members) == 3
    assert not sink.troubles
    assert not sink.errors
    assert not sink.without_content


def test_zip64() -> None:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a", "w", force_zip64=True) as entry,
    ):
        entry.write(GOOD)
    assert unpack(buffer.getvalue()).found == {"a": GOOD}
    # Sizes and offsets of the directory only in the wide records.
    data = GOOD_LOCAL + central(b"good.txt", PACKED_GOOD, GOOD, 0)
    size = len(data) - len(GOOD_LOCAL)
    wide = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, len(GOOD_LOCAL))
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(data), 1)
    data += wide + locator + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    assert unpack(data).found == {"good.txt": GOOD}
    assert unpack(b"junk" + data).found == {"good.txt": GOOD}


def test_a_zip_stored_in_a_zip_is_one_member() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("inner.zip", EVIL_ZIP)
        archive.writestr("other", b"x")
    sink = unpack(buffer.getvalue())
    assert [member.name for member in sink.members] == ["inner.zip", "other"]


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"text about PK\3\4 and PK\5\6 records " * 9, b"PK\5\6" + bytes(18), GOOD], ids=repr
)
def test_what_is_no_zip_is_left_alone(content: bytes) -> None:
    sink = unpack(content)
    assert (sink.members, sink.without_content, sink.troubles, sink.errors) == ([], [], [], [])


def test_a_zip_that_cannot_be_read_is_not_clean() -> None:
    broken = a_zip([local(b"a", b"\xff" * 50, GOOD)], [central(b"a", b"\xff" * 50, GOOD, 0)])
    assert unpack(broken).without_content == [("a", "damaged")]
    unknown = a_zip([local(b"a", b"x", GOOD, 77)], [central(b"a", b"x", GOOD, 0, 77)])
    assert unpack(unknown).without_content == [("a", "unsupported")]
    cut = ordinary(a=bytes(range(256)) * 4000)[:900]
    sink = unpack(cut)
    assert sink.troubles
    assert sink.members


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (b"../../../etc/cron.d/x", "../../../etc/cron.d/x"),
        (b"/etc/passwd", "/etc/passwd"),
        (b"C:\\Windows\\a.exe", "C:\\Windows\\a.exe"),
        (b"a.txt\0.exe", "a.txt\0.exe"),
        (b"\x81.txt", "ü.txt"),
        ("ünï.txt".encode(), "ünï.txt"),
        (b"\xed\xa0\x80.exe", None),
        (b"\n\r\x1b[2J", "\n\r\x1b[2J"),
    ],
)
def test_names_are_data(stored: bytes, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sink = unpack(a_zip([local(stored, PACKED_GOOD, GOOD)], [central(stored, PACKED_GOOD, GOOD, 0)]))
    (member,) = sink.members
    assert expected is None or member.name == expected
    assert bytes(member.content) == GOOD
    assert list(tmp_path.iterdir()) == []


def test_of_a_long_name_beginning_and_end_are_kept() -> None:
    stored = b"a" * 5000 + b".exe"
    (member,) = unpack(a_zip([local(stored, PACKED_GOOD, GOOD)], [central(stored, PACKED_GOOD, GOOD, 0)])).members
    assert member.name.startswith("aaa")
    assert member.name.endswith("aaa.exe")


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Zips that only 7z makes."""
    directory = tmp_path_factory.mktemp("zips")
    (directory / "one.txt").write_bytes(GOOD)
    (directory / "two.txt").write_bytes(EVIL)
    program = sevenzip.program()
    assert program, "needs 7z"
    for name, options in {
        "traditional": ["-psesam", "-mem=ZipCrypto"],
        "aes": ["-psesam", "-mem=AES256"],
        "aes-stored": ["-psesam", "-mem=AES256", "-mx0"],
        "aes-deflate64": ["-psesam", "-mem=AES256", "-mm=Deflate64"],
        "deflate64": ["-mm=Deflate64"],
        "ppmd": ["-mm=PPMd"],
        "xz": ["-mm=xz"],
    }.items():
        subprocess.run(
            [program, "a", "-bso0", "-tzip", *options, f"{name}.zip", "one.txt", "two.txt"], cwd=directory, check=True
        )
    return directory


@pytest.mark.parametrize("name", ["traditional", "aes", "aes-stored", "aes-deflate64"])
def test_encrypted_entries(seven: Path, name: str) -> None:
    content = (seven / f"{name}.zip").read_bytes()
    for passwords in ((), ("wrong", "worse", "", "ü")):
        sink = unpack(content, passwords)
        assert sink.without_content == [("one.txt", "encrypted"), ("two.txt", "encrypted")]
        assert not sink.members
    sink = unpack(content, ("wrong", "sesam"))
    assert sink.found == {"one.txt": GOOD, "two.txt": EVIL}
    assert not sink.without_content


@pytest.mark.parametrize("name", ["deflate64", "ppmd", "xz"])
def test_rarer_methods(seven: Path, name: str) -> None:
    sink = unpack((seven / f"{name}.zip").read_bytes())
    assert sink.found == {"one.txt": GOOD, "two.txt": EVIL}
    assert not sink.troubles


def test_few_passwords_are_tried_in_all() -> None:
    many = [local(b"%d" % number, bytes(40), GOOD, 0, flags=1) for number in range(300)]
    offsets = [sum(map(len, many[:number])) for number in range(300)]
    listed = [central(b"%d" % number, bytes(40), GOOD, offset, 0, flags=1) for number, offset in enumerate(offsets)]
    sink = unpack(a_zip(many, listed), tuple(f"word{number}" for number in range(20)))
    assert len(sink.without_content) == 300


def test_ten_gigabytes_end_at_the_budget() -> None:
    layer = raw_deflate(bytes(100_000_000))
    sink = unpack(a_zip([local(b"a", layer, b"")], [central(b"a", layer, b"", 0)]), room=5_000_000)
    assert sink.over == "bytes"
    assert len(sink.members[0].content) <= 5_000_000


def test_a_hundred_thousand_entries_end_at_the_budget() -> None:
    entry = local(b"a", b"", b"", 0)
    listed = [central(b"%d" % number, b"", b"", 0, 0) for number in range(100_000)]
    assert unpack(a_zip([entry], listed)).over == "parts"


def test_entries_that_overlap_end_at_the_budget() -> None:
    """One stretch of compressed data, claimed by every entry of the directory."""
    kernel = raw_deflate(bytes(1_000_000))
    listed = [central(b"%d" % number, kernel, b"", 0) for number in range(2_000)]
    sink = unpack(a_zip([local(b"a", kernel, b"")], listed), room=50_000_000)
    assert sink.over == "bytes"
    # Empty blocks cost time and give nothing that would be counted.
    kernel = b"\0\0\0\xff\xff" * 100_000 + raw_deflate(b"x")
    sink = unpack(a_zip([local(b"a", kernel, b"")], [central(b"%d" % n, kernel, b"", 0) for n in range(2_000)]))
    assert any("overlap" in trouble for trouble in sink.troubles)


def unicode_path(name: bytes, claimed: bytes) -> bytes:
    """An extra field with another name (APPNOTE 4.6.9)."""
    return struct.pack("<HHBL", 0x7075, 5 + len(claimed), 1, zlib.crc32(name)) + claimed


def test_each_of_several_unicode_names_counts() -> None:
    extra = unicode_path(b"a.txt", b"a.txt") + unicode_path(b"a.txt", b"b.txt") + unicode_path(b"a.txt", b"run.exe")
    sink = unpack(a_zip([local(b"a.txt", PACKED_GOOD, GOOD)], [central(b"a.txt", PACKED_GOOD, GOOD, 0, extra=extra)]))
    assert sink.readings == {("a.txt", GOOD), ("b.txt", GOOD), ("run.exe", GOOD)}


@pytest.mark.parametrize(
    ("lie", "why"), [({"method": 0x51}, "unsupported"), ({"method": 12}, "damaged"), ({"flags": 1}, "encrypted")]
)
def test_a_name_is_told_even_if_its_header_gives_no_content(lie: dict[str, int], why: str) -> None:
    locals_ = [local(b"run.exe", PACKED_GOOD, GOOD, **({"crc": 1} | lie))]
    sink = unpack(a_zip(locals_, [central(b"a.txt", PACKED_GOOD, GOOD, 0)]))
    assert sink.readings == {("a.txt", GOOD)}
    assert sink.without_content == [("run.exe", why)]


def test_each_name_of_an_entry_that_is_nowhere_is_told() -> None:
    extra = unicode_path(b"a.txt", b"run.exe")
    sink = unpack(
        a_zip(
            [local(b"b.txt", PACKED_GOOD, GOOD)],
            [central(b"b.txt", PACKED_GOOD, GOOD, 0), central(b"a.txt", PACKED_GOOD, GOOD, 5, extra=extra)],
        )
    )
    assert sink.without_content == [("a.txt", "damaged"), ("run.exe", "damaged")]
