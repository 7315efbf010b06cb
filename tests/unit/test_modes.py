"""Whatever the umask, no message lies anywhere with a mode that lets others read it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contentfilter.message import Spool, memory_file
from quarantine.store import Quarantine
from tests.unit.quarantine_items import NOON, RAW, files, keep, open_quarantine
from tests.unit.users import open_place

MEMBER, GROUP = 54_321, 12_345
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:
    old = os.umask(0)
    yield
    os.umask(old)


def mode(file: Path | int) -> int:
    return stat.S_IMODE(os.stat(file).st_mode)  # noqa: PTH116 - of a descriptor, too


def test_a_memory_file_is_ours_alone() -> None:
    descriptor = memory_file(RAW)
    assert mode(descriptor) == 0o600
    os.close(descriptor)


@pytest.mark.parametrize("known", [True, False], ids=["O_TMPFILE", "mkstemp"])
def test_a_spooled_message_is_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    seen: list[int] = []
    make = tempfile.mkstemp

    def watched(*arguments: Any, **more: Any) -> tuple[int, str]:
        descriptor, name = make(*arguments, **more)
        seen.append(mode(descriptor))
        return descriptor, name

    monkeypatch.setattr(tempfile, "mkstemp", watched)
    if not known:
        monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_CREAT)  # refused, as file systems do
    spool = Spool(tmp_path, 1)
    spool.write(RAW)
    with spool.finish() as message:
        assert mode(message.descriptor()) == 0o600
        assert list(tmp_path.iterdir()) == []
    assert seen == ([] if known else [0o600])


def test_a_message_that_is_released_is_unpacked_for_us_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quarantine = open_quarantine(tmp_path)
    record = keep(quarantine)
    seen: list[int] = []
    make = tempfile.TemporaryFile

    def watched(*arguments: Any, **more: Any) -> Any:
        file = make(*arguments, **more)
        seen.append(mode(file.fileno()))
        return file

    monkeypatch.setattr(tempfile, "TemporaryFile", watched)
    with quarantine.open_message(record) as message:
        assert bytes(message.buffer) == RAW
    quarantine.close()
    assert seen == [0o600]


def test_what_check_dumps_is_ours_alone(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        f'state_directory = "{tmp_path}"\n[clamav]\nenabled = false\n[spamassassin]\nenabled = false\n'
    )
    (tmp_path / "m.eml").write_bytes(RAW)
    command = [sys.executable, "-m", "contentfilter", "check", str(tmp_path / "m.eml"), "--config"]
    done = subprocess.run(
        [*command, str(tmp_path / "c.toml"), "--dump", str(tmp_path / "dump")],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert mode(tmp_path / "dump") == 0o700
    written = list((tmp_path / "dump").iterdir())
    assert len(written) >= 2
    assert {mode(one) for one in written} == {0o600}


# A member of the group that a postmaster gives the quarantine.


@pytest.fixture
def place() -> Iterator[Path]:
    """A quarantine of a user of its own, which a group may look into."""
    with open_place() as place:
        state = place / "state"
        (state / "quarantine").mkdir(parents=True)
        for directory, mode in ((state, 0o750), (state / "quarantine", 0o2750)):
            os.chown(directory, 4321, GROUP)
            directory.chmod(mode)
        (place / "c.toml").write_text(f'state_directory = "{state}"\n')
        yield place


def by_member(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    setpriv = shutil.which("setpriv")
    assert setpriv is not None
    who = [setpriv, f"--reuid={MEMBER}", f"--regid={GROUP}", "--clear-groups", "--"]
    command = [sys.executable, "-m", "quarantine", *arguments, "--config", str(place / "c.toml")]
    return subprocess.run(
        [sys.executable, "-m", "tests.fakes.in_the_open", *who, *command],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
    )


@as_root
def test_a_member_of_the_group_may_look_at_what_he_has_the_id_of_and_change_nothing(place: Path) -> None:
    quarantine: Quarantine = open_quarantine(place / "state")
    record = keep(quarantine, time=NOON)
    before = files(place / "state")
    shown = by_member(place, "show", record.id)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert record.id in shown.stdout
    assert by_member(place, "show", "--raw", record.id).stdout.startswith("From: Eve")
    for arguments in (["list"], ["expire"], ["reindex"], ["delete", "--yes", record.id], ["release", record.id]):
        done = by_member(place, *arguments)
        assert (done.returncode, done.stdout) == (os.EX_NOPERM, ""), (arguments, done)
        assert done.stderr.startswith("quarantine: "), done.stderr
        assert "Permission denied" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert files(place / "state") == before
    quarantine.close()
