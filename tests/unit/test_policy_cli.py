"""`contentfilter policy`, `lists` and `completion`, on real files and a real SQLite database."""

from __future__ import annotations

import importlib
import json
import os
import pty
import re
import select
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from contentfilter.cli import cli, main
from contentfilter.policy import forms
from contentfilter.policy.change import PutEntry
from contentfilter.policy.database import PolicyDatabase
from contentfilter.policy.entry import Entry
from contentfilter.policy.settings import Policy
from contentfilter.printable import printable
from contentfilter.verdict import Action
from tests.amavis_tables import fill as fill_amavis
from tests.amavis_tables import statements
from tests.unit.users import locked_out, open_place

BIN = Path(sys.executable).parent

FILE = """
[policy.default]
kill_level = 8.0
[policy."@example.org"]
kill_level = 5.0
spam_action = "pass"
expires = 2130-01-01
[list."@example.org"]
deny = ["@evil.example"]
[bank.outgoing]
local_source = true
policy = { spam_action = "reject" }
[domains]
local = ["example.org"]
"""
SETS = """
[banned.set.strict]
rules = [{ action = "deny", extensions = ["exe"] }]
"""


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        assert self.out.isascii()
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


def write_config(directory: Path, more: str = FILE + SETS) -> Path:
    path = directory / "contentfilter.toml"
    path.write_text(f'state_directory = "{directory}"\nhostname = "filter.example.org"\n{more}')
    return path


@pytest.fixture
def run(config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command as the program does, from argv to the exit code."""

    def run(*arguments: str) -> Ran:
        monkeypatch.setenv("CONTENTFILTER_CONFIG", str(config))
        monkeypatch.setattr(sys, "argv", ["contentfilter", *arguments])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as left:
            code = int(left.code or 0)
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture
def database(tmp_path: Path) -> Iterator[PolicyDatabase]:
    opened = PolicyDatabase(f"sqlite:///{tmp_path}/policy.sqlite", timeout=10.0)
    yield opened
    opened.close()


# keys


def test_keys_shows_every_setting_with_its_default(run: Run) -> None:
    shown = run("policy", "keys").out
    for name, field in Policy.model_fields.items():
        (line,) = (line for line in shown.splitlines() if line.startswith(f"{name} "))
        assert str(field.description) in line
    told = {one["name"]: one for one in run("policy", "keys", "--json").json}
    assert list(told) == [line.split()[0] for line in shown.splitlines() if line.split(" ")[0] in Policy.model_fields]
    assert told["spam_action"] == {
        "name": "spam_action",
        "group": "actions",
        "allowed": "pass | discard | reject | defer",
        "choices": ["pass", "discard", "reject", "defer"],
        "default": "discard",
        "meaning": "what to do from kill_level on",
    }
    assert told["tag3_level"]["default"] == "inf"


# set and unset


def test_set_says_what_changes_and_unset_takes_it_back(run: Run, database: PolicyDatabase) -> None:
    first = run("policy", "set", "bob@example.org", "kill_level=6.5", "spam_subject_tag2=***SPAM*** ", "local=true")
    assert first == Ran(0, '+ bob@example.org: kill_level = 6.5, local = yes, spam_subject_tag2 = "***SPAM*** "\n', "")
    again = run("policy", "set", "Bob@Example.ORG", "kill_level=6.5", "tag_level=-inf", "--expires", "2130-12-31")
    assert again.out == (
        "~ bob@example.org: tag_level: not set -> \"-inf\", expires: never -> 2130-12-31\n"
        "= bob@example.org: kill_level is 6.5 already\n"
    )  # fmt: skip
    assert dict(database.entries()["bob@example.org"].settings)["spam_subject_tag2"] == "***SPAM*** "
    assert run("policy", "set", "bob@example.org", "--expires", "never").out == (
        "~ bob@example.org: expires: 2130-12-31 -> never\n"
    )
    assert run("policy", "set", "bob@example.org", "--expires", "never").out == (
        "= bob@example.org: expires is never already\n"
    )
    assert run("policy", "unset", "bob@example.org", "local", "tag_level").out == (
        '~ bob@example.org: local: yes -> not set, tag_level: "-inf" -> not set\n'
    )
    gone = run("policy", "unset", "bob@example.org", "--json").json
    assert [one["change"] for one in gone] == ["removed"]
    assert database.entries() == {}


def test_taking_out_the_last_value_takes_the_entry_out(run: Run, database: PolicyDatabase) -> None:
    run("policy", "set", "bob@", "kill_level=6.5", "--expires", "2130-12-31")
    run("policy", "unset", "bob@", "kill_level")
    assert database.entries() == {}


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["bob@x.org", "kill_levle=6"], 65, "kill_levle: unknown setting; did you mean kill_level?"),
        (["bob@x.org", "kill_level=6,5"], 65, "kill_level: must be a number such as 6.5, inf or -inf, not '6,5'"),
        (["bob@x.org", "spam_action=discrad"], 65, "did you mean discard?"),
        (
            ["bob@x.org", "banned_rules=default,strcit"],
            65,
            "banned_rules: there is no set of banned rules called strcit",
        ),
        (["example.org", "kill_level=6"], 65, '"example.org": looks like a domain without its @: write "@example.org"'),
        (["default", "kill_level=6"], 65, 'write "@." for everybody'),
        (["bob@@x.org", "kill_level=6"], 65, '"bob@@x.org": must be default, "user@example.org"'),
        (["*@x.org", "kill_level=6"], 65, '"*@x.org": must be'),
        (["bob@x.org; DROP TABLE", "kill_level=6"], 65, "must be"),
        (["bob\x1b[2J@x.org", "kill_level=6"], 65, r'"bob\x1b[2J@x.org": must not have control'),
        (["bob@x.org", "kill_level"], 64, '"kill_level" must be NAME=VALUE, such as kill_level=6.5'),
        (["bob@x.org"], 64, "nothing to set: say NAME=VALUE or --expires"),
        (["bob@x.org", "expires=2130-12-31"], 64, "write --expires 2130-12-31"),
        (["bob@x.org", "kill_level=6", "--expires", "soon"], 64, "must be a date such as 2026-12-31"),
        (["bob@x.org", "--expires", "never"], 65, '"bob@x.org": no such entry in the database'),
    ],
)
def test_what_cannot_be_set_is_refused_and_nothing_is_written(
    run: Run, tmp_path: Path, arguments: list[str], code: int, problem: str
) -> None:
    ran = run("policy", "set", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert problem in ran.err
    assert not (tmp_path / "policy.sqlite").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["carol@x.org"], '"carol@x.org": no such entry in the database'),
        (["@example.org"], "it stands in contentfilter.toml, to be edited there"),
        (["bob@x.org", "local"], "bob@x.org: local not set there; set: kill_level"),
        (["bob@x.org", "lokal"], "lokal: unknown setting; did you mean local?"),
    ],
)
def test_what_is_not_set_cannot_be_unset(
    run: Run, database: PolicyDatabase, arguments: list[str], problem: str
) -> None:
    run("policy", "set", "bob@x.org", "kill_level=6.5")
    before = database.generation()
    ran = run("policy", "unset", *arguments)
    assert (ran.code, ran.out) == (65, "")
    assert problem in ran.err
    assert database.generation() == before


def test_nothing_is_written_where_nothing_changes(run: Run, database: PolicyDatabase) -> None:
    run("policy", "set", "bob@x.org", "kill_level=6.5")
    before = database.generation()
    assert run("policy", "set", "bob@x.org", "kill_level=6.50", "--json").json == []
    assert database.generation() == before


def test_who_sets_what_does_not_apply_is_warned(run: Run) -> None:
    ran = run("policy", "set", "bob@x.org", "spam_action=pass", "--expires", "2020-12-31")
    assert ran.code == 0
    assert "warning: bob@x.org expired 2020-12-31: nothing in it applies" in ran.err
    assert "warning: [bank.outgoing] also sets spam_action, and wins for the mail it is about" in ran.err


def test_two_who_set_values_of_one_entry_at_once_both_win(run: Run, config: Path, database: PolicyDatabase) -> None:
    """Each reads the entry and writes it whole: without care the later one would undo the earlier one."""
    run("policy", "set", "bob@x.org", "kill_level=1")
    names = ["tag_level", "tag2_level", "tag3_level", "dsn_cutoff_level"]

    def set_one(name: str) -> int:
        command: list[str | Path] = [
            BIN / "contentfilter",
            "policy",
            "set",
            "--config",
            config,
            "bob@x.org",
            f"{name}=3",
        ]
        return subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(set_one, names)) == [0, 0, 0, 0]
    assert dict(database.entries()["bob@x.org"].settings) == {"kill_level": 1.0, **dict.fromkeys(names, 3.0)}


@pytest.mark.parametrize(("others", "code"), [(1, 0), (19, 0), (20, 75)])
def test_who_is_always_overtaken_gives_up_in_the_end(
    run: Run, monkeypatch: pytest.MonkeyPatch, database: PolicyDatabase, others: int, code: int
) -> None:
    overtaken = iter(range(others))
    read = PolicyDatabase.entries

    def overtake(self: PolicyDatabase, keys: Any = None) -> dict[str, Entry]:
        found = read(self, keys)
        for number in overtaken:
            database.apply([PutEntry("bob@x.org", (("tag_level", float(number)),))])
            break
        return found

    monkeypatch.setattr(PolicyDatabase, "entries", overtake)
    assert run("policy", "set", "bob@x.org", "kill_level=1").code == code
    mine = {"kill_level": 1.0} if code == 0 else {}
    assert dict(read(database)["bob@x.org"].settings) == {**mine, "tag_level": others - 1.0}


ODD = [
    ("bob+lists@example.org", "bob+lists@example.org", "bob+lists@example.org"),
    ('"a@b"@example.org', '"a@b"@example.org', '"A@B"@example.org'),
    ('"a b"@example.org', '"a b"@example.org', '"a b"@example.org'),
    ("jürgen@bücher.example", "jürgen@xn--bcher-kva.example", "Jürgen@BÜCHER.example"),
    ("BOB@EXAMPLE.ORG", "bob@example.org", "bob+x@example.org"),
    ("postmaster@", "postmaster@", "postmaster@elsewhere.example"),
    ("postmaster", "postmaster@", "postmaster"),
    ("john.doe@", "john.doe@", "john.doe@elsewhere.example"),
    ("default@", "default@", "default@elsewhere.example"),
    ("o'brien@example.org", "o'brien@example.org", "o'brien@example.org"),
    ("100%_x@example.org", "100%_x@example.org", "100%_x@example.org"),
    ("bob@[192.0.2.1]", "bob@[192.0.2.1]", "bob@[192.0.2.1]"),
    ("@.", "@.", "anybody@elsewhere.example"),
    ("@Example.ORG", "@example.org", "bob@example.org"),
    ("@.Example.ORG", "@.example.org", "bob@deep.below.example.org"),
]


@pytest.mark.parametrize(("written", "canonical", "address"), ODD)
def test_odd_addresses_are_kept_and_found_as_they_are(run: Run, written: str, canonical: str, address: str) -> None:
    assert run("policy", "set", written, "kill_level=1.5").out == f"+ {canonical}: kill_level = 1.5\n"
    (got,) = run("policy", "get", address, "kill_level", "--explain", "--json").json["settings"]
    assert (got["value"], got["origin"]["source"]) == (1.5, "sql")
    assert run("policy", "get", "100xyx@example.com", "kill_level").out.endswith("8.0\n") or canonical == "@."
    assert run("policy", "unset", written).code == 0


def test_where_case_counts_two_spellings_are_two_people(run: Run, tmp_path: Path) -> None:
    write_config(tmp_path, "[domains]\ncase_sensitive = true\n")
    run("policy", "set", "Bob@x.org", "kill_level=1")
    assert run("policy", "get", "bob@x.org", "kill_level").out.endswith("kill_level = 6.9\n")
    assert run("policy", "get", "Bob@X.ORG", "kill_level").out.endswith("kill_level = 1.0\n")
    assert [one["key"] for one in run("policy", "list", "--json").json] == ["Bob@x.org"]


# get


def test_get_finds_what_the_filter_would_find_and_says_where(run: Run) -> None:
    run("policy", "set", "bob@example.org", "kill_level=6.5", "local=no", "--expires", "2130-12-31")
    run("policy", "set", "@.", "kill_level=4", "tag_level=1", "--expires", "2020-01-01")
    assert run("policy", "get", "Bob+x@example.org", "kill_level", "spam_action", "tag_level", "--explain").out == (
        "Bob+x@example.org is not local, by the setting\n"
        "* kill_level = 6.5\n"
        "      from bob@example.org in sql, until 2130-12-31\n"
        "      shadows 5.0 from @example.org in contentfilter.toml, until 2130-01-01\n"
        "      shadows 8.0 from [policy.default] in contentfilter.toml\n"
        "* spam_action = pass\n"
        "      from @example.org in contentfilter.toml, until 2130-01-01\n"
        "  tag_level = 2.0\n"
        "      from the built-in default\n"
    )


def test_get_shows_every_setting_and_marks_what_differs(run: Run) -> None:
    lines = run("policy", "get", "alice@example.com").out.splitlines()
    assert lines[0] == "alice@example.com is not local, by [domains] local"
    assert [line for line in lines if line.startswith("*")] == ["* kill_level = 8.0"]
    assert len(lines) == 1 + len(Policy.model_fields)
    assert run("policy", "get", "alice@EXAMPLE.ORG", "local").out.splitlines()[0] == (
        "alice@EXAMPLE.ORG is local, by [domains] local"
    )


def test_get_about_a_mail_shows_banks_and_the_list_entry_that_decides(run: Run) -> None:
    run("lists", "add", "site", "@evil.example", "allow", "--expires", "2130-12-31")
    about = ["--sender", "x@evil.example", "--local-source", "--json", "--explain"]
    got = run("policy", "get", "bob@example.org", "spam_action", *about).json
    assert got["listing"] == {
        "source": "sql",
        "owner": "@.",
        "subject": "@evil.example",
        "effect": "allow",
        "score": None,
        "expires": got["listing"]["expires"],
        "expired": False,
    }
    (one,) = got["settings"]
    assert (one["value"], one["origin"]) == ("reject", {"source": "bank", "key": "outgoing", "expires": None})
    assert [(lost["key"], lost["value"]) for lost in one["shadowed"]] == [("@example.org", "pass")]
    text = run("policy", "get", "bob@example.org", "spam_action", "--sender", "x@evil.example", "--explain").out
    assert "this list entry decides: @.  @evil.example  allow  (sql, until 2130-12-31)" in text
    assert "no list has the sender" in run("policy", "get", "bob@example.org", "--client", "192.0.2.1").out


def test_a_sender_that_is_not_given_is_not_the_null_sender(run: Run) -> None:
    run("lists", "add", "@.", "<>", "deny")
    run("lists", "add", "@.", "@.", "1.5")

    def effect(*mail: str) -> Any:
        return run("policy", "get", "bob@x.org", "local", "--json", *mail).json["listing"]

    assert effect() is None
    assert effect("--local-source") is None
    assert effect("--client", "192.0.2.1")["effect"] == "score"
    assert effect("--sender", "")["effect"] == "deny"
    assert effect("--sender", "<>", "--client", "192.0.2.1")["effect"] == "deny"


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["bob@x.org", "kil_level"], 65, "kil_level: unknown setting; did you mean kill_level?"),
        (["bob@x.org", "--client", "example.org"], 65, '--client: must be an IP address, not "example.org"'),
        (["bob@x.org", "--listener", "127.0.0.1:1"], 65, "--listener: must be one of 127.0.0.1:10025, not"),
        ([], 64, "Missing argument"),
    ],
)
def test_what_get_cannot_look_up_is_refused(run: Run, arguments: list[str], code: int, problem: str) -> None:
    ran = run("policy", "get", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert problem in ran.err


HOSTILE = "pay\x1b]0;owned\x07 \x1b[2J\x9b31m\u202e\udcff@x.org"


def test_hostile_addresses_drive_no_terminal(run: Run) -> None:
    ran = run("policy", "get", HOSTILE, "kill_level", "--sender", HOSTILE)
    assert ran.code == 0
    assert all(line == printable(line) for line in ran.out.splitlines())
    assert run("policy", "get", HOSTILE, "kill_level", "--json").json["address"] == HOSTILE
    for code, *arguments in (
        (65, "policy", "unset", HOSTILE),
        (65, "policy", "get", "bob@x.org", HOSTILE),
        (65, "lists", "add", HOSTILE, "@x.org", "allow"),
        (65, "lists", "add", "@.", HOSTILE, "allow"),
        (64, "policy", "set", "bob@x.org", HOSTILE),
        (64, "policy", "set", "bob@x.org", "--expires", HOSTILE),
        (64, "policy", f"--{HOSTILE}"),
        (66, "policy", "import", "--yes", f"{HOSTILE}.csv"),
    ):
        refused = run(*arguments)
        assert (refused.code, refused.out) == (code, "")
        assert all(line == printable(line) for line in refused.err.splitlines()), refused.err


# list


def test_list_shows_entries_of_every_source(run: Run) -> None:
    run("policy", "set", "bob@example.org", "kill_level=6.5")
    run("policy", "set", "carol@", "kill_level=inf", "--expires", "2020-12-31")
    assert run("policy", "list").out.splitlines() == [
        "bob@example.org  kill_level=6.5  (sql)",
        "carol@  kill_level=inf  (sql, EXPIRED 2020-12-31)",
        "@example.org  kill_level=5.0 spam_action=pass  (contentfilter.toml, until 2130-01-01)",
        "default  kill_level=8.0  (contentfilter.toml)",
    ]
    (expired,) = run("policy", "list", "--expired", "--json").json
    assert (expired["key"], expired["settings"], expired["expired"]) == ("carol@", {"kill_level": "inf"}, True)


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["EXAMPLE"], ["bob@example.org", "@example.org"]),
        (["*@example.org"], ["bob@example.org", "@example.org"]),
        (["?@x.org"], []),
        (["b*[192.0.2.?]"], ["bob@[192.0.2.1]"]),
        (["%"], []),
        (["--source", "file"], ["@example.org", "default"]),
        (["--source", "sql", "[192"], ["bob@[192.0.2.1]"]),
    ],
)
def test_list_takes_a_pattern_and_a_source(run: Run, arguments: list[str], keys: list[str]) -> None:
    for key in ("bob@example.org", "bob@[192.0.2.1]"):
        run("policy", "set", key, "kill_level=6.5")
    assert [one["key"] for one in run("policy", "list", "--json", *arguments).json] == keys


def test_an_amavis_database_is_listed_and_explained_between_ours_and_the_files(run: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/amavis.sqlite"
    fill_amavis(
        url,
        statements("sqlite"),
        policy=[{"id": 1, "spam_kill_level": 4.5, "spam_tag_level": -1, "banned_rulenames": "strict"}],
        users=[{"id": 1, "priority": 7, "policy_id": 1, "email": "@example.org"}],
    )
    write_config(tmp_path, f'[policies]\namavis_database = "{url}"\n[policy."@."]\nkill_level = 3\ntag_level = 3')
    run("policy", "set", "bob@example.org", "kill_level=6.5")
    (one,) = run("policy", "list", "--source", "amavis", "--json").json
    assert (one["source"], one["key"], one["settings"]["banned_rules"]) == (
        "amavis",
        "@example.org",
        ["strict", "default"],
    )
    assert [one["source"] for one in run("policy", "list", "--json").json] == ["sql", "amavis", "contentfilter.toml"]
    assert run("policy", "get", "bob@example.org", "kill_level", "tag_level", "--explain").out.splitlines()[1:] == [
        "* kill_level = 6.5",
        "      from bob@example.org in sql",
        "      shadows 4.5 from @example.org in amavis",
        "      shadows 3.0 from @. in contentfilter.toml",
        "* tag_level = -1.0",
        "      from @example.org in amavis",
        "      shadows 3.0 from @. in contentfilter.toml",
    ]


# lists


def test_list_entries_come_change_and_go(run: Run) -> None:
    assert run("lists", "add", "site", "@News.Example", "-2").out == "+ list @.: @news.example: -2.0\n"
    assert run("lists", "add", "@.", "@news.example", "deny", "--expires", "2130-12-31").out == (
        "~ list @.: @news.example: -2.0 -> deny until 2130-12-31\n"
    )
    assert run("lists", "add", "@.", "@news.example", "deny").out == "= list @.: @news.example: deny already\n"
    assert run("lists", "add", "bob@example.org", "192.0.2.77/24", "allow").code == 0
    assert run("lists", "show").out.splitlines() == [
        "@.  @news.example  deny  (sql, until 2130-12-31)",
        "bob@example.org  192.0.2.0/24  allow  (sql)",
        "@example.org  @evil.example  deny  (contentfilter.toml)",
    ]
    assert run("lists", "show", "@example.org").out == "@example.org  @evil.example  deny  (contentfilter.toml)\n"
    everything = run("lists", "show", "Bob@example.org", "--all", "--json").json
    assert [one["owner"] for one in everything] == ["bob@example.org", "@.", "@example.org"]
    assert run("lists", "remove", "site", "@news.example").out == "- list @.: @news.example: deny until 2130-12-31\n"
    assert [one["owner"] for one in run("lists", "show", "--json").json] == ["bob@example.org", "@example.org"]


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["add", "@.", "@x.org", "alow"], 65, "not 'alow'; did you mean allow?"),
        (["add", "@.", "@x.org", "inf"], 65, "must be allow, deny, or a finite score such as -2.0, not 'inf'"),
        (["add", "@.", "example.com", "allow"], 65, 'must be a sender such as "alice@example.com"'),
        (["add", "@.", "192.0.2.0/99", "allow"], 65, "a network such as"),
        (["add", "example.org", "@x.org", "allow"], 65, "looks like a domain without its @"),
        (["add", "@.", "@x.org"], 64, "Missing argument"),
        (["add", "@.", "@x.org", "allow", "--expire", "2130-01-01"], 64, ""),
        (["remove", "@.", "@good.exmple"], 65, "did you mean @good.example?"),
        (["remove", "@example.org", "@evil.example"], 65, "it stands in contentfilter.toml, to be edited there"),
        (["show", "--all"], 64, "--all needs a recipient"),
    ],
)
def test_wrong_list_entries_are_refused(run: Run, arguments: list[str], code: int, problem: str) -> None:
    run("lists", "add", "@.", "@good.example", "allow")
    ran = run("lists", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert problem in ran.err
    assert [one["subject"] for one in run("lists", "show", "@.", "--json").json] == ["@good.example"]


# export and import


def fill(run: Run) -> None:
    run(
        "policy",
        "set",
        '"a,b"@example.org',
        "kill_level=inf",
        'spam_subject_tag=a, "b" ',
        "banned_rules=strict,default",
    )
    run("policy", "set", "@example.org", "tag_level=-inf", "spam_subject_tag==1+1", "--expires", "2130-12-31T12:00")
    run("policy", "set", "jürgen@", "spam_subject_tag=")
    run("lists", "add", "@.", "@news.example", "-2.25", "--expires", "2130-12-31")
    run("lists", "add", "@.", "<>", "allow")


@pytest.mark.parametrize("form", ["toml", "csv"])
@pytest.mark.parametrize("to_file", [True, False])
def test_what_was_exported_can_be_imported_elsewhere(
    run: Run, database: PolicyDatabase, tmp_path: Path, form: str, to_file: bool
) -> None:
    fill(run)
    entries, listed = database.entries(), database.listed()
    file = tmp_path / f"all.{form}"
    exported = run("policy", "export", str(file)) if to_file else run("policy", "export", "--format", form)
    assert exported.code == 0
    if not to_file:
        file.write_text(exported.out)
    assert run("policy", "import", "--yes", str(file)).out == "0 added, 0 changed, 0 removed\n"
    for key in entries:
        run("policy", "unset", key if key != "jürgen" else "jürgen@")
    for one in listed:
        run("lists", "remove", one.owner, one.subject)
    assert (database.entries(), database.listed()) == ({}, ())
    done = run("policy", "import", "--yes", str(file))
    assert done.out.splitlines()[-2:] == ["5 added, 0 changed, 0 removed", "written"]
    assert (database.entries(), database.listed()) == (entries, listed)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("all") or ".all" in path.name) == [
        file.name
    ]


def test_an_export_is_a_policy_file_as_well(run: Run, tmp_path: Path) -> None:
    fill(run)
    (tmp_path / "elsewhere").mkdir()
    other = write_config(tmp_path / "elsewhere", f'[policies]\nfile = "policy.toml"\n{SETS}')
    run("policy", "export", str(other.parent / "policy.toml"))
    ours = run("policy", "list", "--source", "sql", "--json").json
    theirs = run("policy", "list", "--source", "file", "--json", "--config", str(other)).json
    assert len(ours) == 3
    assert _without_source(ours) == _without_source(theirs)
    ours = run("lists", "show", "@.", "--json").json
    theirs = run("lists", "show", "--json", "--config", str(other)).json
    assert len(ours) == 2
    assert _without_source(ours) == _without_source(theirs)


def _without_source(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(({**one, "source": ""} for one in entries), key=str)


def test_import_shows_what_would_change_and_writes_it_only_when_told(
    run: Run, database: PolicyDatabase, tmp_path: Path
) -> None:
    for key in ("a@x.org", "b@x.org"):
        run("policy", "set", key, "kill_level=5", "local=yes")
    file = tmp_path / "new.toml"
    file.write_text(
        '[policy."b@x.org"]\nkill_level = 6\n[policy."c@x.org"]\nkill_level = 7\n[list."@."]\ndeny=["<>"]\n'
    )
    before = database.entries()
    diff = [
        "~ b@x.org: kill_level: 5.0 -> 6.0, local: yes -> not set",
        "+ c@x.org: kill_level = 7.0",
        "+ list @.: <>: deny",
        "2 added, 1 changed, 0 removed",
    ]
    assert run("policy", "import", "--dry-run", str(file)).out.splitlines() == diff
    replacing = run("policy", "import", "-n", "--replace", str(file)).out.splitlines()
    assert replacing == ["- a@x.org: kill_level = 5.0, local = yes", *diff[:3], "2 added, 1 changed, 1 removed"]
    told = run("policy", "import", "-n", "--json", str(file)).json
    assert told["changes"][0]["settings"][0] == {"name": "kill_level", "before": "5.0", "after": "6.0"}
    unasked = run("policy", "import", str(file))
    assert (unasked.code, unasked.out) == (64, "")
    assert "nobody can be asked here: say --yes to write, or --dry-run" in unasked.err
    assert database.entries() == before
    assert run("policy", "import", "--yes", "--replace", str(file)).code == 0
    assert sorted(database.entries()) == ["b@x.org", "c@x.org"]


def test_if_anything_is_wrong_nothing_is_written_and_all_of_it_is_said(
    run: Run, database: PolicyDatabase, tmp_path: Path
) -> None:
    run("policy", "set", "a@x.org", "kill_level=5")
    before = database.generation()
    file = tmp_path / "bad.csv"
    good = [f"u{number}@x.org,1" for number in range(5)]
    file.write_text("\n".join(["key,kill_level", *good, *(f"v{number}@x.org,x" for number in range(30)), ""]))
    ran = run("policy", "import", "--yes", str(file))
    assert (ran.code, ran.out) == (65, "")
    lines = ran.err.splitlines()
    assert lines[0] == (
        f"contentfilter: {file}: line 7: v0@x.org: kill_level: must be a number such as 6.5, inf or -inf, not 'x'"
    )
    assert lines[20:] == [
        f"contentfilter: {file}: and 10 more",
        f"contentfilter: {file}: 30 problems; nothing was written",
    ]
    assert database.generation() == before


@pytest.mark.parametrize("form", ["toml", "csv"])
def test_a_file_cut_off_within_a_line_is_never_taken_for_a_whole_one(run: Run, tmp_path: Path, form: str) -> None:
    """Half a date, or half a number, can look like a whole one."""
    fill(run)
    whole = run("policy", "export", "--format", form).out
    file = tmp_path / f"cut.{form}"
    for cut in (*range(1, len(whole), 37), *range(len(whole) - 30, len(whole))):
        file.write_text(whole[:cut])
        ran = run("policy", "import", "--dry-run", str(file))
        assert ran.code == 65 or whole[cut - 1] == "\n", whole[:cut]
        assert "Traceback" not in ran.err
    file.write_text(whole)
    assert run("policy", "import", "--dry-run", str(file)).code == 0


@pytest.mark.parametrize(
    ("name", "content", "code", "problem"),
    [
        ("none.toml", None, 66, "none.toml: cannot be read: No such file or directory"),
        ("latin.csv", b"key,spam_subject_tag\n@.,\xe4\n", 65, "latin.csv: is not UTF-8 (byte 24)"),
        ("all.txt", b"", 64, "FILE has no ending .toml or .csv: say --format"),
        ("half.toml", b'[policy."@."]\nkill_level = \n', 65, "half.toml: is not TOML, or is cut off: Invalid value"),
        ("nul.csv", b"key,spam_subject_tag\n@.,a\0b\n", 65, "spam_subject_tag: must not have control characters"),
        (
            "sets.csv",
            b"key,banned_rules\n@.,strcit\n",
            65,
            "sets.csv: line 2: @.: banned_rules: there is no set of banned rules called strcit; did you mean strict?",
        ),
        ("cut.csv", b"key,expires\n@.,2130-12-3", 65, "cut.csv: its last line has no end: is it complete?"),
        ("empty.csv", b"", 65, "line 1: must be the names of the columns, with key among them"),
    ],
)
def test_what_cannot_be_imported_says_why(
    run: Run, tmp_path: Path, name: str, content: bytes | None, code: int, problem: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    ran = run("policy", "import", "--yes", str(tmp_path / name))
    assert (ran.code, ran.out) == (code, "")
    assert problem in ran.err
    assert not (tmp_path / "policy.sqlite").exists()


def test_an_export_that_cannot_be_written_says_so_and_leaves_what_was_there(run: Run, tmp_path: Path) -> None:
    ran = run("policy", "export", str(tmp_path / "no" / "where.toml"))
    assert (ran.code, ran.out) == (73, "")
    assert "where.toml: cannot be written: No such file or directory" in ran.err


class Terminal:
    """A program whose stdin, stdout and stderr are a terminal."""

    def __init__(self, command: list[str | Path], **more: str) -> None:
        self._ours, theirs = pty.openpty()
        environment = {**os.environ, "COLUMNS": "200", "TERM": "dumb", **more}
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        self.seen = ""

    def wait_for(self, text: str) -> None:
        while text not in self.seen:
            ready, _, _ = select.select([self._ours], [], [], 60)
            assert ready, self.seen
            try:
                self.seen += os.read(self._ours, 65536).decode()
            except OSError:
                raise AssertionError(self.seen) from None

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        try:
            while chunk := os.read(self._ours, 65536):
                self.seen += chunk.decode()
        except OSError:
            pass
        os.close(self._ours)
        return self.process.wait(60)


def test_of_two_imports_at_once_the_second_writes_nothing(
    run: Run, config: Path, database: PolicyDatabase, tmp_path: Path
) -> None:
    """What was shown and agreed to would not be what is written."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.toml").write_text(f'[policy."{name}@x.org"]\nkill_level = 1\n')
    asked = Terminal([BIN / "contentfilter", "policy", "import", "--config", config, tmp_path / "one.toml"])
    asked.wait_for("Write this to the database?")
    assert "+ one@x.org: kill_level = 1.0" in asked.seen
    assert run("policy", "import", "--yes", str(tmp_path / "two.toml")).code == 0
    asked.type("y\n")
    assert asked.end() == 75
    assert "changed by somebody else in the meantime; nothing was changed, run the command again" in asked.seen
    assert list(database.entries()) == ["two@x.org"]


def test_who_says_no_writes_nothing(config: Path, database: PolicyDatabase, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text('[policy."one@x.org"]\nkill_level = 1\n')
    asked = Terminal([BIN / "contentfilter", "policy", "import", "--config", config, tmp_path / "one.toml"])
    asked.wait_for("Write this to the database?")
    asked.type("n\n")
    assert asked.end() == 130
    assert database.entries() == {}


# what is in the way


COMMANDS = [
    ["policy", "get", "bob@x.org"],
    ["policy", "list"],
    ["policy", "set", "bob@x.org", "kill_level=1"],
    ["policy", "unset", "bob@x.org"],
    ["policy", "export"],
    ["lists", "show"],
    ["lists", "add", "@.", "@x.org", "allow"],
    ["lists", "remove", "@.", "@x.org"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_database_that_is_away_ends_the_command_with_advice(run: Run, tmp_path: Path, command: list[str]) -> None:
    write_config(tmp_path, f'[policies]\ndatabase = "sqlite:///{tmp_path}/gone/policy.sqlite"\n')
    ran = run(*command)
    assert (ran.code, ran.out) == (69, "")
    assert "; the filter makes state_directory when it is started for the first time" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_wrong_configuration_is_exit_78(run: Run, tmp_path: Path, command: list[str]) -> None:
    write_config(tmp_path, "[policy.default]\nkill_levle = 3\n")
    ran = run(*command)
    assert (ran.code, ran.out) == (78, "")
    assert "did you mean kill_level?" in ran.err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_who_may_not_is_told_who_may(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    with open_place() as place:
        (place / "state").mkdir()
        config = place / "contentfilter.toml"
        config.write_text(f'state_directory = "{place}/state"\nhostname = "filter.example.org"\n')
        config.chmod(0o644)
        monkeypatch.setenv("CONTENTFILTER_CONFIG", str(config))
        monkeypatch.setattr(sys, "argv", ["contentfilter", "policy", "get", "warm@up.example"])
        main()  # all modules are loaded by somebody who may
        monkeypatch.setattr(sys, "argv", ["contentfilter", *command])
        with locked_out(place / "state"), pytest.raises(SystemExit) as left:
            main()
    assert left.value.code == 77
    assert "; only the filter's user and root may" in capsys.readouterr().err


def test_who_may_read_and_not_write_is_told_so(run: Run, tmp_path: Path, database: PolicyDatabase) -> None:
    database.apply([PutEntry("bob@x.org", (("spam_action", Action.PASS),))])
    database.close()
    with sqlite3.connect(tmp_path / "policy.sqlite") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    held = sqlite3.connect(tmp_path / "policy.sqlite", isolation_level=None)
    held.execute("BEGIN EXCLUSIVE")
    write_config(tmp_path, "[policies]\ntimeout = 0.2\n")
    try:
        ran = run("policy", "set", "bob@x.org", "kill_level=1")
    finally:
        held.close()
    assert ran.code == 75
    assert "another process writes to it: try again" in ran.err


MESSAGE = b"From: a@x.example\r\nDate: Thu, 26 Nov 2026 08:00:00 +0000\r\nSubject: x\r\n\r\nhello\r\n"


def check(config: Path, *arguments: str) -> Any:
    """In a process of its own: it sets up the log."""
    command = [BIN / "contentfilter", "check", "--json", "--config", config, config.with_name("message"), *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["recipients"]


def test_check_needs_no_database_where_the_filter_never_ran(config: Path, tmp_path: Path) -> None:
    state = tmp_path / "never"
    config.write_text(f'state_directory = "{state}"\n[clamav]\nenabled = false\n[spamassassin]\nenabled = false\n')
    (tmp_path / "message").write_bytes(MESSAGE)
    assert check(config)[0]["category"] == "clean"
    assert not state.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (("none",), 66, "none: cannot be read: No such file or directory"),
        ((".",), 66, ".: cannot be read: Is a directory"),
        (("message", "--client", "192.0.2.300"), 65, '--client: must be an IP address, not "192.0.2.300"'),
        (
            ("message", "--listener", "127.0.0.1:1"), 65,
            '--listener: must be one of 127.0.0.1:10025, not "127.0.0.1:1"',
        ),
    ],
)  # fmt: skip
def test_what_check_cannot_judge(
    config: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, problem: str
) -> None:
    (tmp_path / "message").write_bytes(MESSAGE)
    command = [BIN / "contentfilter", "check", "--config", config, *arguments]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (code, "", f"contentfilter: {problem}\n")


def test_check_by_somebody_who_may_not_look_into_the_database_is_no_deferral(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contentfilter.maillog.set_up", lambda *_: None)
    for module in (
        "worker",
        "presentation",
        "inspectors.spamd",
    ):  # while we may still read Python's files, wherever they are
        importlib.import_module(f"contentfilter.{module}")
    with open_place() as place:
        (place / "state").mkdir()
        (place / "message").write_bytes(MESSAGE)
        shared = place / "c.toml"
        shared.write_text(f'state_directory = "{place}/state"\n')
        run("policy", "set", "@.", "kill_level=1", "--config", str(shared))
        with locked_out(place / "state"):
            ran = run("check", str(place / "message"), "--config", str(shared))
    assert (ran.code, ran.out) == (77, "")
    assert ran.err.endswith("policy.sqlite'; only the filter's user and root may\n")


def test_check_judges_by_what_was_set(run: Run, config: Path, tmp_path: Path) -> None:
    write_config(tmp_path, "[clamav]\nenabled = false\n[spamassassin]\nenabled = false\n")
    (tmp_path / "message").write_bytes(MESSAGE)
    run("policy", "set", "bob@example.org", "kill_level=-5")
    run("lists", "add", "bob@example.org", "@bad.example", "deny")
    arguments = ["--rcpt", "bob@example.org", "--rcpt", "carol@example.org", "--mail-from", "x@bad.example"]
    judged = check(config, *arguments)
    assert [(one["category"], one["kill_level"]) for one in judged] == [("spam", -5.0), ("clean", 6.9)]


# completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_each_shell(run: Run, shell: str) -> None:
    ran = run("completion", shell)
    assert ran.code == 0
    assert "_CONTENTFILTER_COMPLETE" in ran.out


BASH = """
eval "$(contentfilter completion bash)"
compopt() { echo "compopt $1 $2"; }
COMP_LINE=$1 COMP_POINT=${#1}
_contentfilter_completion contentfilter
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("contentfilter pol", ["policy"]),
        ("contentfilter policy ", ["export", "get", "import", "keys", "list", "set", "unset"]),
        ("contentfilter policy get bob@example.org kill", ["kill_level"]),
        ("contentfilter policy get bob@example.org kill_level kill", [""]),
        ("contentfilter policy set bob@example.org spam_act", ["compopt -o nospace", "spam_action="]),
        ("contentfilter policy set bob@example.org spam_action=", ["pass", "discard", "reject", "defer"]),
        ("contentfilter policy set bob@example.org local=yes spam_action=d", ["discard", "defer"]),
        ("contentfilter policy set bob@example.org spam_lover=", ["true", "false"]),
        ("contentfilter policy set bob@example.org nonsense=", [""]),
        ("contentfilter lists add bob@example.org @example.com ", ["allow", "deny"]),
        ("contentfilter lists add bob@example.org @example.com a", ["allow"]),
        ("contentfilter completion ", ["bash", "zsh", "fish"]),
    ],
)
def test_bash_completes(line: str, replies: list[str]) -> None:
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    ran = subprocess.run(
        ["bash", "-c", BASH, "bash", line], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines() == replies


def test_the_tab_key_works_in_a_real_bash(config: Path, database: PolicyDatabase) -> None:
    """Bash cuts words at = and @ before it asks us, and puts what we say behind the cut."""
    bash = Terminal(
        ["bash", "--norc", "--noprofile", "-i"],
        PATH=f"{BIN}:{os.environ['PATH']}",
        PS1="ready> ",
        CONTENTFILTER_CONFIG=str(config),
        INPUTRC="/dev/null",
    )
    bash.wait_for("ready> ")
    bash.type('eval "$(contentfilter completion bash)"; echo lo""aded\n')
    bash.wait_for("loaded")
    bash.type("contentfilter pol\tset bob@example.org spam_act\t")
    bash.wait_for("spam_action=")
    bash.type("disc\t")
    bash.wait_for("spam_action=discard ")
    bash.type("\n")
    bash.wait_for("spam_action = discard")
    bash.type("exit\n")
    bash.end()
    assert dict(database.entries()["bob@example.org"].settings) == {"spam_action": Action.DISCARD}


def test_every_command_has_help_and_the_common_options() -> None:
    for group in ("policy", "lists"):
        for name, command in cli.get_command(click.Context(cli), group).commands.items():  # type: ignore[attr-defined]
            shown = CliRunner().invoke(cli, [group, name, "--help"]).output
            assert "--json" in shown
            assert name == "keys" or "--config" in shown
            assert re.search(r"\n  [A-Z]", shown), command


def test_words_of_settings_are_known_to_the_completion() -> None:
    assert forms.choices("spam_action") == tuple(one.value for one in Action)


# what goes before all of it


def test_config_check_refuses_what_the_daemon_would_refuse(run: Run, config: Path) -> None:
    assert run("config", "check").out == f"{config}: ok\n"
    config.write_text('[policies]\ndatabase = "mysql://u:secret@h/d"\n')
    for command in (("config", "check"), ("doctor",), ("serve",)):
        ran = run(*command)
        problem = "[policies] database: mysql will not do: use SQLite or PostgreSQL"
        assert (ran.code, ran.out, ran.err) == (78, "", f"contentfilter: {config}: {problem}\n")


def test_an_amavis_database_that_is_not_there_is_no_matter_of_the_state_directory(run: Run, config: Path) -> None:
    config.write_text(f'{config.read_text()}\n[policies]\namavis_database = "sqlite:////nowhere/amavis"\n')
    ran = run("policy", "list")
    assert ran.code == 69
    assert "/nowhere/amavis" in ran.err
    assert "see [policies] in the configuration" in ran.err


def test_help_on_completion_has_a_line_for_each_shell(run: Run) -> None:
    lines = [line.strip() for line in run("completion", "--help").out.splitlines()]
    for shell, place in (
        ("bash", "/etc/bash_completion.d/contentfilter"),
        ("zsh", "/usr/share/zsh/vendor-completions/_contentfilter"),
        ("fish", "/etc/fish/completions/contentfilter.fish"),
    ):
        assert f"{shell}: contentfilter completion {shell} >{place}" in [" ".join(line.split()) for line in lines]


def test_a_full_disk_behind_the_output_is_said_without_a_traceback(config: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [BIN / "contentfilter", "policy", "keys"]
        ran = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ran.returncode, ran.stderr) == (74, "contentfilter: No space left on device\n")
