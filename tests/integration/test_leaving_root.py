"""Started as root, the filter binds its sockets and becomes the configuration's user: processes, files, reloads."""

from __future__ import annotations

import asyncio
import io
import os
import pwd
import re
import smtplib
import socket
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from contentfilter.account import Account, AccountError
from demo.neighbours.daemon import Daemon, free_port
from tests.fakes.next_hop import FakeNextHop

ROOT = Path(__file__).parents[2]
USER = pwd.getpwnam("daemon")
"""Of every Debian, and not nobody, whom the box of a filter that is root uses."""
PATIENCE = 30.0
PRIVILEGED = "127.45.0.7:26"

pytestmark = pytest.mark.usefixtures("root")


class Service:
    """The filter, started by root, in a directory that everybody may enter."""

    def __init__(self, directory: Path, next_hop: str) -> None:
        self.directory = directory
        self.configuration = directory / "conf" / "c.toml"
        self.configuration.parent.mkdir(0o755)
        self.doors = directory / "doors"
        self.doors.mkdir(0o755)
        os.chown(self.doors, USER.pw_uid, USER.pw_gid)
        self.state = directory / "var" / "state"
        self.log = directory / "log"
        self.port = free_port()
        self._next_hop = next_hop
        self._daemon: Daemon | None = None

    def configure(self, *more: str, **keys: Any) -> None:
        tables = {
            "user": USER.pw_name,
            "state_directory": str(self.state),
            "workers": 1,
            "listen": {"addresses": [f"127.0.0.1:{self.port}", f"unix:{self.doors}/one", *more]},
            "next_hop": {"address": self._next_hop},
            "clamav": {"enabled": False},
            "spamassassin": {"enabled": False},
            **keys,
        }
        self.configuration.write_text(tomli_w.dumps(tables))
        self.configuration.chmod(0o644)

    @property
    def command(self) -> list[str]:
        ours = [sys.executable, "-m", "contentfilter", "serve", "--config", str(self.configuration)]
        return [sys.executable, "-m", "tests.fakes.in_the_open", *ours]

    def start(self) -> None:
        before = self.log.read_text().count(" ready: ") if self.log.exists() else 0
        self._daemon = Daemon(self.command, self.log, {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"})
        self._daemon.wait_until(lambda: self.log.read_text().count(" ready: ") > before, PATIENCE)

    def fails(self) -> tuple[int, str]:
        """The exit status of a start, and what was said last."""
        done = subprocess.run(
            self.command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
        )  # fmt: skip
        return done.returncode, done.stderr.splitlines()[-1]

    def reload(self) -> str:
        """What the log says of it."""
        assert self._daemon is not None
        before = len(self.log.read_text())
        self._daemon.reload()
        found: list[re.Match[str] | None] = [None]

        def over() -> bool:
            found[0] = re.search(r"(reloaded|reload refused.*)$", self.log.read_text()[before:], re.MULTILINE)
            return found[0] is not None

        wait_for(over)
        assert found[0] is not None
        return found[0][1]

    def stop(self) -> int:
        return 0 if self._daemon is None else self._daemon.terminate(PATIENCE)

    def processes(self) -> list[int]:
        """The supervisor and all that descends from it."""
        assert self._daemon is not None
        found, waiting = [], [self._daemon.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            waiting += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def send(self, host: str = "127.0.0.1", port: int = 0) -> None:
        client = smtplib.LMTP(host, port or self.port, timeout=PATIENCE)
        assert client.sendmail("a@y.example", ["b@example.org"], with_archive()) == {}
        client.close()  # a worker that just goes would say 421 to QUIT


def with_archive() -> bytes:
    """So that a helper of the box has something to do."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("readme.txt", "hello")
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@y.example", "b@example.org", "an archive"
    message.set_content("see there")
    message.add_attachment(packed.getvalue(), maintype="application", subtype="zip", filename="a.zip")
    return message.as_bytes(policy=message.policy.clone(linesep="\r\n"))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # another process's doing, of which no event tells us


def identity(pid: int) -> tuple[set[int], set[int], set[int]]:
    """Real, effective, saved and file system uid; the same of the group; further groups."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    uids, gids, groups = ({int(one) for one in lines[key].split()} for key in ("Uid", "Gid", "Groups"))
    return uids, gids, groups


@pytest.fixture
def home(open_directory: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=open_directory) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
async def hop() -> AsyncIterator[FakeNextHop]:
    async with FakeNextHop() as running:
        yield running


@pytest.fixture
def service(home: Path, hop: FakeNextHop) -> Iterator[Service]:
    made = Service(home, hop.address)
    made.configure()
    yield made
    made.stop()


async def test_all_of_it_runs_as_the_user_and_mail_flows(service: Service, hop: FakeNextHop) -> None:
    service.configure(PRIVILEGED)
    await asyncio.to_thread(service.start)
    host, _, port = PRIVILEGED.rpartition(":")
    await asyncio.to_thread(service.send)
    await asyncio.to_thread(service.send, host, int(port))
    assert len(hop.delivered) == 2
    processes = service.processes()
    assert len(processes) >= 4  # supervisor, worker, nursery, helper
    groups = set(os.getgrouplist(USER.pw_name, USER.pw_gid))
    for pid in processes:
        uids, gids, further = identity(pid)
        assert (uids, gids) == ({USER.pw_uid}, {USER.pw_gid})
        assert further <= groups
    # What a container was opened with is the box in all its measures.
    assert "helpers that open containers run without" not in service.log.read_text()
    found = service.state.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (USER.pw_uid, USER.pw_gid, 0o750)
    for path in (*service.state.rglob("*"), service.doors / "one"):
        assert path.lstat().st_uid == USER.pw_uid, path
        assert not path.lstat().st_mode & stat.S_IRWXO, path
    assert stat.S_IMODE((service.doors / "one").stat().st_mode) == 0o660
    assert await asyncio.to_thread(service.stop) == 0
    assert list(service.doors.iterdir()) == []


async def test_a_reload_as_the_user_opens_new_sockets_but_no_privileged_port(
    service: Service, hop: FakeNextHop
) -> None:
    await asyncio.to_thread(service.start)
    another = free_port()
    service.configure(f"127.0.0.1:{another}", f"unix:{service.doors}/two")
    assert await asyncio.to_thread(service.reload) == "reloaded"
    await asyncio.to_thread(service.send, "127.0.0.1", another)
    assert (service.doors / "two").stat().st_uid == USER.pw_uid
    service.configure(PRIVILEGED)
    said = await asyncio.to_thread(service.reload)
    assert f"cannot listen on {PRIVILEGED}: Permission denied; a port below 1024 takes a start as root" in said
    await asyncio.to_thread(service.send, "127.0.0.1", another)
    # One that we have since the start stays ours; and the user cannot be changed any more.
    service.configure(user="root")
    assert await asyncio.to_thread(service.reload) == "reloaded"
    assert 'user: "root" counts from the next start on' in service.log.read_text()
    assert identity(service.processes()[0])[0] == {USER.pw_uid}
    assert len(hop.delivered) == 2


async def test_a_socket_in_a_directory_of_roots_is_left_to_the_next_start(service: Service) -> None:
    os.chown(service.doors, 0, 0)
    for _ in range(2):
        await asyncio.to_thread(service.start)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(service.doors / "one"))
        assert await asyncio.to_thread(service.stop) == 0
        assert (service.doors / "one").is_socket()
    assert service.log.read_text().count(f"{service.doors}/one stays behind: Permission denied") == 2


def test_where_there_is_no_such_user_nothing_is_made_and_the_end_is_78(service: Service) -> None:
    service.configure(user="no-such-user")
    status, said = service.fails()
    assert status == 78
    assert f'{service.configuration}: user: there is no user "no-such-user" to become: make it with "adduser ' in said
    assert not service.state.parent.exists()
    assert list(service.doors.iterdir()) == []


def test_what_the_user_cannot_read_ends_the_start_instead_of_a_later_reload(service: Service) -> None:
    service.configuration.chmod(0o600)
    status, said = service.fails()
    assert status == 78
    assert f'user: as "daemon": {service.configuration}: cannot be read: Permission denied' in said
    assert list(service.doors.iterdir()) == []


def test_a_state_directory_of_roots_ends_the_start(service: Service) -> None:
    service.state.mkdir(0o750, parents=True)
    status, said = service.fails()
    assert status == 71
    assert f'state_directory: "daemon" cannot write to {service.state}; ' in said
    assert f"chown -R daemon {service.state}" in said
    assert service.state.stat().st_uid == 0


async def test_who_is_to_stay_root_does_and_the_log_warns_once(service: Service) -> None:
    service.configure(user="root")
    await asyncio.to_thread(service.start)
    assert identity(service.processes()[0])[0] == {0}
    assert service.log.read_text().count("user: the filter runs as root") == 1


def test_the_way_back_is_closed() -> None:
    """In a process of its own: it becomes the user, and tries all that could make it root again."""
    program = (
        "import os\nfrom contentfilter.account import Account\nAccount.named('daemon').become()\n"
        "tries = [lambda: os.setuid(0), lambda: os.seteuid(0), lambda: os.setresuid(-1, -1, 0), lambda: os.setgid(0),"
        " lambda: os.setgroups([0]), lambda: os.chown('/etc/passwd', 1, 1)]\n"
        "for one in tries:\n    try:\n        one()\n"
        "    except PermissionError:\n        continue\n    print('regained')\n"
        "print(os.getresuid(), os.environ['USER'], os.environ['HOME'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    uid = USER.pw_uid
    assert done.stdout == f"({uid}, {uid}, {uid}) daemon {USER.pw_dir}\n"


def test_a_change_that_is_none_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("initgroups", "setresgid", "setresuid"):
        monkeypatch.setattr(f"contentfilter.account.os.{name}", lambda *_: None)
    with pytest.raises(AccountError, match='still root after the change to "daemon"'):
        Account.named("daemon").become()


def test_what_the_user_can_read_is_found_out_as_the_user(open_directory: Path) -> None:
    account = Account.named(USER.pw_name)
    with tempfile.TemporaryDirectory(dir=open_directory) as name:
        Path(name).chmod(0o755)
        file = Path(name, "module.py")
        file.write_text("")
        file.chmod(0o644)
        assert account.reads([file])
        Path(name).chmod(0o700)
        assert not account.reads([file])
        assert file.read_text() == ""  # and we are root still
        assert os.geteuid() == 0
