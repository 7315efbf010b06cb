"""Bad input: a proper reply or a closed connection, a line in the log, nothing leaked, the next client served."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
import socket
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.door import PATIENCE, Door, Keeper, descriptors, open_door

TRANSACTION = (
    b"LHLO mx\r\nXFORWARD NAME=c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n"
    b"Subject: x\r\n\r\nbody\r\n..\r\n.\r\nQUIT\r\n"
)
ENDS_AT = TRANSACTION.index(b"\r\n.\r\n") + 5


@contextlib.contextmanager
def at_most(size: int) -> Iterator[None]:
    """The block never holds more than size bytes, client and door together."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


async def assert_served(door: Door, keeper: Keeper) -> None:
    """The next client gets its message through."""
    before = len(keeper.taken)
    async with await door.greeted() as client:
        got = await client.say("EHLO next", "MAIL FROM:<next@x>", "RCPT TO:<y@z>", "DATA", "fine\r\n.", "QUIT")
    assert [line[:3] for line in got] == ["250", "250", "250", "354", "250", "221"]
    assert len(keeper.taken) == before + 1
    assert keeper.taken[-1][0].mail_from == "next@x"


async def assert_nothing_left(door: Door, tasks: int, files: int) -> None:
    await door.empty()
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == tasks
    gc.collect()
    assert descriptors() == files


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("manner", ["reset", "close", "half-close"])
async def test_a_client_that_vanishes_at_any_byte(manner: str, kind: str, tmp_path: Path) -> None:
    keeper = Keeper()
    async with open_door(tmp_path, keeper, memory_threshold=4) as door:
        await assert_served(door, keeper)
        await door.empty()
        tasks, files = len(asyncio.all_tasks()), descriptors()
        keeper.taken.clear()
        for length in range(len(TRANSACTION)):
            client = await door.greeted(kind)
            await client.send(TRANSACTION[:length])
            if manner == "reset":
                client.vanish()
            elif manner == "close":
                await client.close()
            else:
                client.writer.write_eof()
                assert (await client.rest()).endswith((b"\r\n", b""))
                await client.close()
        await assert_nothing_left(door, tasks, files)
        # A reset may overtake the bytes; what came through whole, and nothing else, became a message.
        assert {content for _, content in keeper.taken} <= {b"Subject: x\r\n\r\nbody\r\n.\r\n"}
        if manner != "reset":
            assert len(keeper.taken) == len(TRANSACTION) - ENDS_AT
        await assert_served(door, keeper)
    assert [path.name for path in tmp_path.iterdir()] == ["door"]


async def test_a_departure_in_a_transaction_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with open_door(tmp_path, Keeper()) as door:
        client = await door.greeted()
        await client.say("EHLO x", "MAIL FROM:<a@b>")
        await client.close()
        await door.empty()
    assert [r.levelname for r in caplog.records if "left without QUIT in state MAIL" in r.getMessage()] == ["WARNING"]


async def test_a_command_line_of_ten_megabytes(tmp_path: Path) -> None:
    keeper = Keeper()
    async with open_door(tmp_path, keeper, max_errors=3) as door, await door.greeted() as client:
        with at_most(3_000_000):
            await client.send(b"RCPT TO:<")
            for _ in range(100):
                await client.send(b"x" * 100_000)
            await client.send(b">\r\nNOOP\r\n")
            assert await client.reply() == "500 5.5.2 Command line too long"
            assert await client.reply() == "250 2.0.0 Ok"
        await assert_served(door, keeper)


async def test_a_long_line_hides_no_command(tmp_path: Path) -> None:
    async with open_door(tmp_path, Keeper(), max_command_length=100) as door, await door.greeted() as client:
        await client.send(b"NOOP " + b"x" * 1_000_000 + b"\nRSET\r\n")
        assert await client.rest() == b"521 5.5.2 Lines must end in CR LF, closing the connection\r\n"


@pytest.mark.parametrize("size", [98, 99, 100, 101, 102])
async def test_the_line_limit_is_exact(size: int, tmp_path: Path) -> None:
    async with open_door(tmp_path, Keeper(), max_command_length=100) as door, await door.greeted() as client:
        answer = (await client.say("NOOP " + "x" * (size - 7)))[0]
        assert answer.startswith("250" if size <= 100 else "500 5.5.2")


@pytest.mark.parametrize("seed", range(20))
async def test_noise(seed: int, tmp_path: Path) -> None:
    noise = random.Random(seed)
    keeper = Keeper()
    async with open_door(tmp_path, keeper) as door:
        for _ in range(10):
            client = await door.greeted()
            pieces = [
                TRANSACTION[:90],
                noise.randbytes(noise.randrange(300)),
                b"\r\n",
                b"\0\r\n",
                b"DATA\r\n",
                b"\r\n.\r\n",
            ]
            await client.send(b"".join(noise.choices(pieces, k=12)))
            client.writer.write_eof()
            for line in (await client.rest()).splitlines():
                assert line[:1] in b"2345"
                assert line[:3].isdigit()
            await client.close()
        await assert_served(door, keeper)


async def test_a_thousand_recipients_pipelined(tmp_path: Path) -> None:
    keeper = Keeper()
    async with open_door(tmp_path, keeper, max_recipients=1500) as door, await door.greeted() as client:
        rcpts = [f"RCPT TO:<{'r' * 100}{i}@example.org>" for i in range(1600)]
        got = await client.say("LHLO x", "MAIL FROM:<>", *rcpts, "DATA")
        assert [line[:9] for line in got[2:-1]] == ["250 2.1.5"] * 1500 + ["452 4.5.3"] * 100
        await client.send(b"x\r\n.\r\n")
        assert await client.replies(1500) == ["250 2.0.0 Ok"] * 1500
        assert await client.say("NOOP") == ["250 2.0.0 Ok"]
    assert [recipient.address[100:] for recipient in keeper.taken[0][0].recipients] == [
        f"{i}@example.org" for i in range(1500)
    ]


async def test_a_message_over_the_limit_is_drained_in_bounded_memory(tmp_path: Path) -> None:
    keeper = Keeper()
    async with open_door(tmp_path, keeper, max_message_size=1_000_000) as door, await door.greeted() as client:
        await client.say("LHLO x", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "RCPT TO:<e@f>", "DATA")
        with at_most(5_000_000):
            for _ in range(500):
                await client.send(b"0123456789" * 10_000 + b"\r\n")
            await client.send(b".\r\n")
            assert [line[:9] for line in await client.replies(2)] == ["552 5.3.4"] * 2
        assert await client.say("NOOP") == ["250 2.0.0 Ok"]
        await assert_served(door, keeper)
    assert len(keeper.taken) == 1


async def test_a_message_that_cannot_be_kept_is_put_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keeper = Keeper()
    gone = tmp_path / "gone"
    async with open_door(tmp_path, keeper, spool_directory=gone, memory_threshold=1000) as door:
        async with await door.greeted() as client:
            await client.say("LHLO x", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "RCPT TO:<e@f>", "DATA")
            await client.send(b"line\r\n" * 10_000 + b".\r\nNOOP\r\n")
            got = await client.replies(3)
        assert [line[:9] for line in got] == ["452 4.3.1", "452 4.3.1", "250 2.0.0"]
        await assert_served(door, keeper)
    assert "message not taken" in caplog.text
    assert str(gone) in caplog.text


async def test_lines_of_any_length_in_a_message(tmp_path: Path) -> None:
    keeper = Keeper()
    content = b"x" * 3_000_000 + b"\r\n" + b"\0\xff\r" * 1000 + b"\r\n"
    async with open_door(tmp_path, keeper) as door, await door.greeted() as client:
        await client.say("EHLO x", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA")
        await client.send(content + b".\r\n")
        assert await client.reply() == "250 2.0.0 Ok"
    assert keeper.taken[0][1] == content


async def flood(port: int) -> None:
    """Send commands and never read a reply, until the door hangs up."""
    loop = asyncio.get_running_loop()
    with socket.socket() as deaf:
        deaf.setblocking(False)
        await loop.sock_connect(deaf, ("127.0.0.1", port))
        with contextlib.suppress(ConnectionError):
            while True:
                await loop.sock_sendall(deaf, b"HELP\r\n" * 1000)


async def test_a_client_that_never_reads_is_cut_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keeper = Keeper()
    async with open_door(tmp_path, keeper, command_timeout=0.3) as door:
        await asyncio.wait_for(flood(door.port), PATIENCE)
        await door.empty()
        await assert_served(door, keeper)
    assert "timeout" in caplog.text


def test_log_lines_hold_no_control_characters(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def rude() -> None:
        async with open_door(tmp_path, Keeper()) as door, await door.greeted() as client:
            await client.send(b"EHLO \x1b[2J\r\nEHLO x\r\nMAIL FROM:<\x1b\x07@b>\r\nFOO\x1b\r\nNOOP \0\r\nQUIT\r\n")
            await client.rest()

    with caplog.at_level(logging.DEBUG, "contentfilter.intake"):
        asyncio.run(rude())
    ours = [record.getMessage() for record in caplog.records if record.name == "contentfilter.intake"]
    assert len(ours) == 4
    assert all(message.isprintable() for message in ours)


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (["FOO"], "500"),
        (["MAIL FROM:<\x01>"], "501"),
        (["EXPN list"], "502"),
        (["DATA"], "503"),
        (["MAIL FROM:<a@b> FOO=1"], "555"),
        (["RCPT TO:<\x01>"], "503"),
        (["MAIL FROM:<a@b>", "RCPT TO:<\x01>", "RSET"], "501"),
    ],
)
async def test_errors_without_end_are_cut_off(
    lines: list[str], code: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "contentfilter.intake"):
        async with (
            open_door(tmp_path, Keeper(), max_errors=30, max_recipients=50) as door,
            await door.greeted() as client,
        ):
            await client.say("EHLO x")
            await client.send("".join(f"{line}\r\n" for line in lines).encode() * 100)
            got = (await client.rest()).decode().splitlines()
    assert got[-1] == "421 4.7.0 Too many errors, closing the connection"
    refusals = [line for line in got if line.startswith("5")]
    assert {line[:3] for line in refusals} == {code}
    assert len(refusals) == (80 if "RCPT TO:<\x01>" in lines else 30)
    messages = [record.getMessage() for record in caplog.records]
    assert sum(" refused: " in message for message in messages) == 20
    assert sum("further refusals of this connection are not logged" in message for message in messages) == 1
    assert len(messages) <= 23


async def test_a_list_of_bad_recipients_is_answered_to_the_end(tmp_path: Path) -> None:
    keeper = Keeper()
    bad = [f"RCPT TO:<{number}@@x>" for number in range(200)]
    async with (
        open_door(tmp_path, keeper, max_errors=3, max_recipients=200) as door,
        await door.greeted() as client,
    ):
        for _ in range(3):
            got = await client.say("EHLO x", "MAIL FROM:<a@b>", *bad, "RCPT TO:<good@x>", "DATA", "fine\r\n.")
            assert [line[:9] for line in got[2:-3]] == ["501 5.1.3"] * 200
            assert [line[:3] for line in got[-3:]] == ["250", "354", "250"]
    assert len(keeper.taken) == 3


async def test_the_recipients_of_a_refused_sender_do_not_end_the_session(tmp_path: Path) -> None:
    rcpts = [f"RCPT TO:<{number}@x>" for number in range(200)]
    async with (
        open_door(tmp_path, Keeper(), max_errors=3, max_message_size=1000) as door,
        await door.greeted() as client,
    ):
        got = await client.say("EHLO x", "MAIL FROM:<a@b> SIZE=2000", *rcpts, "DATA", "RSET", "QUIT")
    assert got[1].startswith("552 5.3.4")
    assert {line[:3] for line in got[2:-2]} == {"503"}
    assert [line[:3] for line in got[-2:]] == ["250", "221"]
