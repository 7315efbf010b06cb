"""Who can read and who can redirect what is kept: modes as files are made, and links where ours should be."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contentfilter.errors import QuarantineError
from quarantine.errors import UnknownIdError
from quarantine.index import Query
from quarantine.store import LEFTOVER_AGE, Quarantine
from tests.unit.quarantine_items import NOON, RAW, files, keep, make, open_quarantine

GROUP = 12_345
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def quarantine(tmp_path: Path) -> Iterator[Quarantine]:
    opened = open_quarantine(tmp_path)
    yield opened
    opened.close()


@pytest.fixture(params=[0, 0o027], ids=["umask 000", "umask 027"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    old = os.umask(request.param)
    yield
    os.umask(old)


class Watch:
    """Looks at all files below a directory at each call to the system that makes, writes or names one."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.seen: dict[str, set[int]] = {}
        for name in ("open", "write", "fsync", "rename", "mkdir", "chmod", "chown"):
            monkeypatch.setattr(os, name, self._wrapped(getattr(os, name)))

    def _wrapped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **more: Any) -> Any:
            try:
                return call(*arguments, **more)
            finally:
                self.look()

        return watched

    def look(self) -> None:
        for path in (self.directory, *self.directory.rglob("*")):
            kind = "directory" if path.is_dir() else path.name.partition(".")[2]
            self.seen.setdefault(kind, set()).add(stat.S_IMODE(path.lstat().st_mode))


def test_at_no_moment_can_others_read_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: None) -> None:
    quarantine = open_quarantine(tmp_path)
    with monkeypatch.context() as patch:
        watch = Watch(tmp_path / "quarantine", patch)
        record = keep(quarantine)
        with quarantine.lock(record.id) as item:
            quarantine.update(item, record.released([0], NOON))
        with quarantine.open_message(record):
            watch.look()
        quarantine.reindex(lambda _done, _all: watch.look())
        watch.look()
    quarantine.close()
    kinds = {"directory", "eml.zst", "json", "json.new", "sqlite", "sqlite-wal", "sqlite-shm", "index.lock"}
    assert kinds <= set(watch.seen) | {"index.lock"}
    directories = watch.seen.pop("directory")
    assert directories <= {0o750, 0o2750}
    assert set().union(*watch.seen.values()) == {0o640}


@as_root
def test_items_belong_to_the_group_that_the_postmaster_gives_the_directory(tmp_path: Path) -> None:
    directory = tmp_path / "quarantine"
    directory.mkdir()
    os.chown(directory, 4321, GROUP)
    directory.chmod(0o2750)
    quarantine = open_quarantine(tmp_path)
    keep(quarantine)
    quarantine.close()
    assert {path.stat().st_gid for path in directory.rglob("*")} == {GROUP}
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.rglob("*") if path.is_dir()} == {0o2750}


def test_items_of_an_earlier_version_go_on_working(quarantine: Quarantine, tmp_path: Path) -> None:
    record = keep(quarantine)
    for path in (tmp_path / "quarantine", *(tmp_path / "quarantine").rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    with quarantine.lock(record.id) as item:
        quarantine.update(item, record.released([0], NOON))
    keep(quarantine)
    assert quarantine.count(Query()) == 2
    quarantine.delete(record.id)
    assert quarantine.count(Query()) == 1


def test_a_link_in_the_place_of_a_day_is_followed_by_nothing(quarantine: Quarantine, tmp_path: Path) -> None:
    record = keep(quarantine)
    day, elsewhere = tmp_path / "quarantine" / "2026-11-21", tmp_path / "elsewhere"
    day.rename(elsewhere)
    day.symlink_to(elsewhere)
    before = {path.name: path.read_bytes() for path in elsewhere.iterdir()}
    new, message = make()
    with pytest.raises(QuarantineError, match="2026-11-21"):
        quarantine.keep(new, message)
    for act in (quarantine.read, quarantine.lock, quarantine.delete):
        with pytest.raises(UnknownIdError):
            act(record.id)
    with pytest.raises(UnknownIdError):
        quarantine.open_message(record)
    for path in elsewhere.iterdir():
        os.utime(path, (0, 0))
    assert quarantine.sweep() == []
    assert {path.name: path.read_bytes() for path in elsewhere.iterdir()} == before


@pytest.mark.parametrize("suffix", [".eml.zst", ".json", ".json.new"])
def test_a_link_in_the_place_of_a_file_is_followed_by_nothing(
    quarantine: Quarantine, tmp_path: Path, suffix: str
) -> None:
    target = tmp_path / "target"
    target.write_bytes(RAW)
    record = keep(quarantine)
    path = tmp_path / "quarantine" / "2026-11-21" / (record.id + suffix)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    with pytest.raises(QuarantineError), quarantine.lock(record.id) as item:
        quarantine.update(item, record.released([0], NOON))
    if suffix == ".eml.zst":
        with pytest.raises(QuarantineError):
            quarantine.open_message(record)
    elif suffix == ".json":
        with pytest.raises(QuarantineError):
            quarantine.read(record.id)
    assert target.read_bytes() == RAW


def test_what_is_just_written_is_not_swept_though_a_clock_that_jumped_makes_it_look_old(
    quarantine: Quarantine, tmp_path: Path
) -> None:
    record = keep(quarantine)
    with quarantine.lock(record.id):
        (json,) = tmp_path.glob("quarantine/*/*.json")
        json.rename(tmp_path / "record")  # as before the last step
        (message,) = tmp_path.glob("quarantine/*/*.eml.zst")
        os.utime(message, (0, 0))
        assert quarantine.leftovers() == [message]
        assert quarantine.sweep() == []
    assert quarantine.sweep() == [message]
    assert files(tmp_path) == []
    assert LEFTOVER_AGE > 0
