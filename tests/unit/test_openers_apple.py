"""Both forks of a Macintosh file, whatever holds them."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter.mime import parse
from contentfilter.unpack.openers.apple import Apple
from tests.corpus.formats import apple, binhex, macbinary
from tests.unit.opener_sink import unpack

DATA, RESOURCE = b"what is in it\n" * 40, bytes(range(256)) * 3
BOTH = {"paper": DATA, "._paper": RESOURCE}

FILES = {
    "AppleSingle": (apple(b"paper", DATA, RESOURCE), BOTH),
    "AppleDouble": (apple(b"paper", b"", RESOURCE), {"._paper": RESOURCE}),
    "without a name": (apple(b"", DATA, b""), {"unnamed": DATA}),
    "MacBinary": (macbinary(b"paper", DATA, RESOURCE), BOTH),
    "MacBinary I": (macbinary(b"paper", DATA, RESOURCE, first=True), BOTH),
    "MacBinary, data only": (macbinary(b"paper", DATA, b""), {"paper": DATA}),
    "MacBinary, resource only": (macbinary(b"paper", b"", RESOURCE), {"._paper": RESOURCE}),
    "a name of the Macintosh": (macbinary(b"\x8ecole", DATA, b""), {"école": DATA}),
    "BinHex": (binhex(DATA, b"paper", RESOURCE), BOTH),
    "BinHex, resource only": (binhex(b"", b"paper", RESOURCE), {"._paper": RESOURCE}),
}


@pytest.mark.parametrize("name", FILES)
def test_both_forks(name: str) -> None:
    content, expected = FILES[name]
    sink = unpack(content)
    assert sink.found == expected
    assert (sink.errors, sink.troubles) == ([], [])


def test_both_forks_of_binhex_in_a_message() -> None:
    tree = parse(
        b"MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nlook:\r\n"
        + binhex(DATA, b"paper", RESOURCE)
        + b"bye\r\n"
    )
    assert {part.name: part.content() for part in tree.leaves if part.readings} == BOTH
    assert [each.name for each in tree.ambiguities] == ["embedded-binhex"]


@pytest.mark.parametrize("name", ["AppleSingle", "AppleDouble", "MacBinary"])
def test_cut_off_it_is_not_clean(name: str) -> None:
    content, expected = FILES[name]
    sink = unpack(content[:400])
    assert sink.found != expected
    assert sink.errors


@pytest.mark.parametrize(
    "content",
    [bytes(2000), b"\0\x01a" + bytes(200), b"\0\x05\x16\0" + bytes(200), struct.pack(">HH", 0, 1) + os.urandom(900)],
    ids=["zeros", "a name only", "no entries", "anything"],
)
def test_what_is_none_gives_nothing(content: bytes) -> None:
    sink = unpack(content, only=Apple())
    assert (sink.members, sink.troubles, sink.errors) == ([], [], [])


@given(st.binary(max_size=300), st.sampled_from([b"\0\x05\x16\0", b"\0\x05\x16\7", b"\0\x04name"]))
def test_any_bytes_keep_the_contract(content: bytes, mark: bytes) -> None:
    unpack(mark + content, only=Apple())
