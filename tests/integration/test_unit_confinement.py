"""What the unit for systemd forbids leaves the box whole: its system call filter is put on, and the box tried."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.test_box_as_user import as_user, home  # noqa: F401 - a fixture
from tests.integration.test_measures import ALL

UNIT = Path(__file__).parents[2] / "conf" / "contentfilter.service"
GROUPS = re.compile(r"^\s*(@?[a-z0-9_-]+)$", re.MULTILINE)

PROGRAM = """
import asyncio, errno, json, sys
from pathlib import Path
import pyseccomp
from contentfilter.unpack.box import Box, BoxSettings
from tests.unit.test_openers_archives import ARJ, CAB
from tests.integration.test_box import Job

def put_on(allowed):
    rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
    for name in allowed:
        try:
            rules.add_rule(pyseccomp.ALLOW, name)
        except (OSError, ValueError):  # of another architecture
            pass
    rules.load()

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


def settings(key: str) -> list[str]:
    """Every value of a key in [Service], in order."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


def allowed(names: list[str]) -> set[str]:
    """The system calls that systemd takes these for, of which some are groups."""
    program = shutil.which("systemd-analyze")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("systemd-analyze of the package systemd is missing, and CI does not go without")
        pytest.skip("no systemd here")
    found: set[str] = set()
    waiting = ["@default", *names]
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
    filters = " ".join(settings("SystemCallFilter")).split()
    assert "@system-service" in filters
    told = under(filters, home)
    assert told == {"measures": dict.fromkeys(ALL, True), "names": ["a.txt", "b.txt", "a.txt", "b.txt"]}


def test_a_filter_without_landlock_shows(home: Path) -> None:  # noqa: F811
    """So that the test above is one: this is what the filter was."""
    if "landlock_restrict_self" in allowed(["@system-service"]):
        pytest.skip("this systemd has Landlock in @system-service")
    told = under(["@system-service"], home)
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
