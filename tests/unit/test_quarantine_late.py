"""The quarantine of a worker: the same rows, as safe, without most of what the index takes."""

from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quarantine import sqlite_rows
from quarantine.rows import Query
from quarantine.store import Quarantine
from tests.unit.quarantine_items import keep, make, open_quarantine, withheld

PROGRAM = """
import sys
from pathlib import Path
from quarantine.late import LateQuarantine
from tests.unit.quarantine_items import make

quarantine = LateQuarantine(Path(sys.argv[1]), f"sqlite:///{sys.argv[1]}/index.sqlite")
for _ in range(2):
    record, message = make()
    quarantine.keep(record, message)
quarantine.withdraw(record.id)
print("sqlalchemy" in sys.modules)
"""


@pytest.fixture
def late(tmp_path: Path) -> Iterator[Quarantine]:
    """With an index that has one item."""
    first = open_quarantine(tmp_path)
    keep(first)
    first.close()
    opened = open_quarantine(tmp_path, late=True)
    yield opened
    opened.close()


def listed(directory: Path) -> set[str]:
    """The ids that a command sees."""
    opened = open_quarantine(directory)
    try:
        return {item.id for item in opened.find(Query())}
    finally:
        opened.close()


def used(quarantine: Quarantine) -> bool:
    """Whether it took all of the index."""
    return quarantine._index._whole is not None  # type: ignore[union-attr]  # a late one


def test_a_worker_withholds_without_sqlalchemy_once_there_is_an_index(tmp_path: Path) -> None:
    loaded = []
    for _ in range(2):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "quarantine")]
        loaded.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    assert loaded == ["True", "False"]
    assert len(listed(tmp_path)) == 2


def test_its_rows_are_those_of_the_index(late: Quarantine, tmp_path: Path) -> None:
    records = [
        make(
            mail_from="", score=None, subject="\0 \udcff \u0130x", to=(withheld("A@x.example"), withheld("b@x.example"))
        ),
        make(),
    ]
    (tmp_path / "other").mkdir()
    other = open_quarantine(tmp_path / "other")
    for opened in (late, other):
        for record, message in records:
            opened.keep(record, message)
            with opened.lock(record.id) as item:
                opened.update(item, record)
    assert not used(late)
    other.close()
    assert _rows(tmp_path, records) == _rows(tmp_path / "other", records)


def _rows(directory: Path, records: list[Any]) -> list[list[tuple[object, ...]]]:
    ids = [record.id for record, _ in records]
    connection = sqlite3.connect(directory / "quarantine" / "index.sqlite")
    try:
        return [
            connection.execute(f"SELECT * FROM {table} WHERE {key} IN (?, ?) ORDER BY 1, 2", ids).fetchall()
            for table, key in (("quarantine_item", "id"), ("quarantine_recipient", "item"))
        ]
    finally:
        connection.close()


class Watched(sqlite3.Connection):
    """Tells of a commit, and may lose the answer to it."""

    files: Path
    before: list[list[str]]
    fails = False

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        """As it is."""
        cursor = super().execute(sql, *arguments)
        if sql == "COMMIT":
            self.before.append(sorted(path.suffix for path in self.files.glob("quarantine/*/*")))
            if type(self).fails:
                raise sqlite3.OperationalError("connection lost")
        return cursor


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    class Here(Watched):
        files, before = tmp_path, []

    real = sqlite3.connect
    monkeypatch.setattr(sqlite_rows.sqlite3, "connect", lambda *one, **more: real(*one, factory=Here, **more))
    return Here


def test_the_files_are_there_before_the_row_which_is_on_disk(late: Quarantine, watched: type[Watched]) -> None:
    keep(late)
    assert watched.before == [[".json", ".json", ".zst", ".zst"]]
    connection = late._index._rows._connection  # type: ignore[union-attr]  # a late one
    assert connection is not None
    assert [connection.execute(f"PRAGMA {name}").fetchone() for name in ("journal_mode", "synchronous")] == [
        ("wal",),
        (2,),
    ]


def test_a_commit_whose_answer_is_lost_is_made_once_more(
    late: Quarantine, watched: type[Watched], tmp_path: Path
) -> None:
    watched.fails = True
    record = keep(late)
    assert watched.before
    assert used(late)
    assert len(listed(tmp_path)) == 2
    assert record.id in listed(tmp_path)


def test_an_index_that_is_replaced_while_a_row_is_written_has_it_all_the_same(
    late: Quarantine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, times = sqlite_rows._delete, iter([True])

    def replaced_meanwhile(connection: sqlite3.Connection, ids: Any) -> None:
        real(connection, ids)
        if next(times, False):
            other = open_quarantine(tmp_path)
            other._index.recreate()
            other.reindex(lambda _done, _all: None)
            other.close()

    monkeypatch.setattr(sqlite_rows, "_delete", replaced_meanwhile)
    after = keep(late)
    assert after.id in listed(tmp_path)
    assert len(listed(tmp_path)) == 2


def _keep_with_a_connection_of_its_own(quarantine: Quarantine) -> None:
    rows = quarantine._index._rows  # type: ignore[union-attr]  # a late one
    inherited = rows._connection
    keep(quarantine)
    assert inherited is not None
    assert rows._connection is not inherited


def test_an_open_index_survives_a_fork(late: Quarantine, tmp_path: Path) -> None:
    keep(late)
    fork = multiprocessing.get_context("fork")
    child = fork.Process(target=_keep_with_a_connection_of_its_own, args=(late,))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    keep(late)
    assert len(listed(tmp_path)) == 4
    assert not used(late)
