"""Where a message ends: only at CRLF.CRLF, however it is cut into chunks."""

from __future__ import annotations

import itertools
import re
import tracemalloc
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter import reply
from contentfilter.errors import FilterError
from contentfilter.intake.data import EndOfData, Receiver
from contentfilter.intake.holdings import Holding, Holdings
from tests.door import descriptors

LETTERS = (b"\r", b"\n", b".", b"\0", b"\r\n", b"x")


def holding(memory: int = 1 << 30, spool: int = 1 << 30) -> Holding:
    return Holding(Holdings(memory, spool))


def reference(stream: bytes) -> tuple[bytes, bytes] | None:
    """The same, line by line and slowly: content and rest, or None without an end."""
    lines: list[bytes] = []
    while True:
        line, end, stream = stream.partition(b"\r\n")
        if not end:
            return None
        if line == b".":
            return b"".join(lines), stream
        lines.append(line.removeprefix(b".") + end)


def scan(chunks: Iterable[bytes]) -> tuple[bytes, bytes] | None:
    scanner, content, rest, ended = EndOfData(), b"", b"", False
    for chunk in chunks:
        if ended:
            rest += chunk
            continue
        content += scanner.feed(chunk)
        if scanner.found:
            ended, rest = True, scanner.rest
    return (content, rest) if ended else None


@pytest.mark.parametrize("length", range(7))
def test_every_mix_of_line_ends_and_dots_ends_where_it_should(length: int) -> None:
    for letters in itertools.product(LETTERS, repeat=length):
        stream = b"".join(letters)
        assert scan([stream]) == reference(stream), stream
        assert scan(stream[i : i + 1] for i in range(len(stream))) == reference(stream), stream


@pytest.mark.parametrize("length", range(5))
def test_every_mix_before_the_end_and_at_every_cut(length: int) -> None:
    for letters in itertools.product((*LETTERS[:4], b"\r\n."), repeat=length):
        stream = b"".join(letters) + b"\r\n.\r\nQUIT\r\n"
        want = reference(stream)
        assert want is not None
        for cut in range(len(stream) + 1):
            assert scan([stream[:cut], stream[cut:]]) == want, (stream, cut)


@given(st.lists(st.sampled_from((*LETTERS, b"\r\n.", b"\r\n.\r\n", b"..")), max_size=40), st.data())
def test_chunks_make_no_difference(letters: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(letters)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    edges = [0, *cuts, len(stream)]
    assert scan(stream[a:b] for a, b in itertools.pairwise(edges)) == reference(stream)


@given(st.lists(st.sampled_from((*LETTERS, b"\r\n.", b"\r\n.\r\n")), max_size=30), st.integers(1, 9))
def test_round_trip_with_dots_stuffed(letters: list[bytes], size: int) -> None:
    content = b"".join(letters) + b"\r\n"
    stuffed = re.sub(rb"(\A|\r\n)\.", rb"\1..", content) + b".\r\n" + b"NOOP\r\n"
    assert scan(stuffed[i : i + size] for i in range(0, len(stuffed), size)) == (content, b"NOOP\r\n")


def receive(receiver: Receiver, stream: bytes, size: int = 1000) -> None:
    ended = [receiver.feed(stream[i : i + size]) for i in range(0, len(stream), size)]
    assert ended[-1]
    assert not any(ended[:-1])


def test_a_bare_lf_becomes_crlf_and_does_not_end_the_message(tmp_path: Path) -> None:
    receiver = Receiver(tmp_path, 100, 1000, holding())
    receive(receiver, b"a\n.\nb\r.\rc\n.\r\nd\r\n.\ne\r\n.\r\n", 1)
    with receiver.finish() as message:
        assert bytes(message.buffer) == b"a\r\n.\r\nb\r.\rc\r\n.\r\nd\r\n\r\ne\r\n"


@pytest.mark.parametrize("threshold", [0, 10, 10_000])
def test_content_is_kept_in_memory_or_file(tmp_path: Path, threshold: int) -> None:
    receiver = Receiver(tmp_path, threshold, 10_000, holding())
    receive(receiver, b"Subject: x\r\n\r\n" + b"line\r\n" * 300 + b".\r\n")
    with receiver.finish() as message:
        assert bytes(message.buffer) == b"Subject: x\r\n\r\n" + b"line\r\n" * 300
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("size", "fits"), [(99, True), (100, True), (101, False), (100_000, False)])
def test_the_size_limit_is_exact_and_told_at_the_end(tmp_path: Path, size: int, fits: bool) -> None:
    receiver = Receiver(tmp_path, 50, 100, holding())
    receive(receiver, b"x" * (size - 2) + b"\r\n.\r\n")
    if fits:
        with receiver.finish() as message:
            assert len(message) == size
    else:
        with pytest.raises(FilterError) as caught:
            receiver.finish()
        assert caught.value.reply is reply.MESSAGE_TOO_LARGE


def test_what_cannot_be_kept_is_read_to_its_end(tmp_path: Path) -> None:
    before = descriptors()
    receiver = Receiver(tmp_path / "missing", 10, 1_000_000, holding())
    receive(receiver, b"line\r\n" * 3000 + b".\r\n")
    with pytest.raises(FilterError) as caught:
        receiver.finish()
    assert caught.value.reply is reply.STORAGE_FAILED
    assert descriptors() == before


@pytest.mark.parametrize("threshold", [10, 1_000_000])
def test_what_is_too_large_is_dropped_while_it_still_comes(tmp_path: Path, threshold: int) -> None:
    before = descriptors()
    receiver = Receiver(tmp_path, threshold, 100_000, holding())
    tracemalloc.start()
    try:
        for _ in range(1000):
            assert not receiver.feed(b"0123456789" * 1000)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert descriptors() == before
    assert held < 20_000
    assert peak < 300_000
    assert receiver.feed(b"\r\n.\r\n")
    with pytest.raises(FilterError):
        receiver.finish()


async def test_what_is_written_on_the_way_is_the_whole_message(tmp_path: Path) -> None:
    content = b"".join(b"line %d\r\n" % number for number in range(300_000))
    receiver = Receiver(tmp_path, 1000, 10_000_000, holding())
    stream = content + b".\r\n"
    most = 0
    for position in range(0, len(stream), 100_000):
        receiver.feed(stream[position : position + 100_000])
        await receiver.settle()
        most = max(most, receiver._spool._kept)
    assert most < 1_200_000  # the rest is on disk
    assert receiver._spool._kept == 0
    with receiver.finish() as message:
        assert message.buffer[:] == content


async def test_what_the_disk_does_not_take_is_told_at_the_end(tmp_path: Path) -> None:
    before, held = descriptors(), holding()
    receiver = Receiver(tmp_path / "missing", 1000, 10_000_000, held)
    for _ in range(30):
        assert not receiver.feed(b"x" * 100_000)
        await receiver.settle()
    assert held.spooled == held.memory == 0
    assert receiver.feed(b"\r\n.\r\n")
    await receiver.settle()
    with pytest.raises(FilterError) as caught:
        receiver.finish()
    assert caught.value.reply is reply.STORAGE_FAILED
    assert descriptors() == before


def test_an_abandoned_message_leaves_nothing(tmp_path: Path) -> None:
    before = descriptors()
    receiver = Receiver(tmp_path, 10, 1_000_000, holding())
    assert not receiver.feed(b"line\r\n" * 3000)
    receiver.abandon()
    assert descriptors() == before
    assert not list(tmp_path.iterdir())
