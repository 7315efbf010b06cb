"""Real small file systems: full, without inodes, read-only; and rights that are missing. What fails heals by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contentfilter import history
from contentfilter.errors import InspectorError, PolicyError, QuarantineError, SpoolError
from contentfilter.history import History, find
from contentfilter.identity import Identity
from contentfilter.ledger import Ledger
from contentfilter.message import Spool
from contentfilter.policy.change import PutEntry
from contentfilter.policy.database import PolicyDatabase
from contentfilter.reply import Reply
from contentfilter.unpack.box import Box, BoxSettings
from quarantine.index import Query
from quarantine.store import Quarantine
from tests.unit.quarantine_items import files, keep, make
from tests.unit.test_history import handled
from tests.unit.users import open_place

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount file systems")

SIZE = 256 * 1024


class Small:
    """A small file system. Spoil it in one of several ways, and put it right again."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.home = place / "home"

    def mount(self) -> None:
        self.place.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE},nr_inodes=60,mode=755", "none", self.place], check=True
        )
        self.home.mkdir()

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", self.place], check=True)

    def _filler(self, number: int) -> Path:
        return self.place / f"filler{number}"

    def fill(self) -> None:
        with self._filler(0).open("wb", buffering=0) as file:
            for step in (4096, 1):
                try:
                    while True:
                        file.write(b"x" * step)
                except OSError:
                    continue

    def use_up_inodes(self) -> None:
        try:
            for number in range(1000):
                self._filler(number).touch()
        except OSError:
            return
        raise AssertionError("no end of inodes")

    def forbid_writing(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", self.place], check=True)

    def put_right(self) -> None:
        subprocess.run(["mount", "-o", "remount,rw", self.place], check=True)
        for filler in self.place.glob("filler*"):
            filler.unlink()


SPOILED = {
    "full": (Small.fill, "No space left|disk is full"),
    "no inodes": (Small.use_up_inodes, "No space left|unable to open|disk is full"),
    "read-only": (Small.forbid_writing, "Read-only file system|readonly"),
}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    disk = Small(tmp_path / "disk")
    disk.mount()
    try:
        yield disk
    finally:
        disk.unmount()


@pytest.fixture(params=SPOILED.values(), ids=SPOILED)
def how(request: pytest.FixtureRequest) -> tuple[Callable[[Small], None], str]:
    return request.param  # type: ignore[no-any-return]


def test_a_quarantine_copy_is_deferred_and_the_next_is_kept(
    small: Small, how: tuple[Callable[[Small], None], str]
) -> None:
    spoil, cause = how
    quarantine = Quarantine(small.home / "quarantine", f"sqlite:///{small.home}/quarantine/index.sqlite")
    before = keep(quarantine)
    quarantine.close()  # nobody may be writing as a file system becomes read-only
    spoil(small)
    record, message = make(os.urandom(20_000))
    for _ in range(3):
        with pytest.raises(QuarantineError, match=cause) as caught:
            quarantine.keep(record, message)
        assert caught.value.reply.temporary
        assert str(small.home) in str(caught.value)
    assert [name.partition(".")[0] for name in files(small.home)] == [before.id] * 2
    small.put_right()
    quarantine.keep(record, message)
    assert {item.id for item in quarantine.find(Query())} == {before.id, record.id}
    quarantine.close()


def test_the_index_may_lie_on_a_disk_that_is_spoiled_by_itself(
    small: Small, tmp_path: Path, how: tuple[Callable[[Small], None], str]
) -> None:
    spoil, _cause = how
    quarantine = Quarantine(tmp_path / "quarantine", f"sqlite:///{small.home}/index.sqlite")
    before = {keep(quarantine).id}
    quarantine.close()
    spoil(small)
    record, message = make()
    with pytest.raises(QuarantineError, match="index"):
        quarantine.keep(record, message)
    assert len(files(tmp_path)) == 2
    small.put_right()
    quarantine.keep(record, message)
    assert {item.id for item in quarantine.find(Query())} == before | {record.id}
    quarantine.close()


def test_a_message_that_cannot_be_spooled_is_deferred(small: Small, how: tuple[Callable[[Small], None], str]) -> None:
    spoil, cause = how
    spoil(small)
    spool = Spool(small.home, memory_threshold=1000)
    spool.write(b"x" * 50_000)
    with pytest.raises(SpoolError, match=cause) as caught:
        spool.flush()
    assert caught.value.reply.temporary
    assert str(small.home) in str(caught.value)
    spool.abandon()
    small.put_right()
    spool = Spool(small.home, memory_threshold=1000)
    spool.write(b"x" * 50_000)
    with spool.finish() as message:
        assert len(message) == 50_000


def test_history_says_it_once_and_goes_on(
    small: Small, how: tuple[Callable[[Small], None], str], caplog: pytest.LogCaptureFixture
) -> None:
    spoil, cause = how
    writer = History(small.home / "history")
    spoil(small)
    for _ in range(20):
        writer.add(handled())
        writer.flush()
    (said,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert str(small.home / "history") in said.getMessage()
    assert any(word in said.getMessage() for word in cause.split("|"))
    small.put_right()
    one = handled()
    writer.add(one)
    writer.close()
    assert find(small.home / "history", one.id) == [one]
    assert history.find(small.home / "history", "k7hw2mzqv9tq4c8xn") == []


def test_a_change_of_policy_fails_and_what_there_is_can_still_be_read(
    small: Small, how: tuple[Callable[[Small], None], str]
) -> None:
    spoil, _cause = how
    database = PolicyDatabase(f"sqlite:///{small.home}/policy.sqlite", timeout=2.0)
    spoil(small)
    with pytest.raises(PolicyError, match="policy database"):
        database.apply([PutEntry("bob@example.org", (("kill_level", 4.0),), None)])
    small.put_right()
    database.apply([PutEntry("bob@example.org", (("kill_level", 4.0),), None)])
    assert list(database.entries()) == ["bob@example.org"]
    database.close()


@pytest.mark.parametrize("name", ["no inodes", "read-only"])  # a directory takes no block of this file system
async def test_no_helper_for_containers_is_a_deferral(small: Small, name: str) -> None:
    spoil, cause = SPOILED[name]
    spoil(small)
    box = Box(BoxSettings(small.home, helpers=1))
    await box.start()
    with pytest.raises(InspectorError, match=cause) as caught:
        await box.measures()  # by the first helper
    assert caught.value.reply.temporary
    assert str(small.home) in str(caught.value)
    small.put_right()
    assert await box.measures()
    await box.close()


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"], ["show"], ["show", "--raw"]], ids=" ".join)
def test_a_command_whose_output_has_no_room_says_so(tmp_path: Path, arguments: list[str]) -> None:
    config = tmp_path / "contentfilter.toml"
    config.write_text(f'state_directory = "{tmp_path}"\n')
    quarantine = Quarantine(tmp_path / "quarantine", f"sqlite:///{tmp_path}/quarantine/index.sqlite")
    record = keep(quarantine)
    quarantine.close()
    target = [record.id] if arguments[0] == "show" else []
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "quarantine", *arguments, *target, "--config", str(config)]
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == os.EX_IOERR
    assert done.stderr == "quarantine: No space left on device\n"


@pytest.mark.parametrize("buffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_message_that_finds_room_for_a_part_is_no_success(small: Small, tmp_path: Path, buffered: str) -> None:
    config = tmp_path / "contentfilter.toml"
    config.write_text(f'state_directory = "{tmp_path}"\n')
    quarantine = Quarantine(tmp_path / "quarantine", f"sqlite:///{tmp_path}/quarantine/index.sqlite")
    record = keep(quarantine, os.urandom(50_000))
    quarantine.close()
    command = [sys.executable, "-m", "quarantine", "show", "--raw", record.id, "--config", str(config)]
    done = into_a_rest(small, command, 8192, buffered)
    assert (done.returncode, done.stderr) == (os.EX_IOERR, "quarantine: No space left on device\n")


def into_a_rest(small: Small, command: list[str], room: int, unbuffered: str = "1") -> subprocess.CompletedProcess[str]:
    """Run a command whose output goes where there is only so much room."""
    (small.place / "room").write_bytes(b"x" * room)
    with (small.place / "output").open("wb") as output:
        small.fill()
        (small.place / "room").unlink()
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        return subprocess.run(command, check=False, stdout=output, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    """A configuration of a filter that has something to tell of."""
    config = tmp_path / "contentfilter.toml"
    config.write_text(
        f'state_directory = "{tmp_path}"\nuser = "root"\n[clamav]\nenabled = false\n[spamassassin]\nenabled = false\n'
    )
    with contextlib.closing(PolicyDatabase(f"sqlite:///{tmp_path}/policy.sqlite", timeout=5)) as database:
        database.apply([PutEntry(f"user{number}@example.org", (("kill_level", 4.0),)) for number in range(2000)])
    with contextlib.closing(Ledger(tmp_path / "ledger.sqlite")) as ledger:
        answers = {f"user{number}@example.org": Reply(250, "2.0.0", "Ok") for number in range(200)}
        ledger.remember(Identity("a" * 64, "alice@y.example", "4A1B"), answers)
    one = handled(mail_id="k7hw2mzqv9tq4c8xn")
    writer = History(tmp_path / "history")
    writer.add(one)
    writer.close()
    (tmp_path / "message.eml").write_bytes(b"Subject: x\r\n\r\nhello\r\n")
    return config


@pytest.mark.parametrize("room", [0, 8192], ids=["no room", "room for a part"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["policy", "export"],
        ["policy", "list"],
        ["policy", "list", "--json"],
        ["ledger", "show"],
        ["ledger", "show", "--json"],
        ["check", "{}/message.eml"],
        ["check", "{}/message.eml", "--json"],
        ["explain", "k7hw2mzqv9tq4c8xn", "--json"],
        ["config", "show"],
    ],
    ids=" ".join,
)
def test_a_command_of_the_filter_whose_output_has_no_room_says_so(
    small: Small, spoken: Path, arguments: list[str], room: int
) -> None:
    words = [one.format(spoken.parent) for one in arguments]
    done = into_a_rest(small, [sys.executable, "-m", "contentfilter", *words, "--config", str(spoken)], room)
    if room and (small.place / "output").stat().st_size < room:
        assert (done.returncode, done.stderr) == (0, "")  # all of it found room
        return
    assert (done.returncode, done.stderr) == (os.EX_IOERR, "contentfilter: No space left on device\n")


@pytest.fixture
def place() -> Iterator[Path]:
    with open_place() as place:
        yield place


async def test_without_rights_everything_waits_and_goes_on_when_they_are_back(place: Path) -> None:
    home = place / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    quarantine = Quarantine(home / "quarantine", f"sqlite:///{home}/quarantine/index.sqlite")
    record, message = make()
    writer = History(home / "history")
    os.seteuid(65534)
    try:
        keep(quarantine)
        (home / "quarantine").chmod(0)
        with pytest.raises(QuarantineError, match="Permission denied"):
            quarantine.keep(record, message)
        (home / "quarantine").chmod(0o750)
        quarantine.keep(record, message)
        home.chmod(0)
        spool = Spool(home, memory_threshold=1)
        spool.write(b"xx")
        with pytest.raises(SpoolError, match="Permission denied"):
            spool.flush()
        home.chmod(0o750)
        one = handled()
        writer.add(one)
        await asyncio.to_thread(writer.close)
        assert quarantine.count(Query()) == 2
        assert find(home / "history", one.id) == [one]
    finally:
        os.seteuid(0)
        quarantine.close()
