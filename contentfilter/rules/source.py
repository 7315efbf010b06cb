"""The file of a table: its logical lines, and what is said about a mistake in one.

As Postfix reads them (pcre_table(5)): a line that begins with a blank continues the line before it; empty lines and
lines whose first character that is no blank is "#" are skipped, also between a line and its continuation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

BLANKS = " \t\v\f\r"


class RuleError(ValueError):
    """A mistake in a table: names the file, the line and what would be right."""

    def __init__(self, name: str, line: int, problem: str) -> None:
        super().__init__(f"{name}, line {line}: {problem}")
        self.line = line


@dataclass(frozen=True, slots=True)
class Line:
    """A logical line. number: of its first line in the file, from 1; name: the file's."""

    name: str
    number: int
    text: str
    continuations: tuple[tuple[int, str], ...] = ()

    def error(self, problem: str, number: int | None = None) -> RuleError:
        """The mistake in this line, ready to raise."""
        return RuleError(self.name, self.number if number is None else number, problem)


def logical_lines(text: str, name: str) -> Iterator[Line]:
    """Raises RuleError for a file that begins with a continuation."""
    pending: list[tuple[int, str]] = []
    for number, physical in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        bare = physical.strip(BLANKS)
        if not bare or bare.startswith("#"):
            continue
        if physical[0] not in BLANKS:
            if pending:
                yield _joined(pending, name)
            pending = [(number, physical)]
        elif pending:
            pending.append((number, physical))
        else:
            raise RuleError(name, number, "begins with a blank, but there is no line before it that it could continue")
    if pending:
        yield _joined(pending, name)


def _joined(pending: list[tuple[int, str]], name: str) -> Line:
    text = "".join(physical.removesuffix("\r") for _, physical in pending).rstrip(BLANKS)
    return Line(name, pending[0][0], text, tuple(pending[1:]))
