"""The policy database as a source of the lookup: what it finds, what it remembers, and for how long."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from contentfilter.envelope import Client, Envelope, Recipient
from contentfilter.errors import PolicyError
from contentfilter.policy.change import DropEntry, DropListed, PutEntry, PutListed
from contentfilter.policy.database import PolicyDatabase
from contentfilter.policy.entry import Entry, settings_of
from contentfilter.policy.keys import canonical_key, lookup_keys
from contentfilter.policy.lists import Effect, ListEntry, Subjects, canonical_subject
from contentfilter.policy.lookup import Policies, Ways
from contentfilter.policy.settings import Policy
from contentfilter.policy.sql import SqlSource
from contentfilter.policy.toml import TomlSource
from tests.policies import effective_of, entry

BOB = "bob@example.org"
SETTINGS = settings_of(Policy(kill_level=3.0))


class Clock:
    """Time that a test makes pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Statements:
    """What a database is asked."""

    def __init__(self, database: PolicyDatabase) -> None:
        self.asked: list[str] = []
        event.listen(database._engine, "before_cursor_execute", self._note)

    def _note(self, _c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith("SELECT"):
            self.asked.append(statement.partition("FROM ")[2].split()[0])

    def since(self) -> list[str]:
        """Tables that were asked since the last time."""
        asked, self.asked = self.asked, []
        return asked


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/policy.sqlite"


@pytest.fixture
def writer(url: str) -> Iterator[PolicyDatabase]:
    """Another process, as it were."""
    with closing(PolicyDatabase(url, timeout=10)) as database:
        yield database


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reader(url: str) -> PolicyDatabase:
    return PolicyDatabase(url, timeout=10)


@pytest.fixture
def source(reader: PolicyDatabase, clock: Clock) -> Iterator[SqlSource]:
    with closing(SqlSource(reader, timeout=10, clock=clock)) as one:
        yield one


async def levels(source: SqlSource, *addresses: str) -> list[list[object]]:
    """The kill_level of each entry that is found for each address."""
    found = await source.find([lookup_keys(address) for address in addresses], [])
    return [[dict(one.settings).get("kill_level") for one in each.entries] for each in found]


async def test_without_a_database_there_is_nothing(source: SqlSource, writer: PolicyDatabase, clock: Clock) -> None:
    assert await levels(source, BOB) == [[]]
    writer.apply([PutEntry(BOB, SETTINGS)])
    clock.now += 1
    assert await levels(source, BOB) == [[3.0]]


async def test_a_change_counts_within_a_second(source: SqlSource, writer: PolicyDatabase, clock: Clock) -> None:
    writer.apply([PutEntry(BOB, SETTINGS), PutEntry("@.", (("kill_level", 9.0),))])
    assert await levels(source, BOB, "alice@example.org") == [[3.0, 9.0], [9.0]]
    writer.apply([DropEntry(BOB), PutEntry("alice@example.org", SETTINGS)])
    clock.now += 0.9
    assert await levels(source, BOB, "alice@example.org") == [[3.0, 9.0], [9.0]]
    clock.now += 0.1
    assert await levels(source, BOB, "alice@example.org") == [[9.0], [3.0, 9.0]]


async def test_nobody_gets_half_of_a_change(source: SqlSource, writer: PolicyDatabase) -> None:
    """What is remembered from before a change is not mixed with what is read after it."""
    writer.apply([PutEntry(BOB, (("kill_level", 1.0),)), PutEntry("@example.org", (("kill_level", 1.0),))])
    assert await levels(source, BOB) == [[1.0, 1.0]]
    both = [PutEntry(BOB, (("kill_level", 2.0),)), PutEntry("@example.org", (("kill_level", 2.0),))]
    writer.apply([*both, PutEntry("alice@example.org", (("kill_level", 2.0),))])
    assert await levels(source, "alice@example.org", BOB) == [[2.0, 2.0], [2.0, 2.0]]


async def test_what_is_remembered_is_not_asked(
    source: SqlSource, reader: PolicyDatabase, writer: PolicyDatabase, clock: Clock
) -> None:
    writer.apply([PutEntry(BOB, SETTINGS)])
    statements = Statements(reader)
    await levels(source, BOB, "alice@example.org", "carol@elsewhere.example")
    assert [name for name in statements.since() if name == "policy_entry"] == ["policy_entry"]
    await levels(source, BOB, "carol@elsewhere.example")
    assert statements.since() == []
    clock.now += 1
    await levels(source, "alice@example.org")
    assert statements.since() == ["policy_state"]


async def test_lists_are_asked_only_for_those_who_have_some(
    source: SqlSource, reader: PolicyDatabase, writer: PolicyDatabase
) -> None:
    writer.apply([PutListed(ListEntry("", BOB, "@news.example", Effect.ALLOW)), PutEntry("alice", SETTINGS)])
    statements = Statements(reader)
    subjects = Subjects("x@news.example", "192.0.2.1")
    await source.find([lookup_keys("alice@example.org")], subjects)
    statements.since()
    await source.find([lookup_keys("alice@example.org")], subjects)
    assert statements.since() == []
    found = await source.find([lookup_keys("alice@example.org"), lookup_keys(BOB)], subjects)
    assert [len(one.listed) for one in found] == [0, 1]
    assert "policy_list" in statements.since()


async def test_a_recipient_that_is_admitted_needs_no_look_at_the_lists(
    source: SqlSource, reader: PolicyDatabase, writer: PolicyDatabase
) -> None:
    """A message to two thousand would ask for the site's lists two thousand times."""
    limited = settings_of(Policy(message_size_limit=5, kill_level=3.0))
    writer.apply([PutListed(ListEntry("", "@.", "@news.example", Effect.ALLOW)), PutEntry(BOB, limited)])
    policies = Policies(entry("default", Policy(tag_level=1.0)), [source])
    envelope = Envelope("x@news.example", (Recipient(BOB),), client=Client(addr="192.0.2.1"))
    assert await policies.settings_of(BOB, envelope) == (await effective_of(policies, BOB, envelope)).policy
    statements = Statements(reader)
    assert (await policies.settings_of(BOB, envelope)).message_size_limit == 5
    assert statements.since() == []


async def test_the_most_specific_owner_comes_first_and_of_one_the_most_specific_subject(
    source: SqlSource, writer: PolicyDatabase
) -> None:
    pairs = [(owner, subject) for owner in (BOB, "@.") for subject in ("x@news.example", "192.0.2.0/24", "@.")]
    writer.apply([PutListed(ListEntry("", owner, subject, Effect.DENY)) for owner, subject in reversed(pairs)])
    found = await source.find([lookup_keys(BOB)], Subjects("x@news.example", "192.0.2.1"))
    assert [(one.owner, one.subject) for one in found[0].listed] == pairs


async def test_memory_is_bounded(reader: PolicyDatabase, writer: PolicyDatabase, clock: Clock) -> None:
    writer.apply([PutEntry(f"u{number}@example.org", SETTINGS) for number in range(100)])
    with closing(SqlSource(reader, timeout=10, cache_size=20, clock=clock)) as source:
        for _ in range(2):
            for number in range(100):
                assert await levels(source, f"u{number}@example.org") == [[3.0]]
        assert await levels(source, *(f"u{number}@example.org" for number in range(100))) == [[3.0]] * 100
        assert len(source._cache) == 20


async def test_an_error_is_never_nothing(source: SqlSource, writer: PolicyDatabase, url: str, clock: Clock) -> None:
    writer.apply([PutEntry(BOB, SETTINGS)])
    assert await levels(source, BOB) == [[3.0]]
    writer.close()
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as by_hand, by_hand:
        by_hand.execute('UPDATE policy_entry SET settings = \'{"kill_level": "low"}\'')
        by_hand.execute("UPDATE policy_state SET generation = generation + 1")
    clock.now += 1
    for _ in range(2):
        with pytest.raises(PolicyError, match=f"policy_entry: key '{BOB}': settings: kill_level"):
            await levels(source, BOB)
    assert await levels(source, "alice@example.org") == [[]]


async def test_a_database_that_is_locked_is_an_error_in_time(reader: PolicyDatabase, writer: PolicyDatabase) -> None:
    """In rollback mode a writer locks readers out; with the write-ahead log only this does."""
    writer.apply([PutEntry(BOB, SETTINGS)])
    writer.close()
    assert reader._path is not None
    with closing(sqlite3.connect(reader._path, isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode = EXCLUSIVE").close()
        holder.execute("BEGIN EXCLUSIVE")
        with closing(SqlSource(reader, timeout=0.3)) as source:
            ticking = asyncio.create_task(asyncio.sleep(0.01))
            with pytest.raises(PolicyError, match=r"did not answer within 0.3 s|locked"):
                await levels(source, BOB)
            assert ticking.done()  # the event loop went on meanwhile
        holder.execute("ROLLBACK")


async def test_many_at_once(source: SqlSource, writer: PolicyDatabase) -> None:
    writer.apply([PutEntry(f"u{number}@example.org", (("kill_level", 1.0 * number),)) for number in range(50)])
    found = await asyncio.gather(*(levels(source, f"u{number}@example.org") for number in range(50)))
    assert [one[0] for one in found] == [[1.0 * number] for number in range(50)]


async def test_addresses_with_everything_in_them(source: SqlSource, writer: PolicyDatabase) -> None:
    keys = ["o'brien@example.org", "a%b@example.org", '"x;\'--"@example.org', "jürgen@xn--bcher-kva.example", "a_b"]
    writer.apply([PutEntry(key, SETTINGS) for key in keys])
    assert await levels(
        source,
        "O'Brien+x@Example.ORG",
        "a%b@EXAMPLE.org",
        "axb@example.org",
        '"x;\'--"@example.org',
        "Jürgen@Bücher.example",
        "a_b",
        "a%@example.org",
        "*@example.org",
        "b\udcff@example.org",
        "bob\0@example.org",
        "",
    ) == [[3.0], [3.0], [], [3.0], [3.0], [3.0], [], [], [], [], []]


async def test_case_counts_where_the_site_says_so(source: SqlSource, writer: PolicyDatabase) -> None:
    writer.apply([PutEntry("Bob@example.org", SETTINGS), PutEntry(BOB, (("kill_level", 7.0),))])
    for sensitive, expected in ((True, 3.0), (False, 7.0)):
        ways = Ways(case_sensitive=sensitive)
        policies = Policies(entry("default", Policy()), [source], ways=ways)
        assert (await effective_of(policies, "Bob@EXAMPLE.org")).policy.kill_level == expected


async def test_a_policy_says_that_it_came_from_the_database(source: SqlSource, writer: PolicyDatabase) -> None:
    writer.apply([PutEntry(BOB, SETTINGS, 50.0), PutListed(ListEntry("", "@.", "192.0.2.0/24", Effect.DENY))])
    policies = Policies(entry("default", Policy()), [source], clock=lambda: 49.0)
    envelope = Envelope("x@y.example", (Recipient(BOB),), client=Client(addr="192.0.2.9"))
    effective = (await policies.of_all(envelope))[0]
    assert str(effective.origin("kill_level")) == "bob@example.org in sql"
    assert str(effective.listing) == "deny 192.0.2.0/24, listed for @. in sql"
    later = Policies(entry("default", Policy()), [source], clock=lambda: 50.0)
    assert (await effective_of(later, BOB)).policy == Policy()


LOCALS = st.sampled_from(["bob", "Bob", "bob+x", "+x", "o'b", "a%b", '"a b"', "jürgen", "postmaster"])
DOMAINS = st.sampled_from(["example.org", "Sub.Example.ORG", "bücher.example", "org"])
ADDRESSES = st.one_of(st.builds("{}@{}".format, LOCALS, DOMAINS), LOCALS)
KEYS = st.one_of(
    st.builds("{}@{}".format, LOCALS, DOMAINS),
    st.builds("{}@".format, LOCALS),
    st.builds("@{}".format, DOMAINS),
    st.builds("@.{}".format, DOMAINS),
    st.just("@."),
).map(canonical_key)
SUBJECTS = st.one_of(
    KEYS.filter(lambda key: "@" in key),
    st.sampled_from(["<>", "bob@", "192.0.2.0/24", "192.0.2.7", "2001:db8::/32", "dkim:example.org", "@."]),
).map(canonical_subject)
ENTRIES = st.dictionaries(KEYS, st.sampled_from([SETTINGS, (), settings_of(Policy(local=True))]), max_size=8)  # type: ignore[arg-type]
LISTED = st.dictionaries(st.tuples(KEYS, SUBJECTS), st.sampled_from(Effect), max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(ENTRIES, LISTED), min_size=1, max_size=3),
    st.lists(ADDRESSES, max_size=5),
    st.one_of(ADDRESSES, st.just("")),
    st.sampled_from(["192.0.2.7", "IPv6:2001:db8::1", None]),
)
def test_it_finds_what_a_file_with_the_same_entries_has(
    tmp_path: Path,
    states: Sequence[tuple[dict[str, Any], dict[Any, Effect]]],
    recipients: list[str],
    sender: str,
    addr: str,
) -> None:
    """After every change, in the same order, whatever is remembered from before."""

    async def compare() -> None:
        clock = Clock()
        with closing(SqlSource(PolicyDatabase(url, timeout=10), timeout=10, clock=clock)) as source:
            for entries, listed in states:
                theirs = [Entry("sql", key, values) for key, values in entries.items()]
                lists = [
                    ListEntry("sql", owner, subject, effect, 2.5 if effect is Effect.SCORE else 0.0)
                    for (owner, subject), effect in listed.items()
                ]
                writer.apply(
                    [
                        *(DropEntry(key) for key in writer.entries()),
                        *(DropListed(one.owner, one.subject) for one in writer.listed()),
                        *(PutEntry(one.key, one.settings) for one in theirs),
                        *map(PutListed, lists),
                    ]
                )
                clock.now += 1
                keys = [lookup_keys(address) for address in recipients]
                subjects = Subjects(sender, addr, ["example.org"])
                for asked in (keys, keys[:1], keys):
                    got = await source.find(asked, subjects)
                    assert got == await TomlSource(theirs, lists).find(asked, subjects)

    url = f"sqlite:///{tmp_path}/generated.sqlite"
    with closing(PolicyDatabase(url, timeout=10)) as writer:
        asyncio.run(compare())
