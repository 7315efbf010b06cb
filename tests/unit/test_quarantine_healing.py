"""An index that somebody or something destroys while mail comes: no mail waits, and in the end nothing is missing."""

from __future__ import annotations

import fcntl
import logging
import multiprocessing
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contentfilter.errors import QuarantineError
from quarantine.errors import IndexVersionError
from quarantine.index import Query
from quarantine.store import Quarantine
from tests.unit.quarantine_items import NOON, keep, make, open_quarantine

PATIENCE = 30.0


@pytest.fixture(params=[False, True], ids=["of a command", "of a worker"])
def quarantine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Quarantine]:
    opened = open_quarantine(tmp_path, late=request.param)
    yield opened
    opened.close()


def truncate(index: Path) -> None:
    os.truncate(index, index.stat().st_size // 2)


def empty(index: Path) -> None:
    os.truncate(index, 0)


def zero(index: Path) -> None:
    with index.open("r+b") as file:
        file.write(bytes(index.stat().st_size))


def overwrite(index: Path) -> None:
    size = index.stat().st_size
    with index.open("r+b") as file:
        file.seek(size // 4)
        file.write(b"\xa5" * (size // 2))


def delete(*suffixes: str) -> Callable[[Path], None]:
    def deleted(index: Path) -> None:
        for suffix in suffixes:
            index.with_name(index.name + suffix).unlink()

    return deleted


HARMS = {
    "truncate": truncate,
    "empty": empty,
    "zero": zero,
    "overwrite": overwrite,
    "delete the file": delete(""),
    "delete the log": delete("-wal"),
    "delete the log's index": delete("-shm"),
    "delete log and index": delete("-wal", "-shm"),
    "delete all": delete("", "-wal", "-shm"),
}


def ids_in(directory: Path) -> set[str]:
    """What a command lists."""
    opened = open_quarantine(directory)
    try:
        return {item.id for item in opened.find(Query())}
    finally:
        opened.close()


def rebuilt(quarantine: Quarantine) -> None:
    """Wait for what goes on in the background."""
    deadline = time.monotonic() + PATIENCE
    while quarantine._rebuilding.needed:
        thread = quarantine._rebuilding._thread
        if thread is not None:
            thread.join(PATIENCE)
        assert time.monotonic() < deadline


@pytest.mark.parametrize("settled", [True, False], ids=["settled", "in the log"])
@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_whatever_is_done_to_the_index_mail_is_kept_and_found(
    quarantine: Quarantine, tmp_path: Path, harm: Callable[[Path], None], settled: bool
) -> None:
    index = tmp_path / "quarantine" / "index.sqlite"
    before = {keep(quarantine, time=NOON + number).id for number in range(40)}
    if settled:
        with sqlite3.connect(index) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
    harm(index)
    after = {keep(quarantine).id for _ in range(3)}
    rebuilt(quarantine)
    assert ids_in(tmp_path) == before | after
    assert {item.id for item in quarantine.find(Query())} == before | after
    assert not quarantine.incomplete
    one = keep(quarantine).id
    assert ids_in(tmp_path) == before | after | {one}
    connection = sqlite3.connect(index)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


@pytest.mark.parametrize("harm", [zero, empty, delete("")], ids=["zero", "empty", "delete"])
def test_what_is_wrong_is_said_once_and_the_damaged_file_is_set_aside(
    quarantine: Quarantine, tmp_path: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    keep(quarantine)
    quarantine.close()
    harm(tmp_path / "quarantine" / "index.sqlite")
    for _ in range(5):
        keep(quarantine)
    rebuilt(quarantine)
    said = [one.getMessage() for one in caplog.records]
    assert len([line for line in said if "is rebuilt: " in line]) == 1
    assert len([line for line in said if "set aside" in line]) == (harm is zero)
    assert (tmp_path / "quarantine" / "index.sqlite.damaged").exists() is (harm is zero)
    assert all(str(tmp_path / "quarantine") in line for line in said)


def test_the_index_of_another_version_stays_and_says_what_to_do(quarantine: Quarantine, tmp_path: Path) -> None:
    keep(quarantine)
    quarantine.close()
    with sqlite3.connect(tmp_path / "quarantine" / "index.sqlite") as connection:
        connection.execute("UPDATE quarantine_schema SET version = 99")
    connection.close()
    before = (tmp_path / "quarantine" / "index.sqlite").read_bytes()
    record, message = make()
    for act in (lambda: quarantine.keep(record, message), lambda: quarantine.find(Query())):
        with pytest.raises(IndexVersionError, match=r"version 99.*needs 1: run quarantine reindex"):
            act()
    assert (tmp_path / "quarantine" / "index.sqlite").read_bytes() == before


def _keep_many(directory: Path, count: int, ids: Any) -> None:
    opened = open_quarantine(directory)
    for _ in range(count):
        ids.put(keep(opened).id)
    opened.close()


def test_several_processes_meet_the_damage_at_once_and_lose_nothing(tmp_path: Path) -> None:
    opened = open_quarantine(tmp_path)
    before = {keep(opened).id for _ in range(150)}
    opened.close()
    zero(tmp_path / "quarantine" / "index.sqlite")
    context = multiprocessing.get_context("spawn")
    ids = context.SimpleQueue()
    processes = [context.Process(target=_keep_many, args=(tmp_path, 20, ids)) for _ in range(4)]
    for process in processes:
        process.start()
    after = {ids.get() for _ in range(80)}
    for process in processes:
        process.join(PATIENCE)
        assert process.exitcode == 0
    assert ids_in(tmp_path) == before | after
    assert len(list((tmp_path / "quarantine").glob("index.sqlite.damaged"))) == 1


def test_a_rebuilding_that_was_cut_off_is_taken_up_by_the_next_who_comes(
    quarantine: Quarantine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {keep(quarantine).id for _ in range(5)}
    quarantine.close()
    zero(tmp_path / "quarantine" / "index.sqlite")
    with monkeypatch.context() as patch:
        patch.setattr("quarantine.rebuilding.Rebuilding.start", lambda _self: None)  # killed before it came to that
        one = keep(quarantine).id
    quarantine.close()
    assert (tmp_path / "quarantine" / ".index.rebuild").exists()
    another = open_quarantine(tmp_path)
    two = keep(another).id
    rebuilt(another)
    another.close()
    connection = sqlite3.connect(tmp_path / "quarantine" / "index.sqlite")
    assert {row[0] for row in connection.execute("SELECT id FROM quarantine_item")} == before | {one, two}
    connection.close()


def test_while_another_process_rebuilds_the_list_says_that_it_may_lack_items(
    quarantine: Quarantine, tmp_path: Path
) -> None:
    keep(quarantine)
    with (tmp_path / "quarantine" / ".index.rebuild").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert len(quarantine.find(Query())) == 1
        assert quarantine.incomplete
    quarantine.find(Query())
    assert not quarantine.incomplete
    assert not (tmp_path / "quarantine" / ".index.rebuild").exists()


def test_a_loss_during_a_rebuilding_has_it_done_again(
    quarantine: Quarantine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quarantine.store._BATCH", 2)
    before = {keep(quarantine).id for _ in range(10)}
    index = tmp_path / "quarantine" / "index.sqlite"
    harmed = threading.Event()

    def progress(done: int, _all: int) -> None:
        if done == 6 and not harmed.is_set():
            harmed.set()
            delete("", "-wal", "-shm")(index)

    quarantine.reindex(progress)
    assert harmed.is_set()
    assert ids_in(tmp_path) == before


def test_a_rebuilding_that_fails_is_said_and_tried_again(
    quarantine: Quarantine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = {keep(quarantine).id for _ in range(3)}
    quarantine.close()
    zero(tmp_path / "quarantine" / "index.sqlite")

    def fails(_self: Quarantine) -> int:
        raise QuarantineError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Quarantine, "_rebuilt", fails)
        opened = open_quarantine(tmp_path)
        before |= {keep(opened).id for _ in range(3)}
        opened._rebuilding.stop()
        opened.close()
    assert [one.levelno for one in caplog.records if "disk full" in one.getMessage()] == [logging.ERROR]
    assert ids_in(tmp_path) == before
