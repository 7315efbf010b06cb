"""An amavis database in a SQLite file, and the keys that amavis asks for."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from contentfilter.errors import PolicyError
from contentfilter.policy.amavis_database import AmavisDatabase
from contentfilter.policy.amavis_keys import amavis_keys
from contentfilter.policy.amavis_row import listing
from contentfilter.policy.keys import lookup_keys
from tests.amavis_contract import POLICY, USERS, AmavisContract, policy_of, source_of
from tests.amavis_tables import fill, statements


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/amavis.sqlite"


@pytest.fixture
def dialect() -> str:
    return "sqlite"


class TestSqlite(AmavisContract):
    """All of it."""


@pytest.mark.parametrize(
    ("address", "local", "keys"),
    [
        (
            "user+foo@sub.example.com",
            True,
            (
                "user+foo@sub.example.com user@sub.example.com user+foo user @sub.example.com"
                " @.sub.example.com @.example.com @.com @."
            ),
        ),
        (
            "user+foo@sub.example.com",
            False,
            "user+foo@sub.example.com user@sub.example.com @sub.example.com @.sub.example.com @.example.com @.com @.",
        ),
        ("", False, " @ @."),
        ("bob", False, "bob bob@ @ @."),
        ("bob+x", True, "bob+x bob+x@ bob@ bob @ @."),
        ("bob@[192.0.2.1]", True, "bob@[192.0.2.1] bob @[192.0.2.1] @."),
        ('"a@b"', True, "a@b@ a@b @ @."),
        ('"a\\"b"@x.org', False, 'a"b@x.org @x.org @.x.org @.org @.'),
        ("+x@x.org", False, "+x@x.org @x.org @.x.org @.org @."),
        ("PostMaster@x.org", False, "PostMaster@x.org @x.org @.x.org @.org @."),
    ],
)
def test_the_documented_keys(address: str, local: bool, keys: str) -> None:
    assert amavis_keys(address, local=local) == tuple(keys.split(" "))


@pytest.mark.parametrize(
    ("user", "delimiter", "bare"),
    [
        ("owner-list", "-", "owner-list"),
        ("list-request", "-", "list-request"),
        ("list-x", "-", "list"),
        ("owner-", "-", "owner"),
        ("-request", "-", "-request"),
        ("owner+list", "+", "owner"),
        ("mailer-daemon", "-", "mailer-daemon"),
        ("a+b", "", "a+b"),
    ],
)
def test_names_that_are_not_split(user: str, delimiter: str, bare: str) -> None:
    assert f"{bare}@x.org" in amavis_keys(f"{user}@x.org", delimiter)
    assert (f"{user}@x.org" != f"{bare}@x.org") is (
        len({one for one in amavis_keys(f"{user}@x.org", delimiter) if one.endswith("@x.org") and one[0] != "@"}) == 2
    )


def test_of_many_parent_domains_the_shortest_count() -> None:
    keys = amavis_keys("a@" + ".".join(map(str, range(30))) + ".org")
    assert len([key for key in keys if key.startswith("@.")]) == 20
    assert keys[-3:] == ("@.29.org", "@.org", "@.")


async def test_addresses_that_are_bytes(url: str, dialect: str) -> None:
    """What a program writes that binds them as such."""
    fill(url, statements(dialect), policy=POLICY)
    fill(url, ["INSERT INTO users (id, priority, policy_id, email) VALUES (1, 5, 6, CAST('@example.org' AS BLOB))"])
    with closing(source_of(url)) as source:
        assert (await policy_of(source, "bob@example.org")).kill_level == 9.0


async def test_a_column_without_regard_to_case(url: str, dialect: str) -> None:
    """As in MySQL, whose text columns are so by themselves."""
    users = [USERS[1] | {"email": "Bob@Example.ORG"}]
    fill(url, statements(dialect, email="varchar(255) COLLATE NOCASE"), policy=POLICY, users=users)
    with closing(source_of(url)) as source:
        assert (await policy_of(source, "bob@example.org")).virus_lover
        found = await source.find([lookup_keys("bob@example.org"), lookup_keys("eve@example.org")], [])
        assert [len(one.entries) for one in found] == [1, 0]


async def test_a_column_that_is_padded(url: str, dialect: str) -> None:
    policy = [
        {"id": 1, "virus_lover": "N   ", "spam_lover": "Y   ", "virus_quarantine_to": "   ", "virus_admin": "a@b.c  "}
    ]
    fill(url, statements(dialect), policy=policy, users=[USERS[4] | {"policy_id": 1}])
    with closing(source_of(url)) as source:
        found = await policy_of(source, "bob@example.org")
    assert (found.virus_lover, found.spam_lover, found.virus_quarantine, found.virus_admin) == (
        False,
        True,
        False,
        "a@b.c",
    )


@pytest.mark.parametrize(("value", "meaning"), [(0, False), (1, True), (b"\0", False), (b"\1", True), ("", False)])
async def test_booleans_of_other_types(url: str, dialect: str, value: object, meaning: bool) -> None:
    fill(url, statements(dialect), policy=[{"id": 1, "virus_lover": value}], users=[USERS[4] | {"policy_id": 1}])
    with closing(source_of(url)) as source:
        assert (await policy_of(source, "bob@example.org")).virus_lover is meaning


async def test_a_tag_in_latin_1_is_passed_over(url: str, dialect: str, caplog: pytest.LogCaptureFixture) -> None:
    """It could not be written into a header, and all spam for the domain would wait for ever."""
    tag = "[Unerwünscht] ".encode("latin-1")
    fill(url, statements(dialect), policy=[{"id": 1, "spam_subject_tag2": tag}], users=[USERS[4] | {"policy_id": 1}])
    with closing(source_of(url)) as source:
        assert (await policy_of(source, "bob@example.org")).spam_subject_tag2 == ""
    assert "spam_subject_tag2 is passed over: spam_subject_tag2: must be UTF-8" in caplog.text


@pytest.mark.parametrize("score", ["9" * 400, "-" + "9" * 400])
def test_a_score_beyond_all_numbers_is_an_error(score: str) -> None:
    """One of them and its opposite would make no number, which is below every level."""
    with pytest.raises(PolicyError, match="wb: must be"):
        listing(score, "wblist rid 1, sid 1")


async def test_a_level_that_is_no_number_is_an_error(url: str, dialect: str) -> None:
    fill(url, statements(dialect), policy=[{"id": 1, "spam_kill_level": "high"}], users=[USERS[4] | {"policy_id": 1}])
    with closing(source_of(url)) as source, pytest.raises(PolicyError, match="spam_kill_level: must be a number"):
        await policy_of(source, "bob@example.org")


async def test_a_file_that_is_not_there_is_an_error_and_is_not_made(url: str, tmp_path: Path) -> None:
    with closing(source_of(url)) as source, pytest.raises(PolicyError, match="No such file"):
        await policy_of(source, "bob@example.org")
    assert not list(tmp_path.iterdir())


async def test_columns_are_looked_at_anew_after_an_error(url: str, dialect: str) -> None:
    fill(url, statements(dialect), policy=POLICY, users=USERS)
    with closing(source_of(url, cache_seconds=0.0)) as source:
        await policy_of(source, "bob@example.org")
        fill(url, ["ALTER TABLE policy DROP COLUMN virus_lover"])
        with pytest.raises(PolicyError, match="virus_lover"):
            await policy_of(source, "bob@example.org")
        assert not (await policy_of(source, "bob@example.org")).virus_lover


def test_a_database_in_memory_is_refused() -> None:
    with pytest.raises(PolicyError, match="sqlite:////path"):
        AmavisDatabase("sqlite://", timeout=1)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("oracle://u:secret@h/x", "oracle will not do: use SQLite or PostgreSQL or MySQL or MariaDB"),
        ("mysql+mysqldb://u:secret@h/x", r"comes with pip install 'contentfilter\[mysql\]'"),
        ("mariadb+mysqldb://u:secret@h/x", r"for mariadb:// comes with pip install 'contentfilter\[mysql\]'"),
    ],
)
def test_urls_that_cannot_be_used(url: str, problem: str) -> None:
    with pytest.raises(PolicyError, match=problem) as caught:
        AmavisDatabase(url, timeout=5)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "mysql", "mariadb", "postgresql+psycopg", "mysql+pymysql"])
def test_urls_that_can_be_used(scheme: str) -> None:
    AmavisDatabase(f"{scheme}://u:p@h/x", timeout=5).close()
