"""The limits of the MIME parser hold within a step: time is asked for in between, memory before it is taken."""

from __future__ import annotations

import binascii
import time
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contentfilter.mime import Limits, parse, quoted_printable, variants
from contentfilter.mime.base_64 import decode_base64
from contentfilter.mime.boundaries import scan
from contentfilter.mime.costs import Costs, OutOfTimeError
from contentfilter.mime.embedded import embedded_files
from contentfilter.mime.encodings import DECODERS
from contentfilter.mime.variants import size_with_line_ends, with_line_ends
from tests.bench.bench_hostile import KNOWN


@pytest.mark.parametrize("name", DECODERS)
def test_decoders_stop_when_the_time_is_over(name: str) -> None:
    data = b"begin 644 a\n" + b"QUJD\n" * 100
    with pytest.raises(OutOfTimeError):
        DECODERS[name](data, 0, len(data), Costs(seconds=-1))


def test_searches_stop_when_the_time_is_over() -> None:
    with pytest.raises(OutOfTimeError):
        scan(b"--b\n\n--b--\n", 0, 11, b"b", 10, costs=Costs(seconds=-1))
    for data in (b"begin 644 a\n#86)C\nend\n", b"Ab" * 100):
        with pytest.raises(OutOfTimeError):
            list(embedded_files(data, 0, len(data), Costs(seconds=-1)))


@pytest.mark.parametrize("encoding", [b"base64", b"quoted-printable", b"x-uuencode", b"7bit"])
def test_a_message_without_time_is_cut_short_and_says_so(encoding: bytes) -> None:
    raw = b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\n" + b"QUJD\r\n" * 2000
    tree = parse(raw, Limits(seconds=0))
    assert tree.exceeded == ("seconds",)
    assert [part.decoded for part in tree.parts] == [None]


def test_time_that_runs_out_within_a_step_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock goes on by a second whenever it is looked at: the body alone has more stretches than that."""
    seconds = iter(range(1000))
    monkeypatch.setattr(time, "thread_time", lambda: float(next(seconds)))
    raw = b"Content-Transfer-Encoding: base64\r\n\r\n" + b"QUJD" * 1_000_000
    tree = parse(raw, Limits(seconds=8))
    assert tree.exceeded == ("seconds",)
    assert tree.parts[0].decoded is None


def test_other_contents_are_made_only_where_there_is_room() -> None:
    data = b"QUJD!QUJD==QUJD"
    assert len(decode_base64(data, 0, len(data)).others) == 2
    costs = Costs(held=2)
    found = decode_base64(data, 0, len(data), costs)
    assert found.content == b"ABCABCABC"
    assert found.others == ()
    assert costs.exceeded == {"decoded_bytes": None}
    costs = Costs(held=100)
    found = decode_base64(data, 0, len(data), costs)
    assert costs.room == 100 - sum(len(content) for _, content in found.others)


def test_closing_delimiters_without_end_are_not_followed() -> None:
    data = b"--b\n\nx\n" + b"--b--\n" * 10_000
    found = scan(data, 0, len(data), b"b", 100)
    assert found.more
    assert len(found.gaps) <= 1
    assert not scan(data, 0, 500, b"b", 100).more


LINES = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"x", b"=", b"3", b"D", b" ", b"=\r\n"])).map(b"".join)


@given(LINES, st.integers(1, 5))
def test_line_ends_are_made_a_stretch_at_a_time(data: bytes, chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variants, "_CHUNK", chunk)
        made = with_line_ends(data, 0, len(data))
        most = size_with_line_ends(data, 0, len(data))
    assert made == data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    assert len(made) <= most


@given(LINES, st.integers(1, 20))
@example(b"==\r\n\r\n", 1)
def test_soft_breaks_are_taken_out_a_stretch_at_a_time(data: bytes, chunk: int) -> None:
    joined = quoted_printable._SOFT_BREAK.sub(b"", data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quoted_printable, "_CHUNK", chunk)
        in_pieces = quoted_printable._breaks_first(data, 0, len(data), Costs())
    assert in_pieces == binascii.a2b_qp(joined.replace(b"=\r", b"=3D\r"))


HEAVY = (
    *("parts of odd base64", "odd base64", "base64 of two kinds", "base64 in base64", "odd escapes", "bare CR"),
    *("uuencode of zeros", "declared uuencode of zeros", "many uuencoded files", "BinHex", "BinHex of runs", "yEnc"),
    *("bare LF behind a bare CR", "begins of yEnc"),
)


@pytest.mark.parametrize("name", HEAVY)
def test_what_is_held_besides_the_message_has_a_limit(name: str) -> None:
    raw = KNOWN[name].message(10_000_000)
    tracemalloc.start()
    try:
        parse(raw)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # As :mod:`contentfilter.mime.progress` has it, a few stretches, and the tree itself.
    assert peak < 1.5 * len(raw) + 16 * 1024 * 1024 + 8 * 1024 * 1024
