"""Postfix itself reads the same tables and finds the same: `postmap -q` on regexp and pcre tables, line by line."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contentfilter.rules import TableKind, parse

POSTMAP = shutil.which("postmap", path="/usr/sbin:/sbin:/usr/bin:/bin") or "postmap"

LINES = [
    *("Subject: hello world", "Subject: HELLO", "Subject:hello", "subject: x", "X-Mailer: a/b", "To: bob@example.org"),
    *(
        "aaa",
        "abab",
        "b",
        "a b",
        "foo123bar",
        "foo12",
        "(paren)",
        "a.b",
        "axb",
        "-",
        "x|y",
        "#hash",
        "price $5",
        "tail ",
    ),
    *("Received: from mail.example.org (unknown [192.0.2.1])", "Date: Mon, 1 Jan 2001 10:00:00 +0000"),
]

BOTH = [
    "/^Subject: (.*)/ WARN got $1",
    "/^subject: hello/i WARN exact\n/hello/ INFO any",
    "/a/ DUNNO\n/b/ WARN b\n/./ INFO rest",
    "!/^[A-Z]/ WARN small",
    "!!/^[A-Z]/ WARN large",
    "! /b/ WARN without b",
    "if /^Subject:/\n/hello/ WARN one\n/./ WARN two\nendif\n/./ INFO three",
    "if !/^Subject:/\nif /a/\n/b/ WARN a and b\nendif\n/a/ WARN a\nendif",
    "IF /a/\n!/b/ WARN a without b\nENDIF",
    "~a/b~ WARN slash\n|x\\|y| WARN bar",
    "/(a)(b)?/ WARN <$1> <${2}> <$(1)>x $$1",
    "/^(a|b)+$/ WARN $1",
    "/foo([0-9]+)bar/ WARN ${1}th\n/foo([[:digit:]]{2,})/ WARN short $1",
    "# comment\n\n  # indented comment\n/a/ WARN one\n  two\n# comment inside\n\tthree\n/b/ INFO b",
    "/\\(paren\\)/ WARN paren\n/a\\.b/ WARN dot\n/^#/ WARN hash\n/\\$5/ WARN money",
    "/ $/ WARN ends in a blank\n/^.{3}$/ WARN three",
    "/^received: from [^ ]+ \\(unknown \\[([0-9.]+)\\]\\)/ REJECT 5.7.1 unknown $1",
    "/^date: .* (19[0-9][0-9]|200[0-9]) /   REJECT   years ago: $1",
    "/nothing/ WARN",
]
PCRE = [
    r"/\bhello\b/ WARN word" + "\n" + r"/\d{3}/ WARN digits",
    "/h e l l o/x WARN extended\n/B/i INFO case",
    "/b/A WARN anchored\n/(a+)/U WARN lazy $1",
    r"/^a(?:ab)?(a*?)$/ WARN <$1>",
    r"/\Aaaa\z/ WARN all" + "\n" + r"/(?i)HELLO(?-i) world/i WARN inline",
    r"/[\w.]+@[\w.]+/ WARN address" + "\n" + r"/\x28/ WARN hex",
    r"/\Qa.b\E/ WARN quoted" + "\n" + "/^.$/sm WARN one",
]


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("postfix")
    (directory / "main.cf").write_text("compatibility_level = 3.6\n")
    return directory


def by_postfix(configuration: Path, kind: str, table: str, lines: list[str]) -> list[str | None]:
    """What the table says of each line. Empty lines are not asked for."""
    file = configuration / "table"
    file.write_text(table + "\n")
    command = [POSTMAP, "-c", str(configuration), "-q", "-", f"{kind}:{file}"]
    result = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, check=False)
    assert not re.search("warning|fatal|error", result.stderr), result.stderr
    found = dict(answer.split("\t", 1) for answer in result.stdout.splitlines())
    return [found.get(line) for line in lines]


def by_us(table: str, lines: list[str]) -> list[str | None]:
    ready = parse(table, "table", TableKind.HEADER_CHECKS)
    found = {hit.number: hit for hit in ready.hits("\n".join(lines).encode())}
    return [_answer(found[number]) if number in found else None for number in range(len(lines))]


def _answer(hit: object) -> str:
    order = hit.rule.order  # type: ignore[attr-defined]
    return " ".join(word for word in (order.action.value, order.status, hit.text) if word)  # type: ignore[attr-defined]


def agreed(answer: str | None) -> str | None:
    """Postfix hands over DUNNO, blanks as they are, and no status where none is given."""
    if answer is None or answer == "DUNNO":
        return None
    words = answer.split()
    if words[0] == "REJECT" and words[1:2] != ["5.7.1"]:
        words.insert(1, "5.7.1")
    return " ".join(words)


def compare(configuration: Path, kind: str, table: str, lines: list[str]) -> None:
    wanted = [agreed(answer) for answer in by_postfix(configuration, kind, table, lines)]
    assert [agreed(answer) for answer in by_us(table, lines)] == wanted


def need(configuration: Path, kind: str) -> None:
    command = ["postconf", "-c", str(configuration), "-m"]
    if kind not in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split():
        pytest.skip(f"Postfix has no {kind} tables here: the Debian package is postfix-{kind}")


@pytest.mark.parametrize("table", BOTH)
@pytest.mark.parametrize("kind", ["regexp", "pcre"])
def test_the_same_rule_decides(configuration: Path, kind: str, table: str) -> None:
    need(configuration, kind)
    compare(configuration, kind, table, LINES)


@pytest.mark.parametrize("table", PCRE)
def test_the_same_rule_decides_with_the_syntax_of_pcre(configuration: Path, table: str) -> None:
    need(configuration, "pcre")
    compare(configuration, "pcre", table, LINES)


def test_every_table_hits_something(configuration: Path) -> None:
    """Tables that never hit would agree with anything."""
    silent = [table for table in BOTH + PCRE if not any(by_us(table, LINES))]
    assert silent == ["/nothing/ WARN"]


ATOMS = st.sampled_from(
    ["a", "b", "A", "[ab]", "[^a]", ".", "^", "$", "(a|b)", "(ab)*", "a+", "b?", "[[:space:]]", "x{2}"]
)
PATTERNS = st.lists(ATOMS, min_size=1, max_size=4).map("".join)
RULES = st.tuples(st.sampled_from(["", "", "!"]), PATTERNS, st.sampled_from(["", "i"])).map(
    lambda one: f"{one[0]}/{one[1]}/{one[2]}"
)


@st.composite
def tables(draw: st.DrawFn) -> str:
    lines = []
    for number in range(draw(st.integers(1, 4))):
        rule = f"{draw(RULES)} {draw(st.sampled_from(['WARN', 'DUNNO', 'REJECT']))} {number}".replace(
            "DUNNO " + str(number), "DUNNO"
        )
        lines += [f"if {draw(RULES)}", rule, "endif"] if draw(st.booleans()) else [rule]
    return "\n".join(lines)


WORDS = st.lists(st.text("abAB x", min_size=1, max_size=6).filter(str.strip), min_size=1, max_size=10, unique=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables(), WORDS)
def test_the_same_rule_decides_in_any_table(configuration: Path, table: str, lines: list[str]) -> None:
    compare(configuration, "regexp", table, lines)
