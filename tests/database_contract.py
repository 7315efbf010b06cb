"""What holds for the policy database whatever it is kept in. The tests of each kind inherit from this."""

from __future__ import annotations

import math
import multiprocessing
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, insert, inspect, text, update

from contentfilter.errors import PolicyError
from contentfilter.policy.change import Change, ConflictError, DropEntry, DropListed, PutEntry, PutListed
from contentfilter.policy.database import PolicyDatabase
from contentfilter.policy.engine import engine_for
from contentfilter.policy.entry import Entry, Settings, settings_of
from contentfilter.policy.lists import Effect, ListEntry
from contentfilter.policy.schema import ENTRY, LIST, METADATA, STATE, STEPS, migrate, version_of
from contentfilter.policy.settings import Local, Policy
from contentfilter.verdict import Action

BOB = "bob@example.org"
EVERY_KIND = settings_of(
    Policy(
        kill_level=math.inf,
        tag_level=-math.inf,
        tag2_level=6.31,
        local=Local.YES,
        spam_action=Action.REJECT,
        spam_subject_tag2="*** Ünerwünscht: 'x'; -- \"%s\" ",
        banned_rules=("strict", "default"),
        message_size_limit=10**12,
        virus_lover=True,
        spam_quarantine=False,
        next_hop="[::1]:10025",
    )
)
STRANGE_KEYS = (
    "o'brien@example.org",
    "a%b@example.org",
    "a_b@example.org",
    "jürgen@xn--bcher-kva.example",
    '"a b;--\'"@example.org',
    "x'--drop=%s@example.org",
    "bob+lists@example.org",
    "bob",
    "john.doe",
    "@example.org",
    "@.example.org",
    "@.",
)
SETTINGS: Settings = (("kill_level", 3.0),)


def listed(owner: str = BOB, subject: str = "@news.example", effect: Effect = Effect.ALLOW, score: float = 0.0) -> Any:
    """A list entry as the database gives it."""
    return ListEntry("sql", owner, subject, effect, score)


def _migrate(url: str, start: Any) -> None:
    start.wait()
    database = PolicyDatabase(url, timeout=20)
    database.apply([PutEntry(f"p{multiprocessing.current_process().pid}", SETTINGS)])
    database.close()


class DatabaseContract:
    """Tests that take a URL of an empty database from the fixture `url`."""

    @pytest.fixture
    def database(self, url: str) -> Iterator[PolicyDatabase]:
        """A database with its tables."""
        database = PolicyDatabase(url, timeout=10)
        database.apply([])
        yield database
        database.close()

    def raw(self, url: str, *statements: Any) -> None:
        """Write as somebody does by hand."""
        engine = create_engine(engine_for(url, 10).url)
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement) if isinstance(statement, str) else statement)
        engine.dispose()

    def test_settings_of_every_kind_come_back(self, database: PolicyDatabase) -> None:
        database.apply([PutEntry(BOB, EVERY_KIND, 1e9), PutEntry("@.", ())])
        assert database.entries() == {"@.": Entry("sql", "@.", ()), BOB: Entry("sql", BOB, EVERY_KIND, 1e9)}

    @pytest.mark.parametrize("key", STRANGE_KEYS)
    def test_a_key_finds_itself_and_nothing_else(self, database: PolicyDatabase, key: str) -> None:
        database.apply([PutEntry(other, SETTINGS) for other in STRANGE_KEYS])
        assert list(database.entries([key])) == [key]
        database.apply([DropEntry(key)])
        assert set(database.entries()) == set(STRANGE_KEYS) - {key}

    @pytest.mark.parametrize("key", ["a*b@example.org", "a%@example.org", "_@example.org", "bob\0@x.org", "b\udcff@x"])
    def test_what_no_entry_can_have_finds_nothing(self, database: PolicyDatabase, key: str) -> None:
        database.apply([PutEntry(BOB, SETTINGS), PutEntry("a_b@example.org", SETTINGS)])
        assert database.entries([key]) == {}
        assert database.snapshot([key]).entries == {}
        assert database.listed([key], [key]) == ()

    def test_case_is_the_callers_business(self, database: PolicyDatabase) -> None:
        """Lookup keys are in lower case unless case_sensitive, and then Bob and bob are two people."""
        database.apply([PutEntry("Bob@example.org", SETTINGS), PutEntry(BOB, ())])
        assert database.entries([BOB]) == {BOB: Entry("sql", BOB, ())}
        assert list(database.entries(["Bob@example.org"])) == ["Bob@example.org"]

    def test_lists_come_back_by_owner_and_subject(self, database: PolicyDatabase) -> None:
        entries = [
            listed(),
            listed(subject="192.0.2.0/24", effect=Effect.DENY),
            listed("@.", "dkim:example.com", Effect.SCORE, -1.5),
            listed("bob", "<>", Effect.SCORE, 2.0),
        ]
        database.apply(map(PutListed, entries))
        assert set(database.listed()) == set(entries)
        assert database.listed([BOB], ["@news.example", "<>"]) == (listed(),)
        assert database.listed(subjects=["<>"]) == (entries[3],)
        assert database.listed([BOB, "@."], ["192.0.2.0/24", "dkim:example.com"]) == (entries[2], entries[1])
        assert database.snapshot([BOB, "bob", "alice"]).owners == {BOB, "bob"}
        database.apply([DropListed("bob", "<>")])
        assert database.snapshot(["bob"]).owners == frozenset()

    def test_a_put_replaces_the_whole_entry(self, database: PolicyDatabase) -> None:
        database.apply([PutEntry(BOB, EVERY_KIND, 5.0), PutListed(listed())])
        database.apply([PutEntry(BOB, SETTINGS), PutListed(listed(effect=Effect.DENY))])
        assert database.entries() == {BOB: Entry("sql", BOB, SETTINGS)}
        assert database.listed() == (listed(effect=Effect.DENY),)

    def test_the_last_change_of_the_same_thing_counts(self, database: PolicyDatabase) -> None:
        database.apply([DropEntry(BOB), PutEntry(BOB, EVERY_KIND), PutEntry(BOB, SETTINGS), PutListed(listed())])
        assert database.entries() == {BOB: Entry("sql", BOB, SETTINGS)}
        database.apply([PutEntry(BOB, EVERY_KIND), DropEntry(BOB), DropListed(BOB, "@news.example")])
        assert (database.entries(), database.listed()) == ({}, ())

    @pytest.mark.parametrize(
        "wrong",
        [
            PutEntry("Bob@Example.org", SETTINGS),
            PutEntry("bob@", SETTINGS),
            PutEntry("", SETTINGS),
            PutEntry("b\udcff@x", SETTINGS),
            PutEntry("bob\0@x", SETTINGS),
            PutEntry(BOB, (("kill_levle", 3.0),)),
            PutEntry(BOB, (("kill_level", "x"),)),
            PutEntry(BOB, (("kill_level", math.nan),)),
            PutEntry(BOB, SETTINGS, math.nan),
            PutListed(listed("@Example.org")),
            PutListed(listed(subject="example.com")),
            PutListed(listed(subject="192.0.2.1")),
            PutListed(listed(score=3.0)),
            PutListed(listed(effect=Effect.SCORE, score=math.inf)),
        ],
        ids=str,
    )
    def test_what_is_wrong_is_refused_and_nothing_is_changed(self, database: PolicyDatabase, wrong: Change) -> None:
        before = database.generation()
        with pytest.raises(ValueError, match=r"."):
            database.apply([PutEntry("alice@example.org", SETTINGS), wrong])
        assert (database.entries(), database.listed(), database.generation()) == ({}, (), before)

    def test_each_transaction_has_its_generation(self, database: PolicyDatabase) -> None:
        before = database.generation()
        assert database.apply([PutEntry(BOB, SETTINGS), DropEntry("x")]) == before + 1 == database.generation()
        assert database.snapshot([]).generation == before + 1

    def test_who_changes_what_he_did_not_read_is_refused(self, database: PolicyDatabase) -> None:
        read = database.generation()
        database.apply([PutEntry(BOB, SETTINGS)], read)
        with pytest.raises(ConflictError, match="somebody else"):
            database.apply([DropEntry(BOB)], read)
        assert set(database.entries()) == {BOB}

    def test_writers_wait_for_each_other(self, url: str, database: PolicyDatabase) -> None:
        before = database.generation()
        failures: list[Exception] = []

        def write(name: str) -> None:
            own = PolicyDatabase(url, timeout=30)
            try:
                for number in range(10):
                    own.apply(
                        [PutEntry(f"{name}{number}", SETTINGS), PutEntry("same", (("kill_level", 1.0 * number),))]
                    )
            except PolicyError as error:
                failures.append(error)
            finally:
                own.close()

        threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert database.generation() == before + 40
        assert len(database.entries()) == 41

    def test_a_reader_sees_one_moment(self, url: str, database: PolicyDatabase) -> None:
        """Entries, lists and the generation are always changed together, and asked for one after the other."""
        first = database.generation() + 1
        done = threading.Event()

        def write() -> None:
            own = PolicyDatabase(url, timeout=30)
            for number in range(80):
                put = PutListed(listed("a")) if number % 2 else DropListed("a", "@news.example")
                own.apply([put, *(PutEntry(key, (("kill_level", 1.0 * number),)) for key in "ab")])
            own.close()
            done.set()

        writer = threading.Thread(target=write)
        writer.start()
        seen = 0
        while not done.is_set():
            snapshot = database.snapshot(["a", "b"])
            if snapshot.entries:
                number = snapshot.generation - first
                assert {entry.settings for entry in snapshot.entries.values()} == {(("kill_level", 1.0 * number),)}
                assert ("a" in snapshot.owners) is bool(number % 2)
                seen += 1
        writer.join()
        assert seen

    def test_more_keys_than_a_statement_takes(self, database: PolicyDatabase) -> None:
        many = [f"u{number}@example.org" for number in range(2500)]
        database.apply([PutEntry(key, SETTINGS) for key in many] + [PutListed(listed(key)) for key in many])
        assert set(database.entries(many)) == set(many)
        assert len(database.listed(many, [f"@{number}.example" for number in range(500)] + ["@news.example"])) == 2500
        assert database.snapshot(many).owners == set(many)
        database.apply([DropEntry(key) for key in many])
        assert database.entries() == {}

    @pytest.mark.parametrize(
        ("row", "problem"),
        [
            ({"settings": "{"}, "policy_entry: key 'bob@example.org': settings: "),
            ({"settings": "[]"}, "must be a JSON object"),
            ({"settings": '{"kill_level": "much"}'}, "kill_level: "),
            ({"settings": '{"kill_level": 1e999}'}, None),
            ({"settings": '{"kill_level": NaN}'}, "NaN is no JSON"),
            ({"settings": '{"kill_level": true}'}, "kill_level: "),
            ({"settings": '{"kill_levle": 3}'}, "kill_levle: unknown key"),
            ({"settings": '{"kill_level": 3, "kill_level": 4}'}, "more than once"),
            ({"settings": '{"spam_action": "shoot"}'}, 'spam_action: must be one of "pass"'),
            ({"settings": '{"next_hop": "nowhere"}'}, "next_hop: "),
            ({"settings": '{"banned_rules": "default"}'}, "banned_rules: "),
            ({"settings": "[" * 100_000}, "nested too deeply"),
            ({"key": "Bob@EXAMPLE.org"}, "no lookup would find"),
        ],
    )
    def test_a_bad_row_is_an_error_that_names_it(
        self, url: str, database: PolicyDatabase, row: dict[str, Any], problem: str | None
    ) -> None:
        good = {"key": BOB, "settings": "{}", "expires": None, "updated_at": 0.0}
        self.raw(url, insert(ENTRY).values(good | row))
        if problem is None:
            assert dict(database.entries()[BOB].settings) == {"kill_level": math.inf}
            return
        with pytest.raises(PolicyError) as caught:
            database.entries()
        assert problem in str(caught.value)
        database.apply([DropEntry(str(row.get("key", BOB)))])
        assert database.entries() == {}

    @pytest.mark.parametrize(
        ("row", "problem"),
        [
            ({"effect": "maybe"}, "policy_list: owner 'bob@example.org', subject '@news.example': effect: must be one"),
            ({"score": math.inf, "effect": "score"}, "must be a finite number"),
            ({"score": 2.0}, "score: must be 0 beside"),
            ({"subject": "News.example"}, "subject 'News.example': must be a sender"),
            ({"subject": "@News.example"}, "no lookup would find"),
            ({"owner": "@Example.org"}, "no lookup would find"),
        ],
    )
    def test_a_bad_list_row_is_an_error_that_names_it(
        self, url: str, database: PolicyDatabase, row: dict[str, Any], problem: str
    ) -> None:
        good = {
            "owner": BOB,
            "subject": "@news.example",
            "effect": "allow",
            "score": 0.0,
            "expires": None,
            "updated_at": 0.0,
        }
        self.raw(url, insert(LIST).values(good | row))
        with pytest.raises(PolicyError) as caught:
            database.listed()
        assert problem in str(caught.value)

    @pytest.mark.parametrize("version", range(len(STEPS)))
    def test_every_earlier_version_is_brought_up(self, url: str, version: int) -> None:
        self._make(url, version)
        database = PolicyDatabase(url, timeout=10)
        database.apply([PutEntry(BOB, SETTINGS)])
        assert database.entries() == {BOB: Entry("sql", BOB, SETTINGS)}
        database.close()

    def _make(self, url: str, version: int) -> None:
        if version == 0:
            return
        engine = engine_for(url, 10)
        with engine.execution_options(writes=True).begin() as connection:
            migrate(connection, STEPS[:version])
        engine.dispose()

    def test_the_steps_lead_to_the_tables_that_we_ask(self, url: str, database: PolicyDatabase) -> None:
        assert database.entries() == {}
        engine = engine_for(url, 10)
        with engine.connect() as connection:
            for table in METADATA.sorted_tables:
                there = {column["name"]: column["nullable"] for column in inspect(connection).get_columns(table.name)}
                assert there == {column.name: column.nullable for column in table.columns}
                keys = inspect(connection).get_pk_constraint(table.name)["constrained_columns"]
                assert keys == [column.name for column in table.primary_key]
        engine.dispose()

    def test_a_step_is_made_once_and_keeps_what_is_there(self, url: str, database: PolicyDatabase) -> None:
        database.apply([PutEntry(BOB, SETTINGS)])
        before = database.generation()
        steps = (*STEPS, ("CREATE TABLE policy_more (x INTEGER)", "ALTER TABLE policy_entry ADD COLUMN more TEXT"))
        engine = engine_for(url, 10)
        for _ in range(2):
            with engine.execution_options(writes=True).begin() as connection:
                migrate(connection, steps)
                assert version_of(connection) == len(steps)
        engine.dispose()
        with pytest.raises(PolicyError, match=f"has version {len(steps)}.*newer contentfilter"):
            database.generation()
        self.raw(url, update(STATE).values(version=len(STEPS)))
        assert database.generation() == before + 1
        assert database.entries() == {BOB: Entry("sql", BOB, SETTINGS)}

    @pytest.mark.parametrize("version", range(len(STEPS) + 1))
    def test_of_several_that_make_a_step_one_does(self, url: str, version: int) -> None:
        """They look at the same moment which version there is."""
        self._make(url, version)
        steps = (*STEPS, ("CREATE TABLE policy_more (x INTEGER)",))
        together = threading.Barrier(4)
        failures: list[Exception] = []

        def make() -> None:
            engine = engine_for(url, 20)
            engine.connect().close()
            together.wait()
            try:
                with engine.execution_options(writes=True).begin() as connection:
                    migrate(connection, steps)
            except Exception as error:
                failures.append(error)
            engine.dispose()

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []

    def test_a_step_that_fails_leaves_everything_as_it_was(self, url: str, database: PolicyDatabase) -> None:
        steps = (*STEPS, ("CREATE TABLE policy_more (x INTEGER)", "SELECT nonsense FROM nowhere"))
        engine = engine_for(url, 10)
        with pytest.raises(Exception, match="nowhere"), engine.execution_options(writes=True).begin() as connection:
            migrate(connection, steps)
        with engine.connect() as connection:
            assert not inspect(connection).has_table("policy_more")
        engine.dispose()
        assert database.entries() == {}

    def test_a_newer_database_is_refused(self, url: str, database: PolicyDatabase) -> None:
        self.raw(url, update(STATE).values(version=99))
        other = PolicyDatabase(url, timeout=10)
        for one in (database, other):
            with pytest.raises(PolicyError, match=r"has version 99.*newer contentfilter"):
                one.snapshot([BOB])
        with pytest.raises(PolicyError, match="has version 99"):
            other.apply([])
        other.close()

    def test_processes_that_start_together(self, url: str) -> None:
        context = multiprocessing.get_context("spawn")
        start = context.Event()
        processes = [context.Process(target=_migrate, args=(url, start)) for _ in range(3)]
        for process in processes:
            process.start()
        start.set()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0, 0]
        database = PolicyDatabase(url, timeout=10)
        assert len(database.entries()) == 3
        database.close()
