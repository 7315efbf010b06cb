"""Files of entries and lists: what is written is read as the same, and what is wrong is said."""

from __future__ import annotations

import csv
import io
import math
import tomllib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter import config
from contentfilter.policy import forms
from contentfilter.policy.change import DropEntry, DropListed, PutEntry, PutListed
from contentfilter.policy.entry import Entry
from contentfilter.policy.exchange.content import Content, content, steps
from contentfilter.policy.exchange.content import changes as changes_of
from contentfilter.policy.exchange.csv_table import read_csv, write_csv
from contentfilter.policy.exchange.reading import SOURCE, Reading
from contentfilter.policy.exchange.toml_table import read_toml, write_toml
from contentfilter.policy.keys import stored_key, written_key
from contentfilter.policy.lists import Effect, ListEntry, canonical_subject
from contentfilter.policy.settings import Local, Policy
from contentfilter.verdict import Action

KEYS = [
    "bob@example.org",
    "bob+lists@example.org",
    "bob",
    "john.doe",
    "@example.org",
    "@.example.org",
    "@.",
    '"a,b\\"c"@example.org',
    '"a b@c"',
    '"=1+1"@example.org',
    "=cmd|'/c'!a0@example.org",
    "-x@example.org",
    "+x@example.org",
    "o'brien@example.org",
    "'x'@example.org",
    "jürgen@xn--bcher-kva.example",
    "юзер@xn--e1afmkfd.example",
    "%_%@example.org",
    "drop-table'--@example.org",
    "default",
    "a?b!c{}|~@example.org",
    "bob@[192.0.2.1]",
]
SUBJECTS = ["alice@example.com", "@example.com", "@.example.com", "alice@", "<>", "192.0.2.0/24", "2001:db8::/32"]
SUBJECTS += ["dkim:example.com", "@.", "=cmd@example.com", "jürgen@example.com", "a'b@example.com"]

TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=20) | st.sampled_from(
    [
        '"',
        "'",
        '""',
        '"a"',
        "'a'",
        "=1+1",
        "+1",
        "-1",
        "@x",
        " a ",
        " ",
        "a,b;c|d",
        "[]",
        "never",
        '"a',
        "\\",
        '"\\"',
        ",",
    ]
)
EXPIRES = st.none() | st.datetimes(
    min_value=datetime(2001, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)
).map(datetime.timestamp)


SETS = ["default", "strict", "a-b_9"]
WITH_SETS = "".join(
    f'[banned.set.{name}]\nrules = [{{ action = "deny", extensions = ["exe"] }}]\n' for name in SETS[1:]
)


def settings_of_kind(name: str) -> st.SearchStrategy[object]:
    default = forms.DEFAULTS[name]
    if isinstance(default, bool):
        return st.booleans()
    if isinstance(default, float):
        return st.floats(allow_nan=False)
    if isinstance(default, int):
        return st.integers(0, 2**62)
    if isinstance(default, tuple):
        return st.lists(st.sampled_from(SETS), max_size=3).map(tuple)
    if not isinstance(default, str):
        return st.sampled_from(type(default))  # type: ignore[arg-type]
    if name.startswith("addr_extension"):
        return st.from_regex(r"[A-Za-z0-9!#$%&'*/=?^_`{|}~.-]{0,9}", fullmatch=True)
    if name.endswith("_admin"):
        return st.sampled_from(["", "admin@example.org", "=x@example.org"])
    if name == "next_hop":
        return st.sampled_from(["", "127.0.0.1:10026", "unix:/run/x y", "[::1]:25"])
    return TEXTS


VALUES = {name: settings_of_kind(name) for name in forms.NAMES}
ONE_SETTING = st.sampled_from(forms.NAMES).flatmap(lambda name: st.tuples(st.just(name), VALUES[name]))
SETTINGS = st.lists(ONE_SETTING, max_size=5, unique_by=lambda one: one[0]).map(
    lambda pairs: tuple(sorted(pairs, key=str))
)
ENTRIES = st.dictionaries(st.sampled_from(KEYS), st.tuples(SETTINGS, EXPIRES), max_size=5)
WHAT = st.sampled_from([(Effect.ALLOW, 0.0), (Effect.DENY, 0.0)]) | st.floats(
    allow_nan=False, allow_infinity=False
).map(lambda score: (Effect.SCORE, score))
LISTED = st.dictionaries(
    st.tuples(st.sampled_from(KEYS), st.sampled_from(SUBJECTS)), st.tuples(WHAT, EXPIRES), max_size=8
)


@st.composite
def contents(draw: st.DrawFn) -> Content:
    entries = [Entry(SOURCE, key, settings, end) for key, (settings, end) in draw(ENTRIES).items()]
    listed = [ListEntry(SOURCE, *pair, *what, end) for pair, (what, end) in draw(LISTED).items()]
    return content(entries, listed)


def test_the_keys_and_subjects_here_are_canonical() -> None:
    for key in KEYS:
        assert stored_key(written_key(key)) == key
    for subject in SUBJECTS:
        assert canonical_subject(subject) == subject


@given(contents())
def test_csv_comes_back_as_it_was(what: Content) -> None:
    reading = Reading()
    read_csv(write_csv(what), reading)
    assert reading.problems == []
    assert reading.content == what


@given(contents())
def test_toml_comes_back_as_it_was(what: Content) -> None:
    reading = Reading()
    read_toml(write_toml(what), reading)
    assert reading.problems == []
    assert reading.content == what


@given(contents())
def test_toml_is_what_the_configuration_takes_as_well(what: Content) -> None:
    taken = config.parse(write_toml(what) + WITH_SETS, "x")
    assert {one.key: (one.settings, one.expires) for one in taken.entries} == {
        key: (one.settings, one.expires) for key, one in what.entries.items()
    }
    listed = {(one.owner, one.subject): (one.effect, one.score, one.expires) for one in taken.listed}
    assert listed == {pair: (one.effect, one.score, one.expires) for pair, one in what.listed.items()}


@given(contents())
def test_no_cell_is_a_formula_for_a_spreadsheet(what: Content) -> None:
    for row in csv.reader(io.StringIO(write_csv(what), newline="")):
        for cell in row:
            assert not cell.startswith(("=", "+", "@", "\t", "\r"))
            assert not cell.startswith("-") or math.isfinite(float(cell))


@given(st.text())
def test_whatever_stands_in_a_file_is_read_or_refused(text: str) -> None:
    for read in (read_csv, read_toml):
        read(text, Reading())
        read(f"type,key,subject,effect,kill_level,expires\n{text}", Reading())


@given(st.lists(st.lists(st.text(max_size=8) | st.sampled_from(["list", "@.", "allow", "6.5", "never", "nan"]))))
def test_whatever_stands_in_cells_is_read_or_refused(rows: list[list[str]]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([["type", "key", "subject", "effect", "local", "banned_rules", "expires"], *rows])
    read_csv(out.getvalue(), Reading())


def problems_of_csv(*lines: str) -> list[str]:
    reading = Reading()
    read_csv("\n".join(lines), reading)
    return [str(problem) for problem in reading.problems]


@pytest.mark.parametrize(
    ("lines", "problems"),
    [
        ([""], ["line 1: must be the names of the columns, with key among them"]),
        (["key,kill_levle"], ["line 1: unknown column 'kill_levle'; did you mean kill_level?"]),
        (["key,local,local"], ["line 1: column local stands there more than once"]),
        (
            ["key,kill_level,local", "bob@x.org,6.5"],
            ["line 2: has 2 cells where the heading has 3: is the line complete?"],
        ),
        (
            ["key,kill_level", "bob@x.org,'6,5'"],
            ["line 2: has 3 cells where the heading has 2: is the line complete?"],
        ),
        (
            ["key;kill_level", "bob@x.org;6,5"],
            ["line 2: bob@x.org: kill_level: must be a number such as 6.5, inf or -inf, not '6,5'"],
        ),
        (['key,spam_subject_tag', 'bob@x.org,"half'], ["line 2: is no CSV, or is cut off: unexpected end of data"]),
        (
            ["key,kill_level", "bob@x.org,1", "BOB@X.ORG,2"],
            ["line 3: bob@x.org: stands at line 2 as well"],
        ),
        (["key,kill_level", "default,1"], [
            ("line 2: 'default': is [policy.default] of the configuration file: "
             'write "@." for everybody, or "default@" for the user of that name')
        ]),
        (["type,key,subject,effect", "list,@.,@x.org,alow"], [
            "line 2: @.: effect: must be allow, deny, or a finite score such as -2.0, not 'alow'; did you mean allow?"
        ]),
        (["type,key,subject,effect", "list,@.,@x.org,inf"], [
            "line 2: @.: effect: must be allow, deny, or a finite score such as -2.0, not 'inf'"
        ]),
        (["type,key", "lists,@."], ["line 2: type: must be policy or list, not 'lists'"]),
        (["key,expires", "@.,31.12.2026"], [
            ("line 2: @.: expires: must be a date such as 2026-12-31, or a date and time such as 2026-12-31T18:00, "
             "or never, not '31.12.2026'")
        ]),
        (["key,local,spam_action", "@.,maybe,discrad", "@x.org,yes,pass", "@y.org,si,pass"], [
            "line 2: @.: local: must be one of auto | yes | no, not 'maybe'",
            ("line 2: @.: spam_action: must be one of pass | discard | reject | defer, not 'discrad'; "
             "did you mean discard?"),
            "line 4: @y.org: local: must be one of auto | yes | no, not 'si'",
        ]),
        (["type,key,subject,effect,local", "policy,@.,@x.org,,", "list,@.,@x.org,allow,yes"], [
            "line 2: @.: subject: must be empty where type is policy",
            "line 3: @.: local: must be empty where type is list",
        ]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_csv_is_said(lines: list[str], problems: list[str]) -> None:
    assert problems_of_csv(*lines) == problems


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ('[policy."bob@x.org"]\nkill_level = ', ["is not TOML, or is cut off: Invalid value (at end of document)"]),
        ("policy = 1", ['policy: must be tables such as [policy."bob@example.org"]']),
        ("[polcy.x]", ["[polcy]: unknown table; known here: policy, list"]),
        ("[bank.x]", ["[bank]: policy banks stand in the configuration file, not in the database"]),
        (
            '\n[policy."bob@x.org"]\nkill_levle = 1\nlocal = "maybe"\nspam_quarantine = "yes"',
            [
                'line 2: [policy."bob@x.org"]: kill_levle: unknown setting; did you mean kill_level?',
                'line 2: [policy."bob@x.org"]: local: must be one of "auto" | "yes" | "no"',
                "line 2: [policy.\"bob@x.org\"]: spam_quarantine: must be true or false, not 'yes'",
            ],
        ),
        (
            '[policy."@."]\nexpires = "2026-12-31"',
            ['line 1: [policy."@."]: expires: must be a date such as 2026-12-31, without quotes'],
        ),
        (
            '[list."@."]\nalow = []\nallow = ["@x.org"]\ndeny = "bob"\nscore = { "@y.org" = nan }',
            [
                'line 1: [list."@."]: alow: unknown key; did you mean allow?',
                'line 1: [list."@."]: deny: must be a list such as ["a", "b"]',
                'line 1: [list."@."]: score: @y.org: must be a finite number, not nan',
            ],
        ),
        (
            '[list."@."]\nallow = ["@x.org"]\ndeny = ["@X.org"]',
            ['line 1: [list."@."]: @.: @x.org: stands at line 1: [list."@."] as well'],
        ),
        (
            '[list."@."]\nallow = ["@x.org"]\nexpires = { "@y.org" = 2026-12-31 }',
            ['line 1: [list."@."]: expires: @y.org: stands neither in allow nor in deny nor in score'],
        ),
        ("a = " + "[" * 5000, ["is nested too deeply"]),
    ],
)
def test_what_is_wrong_with_toml_is_said(text: str, problems: list[str]) -> None:
    reading = Reading()
    read_toml(text, reading)
    assert [str(problem) for problem in reading.problems] == problems


def test_spreadsheets_write_semicolons_and_a_mark_and_that_is_understood() -> None:
    reading = Reading()
    read_csv('Key;Kill_Level;expires\r\n"""@example.org""";6.5;2030-12-31\r\n@.;"""-inf""";\r\n;;\r\n', reading)
    assert reading.problems == []
    assert {key: dict(one.settings) for key, one in reading.content.entries.items()} == {
        "@example.org": {"kill_level": 6.5},
        "@.": {"kill_level": -math.inf},
    }
    assert reading.content.covers == {"kill_level", "expires"}


NOW = content(
    [
        Entry("sql", "a@x.org", (("kill_level", 5.0), ("local", Local.YES)), 1924992000.0),
        Entry("sql", "b@x.org", (("kill_level", 5.0),)),
    ],
    [
        ListEntry("sql", "@.", "@good.example", Effect.ALLOW),
        ListEntry("sql", "@.", "@bad.example", Effect.DENY, expires=1924992000.0),
    ],
)


def planned(wanted: Content, *, replace: bool = False) -> list[Any]:
    return changes_of(steps(NOW, wanted, replace=replace))


def test_what_a_file_does_not_have_stays_unless_it_replaces() -> None:
    wanted = content([Entry("file", "a@x.org", (("kill_level", 5.0),))], [ListEntry("file", "@.", "<>", Effect.DENY)])
    put = [PutEntry("a@x.org", (("kill_level", 5.0),)), PutListed(ListEntry("file", "@.", "<>", Effect.DENY))]
    assert planned(wanted) == put
    assert planned(wanted, replace=True) == [
        put[0],
        DropEntry("b@x.org"),
        put[1],
        DropListed("@.", "@bad.example"),
        DropListed("@.", "@good.example"),
    ]


def test_what_a_file_has_no_column_for_stays_as_it_is() -> None:
    entry = Entry("file", "a@x.org", (("spam_action", Action.PASS),))
    (put,) = planned(Content({"a@x.org": entry}, {}, frozenset({"spam_action", "kill_level"})))
    assert put == PutEntry("a@x.org", (("local", Local.YES), ("spam_action", Action.PASS)), 1924992000.0)


def test_nothing_to_change_is_no_change() -> None:
    assert planned(NOW) == []
    assert planned(NOW, replace=True) == []


def test_toml_gives_one_date_where_all_end_together() -> None:
    both = [ListEntry("sql", "@.", one, Effect.DENY, expires=1924992000.5) for one in ("@a.example", "@b.example")]
    table = tomllib.loads(write_toml(content([], both)))["list"]["@."]
    assert table == {"deny": ["@a.example", "@b.example"], "expires": datetime.fromtimestamp(1924992000.5, UTC)}


def test_every_setting_can_be_exchanged() -> None:
    everything = Entry(SOURCE, "@.", tuple(sorted((name, getattr(Policy(), name)) for name in forms.NAMES)))
    for write, read in ((write_csv, read_csv), (write_toml, read_toml)):
        reading = Reading()
        read(write(content([everything], [])), reading)
        assert reading.content.entries["@."] == everything
