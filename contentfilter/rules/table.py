"""Tables of rules, in the format of pcre_table(5) and regexp_table(5): what a file says, checked.

    /pattern/flags ACTION text      if /pattern/flags      # a comment
    !/pattern/flags ACTION text     if !/pattern/flags     a line that begins with a blank
    endif                                                      continues the one before it

The first rule that hits a line decides for that line. A mistake is refused when the table is loaded, where Postfix
warns and goes on without the rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from contentfilter.rules.order import OrderError, parse_order
from contentfilter.rules.pattern import Pattern, PatternError, compile_pattern
from contentfilter.rules.scanner import Condition, LineHit, Rule, Scanner
from contentfilter.rules.source import BLANKS, Line, RuleError, logical_lines


class TableKind(Enum):
    """Which lines of a message a table sees."""

    HEADER_CHECKS = "header_checks"
    """The fields of the message's own header."""
    MIME_HEADER_CHECKS = "mime_header_checks"
    """The fields of its parts, and the MIME fields of every header."""
    NESTED_HEADER_CHECKS = "nested_header_checks"
    """The fields of the headers of attached messages."""
    BODY_CHECKS = "body_checks"
    """The lines of its text."""


@dataclass(frozen=True, slots=True)
class Table:
    """The rules of one file, ready to match."""

    kind: TableKind
    name: str
    rules: tuple[Rule, ...]
    scanner: Scanner

    def hits(self, text: bytes) -> Iterator[LineHit]:
        """For each line of UTF-8 text the rule that decides, if one does; in the order of the lines."""
        return self.scanner.hits(text)


def parse(text: str, name: str, kind: TableKind) -> Table:
    """The table that a file holds. name: the file's, for messages. Raises RuleError."""
    rules: list[Rule] = []
    open_ifs: list[tuple[Line, Condition]] = []
    for line in logical_lines(text, name):
        _check_continuations(line)
        word = _KEYWORD.match(line.text)
        if word is None:
            conditions = tuple(condition for _, condition in open_ifs)
            rules.append(_rule(line, conditions, kind))
        elif word[1].lower() == "if":
            open_ifs.append((line, _condition(line, line.text[2:])))
        elif not open_ifs:
            raise line.error("endif without an if before it")
        elif line.text[5:].strip(BLANKS):
            raise line.error("nothing may stand behind endif; a comment begins a line of its own")
        else:
            open_ifs.pop()
    if open_ifs:
        raise open_ifs[-1][0].error("if without an endif: write endif on a line of its own behind its rules")
    return Table(kind, name, tuple(rules), Scanner(tuple(rules)))


_KEYWORD = re.compile(r"(if|endif)(?![A-Za-z0-9])", re.IGNORECASE)
_LOOKS_LIKE_A_RULE = re.compile(
    r"(?:if\s*)?!*\s*(?P<limit>[/~|#%,@])(?:\\.|(?!(?P=limit))[^\\])+(?P=limit)[A-Za-z]*"
    r"(?:\s+(?:REJECT|DISCARD|HOLD|WARN|INFO|IGNORE|PREPEND|REPLACE|REDIRECT|BCC|DUNNO|OK|SCORE|FILTER|STRIP)\b|$)|endif$",
    re.IGNORECASE,
)


def _check_continuations(line: Line) -> None:
    """An indented rule would become text of the line before it: the classic mistake inside if ... endif."""
    for number, physical in line.continuations:
        if _LOOKS_LIKE_A_RULE.match(physical.strip(BLANKS)):
            problem = (
                f"begins with a blank, so it continues line {line.number}, but looks like a rule: do not indent it"
            )
            raise line.error(problem, number)


def _rule(line: Line, conditions: tuple[Condition, ...], kind: TableKind) -> Rule:
    if line.text[0].isalnum():
        word = line.text.split()[0][:20]
        raise line.error(f"{word!r} begins no line: write /pattern/flags ACTION text, or if, or endif")
    condition, rest = _pattern(line, line.text)
    try:
        order = parse_order(
            rest,
            condition.pattern.compiled.groups,
            positive=condition.positive,
            may_edit=kind is TableKind.HEADER_CHECKS,
        )
    except OrderError as error:
        raise line.error(str(error)) from error
    return Rule(line.number, order, condition.pattern, condition.positive, conditions)


def _condition(line: Line, text: str) -> Condition:
    condition, rest = _pattern(line, text)
    if rest:
        problem = f"nothing may stand behind the pattern of an if, but there is {rest[:40]!r}"
        raise line.error(f"{problem}: rules of the block begin lines of their own, without a blank before them")
    return condition


def _pattern(line: Line, text: str) -> tuple[Condition, str]:
    """The pattern at the start of text, whether it is meant to match, and what stands behind it."""
    begin = len(text) - len(text.lstrip("!" + BLANKS))
    positive = text.count("!", 0, begin) % 2 == 0
    delimiter = text[begin : begin + 1]
    if not delimiter:
        raise line.error("no pattern: write /pattern/")
    if delimiter.isalnum() or delimiter == "\\":
        raise line.error(f"a pattern stands between two delimiters such as /, not {delimiter!r}")
    end = _closing(text, begin + 1, delimiter)
    if end < 0:
        raise line.error(f"the pattern has no closing {delimiter}")
    flags, rest = _TAIL.findall(text[end + 1 :])[0]
    try:
        pattern = _compiled(text[begin + 1 : end], flags, delimiter)
    except PatternError as error:
        raise line.error(str(error)) from error
    return Condition(pattern, positive), rest.strip(BLANKS)


_TAIL = re.compile(rf"([^{BLANKS}]*)(.*)", re.DOTALL)


def _compiled(source: str, flags: str, delimiter: str) -> Pattern:
    if not flags.isalpha() and flags:
        raise PatternError(
            f"behind the pattern there is {flags[:20]!r}, where flags may stand: write \\{delimiter} for a {delimiter} "
            "inside the pattern, or use another delimiter"
        )
    return compile_pattern(source, flags)


def _closing(text: str, at: int, delimiter: str) -> int:
    """Offset of the closing delimiter, -1 if there is none. One behind a backslash belongs to the pattern."""
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == delimiter:
            return at
        at += 1
    return -1


__all__ = ["RuleError", "Table", "TableKind", "parse"]
