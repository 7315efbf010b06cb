"""The scanner gives what every rule on every line gives, and RE2 reads a pattern as other engines do."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contentfilter.finding import RuleAction
from contentfilter.rules import Table, TableKind, parse
from contentfilter.rules import scanner as scanner_module

ATOMS = [
    *(
        "a",
        "b",
        "ab",
        "A",
        "foo",
        "bar",
        "x1",
        ".",
        r"\s",
        r"\S",
        r"\w",
        r"\W",
        r"\d",
        r"\b",
        r"\B",
        "^",
        "$",
        r"\A",
        r"\z",
    ),
    *("[ab]", "[^a]", "[^ab]", r"[^\w]", r"[\s1]", "[^]]", "[[:alpha:]]", "[^[:space:]]", r"\x0a", r"\n", r"[^\n]"),
    *(
        "(?m)",
        "(?-m)",
        "(?m:^)",
        "(?s:.)",
        "(?-s:.)",
        "(?i:Foo)",
        "(?-i:Foo)",
        r"\Qa.b\E",
        "ä",
        "Ä",
        "k",
        "\u212a",
        "\u017f",
    ),
]
WORDS = ["a", "b", "ab", "AB", "foo", "Foo", "BAR", "x1", " ", "\t", ".", "\r", "ä", "Ä", "\u212a", "s", "\0", "\x01"]


def _combined(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.lists(children, min_size=1, max_size=3)
    return st.one_of(
        several.map("".join),
        several.map(lambda each: "(?:" + "|".join(each) + ")"),
        children.map(lambda one: f"({one})"),
        st.tuples(children, st.sampled_from(["*", "+", "?", "{2}", "{0,3}", "*?"])).map(
            lambda one: f"(?:{one[0]}){one[1]}"
        ),
    )


PATTERNS = st.recursive(st.sampled_from(ATOMS), _combined, max_leaves=6).filter(
    lambda pattern: not re.search(r"[^\x00-\x7f]\\b|\\b[^\x00-\x7f]", pattern)  # refused
)
FLAGS = st.sampled_from(["", "i", "m", "s", "A", "U", "ims"])
ACTIONS = st.sampled_from(["WARN w", "DUNNO", "REJECT r", "SCORE 1 T", "INFO i"])
LINES = st.lists(st.lists(st.sampled_from(WORDS), max_size=6).map("".join), max_size=12)


@st.composite
def tables(draw: st.DrawFn, depth: int = 0) -> list[str]:
    lines: list[str] = []
    for _ in range(draw(st.integers(1, 4))):
        negation = draw(st.sampled_from(["", "", "!"]))
        pattern = f"{negation}~{draw(PATTERNS)}~{draw(FLAGS)}"
        if depth < 2 and draw(st.integers(0, 3)) == 0:
            lines += [f"if {pattern}", *draw(tables(depth + 1)), "endif"]
        else:
            lines.append(f"{pattern} {draw(ACTIONS)}")
    return lines


def naive(table: Table, text: str) -> Iterator[tuple[int, int]]:
    """Line of the text and line of the rule, by trying every rule on every line."""
    for number, line in enumerate(text.encode().split(b"\n")):
        if not line:
            continue
        for rule in table.rules:
            if all((one.pattern.search(line) is not None) == one.positive for one in rule.conditions) and (
                (rule.pattern.search(line) is not None) == rule.positive
            ):
                if rule.order.action is not RuleAction.DUNNO:
                    yield number, rule.line
                break


def found(table: Table, text: str) -> list[tuple[int, int]]:
    return [(hit.number, hit.rule.line) for hit in table.hits(text.encode())]


@settings(max_examples=400, deadline=None)
@given(tables(), LINES, st.sampled_from([1, 20, 2000]))
def test_nothing_is_lost_and_nothing_added(lines: list[str], text: list[str], block: int) -> None:
    table = parse("\n".join(lines), "t", TableKind.BODY_CHECKS)
    whole = "\n".join(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanner_module, "BLOCK", block)
        assert found(table, whole) == list(naive(table, whole))


# What both engines have, on ASCII, where they agree on letters.
COMMON = st.recursive(
    st.sampled_from([atom for atom in ATOMS if atom.isascii() and not re.search(r"\[:|\\Q|\(\?|\\z", atom)]),
    _combined,
    max_leaves=6,
)
ASCII_LINES = st.lists(
    st.lists(st.sampled_from([w for w in WORDS if w.isascii()]), max_size=6).map("".join), max_size=8
)


@settings(max_examples=400, deadline=None)
@given(COMMON, ASCII_LINES)
def test_a_pattern_hits_the_lines_that_it_hits_elsewhere(pattern: str, text: list[str]) -> None:
    table = parse(f"~{pattern}~ WARN", "t", TableKind.BODY_CHECKS)
    other = re.compile(pattern, re.ASCII | re.IGNORECASE | re.DOTALL)
    wanted = [number for number, line in enumerate(text) if line and other.search(line)]
    assert [number for number, _ in found(table, "\n".join(text))] == wanted


@pytest.mark.parametrize(
    "pattern",
    ["^b", "a$", r"\Ab", r"a\z", r"a\Z", "(?-m)^b", "(?-m)a$", "(?-m:^b)", "(?i-m)^B", "(?m)^b", r"(?-m:b a$)"],
)
def test_the_ends_of_a_line_are_found_inside_of_a_text(pattern: str) -> None:
    table = parse(f"~{pattern}~ WARN", "t", TableKind.BODY_CHECKS)
    assert found(table, "xb ax\nb a\nxb ax\n") == [(1, 1)]


MANY = "\n".join(f"/word{number:04} of [a-z]+ rule/ SCORE 1 R{number}" for number in range(1500))


def test_many_rules_in_several_filters() -> None:
    table = parse(MANY, "t", TableKind.BODY_CHECKS)
    text = "\n".join(
        ["nothing", "a WORD0007 of some rule", "word1499 of this rule and word0003 of that rule", "word0001"]
    )
    assert found(table, text) == [(1, 8), (2, 4)]


def test_a_filter_that_runs_out_of_memory_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """RE2 answers "nothing matches" when a set of patterns finds no memory; the sentinel shows it."""
    table = parse("/needle/ WARN\n!/hay/ INFO", "t", TableKind.BODY_CHECKS)
    text = "hay and needle\nhay\nstraw"
    wanted = [(0, 1), (2, 2)]
    assert found(table, text) == wanted

    class _Silent:
        def Match(self, text: bytes) -> None:
            return None

    for one in table.scanner._filters:
        monkeypatch.setattr(one, "_filter", _Silent())
    assert found(table, text) == wanted


def test_patterns_that_are_too_much_for_one_filter_are_shared_out() -> None:
    letters = random.Random(1)
    words = ["".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=250)) for _ in range(900)]
    table = parse("\n".join(f"/{word}/ WARN" for word in words), "t", TableKind.BODY_CHECKS)
    assert len(table.scanner._filters) > 1
    assert found(table, f"x\n{words[0]} {words[5]}\n{words[899].upper()}") == [(1, 1), (2, 900)]


def test_dunno_and_conditions_alone_ask_for_nothing() -> None:
    table = parse("/a/ DUNNO\nif /b/\nendif\n/a|b/ WARN", "t", TableKind.BODY_CHECKS)
    assert found(table, "a\nb\nab") == [(1, 4)]


def test_a_long_line_is_shown_around_the_match() -> None:
    table = parse("/needle/ WARN", "t", TableKind.BODY_CHECKS)
    (hit,) = table.hits(b"x" * 5000 + b"needle" + b"y" * 5000)
    assert hit.matched == "x" * 60 + "needle" + "y" * 134
