from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter.mime import decode_words
from contentfilter.mime.charset import codec_of, decode


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"plain", "plain"),
        (b"", ""),
        (b"=?utf-8?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        (b"=?UTF-8?b?R3LDvMOfZQ==?=", "Grüße"),
        (b"=?UTF-8?B?R3LDvMOfZQ?=", "Grüße"),
        (b"=?iso-8859-1?q?a_b=5F?=", "a b_"),
        (b"a =?utf-8?q?b?= c", "a b c"),
        (b"=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        (b"=?utf-8?q?a?=\t =?iso-8859-1?q?=E4?=", "aä"),
        (b"=?utf-8?q?a?==?utf-8?q?b?=", "ab"),
        (b"=?utf-8?q?a?= b =?utf-8?q?c?=", "a b c"),
        (b"=?utf-8*de?q?x?=", "x"),
        (b"=?utf-8?q?with blanks in it?=", "with blanks in it"),
        (b"=?koi8-r?B?9MXT1A==?=", "Тест"),
        (b"=?gb2312?B?1tDOxA==?=", "中文"),
        (b"=?no-such-charset?q?abc?=", "abc"),
        (b"=?utf-8?x?abc?=", "=?utf-8?x?abc?="),
        (b"=?utf-8?q?never closed", "=?utf-8?q?never closed"),
        ("raw ü".encode(), "raw ü"),
        ("raw ü".encode("latin-1"), "raw ü"),
        (b"=?utf-8?q?=FF=FE?=", "ÿþ"),
        (b"=?utf-7?q?+2AA-?=", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_decode_words(value: bytes, text: str) -> None:
    assert decode_words(value) == text


def test_a_character_split_between_words_is_joined() -> None:
    halves = [base64.b64encode(half).decode() for half in (b"\xc3", b"\xa9")]
    assert decode_words(" ".join(f"=?utf-8?b?{half}?=" for half in halves).encode()) == "é"


@pytest.mark.parametrize(
    "charset", ["idna", "punycode", "rot13", "hex", "unicode_escape", "undefined", "../x", "x" * 9999]
)
def test_charset_that_is_none_is_not_looked_up(charset: str) -> None:
    assert codec_of(charset) is None
    assert decode(b"abc", charset) == "abc"


@pytest.mark.parametrize(
    ("charset", "data", "text"),
    [
        ("UTF-8", "ü".encode(), "ü"),
        ("us-ascii", "ü".encode(), "ü"),
        ("Windows-1252", b"\x80", "€"),
        ("iso-8859-1", b"\x80", "€"),
        ("ISO_8859-15", b"\xa4", "€"),
        ("shift_jis", "日本".encode("shift_jis"), "日本"),
        ("ks_c_5601-1987", "한글".encode("cp949"), "한글"),
        ("big5", "測試".encode("big5"), "測試"),
        ("KOI8-U", "Їжак".encode("koi8_u"), "Їжак"),
        ("utf-16", "ü".encode("utf-16"), "ü"),
        ("iso-2022-jp", "日本".encode("iso2022_jp"), "日本"),
    ],
)
def test_charsets_as_mail_names_them(charset: str, data: bytes, text: str) -> None:
    assert decode(data, charset) == text


@given(st.text(), st.sampled_from(["b", "q"]))
def test_what_was_encoded_comes_back(text: str, encoding: str) -> None:
    data = text.encode("utf-8", "replace")
    body = base64.b64encode(data) if encoding == "b" else b"".join(b"=%02X" % octet for octet in data)
    assert decode_words(b"=?utf-8?" + encoding.encode() + b"?" + body + b"?=") == data.decode()


@given(st.binary(), st.sampled_from(["utf-8", "utf-7", "iso-2022-jp", "big5", "hz", "utf-16", "cp1252", "?"]))
def test_decoding_never_raises_and_can_be_encoded_again(data: bytes, charset: str) -> None:
    decode(data, charset).encode("utf-8")
    decode_words(b"=?" + charset.encode() + b"?b?" + data + b"?=").encode("utf-8")
    decode_words(data).encode("utf-8")
