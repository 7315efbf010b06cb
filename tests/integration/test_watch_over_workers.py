"""Workers that hang or die: ended, replaced, and what they had in work is reported. And what systemd hears of that."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contentfilter import config, slot
from contentfilter.daemon import Supervisor
from contentfilter.guard import PLACES, Guard
from demo.neighbours.daemon import Daemon
from demo.neighbours.filter import Filter
from tests.fakes.next_hop import FakeNextHop
from tests.workers import workers_of

PATIENCE = 30.0

PROGRAM = """
import ctypes, json, os, signal, sys, time
from pathlib import Path
from contentfilter import config, maillog
from contentfilter.daemon import Supervisor

directory = Path(sys.argv[1])

def load():
    return config.parse((directory / "c.toml").read_text(), "c.toml")

def hold_the_interpreter():
    ctypes.PyDLL(None).sleep(600)

def work(config, sockets, ready, board, place):
    kind = config.hostname
    seen = directory / kind
    first = not seen.exists()
    seen.touch()
    place.begin(b"a message")
    done = place.begin(b"done")
    place.begin(b"another")
    place.end(done)
    place.beat()
    if kind == "deaf":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGABRT])
    if kind in ("cut", "falls"):
        signal.signal(signal.SIGTERM, (lambda *_: os.abort()) if kind == "falls" else signal.SIG_IGN)
    os.write(ready, b"r")
    os.close(ready)
    if first:
        {
            "hangs": hold_the_interpreter, "deaf": hold_the_interpreter,
            "segv": lambda: ctypes.string_at(0), "raises": lambda: 1 / 0,
            "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
        }.get(kind, bool)()
    while True:
        place.beat()
        time.sleep(0.05)

def blame(identities, how):
    with open(directory / "blamed", "a") as file:
        print(json.dumps([[each.rstrip(bytes(1)).decode() for each in identities], how]), file=file)
    raise ValueError("as a test")

maillog.set_up("stderr", "debug", "")
raise SystemExit(Supervisor(load(), load, work, blame).run())
"""
"""A supervisor whose workers do badly, the first one of each kind, as the hostname says."""


class Service:
    """The supervisor above, as systemd has it."""

    def __init__(self, directory: Path, notices: socket.socket) -> None:
        self.directory = directory
        self.log = directory / "log"
        self._notices = notices
        self._daemon: Daemon | None = None

    def start(
        self, kind: str, *, worker_timeout: float = 1.0, drain_timeout: float = 300.0, watchdog: str = ""
    ) -> None:
        (self.directory / "c.toml").write_text(
            f'state_directory = "{self.directory}"\nhostname = "{kind}"\nworkers = 1\n'
            f"worker_timeout = 1.0\ndrain_timeout = {drain_timeout}\n"
            f'[listen]\naddresses = ["unix:{self.directory}/door"]\n'
        )
        environment = {"NOTIFY_SOCKET": str(self.directory / "notify"), "WATCHDOG_USEC": watchdog}
        self._daemon = Daemon([sys.executable, "-c", PROGRAM, str(self.directory)], self.log, environment)

    def notice(self) -> str:
        return self._notices.recv(1000).decode().partition("\n")[0]

    def logged(self, pattern: str) -> re.Match[str]:
        """Once it is."""
        found: list[re.Match[str] | None] = [None]

        def look() -> bool:
            found[0] = re.search(pattern, self.log.read_text())
            return found[0] is not None

        wait_for(look)
        assert found[0] is not None
        return found[0]

    def blamed(self) -> list[tuple[list[str], str]]:
        file = self.directory / "blamed"
        return [(sorted(names), how) for names, how in map(json.loads, file.read_text().splitlines())]

    def children(self) -> list[int]:
        pid = self.pid
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    @property
    def pid(self) -> int:
        assert self._daemon is not None
        return self._daemon.pid

    def stop(self) -> int:
        assert self._daemon is not None
        return self._daemon.terminate(PATIENCE)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # another process's doing, of which no event tells us


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(tmp_path / "notify"))
        notices.settimeout(PATIENCE)
        running = Service(tmp_path, notices)
        yield running
        running.stop()


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("hangs", "no sign of life, SIGABRT"),
        ("deaf", "no sign of life, SIGKILL"),
        ("segv", "SIGSEGV"),
        ("raises", "exit 70"),
        ("killed", "SIGKILL"),
    ],
)
def test_a_worker_that_ends_unasked_is_replaced_and_what_it_had_in_work_reported(
    service: Service, kind: str, how: str
) -> None:
    service.start(kind)
    assert service.notice() == "READY=1"
    ended = service.logged(
        rf"worker (\d+) ended unasked \({how.rsplit(maxsplit=1)[-1] if 'exit' not in how else how}\)"
    )
    wait_for(lambda: bool(service.children()))
    assert ended[1] not in map(str, service.children())
    assert service.blamed() == [(["a message", "another"], how)]
    log = service.log.read_text()
    # What failed in the report is in the log, and the supervisor lives.
    assert "ValueError" in log
    assert (f"worker {ended[1]} has given no sign of life for" in log) == how.startswith("no sign")
    if kind == "hangs":
        assert "Fatal Python error: Aborted" in log
        assert "in hold_the_interpreter" in log
    assert "another" not in log
    assert service.stop() == 0
    assert len(service.blamed()) == 1  # nobody is blamed for an end that was wanted


def test_who_is_cut_at_the_deadline_is_not_blamed(service: Service) -> None:
    service.start("cut", drain_timeout=0.1)
    assert service.notice() == "READY=1"
    assert service.stop() == 0
    assert "did not finish in time" in service.log.read_text()
    assert not (service.directory / "blamed").exists()


def test_who_falls_while_it_finishes_is_blamed(service: Service) -> None:
    service.start("falls")
    assert service.notice() == "READY=1"
    assert service.stop() == 0
    assert service.blamed() == [(["a message", "another"], "SIGABRT")]
    assert "ended while it finished (SIGABRT)" in service.log.read_text()


def test_a_start_may_take_longer_than_a_heart_may_stand_still() -> None:
    """Without a clock of its own this would take a minute: the place says that the heart beat long ago."""
    guard = Guard(lambda *_: None)
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    one = slot.Slot(pid=2**22 + 1, ready=reader, place=guard.board.place(0), started=0.0)  # there is no such pid
    guard.slots = [one]
    guard._looked = time.monotonic()
    guard.look_at_hearts(1.0)
    assert one.silent_for(0.0) > slot.READY_SECONDS  # the machine runs for longer than that
    assert one.kill_due  # which is too long even for a start

    one.kill_due, guard._awake_since = 0.0, time.monotonic() - slot.READY_SECONDS / 2
    guard.look_at_hearts(1.0)
    assert not one.kill_due
    os.write(writer, b"r")
    os.close(writer)
    guard.look_at_hearts(1.0)
    assert one.kill_due


@pytest.mark.parametrize(("pause", "worker_timeout"), [(100.0, 60.0), (10.0, 9.0), (1.5, 1.0)])
def test_a_supervisor_that_did_not_run_itself_blames_nobody_for_it(pause: float, worker_timeout: float) -> None:
    guard = Guard(lambda *_: None)
    one = slot.Slot(pid=2**22 + 1, place=guard.board.place(0))
    guard.slots = [one]
    guard._looked = time.monotonic() - pause
    guard._awake_since = guard._looked - 100.0
    guard.look_at_hearts(worker_timeout)
    assert not one.kill_due
    guard._looked = time.monotonic()
    guard._awake_since = time.monotonic() - 2 * worker_timeout
    guard.look_at_hearts(worker_timeout)
    assert one.kill_due


def test_a_place_is_given_again_once_its_worker_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contentfilter.guard.os.fork", lambda: 4711)
    one = config.parse("workers = 1", "f")
    guard = Guard(lambda *_: None)
    slots = [slot.Slot() for _ in range(PLACES)]
    for each in slots:
        guard._fork(each, one, {})
        each.forget()
    places = [each.place for each in slots]
    assert [place and place.index for place in places] == list(range(PLACES))
    with pytest.raises(OSError, match=f"{PLACES} workers, all that there can be"):
        guard._fork(slot.Slot(), one, {})
    guard.board.place(17).publish(1, 1)
    guard._vacate(slots[17])
    assert guard.board.totals() == (0, 0)
    guard._fork(slots[17], one, {})
    slots[17].forget()
    assert slots[17].place is not None
    assert slots[17].place.index == 17


def test_systemd_gets_signs_of_life_while_somebody_serves(service: Service) -> None:
    service.start("well", watchdog="300000")
    heard = [service.notice() for _ in range(5)]
    assert set(heard) == {"READY=1", "WATCHDOG=1"}
    assert heard.count("WATCHDOG=1") == 4
    os.kill(service.pid, signal.SIGHUP)
    heard = [service.notice() for _ in range(12)]
    assert set(heard) == {"RELOADING=1", "READY=1", "WATCHDOG=1"}
    assert service.stop() == 0


def test_systemd_gets_none_where_it_wants_none(service: Service) -> None:
    service.start("well")
    assert service.notice() == "READY=1"
    assert service.stop() == 0
    assert service.notice() == "STOPPING=1"


def test_systemd_gets_none_while_nobody_serves_nor_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("contentfilter.systemd.notify", lambda *lines: told.extend(lines))
    one = config.parse("workers = 2", "f")
    supervisor = Supervisor(one, lambda: one, lambda *_: None)
    supervisor._watchdog.interval = 1e-9
    for slots, wanted in (
        ([slot.Slot(), slot.Slot()], 0),
        ([slot.Slot(pid=4711), slot.Slot()], 1),
        ([slot.Slot(pid=4711, ready=77), slot.Slot()], 1),
        ([slot.Slot(pid=4711, kill_due=5.0), slot.Slot()], 0),
    ):
        told.clear()
        supervisor.guard.slots = slots
        supervisor._show_life()
        assert told == ["WATCHDOG=1"] * wanted


async def test_a_real_worker_that_stands_still_is_replaced_and_one_that_has_nothing_to_do_is_not(
    tmp_path: Path,
) -> None:
    async with FakeNextHop() as hop:
        settings = {
            "clamav": {"enabled": False}, "spamassassin": {"enabled": False}, "workers": 2, "worker_timeout": 3.0,
        }  # fmt: skip
        service = Filter(tmp_path, next_hop_port=int(hop.address.rpartition(":")[2]), settings=settings)
        with service:

            def workers() -> set[int]:
                return workers_of(service.pid)

            wait_for(lambda: any(" ready: " in line for line in service.log_lines()))
            still, idle = sorted(workers())
            os.kill(still, signal.SIGSTOP)
            wait_for(lambda: still not in workers() and len(workers()) == 2)
            assert idle in workers()
            assert [line for line in service.log_lines() if "no sign of life" in line]
            assert any(f"worker {still} ended unasked (SIGKILL)" in line for line in service.log_lines())
            assert not any(f"worker {idle} " in line for line in service.log_lines())
