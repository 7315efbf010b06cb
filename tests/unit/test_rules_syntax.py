"""What a table may say, and what is said of a mistake in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contentfilter.finding import RuleAction
from contentfilter.rules import RuleError, TableKind, parse
from contentfilter.rules.template import LONGEST, parse_template

MISTAKES = Path(__file__).parents[1] / "rules" / "mistakes.txt"
HEADER, BODY = TableKind.HEADER_CHECKS, TableKind.BODY_CHECKS


def hits(table: str, *lines: str, kind: TableKind = HEADER) -> list[tuple[str, str] | None]:
    """Action and text for each line, None where nothing hits."""
    ready = parse(table, "t", kind)
    answers: list[tuple[str, str] | None] = []
    for line in lines:
        found = list(ready.hits(line.encode()))
        answers.append((found[0].rule.order.action.value, found[0].text) if found else None)
    return answers


@pytest.mark.parametrize(
    ("table", "line", "wanted"),
    [
        ("/a/ REJECT", "xAx", ("REJECT", "")),
        ("/a/i REJECT", "xAx", None),
        ("/a/ii REJECT", "xAx", ("REJECT", "")),
        ("/a/ reject No way", "a", ("REJECT", "No way")),
        ("/a/\tREJECT\tNo\tway  ", "a", ("REJECT", "No way")),
        ("/a/ WARN one\n  two\n# comment\n\n\tthree", "a", ("WARN", "one  two three")),
        ("/a b/ WARN", "a b", ("WARN", "")),
        ("~a/b~ WARN", "a/b", ("WARN", "")),
        (r"/a\/b/ WARN", "a/b", ("WARN", "")),
        ("|a\\|b| WARN", "a|b", ("WARN", "")),
        ("|a\\|b| WARN", "a", None),
        ("!/a/ WARN", "b", ("WARN", "")),
        ("!/a/ WARN", "a", None),
        ("!!/a/ WARN", "a", ("WARN", "")),
        ("! /a/ WARN", "b", ("WARN", "")),
        ("  # indented comment\n/a/ WARN", "a", ("WARN", "")),
        ("\ufeff/a/ WARN\r\n", "a", ("WARN", "")),
        ("if /a/\n/b/ WARN\nendif", "ab", ("WARN", "")),
        ("if /a/\n/b/ WARN\nendif", "b", None),
        ("IF !/a/\n/b/ WARN\nEndIf", "b", ("WARN", "")),
        ("if !/a/\n/b/ WARN\nendif", "ab", None),
        ("if/a/\nif /b/\n/c/ WARN\nendif\n/d/ INFO\nendif", "ad", ("INFO", "")),
        ("if/a/\nif /b/\n/c/ WARN\nendif\n/d/ INFO\nendif", "acd", ("INFO", "")),
        ("if/a/\nif /b/\n/c/ WARN\nendif\n/d/ INFO\nendif", "abcd", ("WARN", "")),
        ("/a/ DUNNO\n/./ WARN", "a", None),
        ("/a/ OK with text\n/./ WARN", "b", ("WARN", "")),
        ("/(a+)(b*)/ WARN $1-${2}-$(1)x$$1", "caab", ("WARN", "aa-b-aax$1")),
        ("/(a)|(b)/ WARN <$1><$2>", "b", ("WARN", "<><b>")),
        ("/(ä+)/ WARN $1", "xää", ("WARN", "ää")),
        (r"/a b [ ] c\ d/x WARN", "ab c d", ("WARN", "")),
        ("/b/A WARN", "ab", None),
        ("/a|b/A WARN", "ba", ("WARN", "")),
        ("/c|b/A WARN", "ab", None),
        ("/(a+)/U WARN $1", "aaa", ("WARN", "a")),
        ("/^a$/mE WARN", "a", ("WARN", "")),
        (r"/\Aa\z/ WARN", "a", ("WARN", "")),
        (r"/a\Z/ WARN", "ab", None),
        (r"/a\hb/ WARN", "a\u00a0b", ("WARN", "")),
        (r"/[]a-]x[^]]/ WARN", "]xy", ("WARN", "")),
        (r"/[[:digit:]]{3}/ WARN", "a123", ("WARN", "")),
        (r"/\Qa.b\E+/ WARN", "a.bb", ("WARN", "")),
        (r"/\Qa.b\E/ WARN", "axb", None),
        (r"/\<script/ WARN", "<SCRIPT", ("WARN", "")),
        (r"/(?i)A(?-i)b/i WARN", "ab", ("WARN", "")),
        (r"/a(?#comment)b/ WARN", "ab", ("WARN", "")),
        (r"/\p{Cyrillic}{3}/ WARN", "привет", ("WARN", "")),
        (r"/^ПРИВЕТ/ WARN", "привет", ("WARN", "")),
        (r"/a{,3}b/ WARN", "a{,3}b", ("WARN", "")),
        (r"/\101/ WARN", "A", ("WARN", "")),
        ("/a/ SCORE -1.5 MY_TEST", "a", ("SCORE", "MY_TEST")),
        ("/a/ REDIRECT <spam@example.org>", "a", ("REDIRECT", "spam@example.org")),
        ("/a/ BCC a$$b@example.org", "a", ("BCC", "a$b@example.org")),
        ("/(a)/ REPLACE X-New:  $1 end", "a", ("REPLACE", "a end")),
        ("/(a)/ PREPEND X-New: $$", "a", ("PREPEND", "$")),
    ],
)  # fmt: skip
def test_good(table: str, line: str, wanted: tuple[str, str] | None) -> None:
    assert hits(table, line) == [wanted]


def mistakes() -> list[tuple[str, str]]:
    blocks = MISTAKES.read_text().strip().split("\n\n")[1:]
    return [(table, said) for table, _, said in (block.partition("\n=> ") for block in blocks)]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        *mistakes(),
        ("\n  /a/ WARN", "2: begins with a blank, but there is no line before it that it could continue"),
        ("/a/ PREPEND X-A: \x07", "1: the text holds a control character, which no reply, log or header may hold"),
        ("/\ud800/ WARN", "1: the pattern holds half a surrogate pair, which is no character"),
    ],
)
def test_bad(table: str, said: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse(table, "/etc/rules/header_checks", HEADER)
    assert str(caught.value) == f"/etc/rules/header_checks, line {said}"
    assert caught.value.line == int(said.partition(":")[0])


@pytest.mark.parametrize("kind", [kind for kind in TableKind if kind is not HEADER])
@pytest.mark.parametrize("order", ["IGNORE", "PREPEND X-A: b", "REPLACE X-A: b"])
def test_nothing_but_the_own_header_is_edited(kind: TableKind, order: str) -> None:
    with pytest.raises(RuleError, match=r"works in header_checks only: .* the body passes byte for byte"):
        parse(f"/a/ {order}", "t", kind)


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("", "5.7.1", ""),
        ("no", "5.7.1", "no"),
        ("5.1.8 no", "5.1.8", "no"),
        ("4.7.1", "4.7.1", ""),
        ("5 eggs", "5.7.1", "5 eggs"),
    ],
)
def test_status_of_a_rejection(text: str, status: str, said: str) -> None:
    (rule,) = parse(f"/a/ REJECT {text}", "t", BODY).rules
    assert (rule.order.action, rule.order.status, rule.order.text.expand(())) == (RuleAction.REJECT, status, said)


def test_continuation_that_only_looks_a_bit_like_a_rule() -> None:
    (answer,) = hits("/a/ REJECT see\n  /usr/share/doc or\n  if you are lost, ask", "a")
    assert answer == ("REJECT", "see  /usr/share/doc or  if you are lost, ask")


def test_empty_table_and_empty_lines() -> None:
    assert parse("# nothing\n\n", "t", BODY).rules == ()
    assert list(parse("", "t", BODY).hits(b"a\nb")) == []
    assert hits("!/x/ WARN\n", "") == [None]


SNIPPETS = st.sampled_from(
    [
        "/a/",
        "!",
        "if ",
        "endif",
        "\n",
        " ",
        "REJECT",
        "SCORE 1 A",
        "$1",
        "${",
        "(",
        ")",
        "[",
        "\\",
        "(?",
        "x",
        "{2}",
        "*+",
        "#",
        "PREPEND X: ",
    ]
)


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(), st.lists(SNIPPETS).map("".join), st.text().map(lambda text: f"/{text}/ WARN {text}")))
def test_a_table_is_taken_or_refused_with_its_line(text: str) -> None:
    for kind in (HEADER, BODY):
        refused = None
        try:
            list(parse(text, "name", kind).hits("a\nx y\n(§)".encode()))
        except RuleError as error:
            refused = error
        if refused is not None:
            assert str(refused).startswith(f"name, line {refused.line}: ")
            assert 1 <= refused.line <= text.count("\n") + 1


@given(st.text())
def test_a_text_without_dollar_signs_is_taken_as_it_is(text: str) -> None:
    plain = text.replace("$", "")
    assert parse_template(plain.replace("%", "$$")).expand(()) == plain.replace("%", "$")[:LONGEST]
