"""The daemon as a service manager sees it: ready, draining, reloading; workers that die, configurations that fail."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import smtplib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from demo.neighbours.daemon import Daemon, free_port
from demo.neighbours.filter import Filter
from tests.fakes.next_hop import FakeNextHop, Hold
from tests.journey import MESSAGE

NO_SCANNERS = {"clamav": {"enabled": False}, "spamassassin": {"enabled": False}, "workers": 2}
PATIENCE = 30.0


def send(port: int) -> smtplib.LMTP:
    """One message through the whole of it; the session stays open. Raises unless it is taken."""
    client = smtplib.LMTP("127.0.0.1", port, timeout=PATIENCE)
    refused = client.sendmail("a@y.example", ["b@example.org"], MESSAGE)
    assert refused == {}
    return client


async def wait_for(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.02)  # another process's doing, of which no event tells us


@pytest.fixture
async def hop() -> AsyncIterator[FakeNextHop]:
    async with FakeNextHop() as running:
        yield running


@pytest.fixture
async def running(hop: FakeNextHop, tmp_path: Path) -> AsyncIterator[Filter]:
    service = Filter(tmp_path / "filter", next_hop_port=int(hop.address.rpartition(":")[2]), settings=NO_SCANNERS)
    await asyncio.to_thread(service.start)
    await wait_for(lambda: any(" ready: " in line for line in service.log_lines()))
    yield service
    await asyncio.to_thread(service.stop)


def workers(service: Filter) -> set[int]:
    """The worker processes, from the supervisor's line that it is ready."""
    (line,) = [line for line in service.log_lines() if " ready: " in line][-1:]
    supervisor = int(line.split()[1])
    return set(map(int, Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()))


async def test_a_transaction_in_hand_is_finished_before_the_end(running: Filter, hop: FakeNextHop) -> None:
    hold = Hold("250 2.0.0 Ok: queued as HELD")
    hop.script["dot"] = [hold]
    idle = await asyncio.to_thread(smtplib.LMTP, "127.0.0.1", running.port, timeout=PATIENCE)
    sending = asyncio.create_task(asyncio.to_thread(send, running.port))
    await asyncio.wait_for(hold.reached.wait(), PATIENCE)
    stopping = asyncio.create_task(asyncio.to_thread(running.stop))
    # The idle one is told at once; the busy one is not cut.
    assert (await asyncio.to_thread(idle.getreply))[0] == 421
    assert not sending.done()
    hold.go.set()
    client = await sending
    assert (await asyncio.to_thread(client.getreply))[0] == 421
    assert await stopping == 0
    idle.close()
    client.close()
    assert len(hop.delivered) == 1
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", running.port))


async def test_a_reload_changes_the_guard_and_cuts_nobody(running: Filter, hop: FakeNextHop) -> None:
    old = workers(running)
    hold = Hold("250 2.0.0 Ok: queued as HELD")
    hop.script["dot"] = [hold]
    sending = asyncio.create_task(asyncio.to_thread(send, running.port))
    await asyncio.wait_for(hold.reached.wait(), PATIENCE)
    running.configure({**NO_SCANNERS, "limits": {"message_size": 54321}})
    running.reload()

    def new_size_is_offered() -> bool:
        # A connection that the old guard took just before it went hears 421 instead.
        with (
            contextlib.suppress(smtplib.SMTPException),
            smtplib.LMTP("127.0.0.1", running.port, timeout=PATIENCE) as client,
        ):
            client.ehlo()
            return client.esmtp_features.get("size") == "54321"
        return False

    async with asyncio.timeout(PATIENCE):
        while not await asyncio.to_thread(new_size_is_offered):
            pass
    hold.go.set()
    (await sending).close()
    await wait_for(lambda: not workers(running) & old)
    assert len(workers(running)) == 2


async def test_a_bad_file_keeps_the_old_configuration(running: Filter) -> None:
    before = workers(running)
    running.configuration.write_text("[policy.default]\nkil_level = 3\n")
    running.reload()
    await wait_for(lambda: any("reload refused" in line for line in running.log_lines()))
    (line,) = [line for line in running.log_lines() if "reload refused" in line]
    assert "[policy.default] kil_level: unknown key; did you mean kill_level?" in line
    assert workers(running) == before
    (await asyncio.to_thread(send, running.port)).close()


async def test_workers_that_are_killed_are_replaced_and_no_connection_is_refused(running: Filter) -> None:
    before = workers(running)
    assert len(before) == 2
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    # Nobody serves now, but the supervisor holds the socket: this waits in the queue.
    (await asyncio.to_thread(send, running.port)).close()
    await wait_for(lambda: len(workers(running) - before) == 2)
    assert any(re.search(r"worker \d+ ended unasked \(SIGKILL\)", line) for line in running.log_lines())


def serve(configuration: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "contentfilter", "serve", "--config", str(configuration)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[listen]\nadresses = []\n", "[listen] adresses: unknown key; did you mean addresses?"),
        ("[listen\n", "is not TOML: "),
        ('[listen]\naddresses = ["192.0.2.1:25"]\n', "[listen] addresses: cannot listen on 192.0.2.1:25: "),
        ('state_directory = "/proc/nowhere"\n', "state_directory: "),
    ],
)
def test_a_broken_configuration_is_one_line_and_exit_78(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "broken.toml"
    head = "" if "state_directory" in text else f'state_directory = "{tmp_path}/state"\n'
    file.write_text(head + text)
    done = serve(file)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"contentfilter: {file}: {complaint}")
    assert (done.returncode, done.stdout) == (78, "")


def test_a_missing_configuration_file(tmp_path: Path) -> None:
    done = serve(tmp_path / "none.toml")
    assert done.returncode == 78
    assert done.stderr == f"contentfilter: {tmp_path / 'none.toml'}: cannot be read: No such file or directory\n"


def test_systemd_hears_when_it_is_ready_and_when_it_stops(tmp_path: Path) -> None:
    stale = tmp_path / "door"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(stale))
    configuration = tmp_path / "c.toml"
    configuration.write_text(
        f'state_directory = "{tmp_path}"\n[listen]\naddresses = ["unix:{stale}", "127.0.0.1:{free_port()}"]\n'
        "[clamav]\nenabled = false\n[spamassassin]\nenabled = false\n"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(tmp_path / "notify"))
        notices.settimeout(PATIENCE)
        command = [sys.executable, "-m", "contentfilter", "serve", "--config", str(configuration)]
        daemon = Daemon(command, tmp_path / "log", {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        try:
            assert notices.recv(1000) == b"READY=1"
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(PATIENCE)
                client.connect(str(stale))
                assert client.recv(1000).startswith(b"220 ")
            daemon.reload()
            assert notices.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert notices.recv(1000) == b"READY=1"
        finally:
            assert daemon.terminate(PATIENCE) == 0
        assert notices.recv(1000) == b"STOPPING=1"
    assert not stale.exists()


def test_a_socket_that_is_served_is_not_taken_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "door"))
        other.listen()
        file = tmp_path / "c.toml"
        file.write_text(f'state_directory = "{tmp_path}"\n[listen]\naddresses = ["unix:{tmp_path}/door"]\n')
        done = serve(file)
    assert done.returncode == 78
    assert "somebody serves this socket already" in done.stderr
