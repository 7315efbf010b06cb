"""Finding bytes: the same answers as those of bytes themselves."""

from __future__ import annotations

import mmap
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter import search
from contentfilter.search import count, find

NEEDLES = (b"\n", b"\r\n", b"\n.", b"\r\n.", b"\r\n.\r\n", b"7z\xbc\xaf\x27\x1c\x00")
contents = st.lists(
    st.one_of(st.sampled_from([b"\r", b"\n", b".", b"\0", *NEEDLES]), st.binary(max_size=90)), max_size=40
).map(b"".join)


@given(contents, st.sampled_from(NEEDLES), st.integers(0, 400), st.integers(0, 800))
def test_answers_are_those_of_bytes(data: bytes, what: bytes, start: int, end: int) -> None:
    for kind in (bytes, bytearray, memoryview):
        assert find(kind(data), what) == data.find(what)
        assert find(kind(data), what, start) == data.find(what, start)
        assert find(kind(data), what, start, end) == data.find(what, start, end)
        assert count(kind(data), what) == data.count(what)


@given(contents, st.sampled_from(NEEDLES), st.integers(0, 400), st.integers(0, 800), st.integers(1, 40))
def test_what_is_large_is_searched_in_stretches(data: bytes, what: bytes, start: int, end: int, stretch: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_STRETCH", stretch)
        assert find(data, what) == data.find(what)
        assert find(data, what, start, end) == data.find(what, start, end)


@pytest.mark.parametrize("what", NEEDLES)
def test_a_map_is_searched_and_can_be_closed(what: bytes) -> None:
    data = b"begin " * 999 + what + b" end " * 999 + what
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            assert find(content, what) == data.find(what)
            assert find(content, what, data.find(what) + 1) == data.rfind(what)
            assert find(content, what, len(data)) == -1
            assert count(content, what) == data.count(what)
