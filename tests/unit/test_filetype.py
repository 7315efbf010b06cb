from __future__ import annotations

import struct
import threading

import magic
import pytest

from contentfilter import filetype
from contentfilter.errors import InspectorError
from contentfilter.filetype import detect


def windows_program() -> bytes:
    """The smallest thing that libmagic takes for a Windows program: DOS header, PE header, optional header."""
    raw = bytearray(1024)
    raw[:2] = b"MZ"
    raw[0x18:0x1A] = struct.pack("<H", 0x40)
    raw[0x3C:0x40] = struct.pack("<I", 0x80)
    raw[0x80:0x98] = b"PE\0\0" + struct.pack("<HHIIIHH", 0x14C, 1, 0, 0, 0, 0xE0, 0x102)
    raw[0x98:0x9A] = struct.pack("<H", 0x10B)
    raw[0xDC:0xDE] = struct.pack("<H", 2)
    return bytes(raw)


ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 2, 62, 1) + bytes(100)


@pytest.mark.parametrize(
    ("content", "kinds"),
    [
        (windows_program(), {"application/vnd.microsoft.portable-executable", "application/x-dosexec"}),
        (b"MZ" + bytes(1000), {"application/x-dosexec"}),
        (ELF, {"application/x-executable", "application/x-pie-executable"}),
        (b"%PDF-1.4\n" + bytes(100), {"application/pdf"}),
        (b"\x4c\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0\x46" + bytes(60), {"application/x-ms-shortcut"}),
        (bytes(32769) + b"CD001" + bytes(3000), {"application/x-iso9660-image"}),
        (b"#!/bin/sh\necho\n", {"text/x-shellscript"}),
        (b"<!DOCTYPE html><html></html>", {"text/html"}),
        (b"just text\r\n" * 10_000, {"text/plain"}),
        ("grüße\n".encode(), {"text/plain"}),
        (b"", {"application/x-empty"}),
    ],
)
def test_detected_types(content: bytes, kinds: set[str]) -> None:
    assert detect(content) in kinds


def test_a_program_that_begins_like_text_is_still_looked_at_beyond_the_text_sample() -> None:
    image = b"text" * 8192 + bytes(1) + b"CD001" + bytes(3000)
    assert detect(image) == "application/x-iso9660-image"


def test_many_threads_at_once_get_their_own_answers() -> None:
    contents = {"application/pdf": b"%PDF-1.4\n", "text/html": b"<!DOCTYPE html><html></html>"}
    wrong: list[str] = []

    def work() -> None:
        for _ in range(20):
            wrong.extend(kind for kind, content in contents.items() if detect(content) != kind)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_failure_of_libmagic_is_not_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def from_buffer(self, sample: bytes) -> str:
            raise magic.MagicException(b"out of order")

    monkeypatch.setattr(filetype, "_detector", Broken)
    with pytest.raises(InspectorError, match="out of order"):
        detect(b"x")
