"""The index of the quarantine in a real PostgreSQL, whose connections and whose server go away and come back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from contentfilter import maillog
from contentfilter.errors import QuarantineError
from quarantine import index
from quarantine.index import Query
from quarantine.store import Quarantine
from tests.postgresql import PostgreSQL
from tests.unit.quarantine_items import files, keep, make
from tests.unit.test_maillog import ENVELOPE


@pytest.fixture
def quarantine(tmp_path: Path, own_postgresql: PostgreSQL) -> Iterator[Quarantine]:
    with closing(Quarantine(tmp_path / "quarantine", own_postgresql.url())) as opened:
        yield opened


def ids(quarantine: Quarantine) -> set[str]:
    return {item.id for item in quarantine.find(Query())}


def test_connections_that_the_server_ends_cost_no_message(quarantine: Quarantine, own_postgresql: PostgreSQL) -> None:
    kept = {keep(quarantine).id}
    for _ in range(3):
        with own_postgresql.connect() as administrator:
            ended = administrator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchall()
        assert ended
        kept.add(keep(quarantine).id)
    assert ids(quarantine) == kept


def test_while_the_server_is_away_mail_waits_with_a_clear_line_and_goes_on_when_it_is_back(
    quarantine: Quarantine, own_postgresql: PostgreSQL, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = {keep(quarantine).id}
    own_postgresql.kill()
    record, message = make()
    for _ in range(3):
        with pytest.raises(QuarantineError, match="the quarantine index does not work: connection") as caught:
            quarantine.keep(record, message)
        assert caught.value.reply.temporary
        assert "INSERT" not in str(caught.value)
        assert {name.partition(".")[0] for name in files(tmp_path)} == kept
    maillog.undecided("mailid", ENVELOPE, caught.value)
    (line,) = [one for one in caplog.messages if one.startswith("(mailid) Deferred, ")]
    assert "the quarantine index does not work: connection " in line
    assert ".s.PGSQL.5432" in line
    assert line.isprintable()
    own_postgresql.start()
    quarantine.keep(record, message)
    assert ids(quarantine) == kept | {record.id}
    quarantine.delete(record.id)
    assert ids(quarantine) == kept


def test_a_server_that_says_nothing_holds_mail_up_for_a_while_only(
    quarantine: Quarantine, own_postgresql: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_SERVER_WAIT", 1.0)
    kept = {keep(quarantine).id}
    record, message = make()
    own_postgresql.freeze()
    try:
        with pytest.raises(QuarantineError, match="the quarantine index does not work: ") as caught:
            quarantine.keep(record, message)
        assert caught.value.reply.temporary
    finally:
        own_postgresql.thaw()
    assert {name.partition(".")[0] for name in files(tmp_path)} == kept
    quarantine.keep(record, message)
    assert ids(quarantine) == kept | {record.id}


@pytest.mark.parametrize("database", ["mysql://h/d", "oracle://h/d", "postgresql://h:port/d"])
def test_what_cannot_be_a_database_is_a_deferral_that_names_the_key(tmp_path: Path, database: str) -> None:
    with closing(Quarantine(tmp_path / "quarantine", database)) as quarantine:
        record, message = make()
        with pytest.raises(QuarantineError, match=r"\[quarantine\] database: ") as caught:
            quarantine.keep(record, message)
        assert caught.value.reply.temporary
        assert files(tmp_path) == []
