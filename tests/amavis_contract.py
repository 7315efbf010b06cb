"""What amavis's documents say that it makes of its tables, and what we make of them, whatever they are kept in."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from contentfilter.domains import LocalDomains
from contentfilter.errors import PolicyError
from contentfilter.policy.amavis import AmavisSource
from contentfilter.policy.amavis_database import AmavisDatabase
from contentfilter.policy.entry import merged
from contentfilter.policy.keys import lookup_keys
from contentfilter.policy.lists import Subjects
from contentfilter.policy.settings import Local, Policy
from tests.amavis_tables import YES_NO, fill, statements

POLICY: list[dict[str, Any]] = [
    {"id": 1, "policy_name": "nothing set"},
    {"id": 2, "spam_tag_level": -999, "spam_tag2_level": 4.5, "spam_kill_level": 4.5, "spam_lover": "N"},
    {
        "id": 3,
        "virus_lover": "Y",
        "spam_lover": "y",
        "unchecked_lover": "T",
        "banned_files_lover": "1",
        "bad_header_lover": "x",
        "bypass_virus_checks": "N",
        "bypass_spam_checks": "n",
        "bypass_banned_checks": "F",
        "bypass_header_checks": "0",
        "warnvirusrecip": "f",
        "warnbannedrecip": " ",
        "warnbadhrecip": "Y",
    },
    {
        "id": 4,
        "spam_subject_tag": "",
        "spam_subject_tag2": "[spam] ",
        "spam_subject_tag3": "[SPAM] ",
        "spam_tag3_level": 15,
        "spam_dsn_cutoff_level": 10.5,
        "spam_quarantine_cutoff_level": 25,
        "addr_extension_spam": "junk",
        "addr_extension_virus": "",
        "addr_extension_banned": "banned",
        "addr_extension_bad_header": "badh",
        "sa_username": "bob",
        "sa_userconf": "sql:",
    },
    {
        "id": 5,
        "virus_quarantine_to": "",
        "spam_quarantine_to": "spam@example.org",
        "banned_quarantine_to": None,
        "unchecked_quarantine_to": "unchecked",
        "bad_header_quarantine_to": "bad",
        "clean_quarantine_to": "clean",
        "archive_quarantine_to": "archive",
        "virus_admin": "virus@example.org",
        "banned_admin": "b@example.org",
        "spam_admin": "",
        "bad_header_admin": "h@example.org",
        "newvirus_admin": "n@example.org",
    },
    {"id": 6, "spam_tag2_level": 6.31, "spam_kill_level": 9, "spam_lover": "Y", "message_size_limit": 20_000_000},
    {
        "id": 7,
        "forward_method": "smtp:[127.0.0.1]:10027",
        "banned_rulenames": "ALLOW_ZIP, strict",
        "spam_kill_level": 7,
    },
    {"id": 8, "banned_rulenames": "DEFAULT strict", "message_size_limit": 0},
]
USERS: list[dict[str, Any]] = [
    {"id": 1, "priority": 9, "policy_id": 2, "email": "bob+strict@example.org"},
    {"id": 2, "priority": 8, "policy_id": 3, "email": "bob@example.org"},
    {"id": 3, "priority": 7, "policy_id": 4, "email": "bob+lists"},
    {"id": 4, "priority": 6, "policy_id": 5, "email": "postmaster"},
    {"id": 5, "priority": 5, "policy_id": 6, "email": "@example.org"},
    {"id": 6, "priority": 3, "policy_id": 2, "email": "@.example.org"},
    {"id": 7, "priority": 1, "policy_id": 1, "email": "@.org"},
    {"id": 8, "priority": 0, "policy_id": 8, "email": "@."},
    {"id": 9, "priority": 8, "policy_id": 7, "email": "route@example.org"},
    {"id": 10, "priority": 8, "policy_id": 77, "email": "orphan@elsewhere.example"},
    {"id": 11, "priority": 9, "policy_id": 1, "email": "carol@elsewhere.example"},
    {"id": 12, "priority": 2, "policy_id": 2, "email": "dave@elsewhere.example"},
    {"id": 13, "priority": 5, "policy_id": 3, "email": "@elsewhere.example"},
    {"id": 14, "priority": 8, "policy_id": 2, "email": "strange b%_';--u@example.org"},
    {"id": 15, "priority": 8, "policy_id": 2, "email": "jürgen@xn--bcher-kva.example"},
]
EXPECTED: list[tuple[str, str, dict[str, Any]]] = [
    ("user+ext@dom wins", "bob+strict@example.org", {"kill_level": 4.5, "tag_level": -999.0, "spam_lover": False}),
    (
        "NULL falls through to user@dom",
        "bob+strict@example.org",
        {"virus_lover": True, "message_size_limit": 20_000_000},
    ),
    ("user@dom without its extension", "bob+other@Example.ORG", {"spam_lover": True, "kill_level": 9.0}),
    (
        "any other letter is true",
        "bob@example.org",
        {"banned_lover": True, "bad_header_lover": True, "local": Local.YES},
    ),
    (
        "N, n, F, 0, f and a blank are false",
        "bob@example.org",
        {
            **dict.fromkeys(("bypass_virus_checks", "bypass_spam_checks", "bypass_banned_checks"), False),
            **dict.fromkeys(("bypass_header_checks", "warn_virus_recipient", "warn_banned_recipient"), False),
            "warn_bad_header_recipient": True,
            "unchecked_lover": True,
        },
    ),
    (
        "user+ext of a local domain",
        "bob+lists@sub.example.org",
        {
            "spam_subject_tag": "",
            "spam_subject_tag2": "[spam] ",
            "spam_subject_tag3": "[SPAM] ",
            "kill_level": 4.5,
            "tag3_level": 15.0,
            "dsn_cutoff_level": 10.5,
            "quarantine_cutoff_level": 25.0,
            "spam_user": "bob",
            "addr_extension_spam": "junk",
            "addr_extension_virus": "",
            "addr_extension_banned": "banned",
            "addr_extension_bad_header": "badh",
        },
    ),
    ("but not of a foreign one", "bob+lists@other.example", {"spam_subject_tag2": "", "tag3_level": math.inf}),
    (
        "user of a local domain; where to does not matter, nothing is no quarantine",
        "postmaster@example.org",
        {
            "virus_quarantine": False,
            "spam_quarantine": True,
            "unchecked_quarantine": True,
            "bad_header_quarantine": True,
            "clean_quarantine": True,
            "banned_quarantine": True,
            "kill_level": 9.0,
            "virus_admin": "virus@example.org",
            "unchecked_admin": "virus@example.org",
            "spam_admin": "",
            "banned_admin": "b@example.org",
            "bad_header_admin": "h@example.org",
        },
    ),
    ("@dom before @.dom", "alice@example.org", {"tag2_level": 6.31, "kill_level": 9.0, "tag_level": -999.0}),
    ("@.dom is all below it", "alice@a.b.example.org", {"tag2_level": 4.5, "kill_level": 4.5, "message_size_limit": 0}),
    ("everybody", "alice@x.example", {"message_size_limit": 0, "kill_level": 6.9, "local": Local.AUTO}),
    ("a row makes local, @. does not", "alice@a.org", {"local": Local.YES}),
    ("forward_method", "route@example.org", {"next_hop": "127.0.0.1:10027"}),
    (
        "names of rules add up, and DEFAULT comes in the end",
        "route@example.org",
        {"banned_rules": ("ALLOW_ZIP", "strict", "default")},
    ),
    ("DEFAULT is our default", "alice@x.example", {"banned_rules": ("default", "strict")}),
    ("a user whose policy is not there", "orphan@elsewhere.example", {"virus_lover": True, "local": Local.YES}),
    ("NULL is not false", "carol@elsewhere.example", {"virus_lover": True, "spam_lover": True}),
    ("priority counts, not how specific a key is", "dave@elsewhere.example", {"spam_lover": True, "kill_level": 4.5}),
    ("local parts have no quotes there", '"Strange b%_\';--u"@example.org', {"kill_level": 4.5}),
    ("% and _ are themselves", '"strange bxxx\';--u"@example.org', {"kill_level": 9.0}),
    ("UTF-8, and a domain in ASCII", "Jürgen@Bücher.example", {"kill_level": 4.5}),
    ("no domain", "postmaster", {"virus_quarantine": False}),
    ("no domain and nobody's", "nobody", {"banned_rules": ("default", "strict"), "local": Local.AUTO}),
    ("an apostrophe", "o'brien@example.org", {"kill_level": 9.0}),
    ("an address literal has no parents", "bob@[192.0.2.1]", {"message_size_limit": 0, "spam_lover": False}),
]
MAILADDR: list[dict[str, Any]] = [
    {"id": 1, "priority": 9, "email": "friend@example.com"},
    {"id": 2, "priority": 5, "email": "@example.com"},
    {"id": 3, "priority": 3, "email": "@.example.com"},
    {"id": 4, "priority": 0, "email": "@."},
    {"id": 5, "priority": 9, "email": ""},
    {"id": 6, "priority": 9, "email": "news@lists.example.net"},
    {"id": 7, "priority": 7, "email": "dave"},
]
WBLIST: list[dict[str, Any]] = [
    {"rid": 2, "sid": 1, "wb": "W"},
    {"rid": 2, "sid": 2, "wb": "B"},
    {"rid": 2, "sid": 3, "wb": "-3.5"},
    {"rid": 5, "sid": 3, "wb": " "},
    {"rid": 5, "sid": 6, "wb": "+2"},
    {"rid": 6, "sid": 6, "wb": "1.25"},
    {"rid": 6, "sid": 2, "wb": "Y"},
    {"rid": 6, "sid": 7, "wb": "n"},
    {"rid": 8, "sid": 4, "wb": None},
    {"rid": 8, "sid": 5, "wb": "5"},
    {"rid": 8, "sid": 6, "wb": "y  "},
    {"rid": 11, "sid": 4, "wb": ""},
    {"rid": 13, "sid": 4, "wb": "B"},
    {"rid": 14, "sid": 4, "wb": "perhaps"},
]
LISTED: list[tuple[str, str, str, str | None]] = [
    ("the sender of the highest priority", "bob@example.org", "friend@example.com", "allow"),
    ("its domain", "bob@example.org", "stranger@EXAMPLE.com", "deny"),
    ("a score, then a neutral entry of another row", "bob@example.org", "x@sub.example.com", "score -3.5"),
    ("a blank is neutral, and ends the search before @.example.org", "alice@example.org", "x@example.com", "score 0"),
    ("scores of all rows add up, until a hard entry", "alice@example.org", "news@lists.example.net", "allow"),
    ("the next row", "alice@sub.example.org", "x@example.com", "allow"),
    ("NULL says nothing", "alice@x.example", "x@example.net", None),
    ("the null sender is an empty text", "alice@x.example", "", "score 5"),
    ("an empty text is neutral", "carol@elsewhere.example", "x@example.net", "score 0"),
    ("@. is every sender", "eve@elsewhere.example", "x@example.net", "deny"),
    ("a local sender's name alone", "alice@sub.example.org", "dave@example.org", "deny"),
    ("a foreign sender's is not asked", "alice@sub.example.org", "dave@example.net", None),
    ("nobody", "alice@x.example", "friend@example.com", None),
]


def source_of(url: str, **options: Any) -> AmavisSource:
    """A source, with example.org and what is below it at home."""
    options = {"cache_seconds": 60.0, "timeout": 20.0} | options
    return AmavisSource(AmavisDatabase(url, timeout=10), local=LocalDomains([".example.org"]), **options)


async def policy_of(source: AmavisSource, address: str) -> Policy:
    """What a recipient's settings are, if this is the only source."""
    return merged((await source.find([lookup_keys(address)], []))[0].entries)


async def listed(source: AmavisSource, address: str, sender: str) -> str | None:
    """What the lists say."""
    found = (await source.find([lookup_keys(address)], Subjects(sender, "192.0.2.1")))[0].listed
    assert len(found) <= 1
    return (
        None
        if not found
        else f"{found[0].effect.value} {found[0].score or 0:g}".removesuffix(
            " 0" if found[0].effect.value != "score" else ""
        )
    )


class AmavisContract:
    """Tests that take a URL of an empty database, and the name of its kind, from the fixtures `url` and `dialect`."""

    @pytest.fixture
    def filled(self, url: str, dialect: str) -> Iterator[AmavisSource]:
        """A source over the documented tables."""
        fill(url, statements(dialect), policy=POLICY, users=USERS, mailaddr=MAILADDR, wblist=WBLIST)
        with closing(source_of(url)) as source:
            yield source

    async def test_settings_are_read_as_amavis_reads_them(self, filled: AmavisSource) -> None:
        wrong = []
        for why, address, expected in EXPECTED:
            policy = await policy_of(filled, address)
            got = {key: getattr(policy, key) for key in expected}
            if got != expected:
                wrong.append((why, address, got))
        assert not wrong

    async def test_all_recipients_at_once_get_the_same(self, filled: AmavisSource) -> None:
        addresses = [address for _, address, _ in EXPECTED]
        together = await filled.find([lookup_keys(address) for address in addresses], [])
        for address, found in zip(addresses, together, strict=True):
            assert merged(found.entries) == await policy_of(source := filled, address), source

    async def test_lists_are_read_as_amavis_reads_them(self, filled: AmavisSource) -> None:
        wrong = []
        for why, address, sender, expected in LISTED:
            got = await listed(filled, address, sender)
            if got != expected:
                wrong.append((why, address, sender, got))
        assert not wrong

    async def test_a_list_entry_that_says_nothing_is_an_error(self, filled: AmavisSource) -> None:
        with pytest.raises(PolicyError, match=r"amavis database: wblist rid 14, sid 4: wb: must be W or Y.*'perhaps'"):
            await listed(filled, '"strange b%_\';--u"@example.org', "x@y.example")

    async def test_an_older_installation(self, url: str, dialect: str) -> None:
        old = {name for name in YES_NO if name != "unchecked_lover"}
        rows = [{key: value for key, value in row.items() if key in old | {"id"}} for row in POLICY]
        fill(url, statements(dialect, old=True, lists=False), policy=rows, users=USERS)
        with closing(source_of(url)) as source:
            policy = await policy_of(source, "bob@example.org")
            assert (policy.virus_lover, policy.unchecked_lover, policy.next_hop) == (True, False, "")
            assert await listed(source, "bob@example.org", "friend@example.com") is None

    async def test_the_column_local(self, url: str, dialect: str) -> None:
        users = [
            {"id": 1, "priority": 9, "policy_id": 1, "email": "no@example.org", "local": "N"},
            {"id": 2, "priority": 9, "policy_id": 1, "email": "null@example.org", "local": None},
            {"id": 3, "priority": 5, "policy_id": 1, "email": "@example.org", "local": "Y"},
            {"id": 4, "priority": 0, "policy_id": 1, "email": "@.", "local": "N"},
        ]
        fill(url, statements(dialect, local=True), policy=POLICY, users=users)
        with closing(source_of(url)) as source:
            found = [
                (await policy_of(source, one)).local for one in ("no@example.org", "null@example.org", "x@y.example")
            ]
        assert found == [Local.NO, Local.YES, Local.NO]

    @pytest.mark.parametrize(
        ("columns", "problem"),
        [
            ({"forward_method": "smtp:*:*"}, r"users id 1 with policy id 1: forward_method: must be like smtp:\["),
            ({"forward_method": "lmtp:[127.0.0.1]:24"}, "forward_method"),
            ({"forward_method": "pipe:flags=q argv=/usr/sbin/sendmail"}, "forward_method"),
            ({"forward_method": "smtp:[127.0.0.1]:0"}, "forward_method: next_hop"),
            ({"message_size_limit": -1}, "message_size_limit: must be bytes"),
        ],
    )
    async def test_what_decides_and_is_unclear_is_an_error(
        self, url: str, dialect: str, columns: dict[str, Any], problem: str
    ) -> None:
        users = [USERS[4] | {"id": 1, "policy_id": 1}]
        fill(url, statements(dialect), policy=[{"id": 1} | columns], users=users)
        with closing(source_of(url)) as source:
            with pytest.raises(PolicyError, match=problem):
                await policy_of(source, "bob@example.org")
            assert await policy_of(source, "bob@elsewhere.example") == Policy()

    @pytest.mark.parametrize(
        ("columns", "key", "said"),
        [
            ({"addr_extension_spam": "a b"}, "addr_extension_spam", "must be what stands behind the delimiter"),
            ({"addr_extension_spam": "+spam"}, "addr_extension_spam", "must be what stands behind the delimiter"),
            ({"virus_admin": "virusalert"}, "virus_admin", "must be an address"),
            ({"spam_subject_tag2": "x\ny"}, "spam_subject_tag2", "must not have control characters"),
            ({"sa_username": "bob smith"}, "spam_user", "is not the name of a user"),
            ({"banned_rulenames": "a/b"}, "banned_rules", "is not the name of a set"),
        ],
    )
    async def test_what_only_adorns_is_passed_over_and_said_once(
        self, url: str, dialect: str, columns: dict[str, Any], key: str, said: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        users = [USERS[4] | {"id": 1, "policy_id": 1}]
        fill(url, statements(dialect), policy=[{"id": 1, "spam_kill_level": 3} | columns], users=users)
        with closing(source_of(url, cache_seconds=0.0)) as source, caplog.at_level(logging.WARNING):
            for _ in range(3):
                policy = await policy_of(source, "bob@example.org")
                assert policy.kill_level == 3.0
                assert getattr(policy, key) == getattr(Policy(), key)
        assert [said in record.getMessage() for record in caplog.records] == [True]
        assert "users id 1 with policy id 1" in caplog.records[0].getMessage()

    @pytest.mark.parametrize(
        ("method", "next_hop"),
        [
            ("smtp:[::1]:10027", "[::1]:10027"),
            ("smtp:[IPv6:::1]:10027", "[::1]:10027"),
            ("SMTP:mx.example.org:25", "mx.example.org:25"),
            ("smtp:/run/next.sock", "unix:/run/next.sock"),
            ("", ""),
            ("  ", ""),
        ],
    )
    async def test_ways_to_forward(self, url: str, dialect: str, method: str, next_hop: str) -> None:
        fill(url, statements(dialect), policy=[{"id": 6, "forward_method": method}], users=USERS[4:5])
        with closing(source_of(url)) as source:
            assert (await policy_of(source, "bob@example.org")).next_hop == next_hop

    @pytest.mark.parametrize(("limit", "counts"), [(1, 65_536), (65_536, 65_536), (100_000, 100_000), (0, 0)])
    async def test_a_small_limit_is_raised(self, url: str, dialect: str, limit: int, counts: int) -> None:
        fill(url, statements(dialect), policy=[{"id": 6, "message_size_limit": limit}], users=USERS[4:5])
        with closing(source_of(url)) as source:
            assert (await policy_of(source, "bob@example.org")).message_size_limit == counts

    @pytest.mark.parametrize("missing", ["users", "policy"])
    async def test_a_table_that_is_missing_is_an_error(self, url: str, dialect: str, missing: str) -> None:
        fill(url, [one for one in statements(dialect) if f"TABLE {missing} " not in one])
        with closing(source_of(url)) as source, pytest.raises(PolicyError, match=f"has no table {missing}"):
            await policy_of(source, "bob@example.org")

    async def test_a_recipient_is_remembered_for_a_time(self, url: str, dialect: str) -> None:
        now = [0.0]
        fill(url, statements(dialect), policy=POLICY, users=USERS)
        with closing(source_of(url, cache_seconds=30.0, clock=lambda: now[0])) as source:
            assert (await policy_of(source, "alice@example.org")).kill_level == 9.0
            fill(url, ["UPDATE policy SET spam_kill_level = 1 WHERE id = 6"])
            now[0] = 29.9
            assert (await policy_of(source, "alice@example.org")).kill_level == 9.0
            assert (await policy_of(source, "new@example.org")).kill_level == 1.0
            now[0] = 30.0
            assert (await policy_of(source, "alice@example.org")).kill_level == 1.0

    async def test_memory_is_bounded(self, url: str, dialect: str) -> None:
        fill(url, statements(dialect), policy=POLICY, users=USERS)
        with closing(source_of(url, cache_size=10)) as source:
            found = await source.find([lookup_keys(f"u{number}@example.org") for number in range(600)], [])
            assert {merged(one.entries).kill_level for one in found} == {9.0}
            assert len(source._cache) == 10

    async def test_recipients_of_one_row_share_its_entry(self, url: str, dialect: str) -> None:
        """The lookup knows by this that they are alike."""
        fill(url, statements(dialect), policy=POLICY, users=USERS)
        with closing(source_of(url)) as source:
            found = await source.find([lookup_keys(f"u{number}@example.org") for number in range(3)], [])
        assert len({tuple(map(id, one.entries)) for one in found}) == 1
