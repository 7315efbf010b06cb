"""What goes over the wire after DATA: nothing lost, nothing added, nothing that ends the message early."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contentfilter import mail_data
from contentfilter.mail_data import all_ascii, dot_stuffed, header_ascii
from contentfilter.smtp_client import Connection
from tests.fakes.next_hop import FakeNextHop

# Every byte that means something to somebody between DATA and the dot, and one that means nothing.
_TOKENS = st.sampled_from([b".", b"\r", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"..", b".\r\r\n", b"\0", b"\xff", b"a"])
CONTENTS = st.lists(_TOKENS, max_size=12).map(b"".join).map(lambda raw: re.sub(rb"(?<!\r)\n", b"\r\n", raw))


@st.composite
def pieces_of(draw: st.DrawFn) -> list[bytes]:
    content = draw(CONTENTS)
    cuts = sorted(draw(st.lists(st.integers(0, len(content)), max_size=6)))
    return [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]


def unstuffed_strictly(wire: bytes) -> bytes:
    """What a server of RFC 5321 makes of it; it must end just where the wire ends."""
    end = 0 if wire.startswith(b".\r\n") else wire.index(b"\r\n.\r\n") + 2
    assert wire[end:] == b".\r\n"
    return b"\r\n".join(line.removeprefix(b".") for line in wire[:end].split(b"\r\n"))


def end_for_postfix(wire: bytes) -> int:
    """Where Postfix sees the end: it reads up to LF, drops every CR before it, and looks for a lone dot."""
    offset = 0
    for line in wire.split(b"\n"):
        offset += len(line) + 1
        if line.rstrip(b"\r") == b".":
            return offset
    return -1


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 262_144])
@given(pieces=pieces_of())
@example(pieces=[b"a\r", b"\n", b".", b"\r\n"])
@example(pieces=[b".", b"\r", b"\r\n"])
@example(pieces=[b"a\r"])
@example(pieces=[b"", b".", b""])
@example(pieces=[])
def test_any_content_in_any_pieces_arrives(chunk: int, pieces: list[bytes]) -> None:
    content = b"".join(pieces)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mail_data, "CHUNK", chunk)
        wire = b"".join(dot_stuffed(pieces))
    whole = content if not content or content.endswith(b"\r\n") else content + b"\r\n"
    assert unstuffed_strictly(wire) == whole
    assert end_for_postfix(wire) == len(wire)


@given(content=st.lists(st.sampled_from([b"\n", b"\r", b".", b"a"]), max_size=12).map(b"".join))
def test_not_even_a_bare_line_feed_ends_a_message_early(content: bytes) -> None:
    wire = b"".join(dot_stuffed([content]))
    assert end_for_postfix(wire) == len(wire)


@given(pieces=pieces_of())
def test_round_trip_over_a_socket(pieces: list[bytes]) -> None:
    async def journey() -> bytes:
        async with FakeNextHop() as hop:
            connection = await Connection.open(
                hop.address, "filter.example.org", connect_timeout=30, command_timeout=30, data_timeout=30
            )
            for line in (b"MAIL FROM:<>", b"RCPT TO:<a@example.org>", b"DATA"):
                assert (await connection.command(line)).positive
            assert (await connection.content(lambda: iter(pieces))).positive
            assert (await connection.command(b"NOOP")).positive  # nothing of the message was taken for a command
            connection.quit()
            await hop.all_left()
            assert hop.commands[-2:] == [b"NOOP", b"QUIT"]
            return hop.delivered[0].content

    content = b"".join(pieces)
    whole = content if not content or content.endswith(b"\r\n") else content + b"\r\n"
    assert asyncio.run(journey()) == whole


def test_large_content_goes_in_bounded_chunks() -> None:
    sizes = [len(chunk) for chunk in dot_stuffed([b"x" * 3_000_000, b"y" * 3])]
    assert sum(sizes) == 3_000_003 + len(b"\r\n.\r\n")
    assert max(sizes) <= 262_144 + 8


def test_a_view_is_let_go_of_when_the_reader_stops_early() -> None:
    memory = bytearray(b"x" * 1_000_000)
    stuffed = dot_stuffed([memoryview(memory)])
    next(stuffed)
    stuffed.close()
    memory.clear()  # BufferError while anything is still exported


@pytest.mark.parametrize("cut", range(12))
def test_ascii_checks_see_over_borders(cut: int) -> None:
    def split(content: bytes) -> Iterator[bytes]:
        yield content[:cut]
        yield content[cut:]

    late = "A: b\r\n\r\nö\r\n".encode()
    early = "A: ö\r\n\r\nb\r\n".encode()
    assert header_ascii(lambda: split(late))
    assert not all_ascii(lambda: split(late))
    assert not header_ascii(lambda: split(early))
    assert not all_ascii(lambda: split(early))
    assert all_ascii(lambda: split(b"A: b\r\n\r\nb\r\n"))
