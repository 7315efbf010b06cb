"""The box holds: whatever a job does to its helper, it is unchecked, nothing is left over, and the next job works."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from contentfilter.errors import InspectorError
from contentfilter.finding import Kind
from contentfilter.unpack import wire
from contentfilter.unpack.box import Box, BoxSettings
from contentfilter.unpack.budget import Budget
from contentfilter.unpack.keeper import Keeper
from contentfilter.unpack.unpacked import Unpacked
from contentfilter.verdict import Category
from quarantine.index import Query
from tests.fakes.helper import COMMAND
from tests.journey import Scripted, journey

BUDGET = Budget(parts=100, bytes=20_000_000, ratio=1e9, seconds=1.0)


@dataclass(frozen=True)
class Job:
    data: bytes
    path: str = "1"
    names: tuple[str, ...] = ()
    declared_type: str = ""

    def content(self) -> bytes:
        return self.data


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    tmp_path.chmod(0o755)
    box = Box(BoxSettings(tmp_path, helpers=1, command=COMMAND, budget=BUDGET))
    await box.measures()  # so that there is a helper
    before = _descriptors()
    yield box
    after = _descriptors()
    await box.close()
    assert after <= before
    assert list(tmp_path.iterdir()) == []


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def run(box: Box, *lines: str, size: int = 1000) -> Unpacked:
    return await box.unpack([Job("\n".join(f"do:{line}" for line in lines).encode())], size)


async def said(box: Box, *lines: str) -> list[str]:
    with await run(box, *lines) as result:
        assert not result.failed, result.failed
        return [member.content().decode() for member in result.members]


async def test_large_messages_leave_a_helper_to_small_ones(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    box = Box(BoxSettings(tmp_path, helpers=2, command=COMMAND, budget=replace(BUDGET, seconds=20.0)))
    await box.start()
    try:
        large = [asyncio.create_task(run(box, "hang", size=5_000_000)) for _ in range(3)]
        await asyncio.sleep(0)
        async with asyncio.timeout(15):
            small = await run(box, "give a", size=1000)
        assert not small.failed
        assert not any(one.done() for one in large)
        small.close()
        for one in large:
            one.cancel()
        await asyncio.gather(*large, return_exceptions=True)
    finally:
        await box.close()


async def test_short_jobs_take_turns_with_one_helper(tmp_path: Path) -> None:
    """A further one takes memory, and is made only where the first stays busy."""
    tmp_path.chmod(0o755)
    box = Box(BoxSettings(tmp_path, helpers=3, command=COMMAND, budget=replace(BUDGET, seconds=60.0)))
    try:
        answers = await asyncio.gather(*(said(box, "pid") for _ in range(20)))
        assert len({answer[0] for answer in answers}) == 1
        long = asyncio.create_task(run(box, "hang"))
        await asyncio.sleep(0)  # it has the helper
        other = await said(box, "pid")
        assert not long.done()
        assert other != answers[0]
        long.cancel()
        await asyncio.gather(long, return_exceptions=True)
    finally:
        await box.close()


async def test_members_come_back(box: Box) -> None:
    with await run(box, "give one", "give two", "large 5000000") as result:
        assert [member.path for member in result.members] == ["1/1", "1/2", "1/3"]
        assert result.members[0].content() == b"one"
        assert result.members[1].head(2) == b"tw"
        assert result.members[2].content() == bytes(5_000_000)
        assert result.members[0].descriptor is None
        large = result.members[2].descriptor
        assert large is not None
        assert os.fstat(large).st_size == 5_000_000
        assert not result.findings


async def test_all_names_of_a_member_come_back(box: Box) -> None:
    with await run(box, "names 200") as result:
        (member,) = result.members
        assert [name.partition("-")[0] for name in member.names] == [str(number) for number in range(200)]
        assert {len(name) for name in member.names} == {1000}
        assert all(name.endswith(".txt") for name in member.names)
        assert not member.more_names
        assert not result.findings


async def test_more_names_than_are_told_leave_the_member_unchecked(box: Box) -> None:
    with await run(box, "names 201", "give x") as result:
        assert [len(member.names) for member in result.members] == [200, 1]
        assert [member.more_names for member in result.members] == [True, False]
        assert result.unchecked == (("1/1", "more names than are told"),)


async def test_the_first_name_of_each_member_is_told_whatever_the_others_cost(box: Box) -> None:
    with await run(box, *["names 200"] * 22, "give x") as result:
        assert not result.failed, result.failed
        counts = [len(member.names) for member in result.members]
        assert counts[:20] == [200] * 20
        assert counts[21:] == [1, 1]
        assert [member.more_names for member in result.members] == [count < 200 for count in counts[:22]] + [False]


async def test_passwords_get_there(box: Box) -> None:
    with await box.unpack([Job(b"do:passwords")], 1000, ("one", "infected")) as result:
        assert result.members[0].content() == b"one infected"


FATAL = {
    "exit": "exit 0",
    "killed": "kill 9",
    "crash": "crash",
    "hang without an alarm": "hang",
    "garbage": "say garbage",
    "too long": "say long",
    "member of nothing": "say nothing",
    "content that is not there": "say beyond",
    "no memory file": "say pipe",
    "many files": "say files",
    "no end of remarks": "say flood",
    "wrong types": "say types",
    "names without end": "say names",
    "names of what was told before": "say other names",
}


@pytest.mark.parametrize("what", FATAL.values(), ids=FATAL.keys())
async def test_what_kills_or_corrupts_a_helper_costs_only_that_helper(box: Box, what: str) -> None:
    with await run(box, "give before", what) as result:
        assert result.failed
        assert [finding.name for finding in result.findings if finding.kind is Kind.UNCHECKED] == [result.failed]
        assert all(member.content() == b"before" for member in result.members)
    assert await said(box, "give after") == ["after"]


CUT_SHORT = {
    "seconds": ("sleep 60", "unpack_seconds"),
    "parts": ("many 200", "unpack_parts"),
    "bytes": ("large 30000000", "unpack_bytes"),
    "fork bomb": ("bomb", "unpack_seconds"),
}


@pytest.mark.parametrize(("what", "limit"), CUT_SHORT.values(), ids=CUT_SHORT.keys())
async def test_a_limit_ends_the_job_and_keeps_what_was_seen(box: Box, what: str, limit: str) -> None:
    with await run(box, "give before", what) as result:
        assert result.exceeded == (limit,)
        assert result.members[0].content() == b"before"
    assert await said(box, "give after") == ["after"]


@pytest.mark.parametrize("what", ["allocate 5000000000", "disk 50000000", "raise defect", "raise memory"])
async def test_too_much_memory_or_disk_costs_the_container(box: Box, what: str) -> None:
    with await run(box, "give before", what) as result:
        assert [path for path, _ in result.unchecked] == ["1"]
        assert not result.failed
    assert await said(box, "try here") == ["empty"]


async def test_no_process_outlives_its_helper(box: Box) -> None:
    with await run(box, "orphan", "exit 0") as result:
        pid = int(result.members[0].content())
        assert result.failed
    assert not Path(f"/proc/{pid}").exists()


async def test_helpers_grow_old(box: Box) -> None:
    box.settings = replace(box.settings, jobs_per_helper=3)
    pids = [int((await said(box, "pid"))[0]) for _ in range(7)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]


async def test_helpers_that_have_grown_are_replaced(box: Box) -> None:
    sizes = (1_000_000, 50_000_000, *[1_000_000] * 14)
    pids = [(await said(box, f"hold {size}", "pid"))[0] for size in sizes]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [8, 8]
    with await run(box, "hold 50000000", size=2_000_000) as result:  # of a large message it is seen at once
        assert not result.failed
    assert (await said(box, "pid"))[0] not in pids


async def test_no_root_no_network_no_privileges(box: Box) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert await said(box, f"try connect {port}") != ["connected"]
    assert await said(box, "try socket", "try privileges") == ["socket: PermissionError", "True"]
    assert await said(box, "try user") != ["0"]
    assert await said(box, f"try signal {os.getpid()}") == ["signal: PermissionError"]


async def test_no_inherited_descriptors(box: Box) -> None:
    # The standard ones, the socket, the source's file, the source as opened, and that of its own.
    assert len((await said(box, "try files"))[0].split()) <= 7


async def test_nothing_but_its_directory(box: Box, tmp_path: Path) -> None:
    if any("Landlock" in each for each in box.missing):
        pytest.skip("this kernel has no Landlock")
    assert await said(box, "try write /tmp/contentfilter-was-here", "try read /etc/passwd", "try list /") == [
        "write: PermissionError",
        "read: PermissionError",
        "list: PermissionError",
    ]
    assert await said(box, "disk 1000", "try here") == ["written", "file"]
    assert await said(box, "try here") == ["empty"]


async def test_jobs_wait_for_a_helper(box: Box) -> None:
    answers = await asyncio.gather(*(said(box, f"give {number}") for number in range(10)))
    assert answers == [[str(number)] for number in range(10)]


async def test_without_a_helper_the_message_waits(box: Box) -> None:
    box.settings = replace(box.settings, wait=0.1)
    running = asyncio.create_task(run(box, "sleep 60"))
    await asyncio.sleep(0)
    with pytest.raises(InspectorError):
        await run(box, "give nothing")
    (await running).close()


async def test_a_job_nobody_waits_for_any_more(box: Box) -> None:
    running = asyncio.create_task(run(box, "give x", "hang"))
    await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await said(box, "give after") == ["after"]


BROKEN = """
import sys
from pathlib import Path
from contentfilter.unpack import confine, forker, helper
from tests.fakes.helper import Toy, look

holds = confine.Files.only
confine.Files.only = lambda files, working: ("Landlock (broken)",) if working == Path() else holds(files, working)
forker.main(lambda: helper.work_with((Toy(),), look), int(sys.argv[1]))
"""


async def test_a_helper_that_sees_files_which_it_should_not_opens_nothing(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    box = Box(BoxSettings(tmp_path, helpers=1, command=(sys.executable, "-c", BROKEN), budget=BUDGET))
    with await run(box, "give x") as result:
        assert "died" in result.failed
        assert result.members == ()
    await box.close()


async def test_helpers_that_cannot_be_started(tmp_path: Path) -> None:
    box = Box(BoxSettings(tmp_path, command=("/bin/false",)))
    with pytest.raises(InspectorError):
        await run(box, "give x")
    await box.close()
    assert list(tmp_path.iterdir()) == []


async def test_a_message_whose_helper_is_killed_is_judged_and_not_lost(tmp_path: Path) -> None:
    """It is unchecked, as policy says kept in quarantine, and the sender's side hears 250 for what is safe."""
    tmp_path.chmod(0o755)
    content = (
        b"From: a@b.example\r\nTo: c@d.example\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nSubject: hi\r\n"
        b"MIME-Version: 1.0\r\nContent-Type: application/x-toy\r\n\r\ndo:kill 9\r\n"
    )
    box = Box(BoxSettings(tmp_path, helpers=1, command=COMMAND, budget=BUDGET))
    async with journey(tmp_path, inspectors=(Scripted(),), box=box) as at:
        (answer,) = await at.lmtp("somebody", content=content)
        assert answer.startswith("250")
        assert at.delivered() == set()
        (summary,) = at.quarantine.find(Query())
        record = at.quarantine.read(summary.id)
        assert [one.category for one in record.withheld] == [Category.UNCHECKED]
        (answer,) = await at.lmtp("somebody")
        assert answer.startswith("250")
        assert at.delivered() == {"somebody"}
    await box.close()


async def test_without_any_helper_the_client_keeps_the_message(tmp_path: Path) -> None:
    content = b"From: a@b.example\r\nContent-Type: application/x-toy\r\n\r\ndo:give something\r\n"
    box = Box(BoxSettings(tmp_path, command=("/bin/false",)))
    async with journey(tmp_path, inspectors=(Scripted(),), box=box) as at:
        (answer,) = await at.lmtp("somebody", content=content)
        assert answer.startswith("4")
        assert at.delivered() == set()
    await box.close()


def test_a_nursery_whose_worker_is_gone_ends_without_a_word() -> None:
    ours, theirs = wire.pair()
    ours.close()
    with theirs:
        command = [*COMMAND, str(theirs.fileno())]
        ended = subprocess.run(command, check=False, capture_output=True, pass_fds=[theirs.fileno()], timeout=60)
    assert (ended.returncode, ended.stderr) == (0, b"")


async def test_helpers_that_nobody_wants_end(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    box = Box(BoxSettings(tmp_path, helpers=1, command=COMMAND, budget=BUDGET, idle=0.01))
    pid = int((await said(box, "pid"))[0])
    await until(lambda: not Path(f"/proc/{pid}").exists())
    assert await said(box, "give after") == ["after"]
    await box.close()


async def test_a_nursery_that_died_costs_no_message_its_check(box: Box) -> None:
    assert box._process is not None
    box._process.kill()
    box._process.wait()
    assert await said(box, "give after") == ["after"]


async def test_a_message_waits_where_the_nursery_dies_under_it(box: Box) -> None:
    running = asyncio.create_task(run(box, "give x", "sleep 60"))
    await asyncio.sleep(0.05)
    assert box._process is not None
    box._process.kill()
    with pytest.raises(InspectorError, match="died"):
        await running
    assert await said(box, "give after") == ["after"]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)  # another process's doing, of which no event tells us


async def test_several_boxes_behind_one_door(tmp_path: Path) -> None:
    """As workers have it: each has its own helpers, and a nursery that dies is replaced for all."""
    tmp_path.chmod(0o755)
    keeper = Keeper(COMMAND)
    keeper.keep()
    one, other = (Box(BoxSettings(tmp_path, helpers=1, budget=BUDGET), keeper.door) for _ in range(2))
    pids = [int((await said(box, "pid"))[0]) for box in (one, other)]
    assert len(set(pids)) == 2
    assert keeper._process is not None
    for pid in (keeper._process.pid, os.getpid()):
        assert await said(one, f"try signal {pid}") == ["signal: PermissionError"]
    await one.close()
    await until(lambda: not Path(f"/proc/{pids[0]}").exists())
    assert await said(other, "pid") == [str(pids[1])]
    assert keeper._process is not None
    keeper._process.kill()
    await until(lambda: not Path(f"/proc/{pids[1]}").exists())
    waiting = asyncio.create_task(said(other, "give later"))
    await asyncio.sleep(0.05)
    keeper.keep()
    keeper.due = 0.0
    keeper.keep()
    assert await waiting == ["later"]
    assert await said(one, "give again") == ["again"]
    await one.close()
    await other.close()
    keeper.close()
    assert list(tmp_path.iterdir()) == []


LATECOMER = """
import asyncio, socket, sys
from contentfilter.unpack.nursery import Nursery

async def main():
    door = socket.socket(fileno=int(sys.argv[1]))
    door.setblocking(False)
    nursery = await Nursery.enter(door)
    print("in", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


async def test_a_worker_that_comes_later_is_safe_from_helpers_forked_from_then_on(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    keeper = Keeper(COMMAND)
    keeper.keep()
    box = Box(BoxSettings(tmp_path, helpers=1, budget=BUDGET), keeper.door)
    await said(box, "pid")
    # As the user that helpers are: to the kernel, they might signal it.
    user = 65534 if os.geteuid() == 0 else None
    door = keeper.door.fileno()
    command = [sys.executable, "-c", LATECOMER, str(door)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, pass_fds=[door], user=user) as late:
        assert late.stdout is not None
        assert await asyncio.to_thread(late.stdout.readline) == b"in\n"
        assert await said(box, f"try signal {late.pid}") == ["signalled"]
        await box._end(box._idle.pop())
        assert await said(box, f"try signal {late.pid}") == ["signal: PermissionError"]
        assert late.stdin is not None
        late.stdin.close()
    await box.close()
    keeper.close()


async def test_helpers_of_a_worker_that_is_killed_end(tmp_path: Path) -> None:
    """What it has open is closed by the kernel, and that is how the nursery knows."""
    tmp_path.chmod(0o755)
    keeper = Keeper(COMMAND)
    keeper.keep()
    box = Box(BoxSettings(tmp_path, helpers=1, budget=BUDGET), keeper.door)
    pid = int((await said(box, "pid"))[0])
    assert box._nursery is not None
    box._nursery.close()
    await until(lambda: not Path(f"/proc/{pid}").exists())
    await box.close()
    keeper.close()
