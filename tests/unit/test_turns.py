"""Turns: who comes with the same message waits, in this process and in others, and nobody waits for the dead."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from contentfilter.errors import FilterError
from contentfilter.identity import Identity
from contentfilter.turns import Turns

ONE = Identity("a" * 64, "alice@x.example", "4A1B")
TWO = Identity("a" * 64, "alice@x.example", "4A1C")
BOB, CAROL, DAVE = "bob@x.example", "carol@x.example", "dave@x.example"
PATIENCE = 20.0


async def enters(turns: Turns, identity: Identity, *recipients: str) -> bool:
    """Whether a turn is to be had now."""
    try:
        async with turns.of(identity, recipients):
            return True
    except FilterError:
        return False


async def test_who_has_a_recipient_in_common_waits(tmp_path: Path) -> None:
    turns, hasty = Turns(tmp_path / "lock", PATIENCE), Turns(tmp_path / "lock", 0.0)
    async with turns.of(ONE, [BOB, CAROL]):
        assert not await enters(hasty, ONE, BOB)
        assert not await enters(hasty, ONE, DAVE, CAROL)
        assert await enters(hasty, ONE, DAVE)
        assert await enters(hasty, TWO, BOB, CAROL)
    assert await enters(hasty, ONE, BOB, CAROL)


async def test_who_waits_comes_in_when_the_first_is_done(tmp_path: Path) -> None:
    turns = Turns(tmp_path / "lock", PATIENCE)
    order: list[str] = []

    async def second() -> None:
        async with turns.of(ONE, [BOB]):
            order.append("second")

    async with turns.of(ONE, [CAROL, BOB]):
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0)
        order.append("first")
    await asyncio.wait_for(waiting, PATIENCE)
    assert order == ["first", "second"]


async def test_two_that_overlap_do_not_wait_for_one_another(tmp_path: Path) -> None:
    turns = Turns(tmp_path / "lock", PATIENCE)

    async def take(*recipients: str) -> None:
        async with turns.of(ONE, recipients):
            await asyncio.sleep(0)

    both = [take(BOB, CAROL, DAVE), take(DAVE, CAROL, BOB)] * 20
    await asyncio.wait_for(asyncio.gather(*both), PATIENCE)


async def test_a_recipient_named_twice_does_not_wait_for_itself(tmp_path: Path) -> None:
    assert await enters(Turns(tmp_path / "lock", 0.0), ONE, BOB, BOB)


async def test_suspects_are_taken_one_at_a_time(tmp_path: Path) -> None:
    turns, hasty = Turns(tmp_path / "lock", PATIENCE), Turns(tmp_path / "lock", 0.0)
    async with turns.of(ONE, [BOB]), turns.of_suspect():
        with pytest.raises(FilterError) as caught:
            async with hasty.of_suspect():
                pass
    assert caught.value.reply.temporary
    async with hasty.of_suspect():
        pass


async def test_suspects_wait_for_a_shorter_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They keep slots from others meanwhile."""
    monkeypatch.setattr("contentfilter.turns.SUSPECTS_WAIT", 0.01)
    turns = Turns(tmp_path / "lock", 600.0)
    async with turns.of_suspect():
        with pytest.raises(FilterError, match=r"others that did harm before have not ended in 0\.01 s"):
            await asyncio.wait_for(turns.of_suspect().__aenter__(), PATIENCE)


async def test_a_turn_ends_with_its_process(tmp_path: Path) -> None:
    hasty = Turns(tmp_path / "lock", 0.0)
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:

        async def hold() -> None:
            async with Turns(tmp_path / "lock", 0.0).of(ONE, [BOB]):
                os.write(writer, b"x")
                signal.pause()

        # The forked process has no use for its parent's loop.
        asyncio.events._set_running_loop(None)
        asyncio.new_event_loop().run_until_complete(hold())
    os.read(reader, 1)
    try:
        assert not await enters(hasty, ONE, BOB)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
        os.close(writer)
    assert await enters(hasty, ONE, BOB)


async def test_many_recipients_leave_the_loop_to_others(tmp_path: Path) -> None:
    turned = 0

    async def others() -> None:
        nonlocal turned
        while True:
            turned += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    async with Turns(tmp_path / "lock", PATIENCE).of(ONE, [f"{number}@x.example" for number in range(2000)]):
        assert turned >= 9
    beside.cancel()


async def test_without_the_file_mail_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    turns = Turns(tmp_path / "nowhere" / "lock", 0.0)
    async with turns.of(ONE, [BOB]):
        assert await enters(turns, ONE, BOB)
    assert caplog.text.count("cannot be used, so a retry may be served twice") == 1


async def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    assert await enters(Turns(tmp_path / "lock", 0.0), ONE, BOB)
    assert not (tmp_path / "elsewhere").exists()
