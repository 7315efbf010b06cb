from __future__ import annotations

import errno
import mmap
import multiprocessing
import os
import resource
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.engine.default import DefaultDialect

from contentfilter.errors import QuarantineError
from contentfilter.mail_id import new_id
from contentfilter.message import Message
from contentfilter.verdict import Category
from quarantine import index as quarantine_index
from quarantine.durable import try_lock
from quarantine.errors import IndexDamagedError, ItemBusyError, ItemDamagedError, UnknownIdError
from quarantine.index import Index, Query
from quarantine.record import State
from quarantine.store import LEFTOVER_AGE, Quarantine
from tests.unit.quarantine_items import NOON, RAW, files, keep, make, open_quarantine, withheld


@pytest.fixture
def quarantine(tmp_path: Path) -> Iterator[Quarantine]:
    opened = open_quarantine(tmp_path)
    yield opened
    opened.close()


def silent(_done: int, _all: int) -> None:
    """Take no notice of progress."""


def backdate(path: Path) -> None:
    past = path.stat().st_mtime - LEFTOVER_AGE - 60
    os.utime(path, (past, past))


# What is stored comes back.


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.binary(max_size=3000))
def test_the_bytes_come_back_as_they_were(quarantine: Quarantine, raw: bytes) -> None:
    record = keep(quarantine, raw)
    with quarantine.open_message(record) as message:
        assert message.buffer[:] == raw


def test_a_mapped_message_of_several_chunks_comes_back_and_can_be_closed(quarantine: Quarantine) -> None:
    raw = os.urandom(3_500_000)
    with mmap.mmap(-1, len(raw)) as mapped:
        mapped.write(raw)
        record, _ = make(raw)
        with Message(mapped) as message:
            quarantine.keep(record, message)
    with quarantine.open_message(record) as message:
        assert message.buffer[:] == raw


def test_the_record_comes_back_as_it_was(quarantine: Quarantine) -> None:
    record = keep(quarantine, subject="Grüße \udcff \x00", mail_from="\udce4@example.net")
    assert quarantine.read(record.id) == record


def test_nobody_else_can_read_what_is_kept(quarantine: Quarantine, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        record = keep(quarantine)
    finally:
        os.umask(old)
    day = tmp_path / "quarantine" / "2026-11-21"
    assert files(tmp_path) == [f"{record.id}.eml.zst", f"{record.id}.json"]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (*day.iterdir(), *day.parent.iterdir())}
    assert modes.pop("2026-11-21") == 0o2750
    assert set(modes.values()) == {0o640}
    assert stat.S_IMODE(day.parent.stat().st_mode) == 0o2750


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_changes_stays_with_the_owner_of_the_quarantine(quarantine: Quarantine, tmp_path: Path) -> None:
    (tmp_path / "quarantine").mkdir()
    os.chown(tmp_path / "quarantine", 12345, 12345)
    record = keep(quarantine)
    with quarantine.lock(record.id) as item:
        quarantine.update(item, record.released([0], NOON))
    owners = {path.name: path.stat().st_uid for path in (tmp_path / "quarantine").rglob("*")}
    assert set(owners.values()) == {12345}, owners


@pytest.mark.parametrize("mail_id", ["../../etc/passwd", "", "-rf", "x" * 17 + "/", "a" * 16 + "\x00"])
def test_no_path_is_made_from_what_is_no_id(quarantine: Quarantine, tmp_path: Path, mail_id: str) -> None:
    record, message = make()
    with pytest.raises(QuarantineError, match="not a quarantine id"):
        quarantine.keep(replace(record, id=mail_id), message)
    for act in (quarantine.read, quarantine.delete, quarantine.lock):
        with pytest.raises(UnknownIdError):
            act(mail_id)
    assert files(tmp_path) == []


def test_a_record_about_another_message_is_refused(quarantine: Quarantine, tmp_path: Path) -> None:
    record, _ = make()
    with pytest.raises(QuarantineError, match="another message"):
        quarantine.keep(record, Message(RAW + b"x"))
    assert files(tmp_path) == []


def test_an_id_is_never_written_over(quarantine: Quarantine) -> None:
    record = keep(quarantine)
    other, message = make(b"other")
    with pytest.raises(QuarantineError):
        quarantine.keep(replace(other, id=record.id), message)
    with quarantine.open_message(quarantine.read(record.id)) as kept:
        assert kept.buffer[:] == RAW
    assert quarantine.count(Query()) == 1


# Damage is noticed.


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)


@pytest.mark.parametrize(
    "harm",
    [
        _flip,
        lambda path: path.write_bytes(path.read_bytes()[:-7]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"not zstd at all"),
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.with_name("other").read_bytes()),
    ],
    ids=["flipped", "cut", "empty", "garbage", "missing", "exchanged"],
)
def test_a_damaged_message_is_not_given_out(
    quarantine: Quarantine, tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    other = keep(quarantine, b"of the same size".ljust(len(RAW), b"!"))
    record = keep(quarantine)
    path = tmp_path / "quarantine" / "2026-11-21" / f"{record.id}.eml.zst"
    path.with_name(f"{other.id}.eml.zst").rename(path.with_name("other"))
    harm(path)
    with pytest.raises(ItemDamagedError, match=record.id):
        quarantine.open_message(record)


def test_a_damaged_item_can_be_deleted(quarantine: Quarantine, tmp_path: Path) -> None:
    without_message, without_record = keep(quarantine), keep(quarantine)
    day = tmp_path / "quarantine" / "2026-11-21"
    (day / f"{without_message.id}.eml.zst").unlink()
    (day / f"{without_record.id}.json").write_text("{}")
    quarantine.delete(without_message.id)
    quarantine.delete(without_record.id)
    assert files(tmp_path) == []
    assert quarantine.count(Query()) == 0


# 250 only when it is on disk.


class Journal:
    """Every step towards the disk, in order; at one of them, an error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int | None = None, code: int = errno.ENOSPC) -> None:
        self.steps: list[str] = []
        self.failed = ""
        self._fail_at = fail_at
        self._code = code
        self._thread = threading.get_ident()
        for name in ("open", "write", "fsync", "rename", "mkdir"):
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name)))
        monkeypatch.setattr(DefaultDialect, "do_commit", self._wrapped("commit", DefaultDialect.do_commit))

    def _wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **more: Any) -> Any:
            if self._fail_at == len(self.steps):
                self.steps.append("failure")
                self.failed = name
                if name == "commit":
                    raise sqlite3.OperationalError("disk I/O error")
                raise OSError(self._code, os.strerror(self._code))
            self.steps.append(f"{name} {_path_of(name, arguments)}".strip())
            return function(*arguments, **more)

        return step


def _path_of(name: str, arguments: tuple[Any, ...]) -> str:
    if name == "commit":
        return ""
    path = Path(f"/proc/self/fd/{arguments[0]}").readlink() if name in {"write", "fsync"} else Path(arguments[0])
    mail_id, dot, suffix = path.name.partition(".")
    return f"*.{suffix}" if dot and len(mail_id) == 17 else path.name


def test_files_directories_and_row_are_safe_in_this_order(
    quarantine: Quarantine, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, message = make()
    keep(quarantine, time=NOON - 90_000)  # tables made
    with monkeypatch.context() as patch:
        journal = Journal(patch)
        quarantine.keep(record, message)
    safe = [step for step in journal.steps if step.split()[0] in {"mkdir", "fsync", "rename", "commit"}]
    assert safe[safe.index("mkdir 2026-11-21") :] == [
        "mkdir 2026-11-21",
        "fsync quarantine",
        "fsync *.eml.zst",
        "fsync *.json.new",
        "rename *.json.new",
        "fsync 2026-11-21",
        "commit",
    ]


def test_the_directory_another_process_made_is_synced_all_the_same(
    quarantine: Quarantine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quarantine" / "2026-11-21").mkdir(parents=True)
    with monkeypatch.context() as patch:
        journal = Journal(patch)
        record, message = make()
        quarantine.keep(record, message)
    assert "fsync quarantine" in journal.steps[: journal.steps.index("fsync *.eml.zst")]


def test_commits_wait_for_the_disk(quarantine: Quarantine) -> None:
    keep(quarantine)
    with quarantine._index._transaction() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_whatever_step_fails_neither_row_nor_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    failed = set()
    for step in range(1000):
        place = tmp_path / str(step)
        place.mkdir()
        opened = open_quarantine(place)
        record, message = make()
        with monkeypatch.context() as patch:
            journal = Journal(patch, fail_at=step, code=code)
            try:
                opened.keep(record, message)
            except QuarantineError as error:
                reply = error.reply
            else:
                assert not journal.failed, "a failed step went unnoticed"
                break
        assert reply.temporary
        failed.add(journal.failed)
        assert files(place) == [], journal.steps
        assert opened.count(Query()) == 0, journal.steps
        opened.keep(record, message)  # and the next attempt works
        assert opened.count(Query()) == 1
        opened.close()
    assert failed == {"open", "write", "fsync", "rename", "mkdir", "commit"}
    opened.close()


def test_short_writes_are_completed(quarantine: Quarantine, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    record, message = make(os.urandom(5000))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data[:100])))
        quarantine.keep(record, message)
    with quarantine.open_message(record) as kept:
        assert kept.digest == message.digest


def test_a_commit_that_took_place_but_reports_an_error_is_undone(
    quarantine: Quarantine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit: Callable[[DefaultDialect, Any], None] = DefaultDialect.do_commit
    quarantine.delete(keep(quarantine).id)  # tables made
    lost: list[Any] = []

    def lose_the_answer(self: DefaultDialect, connection: Any) -> None:
        commit(self, connection)
        if not lost:
            lost.append(connection)
            raise sqlite3.OperationalError("connection lost")

    record, message = make()
    with monkeypatch.context() as patch:
        patch.setattr(DefaultDialect, "do_commit", lose_the_answer)
        with pytest.raises(QuarantineError):
            quarantine.keep(record, message)
    assert files(tmp_path) == []
    assert quarantine.count(Query()) == 0


def test_a_locked_index_defers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quarantine.index._WAIT", 0.05)
    opened = open_quarantine(tmp_path)
    opened.delete(keep(opened).id)
    record, message = make()
    with sqlite3.connect(tmp_path / "quarantine" / "index.sqlite", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(QuarantineError, match="locked"):
            opened.keep(record, message)
        other.execute("ROLLBACK")
    other.close()
    assert files(tmp_path) == []
    opened.keep(record, message)
    opened.close()


def _keep_below_a_limit(directory: Path, raw: bytes, limit: int, failed: Any) -> None:
    """Store with a limit on the size of files that the kernel enforces, as it does a full disk."""
    opened = open_quarantine(directory)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        keep(opened, raw)
    except QuarantineError:
        failed.set()


@pytest.mark.parametrize(
    ("raw", "limit"),
    [(os.urandom(3_000_000), 1_500_000), (b"small", 4000), (b"small", 300), (b"small", 5), (b"small", 0)],
    ids=["message", "index", "record", "few bytes", "nothing"],
)
def test_when_the_kernel_takes_no_more_bytes_nothing_stays(tmp_path: Path, raw: bytes, limit: int) -> None:
    opened = open_quarantine(tmp_path)
    opened.delete(keep(opened).id)  # tables made
    context = multiprocessing.get_context("fork")
    failed = context.Event()
    child = context.Process(target=_keep_below_a_limit, args=(tmp_path, raw, limit, failed))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert failed.is_set()
    assert files(tmp_path) == []
    assert opened.count(Query()) == 0
    opened.close()


def _keep_for_ever(directory: Path, ids: Any) -> None:
    opened = open_quarantine(directory)
    while True:
        ids.send(keep(opened, os.urandom(20_000)).id)


@pytest.mark.parametrize("patience", [1, 2, 3, 5, 8, 13])
def test_a_killed_process_loses_nothing_that_it_acknowledged(tmp_path: Path, patience: int) -> None:
    receiving, sending = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_keep_for_ever, args=(tmp_path, sending))
    child.start()
    sending.close()
    acknowledged = [receiving.recv() for _ in range(patience)]
    child.kill()
    child.join()
    while receiving.poll():
        try:
            acknowledged.append(receiving.recv())
        except EOFError:
            break
    receiving.close()
    opened = open_quarantine(tmp_path)
    listed = {item.id for item in opened.find(Query())}
    assert set(acknowledged) <= listed
    result = opened.reindex(silent)
    assert (result.damaged, result.gone, result.rebuilt) == ((), (), False)
    for item in opened.find(Query()):
        opened.open_message(opened.read(item.id)).close()
    for path in tmp_path.glob("quarantine/*/*"):
        backdate(path)
    opened.sweep()
    assert len(files(tmp_path)) == 2 * opened.count(Query())
    opened.close()


def test_withdraw_leaves_nothing_and_may_be_repeated(quarantine: Quarantine, tmp_path: Path) -> None:
    record, stays = keep(quarantine), keep(quarantine)
    quarantine.withdraw(record.id)
    quarantine.withdraw(record.id)
    assert files(tmp_path) == [f"{stays.id}.eml.zst", f"{stays.id}.json"]
    assert [item.id for item in quarantine.find(Query())] == [stays.id]


# Several at once.


def _write_items(directory: Path, count: int, start: Any, ids: Any) -> None:
    opened = open_quarantine(directory)
    start.wait(30)
    for number in range(count):
        record = keep(opened, f"Subject: {os.getpid()} {number}\r\n\r\n".encode() * 50)
        ids.put(record.id)
    opened.close()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_four_processes_write_while_others_read_and_reindex(tmp_path: Path, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    ids, start = context.Queue(), context.Event()
    writers = [context.Process(target=_write_items, args=(tmp_path, 50, start, ids)) for _ in range(4)]
    for writer in writers:
        writer.start()
    start.set()
    reader = open_quarantine(tmp_path)
    written = set()
    for number in range(200):
        written.add(ids.get(timeout=60))
        seen = {item.id for item in reader.find(Query())}
        assert written <= seen
        if number % 40 == 0:
            assert reader.reindex(silent).gone == ()
    for writer in writers:
        writer.join(30)
        assert writer.exitcode == 0
    assert reader.count(Query()) == len(written) == 200
    for item in reader.find(Query()):
        reader.open_message(reader.read(item.id)).close()
    reader.close()


def _keep_over_a_connection_of_its_own(quarantine: Quarantine) -> None:
    inherited = quarantine._index._engine
    keep(quarantine)
    assert inherited is not None
    assert quarantine._index._engine is not inherited


def test_an_open_index_survives_a_fork(quarantine: Quarantine) -> None:
    record = keep(quarantine)
    child = multiprocessing.get_context("fork").Process(target=_keep_over_a_connection_of_its_own, args=(quarantine,))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert quarantine.count(Query()) == 2
    quarantine.delete(record.id)
    assert quarantine.count(Query()) == 1


def test_threads_share_one_quarantine(quarantine: Quarantine) -> None:
    with ThreadPoolExecutor(8) as pool:
        records = [future.result() for future in [pool.submit(keep, quarantine) for _ in range(64)]]
    assert {item.id for item in quarantine.find(Query())} == {record.id for record in records}


def test_an_item_has_one_changer_at_a_time(quarantine: Quarantine) -> None:
    record = keep(quarantine)
    with quarantine.lock(record.id):
        with pytest.raises(ItemBusyError):
            quarantine.lock(record.id)
        with pytest.raises(ItemBusyError):
            quarantine.delete(record.id)
    quarantine.delete(record.id)
    with pytest.raises(UnknownIdError):
        quarantine.lock(record.id)


def test_an_item_is_locked_until_its_row_is_committed(
    quarantine: Quarantine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, refused = Index.put, []
    record, message = make()

    def put_while_another_looks(self: Index, entries: Any) -> None:
        with pytest.raises(ItemBusyError):
            Quarantine(tmp_path / "quarantine", "sqlite://").lock(record.id)
        refused.append(record.id)
        put(self, entries)

    monkeypatch.setattr(Index, "put", put_while_another_looks)
    quarantine.keep(record, message)
    assert refused == [record.id]


def test_an_item_that_is_deleted_while_we_come_to_its_lock_is_unknown(
    quarantine: Quarantine, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = keep(quarantine)

    def too_late(descriptor: int) -> bool:
        monkeypatch.undo()
        quarantine.delete(record.id)
        return try_lock(descriptor)

    monkeypatch.setattr("quarantine.item.try_lock", too_late)
    with pytest.raises(UnknownIdError):
        quarantine.lock(record.id)


def test_deleting_a_row_without_files_removes_the_row(quarantine: Quarantine, tmp_path: Path) -> None:
    record = keep(quarantine)
    for path in tmp_path.glob(f"quarantine/*/{record.id}.*"):
        path.unlink()
    with pytest.raises(UnknownIdError):
        quarantine.delete(record.id)
    assert quarantine.count(Query()) == 0


# The index can be rebuilt.


def _filled(quarantine: Quarantine) -> list[Any]:
    keep(quarantine, subject="Grüße", time=NOON - 90000)
    keep(quarantine, mail_from="", score=None, to=(withheld("a@x", Category.VIRUS), withheld("b@x")))
    keep(quarantine, b"", to=(withheld("c@x", state=State.RELEASED),))
    return quarantine.find(Query())


@pytest.mark.parametrize("harm", ["missing", "garbage", "another version"])
def test_a_lost_index_is_rebuilt_from_the_files(tmp_path: Path, harm: str) -> None:
    opened = open_quarantine(tmp_path)
    before = _filled(opened)
    opened.close()
    path = tmp_path / "quarantine" / "index.sqlite"
    if harm == "missing":
        path.unlink()
    elif harm == "garbage":
        path.write_bytes(os.urandom(20000))
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE quarantine_schema SET version = 99")
        connection.close()
    if harm == "another version":
        with pytest.raises(IndexDamagedError, match="quarantine reindex"):
            opened.count(Query())
        with pytest.raises(QuarantineError):
            keep(opened)
    result = opened.reindex(silent)
    assert (result.indexed, result.damaged, result.gone, result.rebuilt) == (3, (), (), harm != "missing")
    assert opened.find(Query()) == before
    opened.close()


def _replace_index(tmp_path: Path) -> None:
    """As another process does when it finds the index damaged."""
    other = open_quarantine(tmp_path)
    other._index.recreate()
    other.reindex(silent)
    other.close()


def _listed(tmp_path: Path) -> set[str]:
    """The ids that a process of its own sees."""
    other = open_quarantine(tmp_path)
    try:
        return {item.id for item in other.find(Query())}
    finally:
        other.close()


def test_what_is_kept_after_another_process_rebuilt_the_index_is_in_the_new_one(
    quarantine: Quarantine, tmp_path: Path
) -> None:
    before = keep(quarantine)
    _replace_index(tmp_path)
    after = keep(quarantine)
    assert _listed(tmp_path) == {before.id, after.id}
    _replace_index(tmp_path)
    quarantine.delete(before.id)
    assert _listed(tmp_path) == {after.id}
    _replace_index(tmp_path)
    assert {item.id for item in quarantine.find(Query())} == {after.id}


def test_an_index_that_is_replaced_while_a_row_is_written_has_it_all_the_same(
    quarantine: Quarantine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keep(quarantine)
    real, times = quarantine_index._delete, iter([True])

    def replaced_meanwhile(connection: Any, ids: Any) -> None:
        real(connection, ids)
        if next(times, False):
            _replace_index(tmp_path)

    monkeypatch.setattr(quarantine_index, "_delete", replaced_meanwhile)
    after = keep(quarantine)
    assert _listed(tmp_path) == {before.id, after.id}


def test_an_index_that_never_stays_defers(
    quarantine: Quarantine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Index, "_replaced", lambda _self, _file: True)
    with pytest.raises(QuarantineError, match="again and again"):
        keep(quarantine)
    assert files(tmp_path) == []


def test_reindex_finds_orphans_and_drops_rows_without_files(quarantine: Quarantine, tmp_path: Path) -> None:
    before = _filled(quarantine)
    quarantine._index.remove([before[0].id])
    gone = keep(quarantine)
    for path in tmp_path.glob(f"quarantine/*/{gone.id}.*"):
        path.unlink()
    steps: list[tuple[int, int]] = []
    result = quarantine.reindex(lambda done, count: steps.append((done, count)))
    assert (result.indexed, result.gone, steps) == (3, (gone.id,), [(3, 3)])
    assert quarantine.find(Query()) == before


def test_reindex_names_what_it_cannot_read(quarantine: Quarantine, tmp_path: Path) -> None:
    broken, halved, busy = keep(quarantine), keep(quarantine), keep(quarantine)
    (tmp_path / "quarantine" / "2026-11-21" / f"{broken.id}.json").write_text("{}")
    (tmp_path / "quarantine" / "2026-11-21" / f"{halved.id}.eml.zst").unlink()
    with quarantine.lock(busy.id):
        result = quarantine.reindex(silent)
    assert (set(result.damaged), result.busy, result.indexed) == ({broken.id, halved.id}, (busy.id,), 0)


def test_what_a_crash_leaves_is_recognised_and_swept_once_it_is_old(quarantine: Quarantine, tmp_path: Path) -> None:
    kept = keep(quarantine)
    day = tmp_path / "quarantine" / "2026-11-21"
    half, unfinished = new_id(), new_id()
    rests = [day / f"{half}.eml.zst", day / f"{unfinished}.json.new", day / f"{kept.id}.json.new"]
    for path in rests:
        path.write_bytes(b"half")
    (day / "notes.txt").write_text("not ours")
    assert quarantine.sweep() == []
    for path in day.iterdir():
        backdate(path)
    assert set(quarantine.leftovers()) == set(rests)
    assert quarantine.reindex(silent).indexed == 1
    assert set(quarantine.sweep()) == set(rests)
    assert files(tmp_path) == sorted(["notes.txt", f"{kept.id}.eml.zst", f"{kept.id}.json"])
    quarantine.open_message(quarantine.read(kept.id)).close()


def test_a_rest_of_a_crashed_update_does_not_hinder_the_next(quarantine: Quarantine, tmp_path: Path) -> None:
    record = keep(quarantine)
    (tmp_path / "quarantine" / "2026-11-21" / f"{record.id}.json.new").write_bytes(b"x" * 10000)
    after = record.released([0], NOON)
    with quarantine.lock(record.id) as item:
        quarantine.update(item, after)
    assert quarantine.read(record.id) == after
    assert quarantine.find(Query())[0].state is State.RELEASED


def test_a_failed_update_leaves_the_old_record(
    quarantine: Quarantine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = keep(quarantine)
    for step in range(3):  # open, write, fsync of the new record
        with quarantine.lock(record.id) as item, monkeypatch.context() as patch:
            Journal(patch, fail_at=step)
            with pytest.raises(QuarantineError):
                quarantine.update(item, record.released([0], NOON))
        assert quarantine.read(record.id) == record


# Searching.


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(), "dcba"),
        (Query(recipient="bob@example.org"), "ba"),
        (Query(recipient="BOB@Example.ORG"), "ba"),
        (Query(recipient="ob@example.org"), ""),
        (Query(recipient="@example.org"), "dba"),
        (Query(recipient="example"), "dcba"),
        (Query(recipient="zoë"), "d"),
        (Query(sender="<>"), "b"),
        (Query(sender="@spam.example"), "c"),
        (Query(categories=frozenset({Category.VIRUS})), "c"),
        (Query(categories=frozenset({Category.VIRUS, Category.SPAM})), "dcba"),
        (Query(since=NOON + 1), "dcb"),
        (Query(until=NOON + 1), "a"),
        (Query(since=NOON + 1, until=NOON + 3), "cb"),
        (Query(subject="GRÜSSE"), "b"),
        (Query(subject="100%"), "c"),
        (Query(subject="%"), "c"),
        (Query(subject="_"), "d"),
        (Query(subject="\\"), "a"),
        (Query(subject="' OR 1=1 --"), ""),
        (Query(subject="nul \x00"), "d"),
        (Query(state=State.RELEASED), "d"),
        (Query(state=State.PENDING, sender="eve@example.net"), "a"),
    ],
)
def test_a_query_finds_what_it_says(quarantine: Quarantine, query: Query, found: str) -> None:
    bob = withheld("bob@example.org")
    names = {
        keep(quarantine, to=(bob,), subject="back\\slash").id: "a",
        keep(quarantine, to=(bob, withheld("x@example.com")), time=NOON + 1, mail_from="", subject="Grüße").id: "b",
        keep(
            quarantine, to=(withheld("x@example.com", Category.VIRUS), withheld("y@example.com")), time=NOON + 2,
            mail_from="eve@spam.example", subject="100% free",
        ).id: "c",
        keep(
            quarantine, to=(withheld("Zoë@example.org", state=State.RELEASED),), time=NOON + 3, subject="a_b nul \x00",
        ).id: "d",
    }  # fmt: skip
    assert "".join(names[item.id] for item in quarantine.find(query)) == found
    assert quarantine.count(query) == len(found)


def test_pages_follow_each_other(quarantine: Quarantine) -> None:
    ids = [keep(quarantine, time=NOON + number).id for number in range(5)]
    pages = [[item.id for item in quarantine.find(Query(), limit=2, offset=offset)] for offset in (0, 2, 4, 6)]
    assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]], []]


def test_a_thousand_recipients_keep_their_order(quarantine: Quarantine) -> None:
    everybody = tuple(withheld(f"user{number}@example.org") for number in range(1200))
    keep(quarantine, to=everybody)
    assert quarantine.find(Query())[0].rcpt_tos == tuple(one.recipient.address for one in everybody)
