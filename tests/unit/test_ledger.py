"""The ledger: what it knows, for how long, what it does when its file is damaged, lost, full or somebody else's."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contentfilter.envelope import Client, Envelope, Recipient
from contentfilter.errors import LedgerError
from contentfilter.identity import Identity
from contentfilter.ledger import DAY, NOTHING_KNOWN, Known, Ledger
from contentfilter.reply import Reply

OK = Reply(250, "2.0.0", "Ok: queued as 4A")
NO = Reply(550, "5.1.1", "no such user\nreally")
ONE = Identity("a" * 64, "alice@x.example", "4A1B")
OTHERS = [
    Identity("b" * 64, "alice@x.example", "4A1B"),
    Identity("a" * 64, "bob@x.example", "4A1B"),
    Identity("a" * 64, "alice@x.example", "4A1C"),
    Identity("a" * 64, "alice@x.example", ""),
]


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite", clock=Clock())


def test_an_empty_ledger_is_no_file(ledger: Ledger) -> None:
    assert ledger.known(ONE) == NOTHING_KNOWN
    assert ledger.entries() == []
    assert ledger.forget([ONE.name]) == 0
    assert not ledger.path.exists()


def test_a_ledger_that_another_process_is_just_making_is_empty(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    sqlite3.connect(ledger.path).execute("PRAGMA journal_mode = WAL").connection.close()
    assert ledger.known(ONE) == NOTHING_KNOWN
    assert ledger.entries() == []
    assert caplog.records == []
    ledger.remember(ONE, {"c@x.example": OK})
    assert ledger.known(ONE) == Known({"c@x.example": OK})


def test_what_is_remembered_is_known_of_that_message_alone(ledger: Ledger) -> None:
    ledger.remember(ONE, {"c@x.example": OK, "d@x.example": NO}, ["copy@x.example"])
    assert ledger.known(ONE) == Known({"c@x.example": OK, "d@x.example": NO}, frozenset({"copy@x.example"}))
    assert [ledger.known(other) for other in OTHERS] == [NOTHING_KNOWN] * len(OTHERS)
    assert ledger.path.stat().st_mode & 0o777 == 0o640


def test_addresses_that_are_no_text_come_back_as_they_were(ledger: Ledger) -> None:
    odd = {'"a b"@x.example': OK, "\udcff\udc80@x.example": OK, "jürgen@x.example": OK}
    identity = Identity("a" * 64, "\udcfe@y", "\udcfd")
    ledger.remember(identity, odd)
    assert ledger.known(identity).settled == odd
    assert {entry.mail_from for entry in ledger.entries()} == {"\udcfe@y"}


def test_to_try_whether_it_can_be_written_leaves_nothing_to_be_known(ledger: Ledger) -> None:
    ledger.remember(ONE, {})
    assert ledger.known(ONE) == NOTHING_KNOWN == Known()
    assert ledger.entries() == []
    ledger.remember(ONE, {"c@x.example": OK})
    ledger.remember(ONE, {})
    assert ledger.known(ONE).settled == {"c@x.example": OK}
    assert ledger.known(ONE).additions == frozenset()


def test_strikes_add_up_until_they_are_forgiven(ledger: Ledger) -> None:
    other = OTHERS[0]
    ledger.strike([ONE.name, other.name], "crash")
    ledger.strike([ONE.name], "timeout")
    assert (ledger.known(ONE).strikes, ledger.known(ONE).harm) == (2, "timeout")
    ledger.absolve(ONE)
    assert ledger.known(ONE) == NOTHING_KNOWN
    assert ledger.known(other).strikes == 1


def test_a_message_in_several_transactions_is_struck_once_for_one_harm(ledger: Ledger) -> None:
    ledger.strike([ONE.name, ONE.name, ONE.name], "crash")
    assert ledger.known(ONE).strikes == 1
    for _ in range(3):
        ledger.strike([ONE.name], "timeout", known=1)
    assert ledger.known(ONE).strikes == 2
    ledger.strike([ONE.name], "timeout", known=0)  # it began before the others
    assert ledger.known(ONE).strikes == 2


def test_entries_end_and_the_clock_may_jump(tmp_path: Path) -> None:
    clock = Clock()
    ledger = Ledger(tmp_path / "ledger.sqlite", keep=5 * DAY, clock=clock)
    ledger.remember(ONE, {"c@x.example": OK})
    ledger.strike([ONE.name], "crash")
    clock.now += 5 * DAY - 1
    assert ledger.known(ONE).settled
    assert ledger.known(ONE).strikes
    clock.now += 2
    assert ledger.known(ONE) == NOTHING_KNOWN
    # Ten years ahead by mistake, and back: what was written meanwhile does not stay for ever.
    clock.now += 3650 * DAY
    ledger.remember(OTHERS[0], {"c@x.example": OK})
    clock.now -= 3650 * DAY
    again = Ledger(ledger.path, clock=clock)
    again.remember(OTHERS[1], {"c@x.example": OK})
    assert [entry.mail_from for entry in again.entries()] == [OTHERS[1].mail_from]


def test_all_that_is_forgotten_is_counted(ledger: Ledger) -> None:
    ledger.remember(ONE, {"c@x.example": OK, "d@x.example": OK})
    ledger.strike([ONE.name], "crash")
    ledger.remember(OTHERS[0], {"c@x.example": OK})
    assert ledger.forget([ONE.name]) == 3
    assert ledger.known(ONE) == NOTHING_KNOWN
    assert ledger.known(OTHERS[0]).settled


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_made_anew(ledger: Ledger, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    ledger.remember(OTHERS[0], {"c@x.example": OK})
    ledger.close()
    for suffix in ("-wal", "-shm"):
        Path(f"{ledger.path}{suffix}").unlink(missing_ok=True)
    ledger.path.write_bytes(content)
    assert ledger.known(OTHERS[0]) == NOTHING_KNOWN
    ledger.remember(ONE, {"c@x.example": OK})
    assert ledger.known(ONE).settled == {"c@x.example": OK}
    assert ("is damaged and is made anew" in caplog.text) is bool(content)


def test_a_file_that_is_deleted_while_it_is_used_is_made_anew(ledger: Ledger) -> None:
    ledger.remember(ONE, {"c@x.example": OK})
    assert ledger.known(ONE).settled
    for path in list(ledger.path.parent.iterdir()):
        path.unlink()
    assert ledger.known(ONE) == NOTHING_KNOWN
    ledger.remember(ONE, {"d@x.example": OK})
    assert Ledger(ledger.path, clock=Clock()).known(ONE).settled == {"d@x.example": OK}


def test_what_cannot_be_read_is_not_known_and_said_once(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    ledger.path.mkdir()
    with caplog.at_level(logging.ERROR, "contentfilter"):
        assert [ledger.known(ONE), ledger.known(ONE)] == [NOTHING_KNOWN] * 2
    assert caplog.text.count("cannot be read, so a retry may be served twice") == 1
    with pytest.raises(LedgerError, match="cannot be written"):
        ledger.remember(ONE, {"c@x.example": OK})
    ledger.path.rmdir()
    ledger.remember(ONE, {"c@x.example": OK})
    assert ledger.known(ONE).settled


def test_who_writes_does_not_hold_up_who_reads(ledger: Ledger) -> None:
    ledger.remember(ONE, {"c@x.example": OK})
    writer = sqlite3.connect(ledger.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM settled")
    assert ledger.known(ONE).settled == {"c@x.example": OK}
    writer.execute("ROLLBACK")
    writer.close()


def test_a_forked_process_has_a_connection_of_its_own(ledger: Ledger) -> None:
    ledger.remember(ONE, {"c@x.example": OK})
    assert ledger.known(ONE).settled
    pid = os.fork()
    if not pid:
        ledger.remember(OTHERS[0], {"c@x.example": OK})
        os._exit(0 if ledger.known(ONE).settled else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert ledger.known(OTHERS[0]).settled
    ledger.remember(ONE, {"d@x.example": OK})
    assert len(ledger.known(ONE).settled) == 2


def test_what_was_remembered_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    program = (
        "import os, signal, sys; from pathlib import Path; from contentfilter.identity import Identity;"
        "from contentfilter.ledger import Ledger; from contentfilter.reply import Reply;"
        "one = Identity('a' * 64, 'alice@x.example', '4A1B');"
        "Ledger(Path(sys.argv[1])).remember(one, {'c@x': Reply(250, '', 'Ok')});"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program, path], check=False).returncode == -9
    assert Ledger(path).known(ONE).settled == {"c@x": Reply(250, "", "Ok")}


def test_the_identity_is_that_of_message_sender_and_queue_id() -> None:
    envelope = Envelope("alice@x.example", (Recipient("bob@x.example"),), client=Client(ident="4A1B"))
    assert Identity.of(envelope, "a" * 64) == ONE
    names = [one.name for one in (ONE, *OTHERS)]
    assert len(set(names)) == len(names)
    assert {len(name) for name in names} == {16}
    claims = {one.claim_of(address) for one in (ONE, *OTHERS) for address in ("a@b", "a@c", "")}
    assert len(claims) == 3 * len(names)
    assert all(0 <= claim < 1 << 62 for claim in claims)


class FailsAt:
    """A connection that fails at a statement, which has been carried out all the same."""

    def __init__(self, connection: sqlite3.Connection, statement: str) -> None:
        self.connection, self.statement = connection, statement

    def execute(self, statement: str, *values: object) -> sqlite3.Cursor:
        done = self.connection.execute(statement, *values)
        if statement == self.statement:
            raise sqlite3.OperationalError("disk I/O error")
        return done

    def executemany(self, statement: str, values: object) -> sqlite3.Cursor:
        return self.connection.executemany(statement, values)  # type: ignore[arg-type]


@pytest.mark.parametrize(("statement", "unsure"), [("BEGIN IMMEDIATE", False), ("COMMIT", True)])
def test_an_error_at_the_commit_does_not_say_whether_it_took_place(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, statement: str, unsure: bool
) -> None:
    use = ledger._writing.use

    @contextlib.contextmanager
    def failing(**options: bool) -> Iterator[FailsAt]:
        with use(**options) as connection:
            yield FailsAt(connection, statement)

    monkeypatch.setattr(ledger._writing, "use", failing)
    with pytest.raises(LedgerError) as caught:
        ledger.remember(ONE, {"c@x.example": OK})
    assert caught.value.unsure is unsure
    assert bool(ledger.known(ONE).settled) is unsure
