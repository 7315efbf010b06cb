"""What reads a SQLite policy database for the lookup says what the database itself says, errors included."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from contentfilter.errors import PolicyError
from contentfilter.policy.change import Change, DropEntry, PutEntry, PutListed
from contentfilter.policy.database import PolicyDatabase
from contentfilter.policy.lists import Effect, ListEntry
from contentfilter.policy.sqlite_file import mark_of, path_of
from contentfilter.policy.sqlite_reader import SqliteReader

KEYS = (
    *("a@x.example", "b@x.example", "@x.example", "ü@x.example", "a'b@x.example"),
    *("nul\0@x.example", "\udcff@x.example"),
)
SUBJECTS = ("@news.example", "n@news.example", "'@news.example")
CHANGES: tuple[Change, ...] = (
    PutEntry("a@x.example", (("kill_level", 4.0),), None),
    PutEntry("ü@x.example", (("tag_level", 1.0),), 2e9),
    PutEntry("a'b@x.example", (("tag_level", 1.0),), None),
    PutListed(ListEntry("sql", "@x.example", "@news.example", Effect.ALLOW, 0.0, None)),
    PutListed(ListEntry("sql", "a@x.example", "n@news.example", Effect.SCORE, 2.5, 2e9)),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy.sqlite"


@pytest.fixture
def database(path: Path) -> PolicyDatabase:
    return PolicyDatabase(f"sqlite:///{path}", timeout=1)


@pytest.fixture
def reader(path: Path) -> SqliteReader:
    return SqliteReader(path, timeout=1)


def told(one: PolicyDatabase | SqliteReader) -> list[object]:
    """All that there is to say, or the words of the error."""

    def of(call: Callable[[], object]) -> object:
        try:
            return call()
        except PolicyError as error:
            return str(error)

    return [
        of(one.generation), of(lambda: one.snapshot(KEYS)), of(lambda: one.listed(KEYS, SUBJECTS)),
    ]  # fmt: skip


def test_the_same_before_there_is_a_file_and_after_each_change(database: PolicyDatabase, reader: SqliteReader) -> None:
    assert told(reader) == told(database)
    assert reader.generation() == 0
    database.apply(CHANGES)
    assert told(reader) == told(database)
    snapshot = reader.snapshot(KEYS)
    assert set(snapshot.entries) == {"a@x.example", "ü@x.example", "a'b@x.example"}
    assert snapshot.owners == {"@x.example", "a@x.example"}
    assert len(reader.listed(KEYS, SUBJECTS)) == 2
    database.apply([DropEntry("a@x.example")])
    assert told(reader) == told(database)
    assert "a@x.example" not in reader.snapshot(KEYS).entries


def test_more_keys_than_a_statement_has_parameters(database: PolicyDatabase, reader: SqliteReader) -> None:
    database.apply(CHANGES)
    many = [f"u{number}@x.example" for number in range(100_000)]
    assert set(reader.snapshot([*many, *KEYS]).entries) == {"a@x.example", "ü@x.example", "a'b@x.example"}


HARM = {
    "no tables": "DROP TABLE policy_state; DROP TABLE policy_entry; DROP TABLE policy_list",
    "a table less": "DROP TABLE policy_entry; DROP TABLE policy_list",
    "a later version": "UPDATE policy_state SET version = 99",
    "settings that are none": "UPDATE policy_entry SET settings = 'x'",
    "a blob": "UPDATE policy_entry SET settings = x'ff'",
    "an effect that is none": "UPDATE policy_list SET effect = 'x'",
    "an expiry that is none": "UPDATE policy_entry SET expires = 'tomorrow'",
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_the_same_errors(database: PolicyDatabase, path: Path, harm: str) -> None:
    database.apply(CHANGES)
    database.close()
    with sqlite3.connect(path) as connection:
        connection.executescript(harm)
    connection.close()
    fresh, reader = PolicyDatabase(f"sqlite:///{path}", timeout=1), SqliteReader(path, timeout=1)
    assert told(reader) == told(fresh)
    assert any(isinstance(each, str) for each in told(reader))


def test_no_state_is_an_error(database: PolicyDatabase, reader: SqliteReader, path: Path) -> None:
    database.apply(CHANGES)
    database.close()
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM policy_state")
    connection.close()
    with pytest.raises(PolicyError, match="has 0 rows and not one"):
        reader.generation()


def test_a_file_that_goes_is_an_error_and_another_one_counts(
    database: PolicyDatabase, reader: SqliteReader, path: Path, tmp_path: Path
) -> None:
    database.apply(CHANGES)
    database.close()
    assert reader.snapshot(KEYS).entries
    path.rename(tmp_path / "aside")
    with pytest.raises(PolicyError, match="was there and is gone"):
        reader.generation()
    with pytest.raises(PolicyError, match="was there and is gone"):
        SqliteReader(path, timeout=1).generation()
    mark_of(path).unlink()
    other = PolicyDatabase(f"sqlite:///{path}", timeout=1)
    other.apply([PutEntry("b@x.example", (("kill_level", 9.0),), None)])
    assert set(reader.snapshot(KEYS).entries) == {"b@x.example"}


def test_who_cannot_read_is_told(path: Path) -> None:
    path.write_bytes(b"no database at all, but long enough to be taken for one" * 20)
    with pytest.raises(PolicyError, match="the policy database does not work: file is not a database"):
        SqliteReader(path, timeout=1).generation()


def test_after_an_error_it_goes_on(database: PolicyDatabase, reader: SqliteReader, path: Path) -> None:
    database.apply(CHANGES)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE policy_state SET version = 99")
    with pytest.raises(PolicyError):
        reader.generation()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE policy_state SET version = 1")
    connection.close()
    assert reader.generation() > 0


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////var/lib/x.sqlite", Path("/var/lib/x.sqlite")),
        ("sqlite:///x y.sqlite", Path("x y.sqlite")),
        ("sqlite:///", None),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("sqlite:////x?mode=ro", None),
        ("sqlite:////x%20y", None),
        ("sqlite+pysqlite:////x", None),
        ("postgresql://user@host/name", None),
    ],
)
def test_what_a_url_names(url: str, path: Path | None) -> None:
    assert path_of(url) == path


def test_a_worker_does_not_load_sqlalchemy() -> None:
    program = """
import sys
import contentfilter.cli, contentfilter.daemon, contentfilter.worker
print("sqlalchemy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
