"""The policy database in a SQLite file."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from contentfilter.errors import PolicyError
from contentfilter.policy.change import ConflictError, DropEntry, PutEntry
from contentfilter.policy.database import PolicyDatabase
from contentfilter.policy.engine import engine_for
from contentfilter.policy.entry import Entry
from contentfilter.policy.schema import STATE
from tests.database_contract import BOB, EVERY_KIND, SETTINGS, DatabaseContract
from tests.unit.users import locked_out, open_place


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy.sqlite"


@pytest.fixture
def url(path: Path) -> str:
    return f"sqlite:///{path}"


class TestSqlite(DatabaseContract):
    """All of it."""


def test_the_first_change_makes_the_file(path: Path, url: str) -> None:
    database = PolicyDatabase(url, timeout=5)
    assert (database.generation(), database.entries(), database.listed()) == (0, {}, ())
    assert database.snapshot(["@."]).owners == frozenset()
    assert not list(path.parent.iterdir())
    made = database.apply([PutEntry(BOB, SETTINGS)], 0)
    assert database.generation() == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    names = {one.name for one in path.parent.iterdir()}
    assert names <= {"policy.sqlite", "policy.sqlite-wal", "policy.sqlite-shm", ".policy.sqlite.made"}
    with pytest.raises(ConflictError):
        database.apply([DropEntry(BOB)], 0)
    database.close()


def test_a_reader_without_a_file_sees_it_as_soon_as_there_is_one(url: str) -> None:
    reader, writer = PolicyDatabase(url, timeout=5), PolicyDatabase(url, timeout=5)
    assert reader.entries([BOB]) == {}
    writer.apply([PutEntry(BOB, EVERY_KIND)])
    assert reader.entries([BOB]) == {BOB: Entry("sql", BOB, EVERY_KIND)}
    reader.close()
    writer.close()


def test_a_file_that_is_gone_is_an_error(path: Path, url: str) -> None:
    """Whoever set something does not get mail without it because a disk was not mounted."""
    database = PolicyDatabase(url, timeout=5)
    database.apply([PutEntry(BOB, SETTINGS)])
    for one in path.parent.iterdir():
        one.unlink()
    with pytest.raises(PolicyError, match="was there and is gone"):
        database.entries([BOB])
    with pytest.raises(PolicyError, match="was there and is gone"):
        database.apply([PutEntry(BOB, SETTINGS)])
    database.close()


def test_a_backup_that_is_moved_in_counts_at_once(path: Path, url: str) -> None:
    database = PolicyDatabase(url, timeout=5)
    database.apply([PutEntry(BOB, SETTINGS)])
    database.close()
    shutil.copy(path, backup := path.with_name("backup"))
    database.apply([PutEntry(BOB, EVERY_KIND)])
    before = database.generation()
    database.close()
    backup.rename(path)
    for left in path.parent.glob("policy.sqlite-*"):
        left.unlink()
    assert database.entries() == {BOB: Entry("sql", BOB, SETTINGS)}
    assert database.generation() != before
    database.close()


def test_another_database_has_another_generation(path: Path, url: str) -> None:
    database = PolicyDatabase(url, timeout=5)
    first = database.apply([PutEntry(BOB, SETTINGS)])
    other = PolicyDatabase(f"sqlite:///{path}.other", timeout=5)
    assert other.apply([]) != first
    database.close()
    other.close()


@pytest.mark.parametrize("content", [b"", b"this is no database, whatever its name may be" * 100])
def test_a_file_that_is_not_ours_is_an_error(path: Path, url: str, content: bytes) -> None:
    path.write_bytes(content)
    database = PolicyDatabase(url, timeout=5)
    for _ in range(2):
        with pytest.raises(PolicyError, match=r"no policy tables|not a database"):
            database.entries()
        with pytest.raises(PolicyError, match=r"no policy tables|not a database"):
            database.apply([])
    database.close()
    assert path.read_bytes() == content


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    database = PolicyDatabase(f"sqlite:///{tmp_path}/not/there.sqlite", timeout=5)
    for call in (database.entries, database.generation, lambda: database.apply([])):
        with pytest.raises(PolicyError, match="No such file"):
            call()


def test_a_link_that_leads_nowhere_is_an_error(path: Path, url: str) -> None:
    path.symlink_to(path.with_name("unmounted"))
    with pytest.raises(PolicyError, match="No such file"):
        PolicyDatabase(url, timeout=5).entries()


def test_a_file_that_may_not_be_read_is_an_error() -> None:
    with open_place() as place:
        inner = place / "inner"
        inner.mkdir()
        url = f"sqlite:///{inner}/policy.sqlite"
        writer = PolicyDatabase(url, timeout=5)
        writer.apply([PutEntry(BOB, SETTINGS)])
        writer.close()
        reader = PolicyDatabase(url, timeout=5)
        with locked_out(inner), pytest.raises(PolicyError, match="Permission denied"):
            reader.entries()
        reader.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_the_owner_of_the_directory(path: Path, url: str) -> None:
    os.chown(path.parent, 65534, 65534)
    database = PolicyDatabase(url, timeout=5)
    database.apply([PutEntry(BOB, SETTINGS)])
    for one in path.parent.iterdir():
        assert (one.stat().st_uid, one.stat().st_gid) == (65534, 65534), one
    database.close()


def test_a_lock_that_is_not_given_up_is_an_error(path: Path, url: str) -> None:
    PolicyDatabase(url, timeout=5).apply([])
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    database = PolicyDatabase(url, timeout=0.2)
    with pytest.raises(PolicyError, match="locked"):
        database.apply([PutEntry(BOB, SETTINGS)])
    assert database.entries() == {}
    holder.execute("ROLLBACK")
    database.apply([PutEntry(BOB, SETTINGS)])
    holder.close()
    database.close()


def test_who_writes_has_the_file_to_himself_before_he_reads(url: str) -> None:
    """Two that first look at the version and then both write cannot wait for each other: SQLite refuses one."""
    PolicyDatabase(url, timeout=5).apply([])
    one, other = engine_for(url, 5), engine_for(url, 0.1)
    with one.execution_options(writes=True).begin():
        with pytest.raises(OperationalError, match="locked"), other.execution_options(writes=True).begin():
            pass
        with other.begin() as reading:
            assert reading.execute(select(STATE.c.id)).scalar() == 1
    one.dispose()
    other.dispose()


def test_columns_of_the_wrong_type_are_errors(path: Path, url: str) -> None:
    """SQLite lets anything into any column."""
    database = PolicyDatabase(url, timeout=5)
    database.apply([])
    with sqlite3.connect(path) as by_hand:
        by_hand.execute("INSERT INTO policy_entry VALUES ('bob', x'7b7d', NULL, 0)")
    by_hand.close()
    with pytest.raises(PolicyError, match="settings: must be text"):
        database.entries()
    database.apply([DropEntry("bob")])
    with sqlite3.connect(path) as by_hand:
        by_hand.execute("INSERT INTO policy_entry VALUES ('bob', '{}', 'tomorrow', 0)")
    by_hand.close()
    with pytest.raises(PolicyError, match="expires: must be a number, not 'tomorrow'"):
        database.entries()
    database.close()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("nonsense", "cannot be used"),
        ("oracle9://x", "oracle9 will not do: use SQLite or PostgreSQL"),
        ("postgresql://u:secret@h:port/x", "cannot be used"),
        ("postgresql+pg8000://u:secret@h/x", r"for postgresql:// comes with pip install 'contentfilter\[postgresql\]'"),
        ("sqlite://", "sqlite:////path"),
        ("sqlite:///:memory:", "sqlite:////path"),
        ("sqlite:///file:/tmp/x?uri=true&mode=ro", "sqlite:////path"),
        ("mysql://u:secret@host/name", "mysql will not do: use SQLite or PostgreSQL"),
        ("mysql+nodriver://u:secret@host/name", "mysql will not do: use SQLite or PostgreSQL"),
    ],
)
def test_urls_that_cannot_be_used(url: str, problem: str) -> None:
    with pytest.raises(PolicyError, match=problem) as caught:
        PolicyDatabase(url, timeout=5)
    assert "secret" not in str(caught.value)


def test_a_file_that_was_there_before_the_first_use_and_is_gone_is_an_error(tmp_path: Path) -> None:
    """A worker that has had no mail since it started knows no less than the others."""
    writer = PolicyDatabase(f"sqlite:///{tmp_path}/policy.sqlite", timeout=5)
    writer.apply([])
    writer.close()
    idle = PolicyDatabase(f"sqlite:///{tmp_path}/policy.sqlite", timeout=5)
    (tmp_path / "policy.sqlite").rename(tmp_path / "elsewhere")
    with pytest.raises(PolicyError, match="was there and is gone"):
        idle.entries()
    (tmp_path / "elsewhere").rename(tmp_path / "policy.sqlite")
    assert idle.entries() == {}
    idle.close()


def test_who_starts_after_the_file_was_lost_does_not_take_it_for_never_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/policy.sqlite"
    change = [PutEntry("bob@example.org", (("kill_level", 4.0),), None)]
    first = PolicyDatabase(url, timeout=5.0)
    assert first.generation() == 0, "nothing was there so far"
    first.apply(change)
    first.close()
    for lost in ("policy.sqlite", "policy.sqlite-wal", "policy.sqlite-shm"):
        (tmp_path / lost).unlink(missing_ok=True)
    later = PolicyDatabase(url, timeout=5.0)
    for use in (later.generation, later.entries, lambda: later.apply(change)):
        with pytest.raises(PolicyError, match=r"was there and is gone.*\.policy\.sqlite\.made"):
            use()
    (tmp_path / ".policy.sqlite.made").unlink()
    assert later.entries() == {}
    later.apply(change)
    assert list(later.entries()) == ["bob@example.org"]
    later.close()
