from __future__ import annotations

import base64
import binascii
import quopri

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contentfilter.mime import base_64, encodings
from contentfilter.mime.base_64 import decode_base64
from contentfilter.mime.decoded import Decoded
from contentfilter.mime.embedded import named_files
from contentfilter.mime.encodings import encodings_of
from contentfilter.mime.quoted_printable import decode_quoted_printable
from contentfilter.mime.uuencode import decode_uu


def decoded(data: bytes) -> Decoded:
    return decode_base64(b"<" + data + b">", 1, 1 + len(data))


@pytest.mark.parametrize(
    ("data", "content", "defects"),
    [
        (b"", b"", ()),
        (b"YWJj", b"abc", ()),
        (b"YWJj\r\nZGVm\r\n", b"abcdef", ()),
        (b"YW Jj\tZG\nVm", b"abcdef", ()),
        (b"YQ==", b"a", ()),
        (b"YWI=\r\n\r\n", b"ab", ()),
        (b"YW\r\nI=\r\n", b"ab", ()),
        (b"YWI", b"ab", ("base64-padding",)),
        (b"YQ", b"a", ("base64-padding",)),
        (b"YWJjZ", b"abc", ("base64-padding",)),
        (b"YWI==", b"ab", ("base64-padding",)),
        (b"YWJj=", b"abc", ("base64-padding",)),
        (b"====", b"", ("base64-padding",)),
        (b"YW*Jj", b"abc", ("base64-foreign",)),
        (b"\0YWJj\xff", b"abc", ("base64-foreign",)),
        (b"YQ==YQ==", b"aa", ("base64-after-padding",)),
        (b"YQ==\r\nYg==\r\n", b"ab", ("base64-after-padding",)),
        (b"YWI=.YWI=", b"abab", ("base64-foreign", "base64-after-padding")),
    ],
)
def test_base64(data: bytes, content: bytes, defects: tuple[str, ...]) -> None:
    found = decoded(data)
    assert found.content == content
    assert found.defects == defects


def test_base64_gives_what_stricter_programs_see() -> None:
    assert decoded(b"TVo=\r\nkAAD").others == (
        ("base64-after-padding", b"MZ"),
        ("base64-after-padding", b"MZ$\0\0"),
    )
    assert decoded(b"YWJj!ZGVm").others == (("base64-foreign", b"abc"),)


@pytest.mark.parametrize("chunk", [4, 5, 7, 64])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 47, 48, 49, 200])
def test_base64_across_chunks(chunk: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_64, "_CHUNK", chunk)
    content = bytes(range(size))
    assert decoded(base64.encodebytes(content).replace(b"\n", b"\r\n")) == Decoded(content)


@given(st.lists(st.sampled_from([b"YWJj", b"YW", b"I", b"=", b"==", b"\r\n", b" ", b"*"]), max_size=12).map(b"".join))
@example(b"YWJjYQ=\r\n=")
@example(b"YQ==\r\nYg==")
@example(b"YWI=YWJj")
def test_base64_is_the_same_wherever_it_is_cut(data: bytes) -> None:
    whole = decoded(data)
    for chunk in range(1, 8):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(base_64, "_CHUNK", chunk)
            assert decoded(data) == whole


def test_base64_padding_at_the_end_of_a_chunk_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_64, "_CHUNK", 4)
    assert decoded(b"YQ==Yg==").defects == ("base64-after-padding",)


def test_base64_in_countless_pieces_is_decoded_whole() -> None:
    found = decoded(b"YQ==" * 5000)
    assert found.content.startswith(b"a" * 1000)
    assert len(found.content) >= 5000
    assert len(found.others) <= 2


@pytest.mark.parametrize(
    ("data", "content", "defects"),
    [
        (b"a=3Db", b"a=b", ()),
        (b"a=3db=\r\nc", b"a=bc", ()),
        (b"a=\nb", b"ab", ()),
        (b"a=  \r\nb", b"ab", ()),
        (b"a=\t", b"a", ()),
        (b"a=", b"a", ()),
        (b"a=zz", b"a=zz", ("quoted-printable-escape",)),
        (b"a=4", b"a=4", ("quoted-printable-escape",)),
        (b"a==20b", b"a= b", ("quoted-printable-escape",)),
        (b"a====20b", b"a=== b", ("quoted-printable-escape",)),
        (b"a=\rhidden\nb", b"a=\rhidden\nb", ()),
        (b"a b\r\n", b"a b\r\n", ()),
        (b"\xfc=FC\0", b"\xfc\xfc\0", ()),
    ],
)
def test_quoted_printable(data: bytes, content: bytes, defects: tuple[str, ...]) -> None:
    found = decode_quoted_printable(b"<" + data, 1, 1 + len(data))
    assert found.content == content
    assert found.defects == defects


def uuencoded(content: bytes, name: bytes = b"a.bin") -> bytes:
    lines = [binascii.b2a_uu(content[start : start + 45]) for start in range(0, len(content), 45)]
    return b"begin 644 " + name + b"\n" + b"".join(lines) + b"`\nend\n"


def test_uuencode() -> None:
    content = bytes(range(256)) * 3
    data = b"preamble\n" + uuencoded(content) + b"between\n" + uuencoded(b"two", b"b.exe").replace(b"\n", b"\r\n")
    assert decode_uu(data, 0, len(data)) == Decoded(content + b"two", ("uuencode-blocks",), names=(b"a.bin", b"b.exe"))


@pytest.mark.parametrize("data", [b"", b"no block", b"begin\n", b"begin xyz a\nend\n"])
def test_uuencode_without_block_is_left_as_it_is(data: bytes) -> None:
    assert decode_uu(data, 0, len(data)) == Decoded(data, ("uuencode-without-begin",))


@pytest.mark.parametrize("line", [b"M\n", b"!\n", b"~\n"])
def test_uuencode_that_promises_much_has_a_limit_and_tells(line: bytes) -> None:
    data = b"begin 644 a\n" + line * 300_000 + b"end\n"
    found = decode_uu(data, 0, len(data))
    assert found.too_costly
    assert len(found.content) <= len(data) + (4 << 20)
    assert [file.cut for file in named_files(data, 0, len(data))] == [True]


def test_uuencode_in_countless_blocks_is_limited() -> None:
    data = b"begin 644 a\nend\n" * 10_000
    assert len(decode_uu(data, 0, len(data)).names) == 100


def test_uuencode_whose_lines_lost_their_blanks() -> None:
    """Almost all of it zeros, as in a program: on a line of zeros nothing is left but its first character."""
    content = b"MZ" + bytes(200_000) + b"end of it"
    data = b"\r\n".join(line.rstrip() for line in uuencoded(content).replace(b"`", b" ").split(b"\n"))
    found = decode_uu(data, 0, len(data))
    assert found.content == content
    assert not found.too_costly
    (file,) = named_files(data, 0, len(data))
    assert file.content == content
    assert not file.cut


def test_uuencode_with_trailing_blanks_removed_or_a_checksum_added() -> None:
    data = b"begin 644 a\n#86)C!!!!\n$\nend\n"
    assert decode_uu(data, 0, len(data)).content == b"abc" + b"\0" * 4


@pytest.mark.parametrize(
    ("value", "encodings", "proper"),
    [
        (b"base64", ["base64"], True),
        (b"BASE64", ["base64"], True),
        (b" 7bit ", ["7bit"], True),
        (b"", ["7bit"], True),
        (b"x-uue", ["x-uuencode"], True),
        (b'"base64"', ["base64", "7bit"], False),
        (b"base64;", ["base64", "7bit"], False),
        (b"base64, 7bit", ["base64", "7bit"], False),
        (b"base64 quoted-printable", ["base64", "quoted-printable", "7bit"], False),
        (b"x-base64", ["x-base64", "base64", "7bit"], False),
        (b"base-64", ["base-64", "base64", "7bit"], False),
        (b"quotedprintable", ["quotedprintable", "quoted-printable", "7bit"], False),
        (b"=?utf-8?q?base64?=", ["=?utf-8?q?base64?=", "base64", "7bit"], False),
        (b"mystery", ["mystery", "7bit"], False),
        (b";;", ["7bit"], False),
    ],
)
def test_encoding_names(value: bytes, encodings: list[str], proper: bool) -> None:
    assert encodings_of(value) == (encodings, proper)


@given(st.binary())
@example(b"\r\n" * 3)
def test_what_was_encoded_comes_back(content: bytes) -> None:
    in_base64 = base64.encodebytes(content).replace(b"\n", b"\r\n")
    assert decode_base64(in_base64, 0, len(in_base64)) == Decoded(content)
    in_qp = quopri.encodestring(content)
    assert decode_quoted_printable(in_qp, 0, len(in_qp)).content == content
    if content:
        assert decode_uu(uuencoded(content), 0, len(uuencoded(content))).content == content


@given(
    st.lists(st.sampled_from([b"A", b"QQ", b"=", b"==", b"\r\n", b" ", b"-", b"\0", b"\xff", b"begin 644 a\n", b"end"]))
)
def test_decoding_never_raises_and_never_grows(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    for name, decoder in encodings.DECODERS.items():
        found = decoder(data, 0, len(data))
        # A line of uuencode may have lost all but its first character.
        most = 63 * len(data) if name == "x-uuencode" else len(data)
        assert all(len(content) <= most for content in [found.content, *(other for _, other in found.others)])
