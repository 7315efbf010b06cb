"""When replies go out, and how they look."""

from __future__ import annotations

import asyncio
from unittest.mock import MagicMock, call, create_autospec

import pytest

from contentfilter import reply
from contentfilter.intake.wire import ClientGone, Wire, encode
from contentfilter.reply import Reply


def wired(*chunks: bytes) -> tuple[Wire, asyncio.StreamReader, MagicMock]:
    reader = asyncio.StreamReader()
    for chunk in chunks:
        reader.feed_data(chunk)
    writer: MagicMock = create_autospec(asyncio.StreamWriter, instance=True)
    return Wire(reader, writer, 100), reader, writer


async def test_replies_to_pipelined_commands_go_out_together_before_we_wait() -> None:
    wire, reader, writer = wired(b"NOOP\r\nNOOP\r\nNO")
    for _ in range(2):
        assert await wire.read_line() == b"NOOP"
        await wire.send(reply.OK)
    assert writer.mock_calls == []
    waiting = asyncio.create_task(wire.read_line())
    await asyncio.sleep(0)
    assert writer.mock_calls == [call.write(b"250 2.0.0 Ok\r\n" * 2), call.drain()]
    reader.feed_data(b"OP\r\n")
    assert await waiting == b"NOOP"


async def test_a_flood_of_replies_does_not_pile_up() -> None:
    wire, _, writer = wired()
    for _ in range(100_000):
        await wire.send(reply.OK)
    sizes = [len(written.args[0]) for written in writer.mock_calls if written[0] == "write"]
    assert sum(sizes) > 1_300_000
    assert max(sizes) < 100_000


async def test_lines_and_a_message_share_one_stream() -> None:
    wire, _, _ = wired(b"DATA\r\nbody\r\n.\r\nQUIT\r\n")
    assert await wire.read_line() == b"DATA"
    assert await wire.read_chunk() == b"body\r\n.\r\nQUIT\r\n"
    wire.unread(b"QUIT\r\n")
    assert await wire.read_line() == b"QUIT"


async def test_the_end_of_input_and_a_lost_connection_are_one_event() -> None:
    wire, reader, _ = wired(b"half a line")
    reader.feed_eof()
    with pytest.raises(ClientGone):
        await wire.read_line()
    wire, reader, _ = wired()
    reader.set_exception(ConnectionResetError("reset"))
    with pytest.raises(ClientGone, match="reset"):
        await wire.read_chunk()
    wire, _, writer = wired()
    writer.drain.side_effect = TimeoutError("gone")
    await wire.send(reply.OK)
    with pytest.raises(ClientGone, match="gone"):
        await wire.flush()


@pytest.mark.parametrize(
    ("answer", "want"),
    [
        (reply.OK, b"250 2.0.0 Ok\r\n"),
        (Reply(354, "", "go"), b"354 go\r\n"),
        (Reply(250, "", "a\nb"), b"250-a\r\n250 b\r\n"),
        (Reply(550, "5.1.1", "no\nreally"), b"550-5.1.1 no\r\n550 5.1.1 really\r\n"),
        (Reply(250, "2.0.0", "x\r250 y\x00\u2028\u00fc"), b"250 2.0.0 x?250 y???\r\n"),
    ],
)
def test_encode(answer: Reply, want: bytes) -> None:
    assert encode(answer) == want
