"""When replies go out, and how they look."""

from __future__ import annotations

import asyncio
from unittest.mock import MagicMock, call, create_autospec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter import reply
from contentfilter.intake.wire import CHUNK, BareNewline, ClientGone, LineTooLong, Wire, encode
from contentfilter.reply import Reply

LIMIT = 100


def wired(*chunks: bytes) -> tuple[Wire, MagicMock]:
    transport: MagicMock = create_autospec(asyncio.Transport, instance=True)
    transport.is_closing = lambda: False
    wire = Wire(LIMIT)
    wire.connection_made(transport)
    for chunk in chunks:
        wire.data_received(chunk)
    transport.reset_mock()
    return wire, transport


async def test_replies_to_pipelined_commands_go_out_together_before_we_wait() -> None:
    wire, transport = wired(b"NOOP\r\nNOOP\r\nNO")
    for _ in range(2):
        assert await wire.read_line() == b"NOOP"
        await wire.send(reply.OK)
    assert transport.mock_calls == []
    waiting = asyncio.create_task(wire.read_line())
    await asyncio.sleep(0)
    assert transport.mock_calls == [call.write(b"250 2.0.0 Ok\r\n" * 2)]
    wire.data_received(b"OP\r\n")
    assert await waiting == b"NOOP"


async def test_a_flood_of_replies_does_not_pile_up() -> None:
    wire, transport = wired()
    for _ in range(100_000):
        await wire.send(reply.OK)
    sizes = [len(written.args[0]) for written in transport.mock_calls if written[0] == "write"]
    assert sum(sizes) > 1_300_000
    assert max(sizes) < 100_000


async def test_who_does_not_take_our_replies_is_waited_for_and_may_go() -> None:
    for goes in (False, True):
        wire, transport = wired()
        transport.write.side_effect = lambda _: wire.pause_writing()  # noqa: B023 - called in this turn
        await wire.send(reply.OK)
        sending = asyncio.create_task(wire.flush())
        for _ in range(3):
            await asyncio.sleep(0)
        assert not sending.done()
        if goes:
            wire.connection_lost(ConnectionResetError("reset"))
            with pytest.raises(ClientGone, match="reset"):
                await sending
        else:
            wire.resume_writing()
            await sending


async def test_lines_and_a_message_share_one_stream() -> None:
    wire, _ = wired(b"DATA\r\nbody\r\n.\r\nQUIT\r\n")
    assert await wire.read_line() == b"DATA"
    assert await wire.read_chunk() == b"body\r\n.\r\nQUIT\r\n"
    wire.data_received(b"NOOP\r\n")
    wire.unread(b"QUIT\r\n")
    assert await wire.read_line() == b"QUIT"
    assert await wire.read_line() == b"NOOP"


async def test_who_sends_faster_than_we_read_is_held_back() -> None:
    wire, transport = wired()
    for _ in range(3):
        wire.data_received(b"x" * CHUNK)
    assert transport.mock_calls == [call.pause_reading()]
    assert len(await wire.read_chunk()) == 3 * CHUNK
    assert transport.mock_calls == [call.pause_reading(), call.resume_reading()]
    wire.data_received(b"x" * 10 * CHUNK)  # a line without an end is skipped, and none of it kept
    skipping = asyncio.create_task(wire.read_line())
    for _ in range(10):
        await asyncio.sleep(0)
        wire.data_received(b"x" * CHUNK)
        assert len(wire._buffer) <= CHUNK + 1
    await asyncio.sleep(0)
    assert transport.mock_calls[-1] == call.resume_reading()
    wire.data_received(b"\r\n")
    with pytest.raises(LineTooLong):
        await skipping


async def test_a_large_message_is_read_piece_by_piece() -> None:
    wire, transport = wired(b"one")
    assert await wire.read_chunk(piecemeal=True) == b"one"
    assert transport.mock_calls == [call.pause_reading()]
    waiting = asyncio.create_task(wire.read_chunk(piecemeal=True))
    await asyncio.sleep(0)
    assert transport.mock_calls == [call.pause_reading(), call.resume_reading()]
    wire.data_received(b"two")
    assert transport.mock_calls[2:] == [call.pause_reading()]
    assert await waiting == b"two"
    wire.unread(b"")
    assert transport.mock_calls[3:] == [call.resume_reading()]  # so that it is seen if the client goes
    wire.data_received(b"QUIT\r\n")
    assert transport.mock_calls[4:] == []


async def test_what_is_closed_is_neither_paused_nor_resumed() -> None:
    wire, transport = wired(b"one")
    transport.is_closing = lambda: True
    assert await wire.read_chunk(piecemeal=True) == b"one"
    wire.unread(b"")
    assert transport.mock_calls == []


async def test_the_end_of_input_and_a_lost_connection_are_one_event() -> None:
    wire, _ = wired(b"QUIT\r\nhalf a line")
    assert wire.eof_received()
    assert wire.client_closed
    assert await wire.read_line() == b"QUIT"
    with pytest.raises(ClientGone, match="end of input"):
        await wire.read_line()
    wire, _ = wired()
    waiting = asyncio.create_task(wire.read_chunk())
    await asyncio.sleep(0)
    wire.connection_lost(ConnectionResetError("reset"))
    with pytest.raises(ClientGone, match="reset"):
        await waiting
    await wire.wait_closed()
    wire, _ = wired()
    wire.connection_lost(TimeoutError("gone"))
    await wire.send(reply.OK)
    with pytest.raises(ClientGone, match="gone"):
        await wire.flush()


async def test_what_was_sent_before_a_reset_and_not_read_is_not_begun() -> None:
    """The client has given up, and will come again with it."""
    wire, _ = wired(b"DATA\r\nbody\r\n.\r\n")
    wire.connection_lost(ConnectionResetError("reset"))
    with pytest.raises(ClientGone, match="reset"):
        await wire.read_line()


_PIECES = st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"NOOP", b"x" * (LIMIT - 3), b"y" * LIMIT])


@given(st.lists(_PIECES, max_size=12), st.data())
def test_lines_are_the_same_however_they_are_cut(pieces: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(pieces) + b"\r\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    segments = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    wanted = []
    for line in stream.split(b"\n")[:-1]:
        if len(line) >= LIMIT:
            wanted.append("too long" if line.endswith(b"\r") else "bare")
        else:
            wanted.append(repr(line[:-1]) if line.endswith(b"\r") else "bare")

    async def read() -> list[str]:
        wire, _ = wired()
        feeding = iter(segments)
        found = []
        reading = asyncio.create_task(_outcome(wire))
        while True:
            await asyncio.sleep(0)
            if reading.done():
                found.append(reading.result())
                if found[-1] == "gone":
                    return found[:-1]
                reading = asyncio.create_task(_outcome(wire))
            elif (segment := next(feeding, None)) is not None:
                if segment:
                    wire.data_received(segment)
            else:
                wire.eof_received()

    assert asyncio.run(read()) == wanted


async def _outcome(wire: Wire) -> str:
    try:
        return repr(await wire.read_line())
    except LineTooLong:
        return "too long"
    except BareNewline:
        return "bare"
    except ClientGone:
        return "gone"


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
