"""Files written into text, and mailboxes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

import pytest

from tests.unit.opener_sink import unpack

PROGRAM = b"MZ evil program \x90\x90\x90\0=\r\n" * 20 + bytes(200)


def uu(name: bytes, data: bytes, end: bytes = b"end\n") -> bytes:
    lines = b"".join(binascii.b2a_uu(data[at : at + 45]) for at in range(0, len(data), 45))
    return b"begin 644 " + name + b"\n" + lines + b"`\n" + end


def uu_base64(name: bytes, data: bytes) -> bytes:
    return b"begin-base64 644 " + name + b"\n" + base64.encodebytes(data) + b"====\n"


def yenc(name: bytes, data: bytes) -> bytes:
    shifted = bytearray()
    for byte in data:
        value = (byte + 42) % 256
        shifted += bytes([61, (value + 64) % 256]) if value in b"\0\n\r=" else bytes([value])
    lines = []
    while shifted:
        cut = 129 if shifted[127:128] == b"=" else 128
        lines.append(bytes(shifted[:cut]))
        del shifted[:cut]
    body = b"\r\n".join(lines)
    return b"=ybegin line=128 size=%d name=%s\r\n" % (len(data), name) + body + b"\r\n=yend size=%d\r\n" % len(data)


HQX = b"!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr"
BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def binhex(name: bytes, data: bytes, resource: bytes = b"") -> bytes:
    plain = (
        bytes([len(name)]) + name + b"\0TEXTttxt\0\0" + len(data).to_bytes(4, "big") + len(resource).to_bytes(4, "big")
    )
    plain += b"\0\0" + data + b"\0\0" + resource + b"\0\0"
    runs = plain.replace(b"\x90", b"\x90\0").replace(bytes(100), b"\0\x90\x64")
    digits = base64.b64encode(runs).rstrip(b"=").translate(bytes.maketrans(BASE64, HQX))
    lines = b"\r\n".join(digits[at : at + 64] for at in range(0, len(digits), 64))
    return b"(This file must be converted with BinHex 4.0)\r\n\r\n:" + lines + b":\r\n"


PROSE = b"Dear reader,\n\nbegin with this:\n"


@pytest.mark.parametrize("write", [uu, uu_base64, yenc, binhex], ids=lambda write: write.__name__)
def test_a_file_in_text(write: Callable[[bytes, bytes], bytes]) -> None:
    sink = unpack(PROSE + write(b"evil.exe", PROGRAM) + b"\nRegards\n")
    assert sink.found == {"evil.exe": PROGRAM}
    assert not sink.errors


def test_several_in_a_row() -> None:
    sink = unpack(uu(b"a", PROGRAM) + PROSE + uu(b"b", b"") + uu_base64(b"c", PROGRAM) + yenc(b"d", PROGRAM))
    assert sink.found == {"a": PROGRAM, "b": b"", "c": PROGRAM, "d": PROGRAM}


def test_runs_of_binhex() -> None:
    data = bytes(200) + PROGRAM
    sink = unpack(binhex(b"a.exe", data, resource=b"beside it"))
    assert sink.found == {"a.exe": data, "._a.exe": b"beside it"}


def test_uuencode_without_an_end() -> None:
    assert unpack(uu(b"evil.exe", PROGRAM, end=b"")).found == {"evil.exe": PROGRAM}


def test_lines_that_are_none_are_passed_over() -> None:
    content = uu(b"evil.exe", PROGRAM).replace(b"\n", b"\n\x7f\x7fnot a line\x01\n", 3)
    assert unpack(content).found["evil.exe"].count(b"MZ evil program") >= 17


@pytest.mark.parametrize(
    "content",
    [
        PROSE,
        b"begin 644\n",
        b"begin the work\nend\n",
        b"=ybegin\n",
        b"From here on, all is well.\n",
        b"(This file must be converted)",
    ],
    ids=repr,
)
def test_prose_is_no_file(content: bytes) -> None:
    sink = unpack(content)
    assert (sink.members, sink.errors, sink.troubles, sink.without_content) == ([], [], [], [])


def test_mailbox() -> None:
    first = b"Subject: one\nTo: a@example.org\n\nbody\nFrom me to you\n\n"
    second = b"From: b@example.org\nSubject: two\n\nbody\n"
    start = b"From a@example.org Mon Jan  1 00:00:00 2024\n"
    sink = unpack(start + first + start + second)
    assert sink.found == {"message-1.eml": first, "message-2.eml": second}
    assert unpack((start + first) * 4000).over == "parts"


def test_a_file_in_text_that_promises_too_much_is_told() -> None:
    assert unpack(b"begin 644 a\n" + b"M\n" * 300_000 + b"end\n").troubles
