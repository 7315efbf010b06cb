"""What the units for systemd forbid leaves everything whole: their filters are put on, and box and programs tried."""

from __future__ import annotations

import asyncio
import configparser
import json
import os
import re
import shutil
import smtplib
import subprocess
import sys
from pathlib import Path

import pytest

from demo.neighbours.daemon import Daemon, free_port
from tests.fakes.next_hop import FakeNextHop
from tests.integration.test_box_as_user import as_user, home  # noqa: F401 - a fixture
from tests.integration.test_measures import ALL
from tests.journey import MESSAGE

CONF = Path(__file__).parents[2] / "conf"
UNIT = CONF / "contentfilter.service"
EXPIRY = CONF / "quarantine-expire.service"
GROUPS = re.compile(r"^\s*(@?[a-z0-9_-]+)$", re.MULTILINE)

PUT_ON = """
import asyncio, errno, json, os, sys
from pathlib import Path
import pyseccomp

def put_on(allowed, write_execute=True):
    rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
    for name in allowed:
        try:
            if write_execute or name not in ("mmap", "mprotect", "pkey_mprotect"):
                rules.add_rule(pyseccomp.ALLOW, name)
        except (OSError, ValueError):  # of another architecture
            pass
    if not write_execute:  # as systemd does MemoryDenyWriteExecute; bits: 2 is to write, 4 to execute
        for bits in (0, 2, 4):
            rules.add_rule(pyseccomp.ALLOW, "mmap", pyseccomp.Arg(2, pyseccomp.MASKED_EQ, 6, bits))
        for name in ("mprotect", "pkey_mprotect"):
            rules.add_rule(pyseccomp.ALLOW, name, pyseccomp.Arg(2, pyseccomp.MASKED_EQ, 4, 0))
    rules.load()
"""
PROGRAM = (
    PUT_ON
    + """
from contentfilter.unpack.box import Box, BoxSettings
from tests.unit.test_openers_archives import ARJ, CAB
from tests.integration.test_box import Job

async def work(directory):
    box = Box(BoxSettings(directory, helpers=1))
    found = await box.measures()
    with await box.unpack([Job(ARJ, "1"), Job(CAB, "2")], 1000) as opened:
        names = [member.name for member in opened.members]
    await box.close()
    print(json.dumps({"measures": {each.name: each.holds for each in found}, "names": names}))

put_on(json.loads(Path(sys.argv[2]).read_text()))
asyncio.run(work(Path(sys.argv[1])))
"""
)
SERVE = (
    PUT_ON
    + """
os.umask(0o027)
put_on(json.loads(Path(sys.argv[1]).read_text()))
sys.argv = ["contentfilter", "serve", "--config", sys.argv[2]]
from contentfilter.cli import main
main()
"""
)
EXPIRE = (
    PUT_ON
    + """
import mmap
put_on(json.loads(Path(sys.argv[1]).read_text()), write_execute=False)
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    print("no memory to write and execute")
sys.argv = ["quarantine", "expire", "--config", sys.argv[2]]
from quarantine.cli import main
main()
"""
)


KEEP_ONE = """
import sys
from pathlib import Path
from quarantine.store import Quarantine
from tests.unit.quarantine_items import keep
directory = Path(sys.argv[1])
keep(Quarantine(directory, f"sqlite:///{directory}/index.sqlite"), time=1e9)
"""
PATIENCE = 60.0


def settings(key: str, unit: Path = UNIT) -> list[str]:
    """Every value of a key in [Service], in order."""
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def systemd_analyze() -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("systemd-analyze of the package systemd is missing, and CI does not go without")
        pytest.skip("no systemd here")
    return program


def allowed(lines: list[str]) -> set[str]:
    """What lines of SystemCallFilter leave, the first of which allows."""
    found: set[str] = set()
    for line in lines:
        calls = meant(line.removeprefix("~").split())
        found = found - calls if line.startswith("~") else found | calls
    return found | meant(["@default"])


def meant(names: list[str]) -> set[str]:
    """The system calls that systemd takes these for, of which some are groups."""
    program = systemd_analyze()
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name.startswith("@"):
            done = subprocess.run([program, "syscall-filter", name], capture_output=True, text=True, check=True)
            waiting += [each for each in GROUPS.findall(done.stdout) if each != name]
    return {name for name in found if not name.startswith("@")}


def under(filters: list[str], home: Path) -> dict[str, object]:  # noqa: F811 - the fixture's value
    """What a box says of itself and opens, in a daemon under these filters."""
    listed = home / "allowed.json"
    listed.write_text(json.dumps(sorted(allowed(filters))))
    listed.chmod(0o644)
    told: dict[str, object] = json.loads(as_user("-c", PROGRAM, str(home), str(listed), home=home))
    return told


def test_under_the_filter_all_of_the_box_holds_and_containers_are_opened(home: Path) -> None:  # noqa: F811
    filters = settings("SystemCallFilter")
    assert filters[0] == "@system-service"
    told = under(filters, home)
    assert told == {"measures": dict.fromkeys(ALL, True), "names": ["a.txt", "b.txt", "a.txt", "b.txt"]}


def test_a_filter_without_landlock_shows(home: Path) -> None:  # noqa: F811
    """So that the test above is one: this is what the filter was."""
    assert "landlock_restrict_self" in settings("SystemCallFilter")[-1].split()
    if "landlock_restrict_self" in allowed(["@system-service"]):
        pytest.skip("this systemd has Landlock in @system-service")
    told = under(settings("SystemCallFilter")[:-1], home)
    assert told["measures"] == {**dict.fromkeys(ALL, True), "Landlock": False}


def test_the_unit_forbids_nothing_else_that_the_box_needs() -> None:
    (namespaces,) = settings("RestrictNamespaces")
    assert set(namespaces.split()) >= {"user", "net"}
    assert settings("NoNewPrivileges") == ["yes"]
    assert "AF_UNIX" in settings("RestrictAddressFamilies")[0].split()
    assert settings("SystemCallErrorNumber") == ["EPERM"]  # killing would take the daemon with the helper
    parser = configparser.ConfigParser(interpolation=None, strict=False, delimiters=("=",), comment_prefixes=("#",))
    parser.read_string(UNIT.read_text())
    forbidding = {"memorydenywriteexecute", "privateusers", "privatepids", "procsubset", "limitnproc", "tasksmax"}
    assert not forbidding & set(parser["Service"])


async def test_under_the_filter_the_whole_daemon_serves_reloads_and_ends(home: Path) -> None:  # noqa: F811
    listed, log, file = home / "allowed.json", home / "log", home / "c.toml"
    listed.write_text(json.dumps(sorted(allowed(settings("SystemCallFilter")))))
    port = free_port()

    def ready(count: int) -> bool:
        return len(re.findall(" ready: | reloaded$", log.read_text(), re.MULTILINE)) == count

    async with FakeNextHop() as hop:
        file.write_text(
            f'state_directory = "{home}/state"\nworkers = 2\n[listen]\naddresses = ["127.0.0.1:{port}"]\n'
            f'[next_hop]\naddress = "{hop.address}"\n[clamav]\nenabled = false\n[spamassassin]\nenabled = false\n'
        )
        command = [sys.executable, "-m", "tests.fakes.as_user", sys.executable, "-c", SERVE, str(listed), str(file)]
        environment = {"PYTHONPATH": str(CONF.parent), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(home), "USER": "x"}
        daemon = Daemon(command, log, environment)
        try:
            await asyncio.to_thread(daemon.wait_until, lambda: ready(1), PATIENCE)
            await asyncio.to_thread(send, port)
            daemon.reload()
            await asyncio.to_thread(daemon.wait_until, lambda: ready(2), PATIENCE)
            await asyncio.to_thread(send, port)
        finally:
            assert await asyncio.to_thread(daemon.terminate, PATIENCE) == 0
        assert len(hop.delivered) == 2
    told = log.read_text()
    assert "run without" not in told
    assert "not permitted" not in told


def send(port: int) -> None:
    client = smtplib.LMTP("127.0.0.1", port, timeout=PATIENCE)
    assert client.sendmail("a@y.example", ["b@example.org"], MESSAGE) == {}
    client.close()  # a worker that just goes would say 421 to QUIT


def test_under_its_filter_the_expiry_deletes(home: Path) -> None:  # noqa: F811
    assert settings("MemoryDenyWriteExecute", EXPIRY) == ["yes"]
    listed, file = home / "allowed.json", home / "c.toml"
    listed.write_text(json.dumps(sorted(allowed(settings("SystemCallFilter", EXPIRY)))))
    file.write_text(f'[quarantine]\ndirectory = "{home}/q"\nkeep_days = 0.000001\n')
    as_user("-c", KEEP_ONE, f"{home}/q", home=home)
    told = as_user("-c", EXPIRE, str(listed), str(file), home=home).splitlines()
    assert told[0] == "no memory to write and execute"
    assert told[1].startswith("1 items ")


@pytest.mark.parametrize("unit", [UNIT, EXPIRY], ids=lambda unit: unit.name)
def test_how_open_a_unit_leaves_the_system(unit: Path) -> None:
    """No more than stands in it."""
    found = re.search(r"^# Exposure level at most: (\d\.\d)$", unit.read_text(), re.MULTILINE)
    assert found is not None
    command = [systemd_analyze(), "security", "--offline=true", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    level = re.search(r"Overall exposure level for \S+: (\d+\.\d+) ", done.stdout)
    assert level is not None
    assert float(level[1]) <= float(found[1]), done.stdout
