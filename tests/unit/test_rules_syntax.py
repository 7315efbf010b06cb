"""What a table may say, and what is said of a mistake in it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contentfilter.finding import RuleAction
from contentfilter.rules import RuleError, TableKind, parse
from contentfilter.rules.template import parse_template

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


@pytest.mark.parametrize(
    ("table", "line", "problem"),
    [
        # Lines and delimiters.
        ("\n  /a/ WARN", 2, "begins with a blank, but there is no line before it that it could continue"),
        ("a WARN", 1, "'a' begins no line: write /pattern/flags ACTION text, or if, or endif"),
        ("/a", 1, "the pattern has no closing /"),
        ("/a\\/ WARN", 1, "the pattern has no closing /"),
        ("!", 1, "no pattern: write /pattern/"),
        ("if abc", 1, "a pattern stands between two delimiters such as /, not 'a'"),
        ("/a/b/ WARN", 1, r"behind the pattern there is 'b/', where flags may stand: write \/ for a / inside the pattern,"
                          " or use another delimiter"),
        ("/a/q WARN", 1, "unknown flag 'q': there are i, m, s, x, A, E, U, X"),
        # Blocks.
        ("endif", 1, "endif without an if before it"),
        ("if /a/\n/b/ WARN\nif /c/", 3, "if without an endif: write endif on a line of its own behind its rules"),
        ("if /a/\nendif # a", 2, "nothing may stand behind endif; a comment begins a line of its own"),
        ("if /a/ WARN\nendif", 1, "nothing may stand behind the pattern of an if, but there is 'WARN': rules of the block"
                                  " begin lines of their own, without a blank before them"),
        ("if /a/\n  /b/ WARN\nendif", 2, "begins with a blank, so it continues line 1, but looks like a rule: do not indent it"),
        ("if /a/\n/b/ WARN\n  endif", 3, "begins with a blank, so it continues line 2, but looks like a rule: do not indent it"),
        # Actions.
        ("/a/", 1, "no action behind the pattern: one of REJECT, DISCARD, HOLD, WARN, INFO, IGNORE, PREPEND, REPLACE,"
                   " REDIRECT, BCC, DUNNO, SCORE, OK"),
        ("# c\n/a/ REJCT x", 2, "unknown action 'REJCT': did you mean REJECT?"),
        ("/a/ 550 no", 1, "'550' is no action: write REJECT 5.7.1 and a text (REJECT 4.7.1 to have it tried again)"),
        ("/a/ REJECT 550 no", 1, "REJECT takes an enhanced status code such as 5.7.1, not the SMTP code 550"),
        ("/a/ REJECT 2.0.0 no", 1, "REJECT takes a status of 5.x.x (refused) or 4.x.x (to be tried again), not 2.0.0"),
        ("/a/ FILTER smtp:x", 1, "FILTER is not supported: a recipient's next hop is the policy key next_hop;"
                                 ' "REDIRECT user@domain" changes the recipient'),
        ("/a/ STRIP", 1, "STRIP is not supported: write IGNORE, which removes the field; each hit is logged"),
        ("/a/ IGNORE it", 1, "IGNORE takes no text; a comment begins a line of its own"),
        ("/a/ PREPEND hello", 1, "PREPEND takes a header field, Name: value, not 'hello'"),
        ("/a/ REPLACE", 1, "REPLACE takes a header field, Name: value, not ''"),
        ("/(a)/ PREPEND $1: x", 1, "PREPEND takes a header field, Name: value, not '$1: x'"),
        ("/a/ PREPEND X-A: \x07", 1, "the text holds a control character, which no reply, log or header may hold"),
        ("/a/ REDIRECT bob", 1, "REDIRECT takes an address, user@domain, not 'bob'"),
        ("/(a)/ BCC $1@example.org", 1, "BCC takes an address as it stands: who gets mail must not be up to its sender"),
        ("/a/ SCORE FOO", 1, "SCORE takes a number and the name of a test, SCORE 2.5 MY_TEST, not 'FOO'"),
        ("/a/ SCORE inf FOO", 1, "SCORE takes a number from -1000 to 1000 first, not 'inf'"),
        ("/a/ SCORE 1_0 FOO", 1, "SCORE takes a number from -1000 to 1000 first, not '1_0'"),
        ("/a/ SCORE 1 A,B=3", 1, "the name of a test is of A-Z, 0-9 and _, as in SpamAssassin, not 'A,B=3'"),
        # Substitution.
        ("!/(a)/ WARN $1", 1, "$1 has no meaning behind !/pattern/, which hits where nothing was matched"),
        ("/(a)/ WARN $2", 1, "$2 is out of range: the pattern has 1 pairs of parentheses that capture"),
        ("/(a)/ WARN $0", 1, "$0 is out of range: groups are counted from $1"),
        ("/(a)/ WARN 5 $", 1, "$ without a number: write $$ for a dollar sign"),
        ("/(a)/ WARN $1st", 1, "$1st is no number of a group: write ${1} to keep it apart from what follows"),
        ("/(a)/ WARN $cash", 1, "$cash is no number of a group: write $$ for a dollar sign"),
        # Patterns.
        ("/a(?=b)/ WARN", 1, "RE2 does not know look-ahead, (?=...), since it needs linear time for every text: split it in"
                             " two: 'if /first/', then a rule for the other, then 'endif'"),
        ("/^(?!b)/ WARN", 1, "RE2 does not know negative look-ahead, (?!...), since it needs linear time for every text:"
                             " split it in two: 'if !/what must not be there/', then the rule, then 'endif'"),
        ("/(?<=a)b/ WARN", 1, "RE2 does not know look-behind, (?<=...), since it needs linear time for every text: match"
                              " what stands before as well, and put ( ) around what $1 shall be"),
        (r"/(a)\1/ WARN", 1, r"RE2 does not know the back-reference \1, since it needs linear time for every text: list"
                             " what may be repeated as alternatives, or make a rule for each"),
        ("/a++/ WARN", 1, "RE2 does not know the possessive ++, since it needs linear time for every text: write +: RE2"
                          " never goes back, so it is as fast"),
        ("/(?>a)/ WARN", 1, "RE2 does not know an atomic group, (?>...), since it needs linear time for every text: write"
                            " (?:...): RE2 never goes back, so it is as fast"),
        ("/(?R)/ WARN", 1, "RE2 does not know a recursion, (?R...), since it needs linear time for every text: write out as"
                           " many levels as you need"),
        ("/(?1)/ WARN", 1, "RE2 does not know a subroutine call, since it needs linear time for every text: repeat the group"
                           " where it is called"),
        (r"/a\Kb/ WARN", 1, r"RE2 does not know \K, since it needs linear time for every text: put ( ) around what shall be"
                            " kept and use $1"),
        ("/a b # c/x WARN", 1, r"with the flag x, # begins a comment that takes all of the rest: write \#"),
        ("/(?x)a/ WARN", 1, "(?x) is not known inside a pattern: write the flag x behind the closing delimiter"),
        ("/[[:<:]]a/ WARN", 1, r"[:<:] is not known: write \b for the edge of a word, and characters as such"),
        ("/[a/ WARN", 1, r"the class [a has no closing bracket: write \[ for a bracket as such"),
        ("/(a/ WARN", 1, r"RE2 does not take the pattern: missing ): (a: write \( for a parenthesis that is meant as a"
                         " character"),
        ("/a)(b/ WARN", 1, r"RE2 does not take the pattern: unexpected ): a)(b: write \) for a parenthesis that is meant as a"
                           " character"),
        ("/a{2000}/ WARN", 1, "RE2 does not take the pattern: invalid repetition size: {2000}: a repetition may count to 1000;"
                              " write {1000,} for more"),
        ("/*a/ WARN", 1, r"RE2 does not take the pattern: no argument for repetition operator: *: write a backslash before *,"
                         " + or ? that is meant as a character"),
        (r"/\ya/ WARN", 1, r"RE2 does not take the pattern: invalid escape sequence: \y: a letter or digit needs no"
                           " backslash before it"),
        ("/\ud800/ WARN", 1, "the pattern holds half a surrogate pair, which is no character"),
    ],
)  # fmt: skip
def test_bad(table: str, line: int, problem: str) -> None:
    with pytest.raises(RuleError) as caught:
        parse(table, "/etc/rules/header_checks", HEADER)
    assert str(caught.value) == f"/etc/rules/header_checks, line {line}: {problem}"
    assert caught.value.line == line


@pytest.mark.parametrize("kind", [kind for kind in TableKind if kind is not HEADER])
@pytest.mark.parametrize("order", ["IGNORE", "PREPEND X-A: b", "REPLACE X-A: b"])
def test_nothing_but_the_own_header_is_edited(kind: TableKind, order: str) -> None:
    with pytest.raises(RuleError, match="works in header_checks only: .* the body passes byte for byte"):
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
        try:
            table = parse(text, "name", kind)
        except RuleError as error:
            assert str(error).startswith(f"name, line {error.line}: ")
            assert 1 <= error.line <= text.count("\n") + 1
        else:
            list(table.hits("a\nx y\n(§)".encode()))


@given(st.text())
def test_a_text_without_dollar_signs_is_taken_as_it_is(text: str) -> None:
    plain = text.replace("$", "")
    assert parse_template(plain.replace("%", "$$")).expand(()) == plain.replace("%", "$")[:1000]
