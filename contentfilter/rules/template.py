"""The text behind an action, with $1, ${1} and $(1) for what the groups of the pattern matched; $$ is a dollar sign."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_REFERENCE = re.compile(r"\$(?:\$|\{([^{}]*)\}|\(([^()]*)\)|(\w+)|)")

LONGEST = 900
"""Characters of an expanded text; what a group matched is as long as a stranger likes."""


class TemplateError(ValueError):
    """What is wrong with a reference and what would be right."""


@dataclass(frozen=True, slots=True)
class Template:
    """Pieces of text, and numbers of groups between them."""

    pieces: tuple[str | int, ...] = ()

    @property
    def highest(self) -> int:
        """The greatest number of a group, 0 if none is named."""
        return max((piece for piece in self.pieces if isinstance(piece, int)), default=0)

    @property
    def literal(self) -> str:
        """The text up to the first reference."""
        first = self.pieces[0] if self.pieces else ""
        return first if isinstance(first, str) else ""

    def expand(self, groups: Sequence[str]) -> str:
        """The text with these groups, the first of them $1; at most LONGEST characters."""
        return "".join(piece if isinstance(piece, str) else groups[piece - 1] for piece in self.pieces)[:LONGEST]


EMPTY = Template()


def parse_template(text: str) -> Template:
    """Raises TemplateError."""
    pieces: list[str | int] = []
    literal = ""
    position = 0
    for match in _REFERENCE.finditer(text):
        literal += text[position : match.start()]
        position = match.end()
        if match[0] == "$$":
            literal += "$"
            continue
        if literal:
            pieces.append(literal)
            literal = ""
        pieces.append(_number(match))
    literal += text[position:]
    if literal:
        pieces.append(literal)
    return Template(tuple(pieces))


def _number(match: re.Match[str]) -> int:
    name = next((group for group in match.groups() if group is not None), "")
    if re.fullmatch("[0-9]{1,4}", name):
        if int(name) < 1:
            raise TemplateError(f"{match[0]} is out of range: groups are counted from $1")
        return int(name)
    if match[0] == "$" or not name:
        raise TemplateError("$ without a number: write $$ for a dollar sign")
    hint = (
        f": write ${{{digits[0]}}} to keep it apart from what follows" if (digits := re.match("[0-9]+", name)) else ""
    )
    raise TemplateError(f"{match[0]} is no number of a group{hint or ': write $$ for a dollar sign'}")
