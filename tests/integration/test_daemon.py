"""The daemon as a service manager sees it: ready, draining, reloading; workers that die, configurations that fail."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import signal
import smtplib
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from contentfilter import config, guard, slot
from contentfilter.daemon import Supervisor
from contentfilter.handled import Handled
from contentfilter.sockets import bind, change_modes
from demo.neighbours.daemon import Daemon, free_port
from demo.neighbours.filter import Filter
from tests.fakes.next_hop import FakeNextHop, Hold
from tests.journey import MESSAGE
from tests.workers import workers_of

NO_SCANNERS = {"clamav": {"enabled": False}, "spamassassin": {"enabled": False}, "workers": 2}
PATIENCE = 30.0
COUNTS_WITHIN = 1.0
"""Seconds: what the manual promises of settings in the policy database, so this one sleep is a wait for the promise."""


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
    return workers_of(supervisor)


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


async def test_a_file_that_others_may_write_to_keeps_the_old_configuration(running: Filter) -> None:
    before = workers(running)
    running.configure({**NO_SCANNERS, "limits": {"message_size": 54321}})
    running.configuration.chmod(0o666)
    checked = await asyncio.to_thread(running.command, "contentfilter", "config", "check")
    running.reload()
    await wait_for(lambda: any("reload refused" in line for line in running.log_lines()))
    (line,) = [line for line in running.log_lines() if "reload refused" in line]
    problem = f"everybody may write to {running.configuration}: chmod o-w {running.configuration}"
    assert line.endswith(problem)
    assert (checked.returncode, problem in checked.stderr) == (78, True)
    assert workers(running) == before
    (await asyncio.to_thread(send, running.port)).close()
    running.configuration.chmod(0o644)
    await changed_guard(running)


async def changed_guard(running: Filter) -> None:
    """Reload, and see the old workers go: one that is just leaving may still take a connection and end it with 421."""
    old = workers(running)
    running.reload()
    await wait_for(lambda: any(line.endswith(" reloaded") for line in running.log_lines()))
    await wait_for(lambda: not workers(running) & old and len(workers(running)) == len(old))


POLICY_FILE = """
[policy."b@example.org"]
message_size_limit = 70000
virus_lover = true
"""
RULES_FILE = """
/^Subject:.*pills/ REJECT 5.7.1 no pills
/^Subject:.*watches/ REJECT 5.7.1 no watches
"""


@pytest.mark.parametrize(
    ("name", "whole", "half", "complaint"),
    [
        (
            "policy.toml", POLICY_FILE, POLICY_FILE[:-9],
            "policy.toml: is not TOML: Expected '=' after a key in a key/value pair (at end of document)",
        ),
        (
            "body_checks", RULES_FILE, RULES_FILE.replace("ECT 5.7.1 no watches\n", ""),
            "contentfilter.toml: [rules] header_checks: {directory}/body_checks, line 3: ",
        ),
    ],
    ids=["policy", "rules"],
)  # fmt: skip
async def test_a_half_written_file_beside_the_configuration_keeps_the_old_one_whole(
    running: Filter, name: str, whole: str, half: str, complaint: str
) -> None:
    """As an editor or a copy leaves it that was cut off. What stands before the cut does not count either."""
    file = running.directory / name
    key = {"policy.toml": {"policies": {"file": name}}, "body_checks": {"rules": {"header_checks": name}}}[name]
    running.configure({**NO_SCANNERS, **key})
    file.write_text(whole)
    await changed_guard(running)
    assert await asyncio.to_thread(is_refused, running.port)
    before = workers(running)
    file.write_text(half)
    checked = await asyncio.to_thread(running.command, "contentfilter", "config", "check")
    running.reload()
    await wait_for(lambda: any("reload refused" in line for line in running.log_lines()))
    (line,) = [line for line in running.log_lines() if "reload refused" in line]
    problem = complaint.format(directory=running.directory)
    assert problem in line
    assert (checked.returncode, problem in checked.stderr) == (78, True)
    assert workers(running) == before
    assert await asyncio.to_thread(is_refused, running.port)


def is_refused(port: int) -> bool:
    """Whether b@example.org does not get what both the policy file and the rules file refuse."""
    message = MESSAGE.replace(b"Subject: ", b"Subject: watches ", 1) + b"x" * 70000
    assert message != MESSAGE
    with smtplib.LMTP("127.0.0.1", port, timeout=PATIENCE) as client:
        try:
            client.sendmail("a@y.example", ["b@example.org"], message)
        except smtplib.SMTPRecipientsRefused as refused:
            codes = {code for code, _ in refused.recipients.values()}
        except smtplib.SMTPResponseException as refused:
            codes = {refused.smtp_code}
        else:
            return False
    assert codes <= {550, 552, 554}, codes
    return True


async def test_what_is_set_by_command_counts_within_a_second_for_every_worker(
    running: Filter, hop: FakeNextHop
) -> None:
    """Without a signal to the daemon. b@ accepts no message of this size, then any, then none again."""

    async def command(*arguments: str) -> None:
        done = await asyncio.to_thread(running.command, "contentfilter", *arguments)
        assert (done.returncode, done.stderr) == (0, "")

    async def refused_by(attempts: int) -> int:
        return sum([await asyncio.to_thread(is_refused, running.port) for _ in range(attempts)])

    before = workers(running)
    many = 4 * len(before)  # so that each of the workers takes one
    assert await refused_by(many) == 0
    for key, value, wanted in (
        ("b@example.org", "message_size_limit=70000", many),
        ("b@example.org", "message_size_limit=0", 0),
    ):
        await command("policy", "set", key, value)
        await asyncio.sleep(COUNTS_WITHIN)
        assert await refused_by(many) == wanted
    assert workers(running) == before
    assert len(hop.delivered) == 2 * many
    assert not any("reload" in line for line in running.log_lines())


async def test_mail_waits_while_the_policy_database_is_away_and_no_laxer_rule_takes_its_place(
    running: Filter, hop: FakeNextHop
) -> None:
    done = await asyncio.to_thread(
        running.command, "contentfilter", "policy", "set", "b@example.org", "message_size_limit=70000"
    )
    assert done.returncode == 0, done.stderr
    await asyncio.sleep(COUNTS_WITHIN)
    assert await asyncio.to_thread(is_refused, running.port)
    # New workers: of those one may not have had any mail yet when the file goes.
    await changed_guard(running)
    file = running.directory / "state" / "policy.sqlite"
    kept = file.rename(file.with_name("elsewhere"))
    for _ in range(8):
        client = smtplib.LMTP("127.0.0.1", running.port, timeout=PATIENCE)
        with client, pytest.raises(smtplib.SMTPRecipientsRefused) as deferred:
            client.sendmail("a@y.example", ["b@example.org"], MESSAGE)  # which b@ would get
        assert deferred.value.recipients["b@example.org"][0] == 451
    assert not hop.delivered
    assert any(f"{file} was there and is gone" in line for line in running.log_lines())
    kept.rename(file)
    await asyncio.sleep(COUNTS_WITHIN)
    (await asyncio.to_thread(send, running.port)).close()
    assert await asyncio.to_thread(is_refused, running.port)


async def test_workers_note_what_they_handled_and_the_supervisor_deletes_what_is_old(
    hop: FakeNextHop, tmp_path: Path
) -> None:
    directory = tmp_path / "filter" / "state" / "history"
    directory.mkdir(parents=True)
    (directory / "2020-01-01.jsonl").write_text("old\n")
    service = Filter(tmp_path / "filter", next_hop_port=int(hop.address.rpartition(":")[2]), settings=NO_SCANNERS)
    await asyncio.to_thread(service.start)
    await wait_for(lambda: not (directory / "2020-01-01.jsonl").exists())
    for _ in range(6):
        with await asyncio.to_thread(send, service.port):
            pass

    def noted() -> list[bytes]:
        return [line for path in directory.glob("*.jsonl") for line in path.read_bytes().splitlines()]

    await wait_for(lambda: len(noted()) >= 6)
    lines = noted()
    assert [Handled.from_line(line).groups[0].recipients for line in lines] == [("b@example.org",)] * 6
    # Without a history there is none, not even the old one.
    service.configure({**NO_SCANNERS, "history": {"keep_days": 0}})
    service.reload()
    await wait_for(lambda: not list(directory.glob("*.jsonl")))
    with await asyncio.to_thread(send, service.port):
        pass
    assert not list(directory.glob("*.jsonl"))
    await asyncio.to_thread(service.stop)


async def test_workers_that_are_killed_are_replaced_and_no_connection_is_refused(running: Filter) -> None:
    before = workers(running)
    assert len(before) == 2
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    # Nobody serves now, but the supervisor holds the socket: this waits in the queue.
    (await asyncio.to_thread(send, running.port)).close()
    await wait_for(lambda: len(workers(running) - before) == 2)
    assert any(re.search(r"worker \d+ ended unasked \(SIGKILL\)", line) for line in running.log_lines())


async def test_workers_whose_supervisor_was_killed_finish_and_leave_the_address_to_the_next(
    running: Filter, hop: FakeNextHop, tmp_path: Path
) -> None:
    hold = Hold("250 2.0.0 Ok: queued as HELD")
    hop.script["dot"] = [hold]
    orphans = workers(running)
    sending = asyncio.create_task(asyncio.to_thread(send, running.port))
    await asyncio.wait_for(hold.reached.wait(), PATIENCE)
    try:
        os.kill(running.pid, signal.SIGKILL)
        await wait_for(lambda: any(not runs(pid) for pid in orphans))  # the one that has nothing in hand
        assert not sending.done()
        hold.go.set()
        (await sending).close()
        assert len(hop.delivered) == 1
        await wait_for(lambda: not any(runs(pid) for pid in orphans))
    finally:
        hold.go.set()
    successor = Filter(tmp_path / "filter", next_hop_port=1, settings=NO_SCANNERS, port=running.port)
    await asyncio.to_thread(successor.start)
    assert await asyncio.to_thread(successor.stop) == 0


def runs(pid: int) -> bool:
    """Whether there is such a process; one that only waits to be reaped does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def serve(configuration: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "contentfilter", "serve", "--config", str(configuration)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[listen]\nadresses = []\n", "[listen] adresses: unknown key; did you mean addresses?"),
        ("[listen\n", "is not TOML: "),
        ('[listen]\naddresses = ["::1:10025"]\n', '[listen] addresses: must be "host:port" or "unix:/path", not '),
    ],
)
def test_a_broken_configuration_is_one_line_and_exit_78(tmp_path: Path, text: str, complaint: str) -> None:
    assert one_line_of_trouble(tmp_path, text, complaint) == 78


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[listen]\naddresses = ["192.0.2.1:25"]\n', "[listen] addresses: cannot listen on 192.0.2.1:25: "),
        ('[listen]\naddresses = ["unix:/nowhere/x"]\n', "[listen] addresses: cannot listen on unix:/nowhere/x: "),
        ('state_directory = "/proc/nowhere"\n', "state_directory: "),
    ],
)
def test_what_may_go_away_is_one_line_and_no_78_so_that_it_is_tried_again(
    tmp_path: Path, text: str, complaint: str
) -> None:
    assert one_line_of_trouble(tmp_path, text, complaint) == 71


def one_line_of_trouble(tmp_path: Path, text: str, complaint: str) -> int:
    """The exit status."""
    file = tmp_path / "broken.toml"
    head = 'user = "root"\n'
    if "state_directory" not in text:
        head += f'state_directory = "{tmp_path}/state"\n'
    file.write_text(head + text)
    done = serve(file)
    (line,) = [line for line in done.stderr.splitlines() if " user: the filter runs as root" not in line]
    assert line.startswith(f"contentfilter: {file}: {complaint}")
    assert done.stdout == ""
    return done.returncode


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
        f'user = "root"\nstate_directory = "{tmp_path}"\n'
        f'[listen]\naddresses = ["unix:{stale}", "127.0.0.1:{free_port()}"]\n'
        "[clamav]\nenabled = false\n[spamassassin]\nenabled = false\n"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(tmp_path / "notify"))
        notices.settimeout(PATIENCE)
        command = [sys.executable, "-m", "contentfilter", "serve", "--config", str(configuration)]
        process = Daemon(command, tmp_path / "log", {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        try:
            assert notices.recv(1000).startswith(b"READY=1\nSTATUS=")
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(PATIENCE)
                client.connect(str(stale))
                assert client.recv(1000).startswith(b"220 ")
            process.reload()
            assert notices.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert notices.recv(1000).startswith(b"READY=1\nSTATUS=")
        finally:
            assert process.terminate(PATIENCE) == 0
        assert notices.recv(1000) == b"STOPPING=1"
    assert not stale.exists()


def test_a_socket_that_is_served_is_not_taken_over(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "door"))
        other.listen()
        file = tmp_path / "c.toml"
        file.write_text(
            f'user = "root"\nstate_directory = "{tmp_path}"\n[listen]\naddresses = ["unix:{tmp_path}/door"]\n'
        )
        done = serve(file)
    assert done.returncode == 71
    assert "somebody serves this socket already" in done.stderr


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_that_is_served_badly_or_is_of_another_kind_is_not_taken_over(tmp_path: Path, kind: int) -> None:
    """With a full queue nobody is let in, and a daemon that waits for that would never start."""
    path = tmp_path / "door"
    with socket.socket(socket.AF_UNIX, kind) as other, socket.socket(socket.AF_UNIX) as client:
        other.bind(str(path))
        if kind == socket.SOCK_STREAM:
            other.listen(0)
            client.connect(str(path))
        with pytest.raises(OSError, match="somebody serves this socket already"):
            bind(f"unix:{path}", 0o600)
        assert path.is_socket()


def test_permissions_that_cannot_be_changed_end_no_daemon(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A reload asks for it, and the file may be somebody else's by now, or its file system read-only."""
    addresses = ["unix:/proc/self/status", f"unix:{tmp_path}/gone", f"unix:{tmp_path}/door", "127.0.0.1:10025"]
    with bind(addresses[2], 0o600):
        change_modes(addresses, 0o666)
        assert stat.S_IMODE((tmp_path / "door").stat().st_mode) == 0o666
    assert "/proc/self/status keeps its permissions: Operation not permitted" in caplog.text


# --- workers that do not come up ----------------------------------------------------------------------------------

UNWILLING = """
import os, signal, sys, time
from contentfilter import cli, worker

serve = worker.run

def run(config, sockets, ready, board, place, **more):
    if config.hostname == "dies.example":
        raise RuntimeError("as a test")
    if config.hostname == "hangs.example":
        os.write(2, b"hanging" + bytes([10]))
        time.sleep(600)
    serve(config, sockets, ready, board, place, **more)

worker.run = run
sys.argv = ["contentfilter", "serve", "--config", sys.argv[1]]
cli.main()
"""
"""The filter with workers that die or hang before they serve, if the configuration gives them a certain name."""


class Service:
    """The filter as a service manager has it, on Unix sockets."""

    def __init__(self, directory: Path, notices: socket.socket) -> None:
        self.directory = directory
        self.configuration = directory / "c.toml"
        self.log = directory / "log"
        self._notices = notices
        self._daemon: Daemon | None = None

    def configure(self, hostname: str, *doors: str, mode: str = "0660") -> None:
        addresses = ", ".join(f'"unix:{self.directory}/{door}"' for door in doors or ("door",))
        self.configuration.write_text(
            f'user = "root"\nstate_directory = "{self.directory}"\nhostname = "{hostname}"\nworkers = 2\n'
            f'[listen]\naddresses = [{addresses}]\nunix_mode = "{mode}"\n'
            "[clamav]\nenabled = false\n[spamassassin]\nenabled = false\n"
        )

    def start(self) -> None:
        command = [sys.executable, "-c", UNWILLING, str(self.configuration)]
        self._daemon = Daemon(command, self.log, {"NOTIFY_SOCKET": str(self.directory / "notify")})

    def reload(self) -> None:
        """Returns when systemd has heard that it is over."""
        assert self._daemon is not None
        self._daemon.reload()
        assert self.notice().startswith("RELOADING=1")
        assert self.notice() == "READY=1"

    def stop(self) -> int:
        assert self._daemon is not None
        return self._daemon.terminate(PATIENCE)

    def notice(self) -> str:
        return self._notices.recv(1000).decode().partition("\nSTATUS=")[0]

    def greeting(self, door: str = "door") -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(self.directory / door))
            return client.recv(1000).decode()

    def doors(self) -> set[str]:
        return {path.name for path in self.directory.iterdir() if path.is_socket()} - {"notify"}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(tmp_path / "notify"))
        notices.settimeout(PATIENCE)
        unwilling = Service(tmp_path, notices)
        yield unwilling
        with contextlib.suppress(AssertionError):
            unwilling.stop()


def test_a_worker_that_dies_before_it_served_fails_the_start(service: Service) -> None:
    service.configure("dies.example")
    done = subprocess.run(
        [sys.executable, "-c", UNWILLING, str(service.configuration)],
        env={**os.environ, "NOTIFY_SOCKET": str(service.directory / "notify")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 70
    assert re.search("worker died: RuntimeError", done.stderr)
    last = done.stderr.splitlines()[-1]
    assert re.search(r"^contentfilter: .*: worker \d+ died before it served", last)
    assert service.notice() == "STOPPING=1"  # and never READY=1
    assert service.doors() == set()


async def test_a_stop_while_workers_start_is_a_clean_end_without_ready(service: Service) -> None:
    service.configure("hangs.example")
    await asyncio.to_thread(service.start)
    await wait_for(lambda: service.log.read_text().count("hanging") == 2)
    assert await asyncio.to_thread(service.stop) == 0
    assert service.notice() == "STOPPING=1"
    assert " ready: " not in service.log.read_text()


def test_new_workers_that_die_leave_the_old_ones_in_place(service: Service) -> None:
    service.configure("mx1.example")
    service.start()
    assert service.notice() == "READY=1"
    service.configure("dies.example", "door", "second")
    service.reload()
    assert "reload refused, the old configuration stays: worker " in service.log.read_text()
    assert service.greeting().startswith("220 mx1.example ")
    assert service.doors() == {"door"}
    # And it is not the end of all reloads.
    service.configure("mx2.example", "door", "second")
    service.reload()
    assert service.greeting("second").startswith("220 mx2.example ")
    assert service.stop() == 0


def test_an_address_that_cannot_be_had_refuses_the_reload(service: Service) -> None:
    service.configure("mx1.example")
    service.start()
    assert service.notice() == "READY=1"
    service.configure("mx2.example", "second", "none/third")
    service.reload()
    assert (
        "reload refused, the old configuration stays: [listen] addresses: cannot listen on" in service.log.read_text()
    )
    assert service.doors() == {"door"}
    assert service.greeting().startswith("220 mx1.example ")


def test_a_reload_removes_the_socket_that_is_not_served_any_more_and_sets_the_mode(service: Service) -> None:
    service.configure("mx.example", "door", "second", mode="0660")
    service.start()
    assert service.notice() == "READY=1"
    assert stat.S_IMODE((service.directory / "door").stat().st_mode) == 0o660
    service.configure("mx.example", "door", mode="0666")
    service.reload()
    assert service.doors() == {"door"}
    assert stat.S_IMODE((service.directory / "door").stat().st_mode) == 0o666
    assert service.greeting().startswith(("220 ", "421 "))  # the second from an old worker that is just going
    assert service.stop() == 0
    assert service.doors() == set()


def test_a_worker_that_keeps_dying_is_started_ever_more_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("contentfilter.daemon.time.monotonic", lambda: now)
    supervisor = Supervisor(config.parse("", "empty"), lambda: config.parse("", "empty"), lambda *_: None)
    one = slot.Slot()
    supervisor.guard.slots = [one]
    pauses = []
    for lifetime in (0.1,) * 8 + (slot.YOUNG, 0.1):
        one.pid, one.started = 4711, now - lifetime
        supervisor.guard._mourn(4711, 0)
        assert one.pid == 0
        pauses.append(one.due - now)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 0.5, 1.0]


def no_process() -> int:
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


def test_where_no_process_is_to_be_had_the_supervisor_lives_and_tries_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    monkeypatch.setattr("contentfilter.daemon.time.monotonic", lambda: now)
    monkeypatch.setattr("contentfilter.guard.os.fork", no_process)
    two = config.parse("workers = 2", "f")
    supervisor = Supervisor(two, lambda: two, lambda *_: None)
    supervisor.guard.slots = [slot.Slot(pid=4711, started=now), slot.Slot()]
    descriptors = set(Path("/proc/self/fd").iterdir())
    for pause in (1.0, 2.0, 4.0):
        supervisor.guard.fill(two, {})
        assert [(each.pid, each.ready) for each in supervisor.guard.slots] == [(4711, -1), (0, -1)]
        assert supervisor.guard.slots[1].due == now + pause
        now += pause
    assert set(Path("/proc/self/fd").iterdir()) == descriptors
    assert len(caplog.messages) == 3
    assert "no worker can be started" in caplog.messages[0]
    assert "tried again in 1.0 s" in caplog.messages[0]
    # Its time comes, and there is a process to be had.
    monkeypatch.setattr("contentfilter.guard.os.fork", lambda: 4712)
    supervisor.guard.fill(two, {})
    assert [each.pid for each in supervisor.guard.slots] == [4711, 4712]
    supervisor.guard.slots[1].forget()


def test_where_no_process_is_to_be_had_a_reload_is_refused_and_the_old_guard_stays(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("contentfilter.guard.os.fork", no_process)
    monkeypatch.setattr("contentfilter.daemon._set_up_log", lambda _config: None)
    old, new = config.parse("workers = 1", "f"), config.parse("workers = 2", "f")
    with socket.create_server(("127.0.0.1", 0)) as door:
        supervisor = Supervisor(old, lambda: new, lambda *_: None)
        supervisor._sockets = dict.fromkeys(old.listen.addresses, door)
        supervisor.guard.slots = old_guard = [slot.Slot(pid=4711)]
        supervisor._reload()
    assert supervisor.config is old
    assert supervisor.guard.slots is old_guard
    assert supervisor.guard.leaving == {}
    assert "reload refused, the old configuration stays: a worker could not be started" in caplog.messages[-1]


def test_a_worker_has_as_long_as_the_configuration_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contentfilter.daemon.time.monotonic", lambda: 1000.0)
    monkeypatch.setattr("contentfilter.slot.os.kill", lambda *_: None)
    patient = config.parse("drain_timeout = 400", "f")
    supervisor = Supervisor(patient, lambda: patient, lambda *_: None)
    supervisor.guard.dismiss([slot.Slot(pid=4711)], patient.drain_timeout)
    assert {pid: each.deadline for pid, each in supervisor.guard.leaving.items()} == {4711: 1400.0 + guard.CUT_SECONDS}


async def test_a_transaction_that_takes_too_long_is_cut_off(hop: FakeNextHop, tmp_path: Path) -> None:
    settings = {**NO_SCANNERS, "drain_timeout": 0.2}
    hasty = Filter(tmp_path / "filter", next_hop_port=int(hop.address.rpartition(":")[2]), settings=settings)
    await asyncio.to_thread(hasty.start)
    hold = Hold("250 2.0.0 Ok: queued as HELD")
    hop.script["dot"] = [hold]
    sending = asyncio.create_task(asyncio.to_thread(send, hasty.port))
    try:
        await asyncio.wait_for(hold.reached.wait(), PATIENCE)
    finally:
        status = await asyncio.to_thread(hasty.stop)
    assert status == 0
    # The workers did it themselves, in time.
    assert not any("did not finish in time" in line for line in hasty.log_lines())
    with pytest.raises(smtplib.SMTPException):
        await sending
    hold.go.set()
