r"""Patterns as pcre_table(5) and regexp_table(5) write them, in the form that RE2 takes.

RE2 needs linear time whatever it is given, which no rule and no message can change; so what only a backtracking engine
can do (look-around, back-references) is refused, with what to write in its place.

Every pattern is compiled so that it gives on a text of many lines exactly the lines on which it would match alone:
``^`` and ``$`` (and ``\A``, ``\z``) stand for the ends of a line, and nothing matches a line end. That is what lets a
table look at a whole text at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import re2

MEMORY = 1 << 20
"""Bytes that RE2 may use for one pattern, its cache of states included."""

_FLAGS = "imsxAEUX"
_HALF = re.compile("[\ud800-\udfff]")
_PREFIX = re.compile(r"\(\?mU?\)")


class Match(Protocol):
    """What a pattern found; re2 says nothing of its types."""

    def start(self, group: int = 0) -> int:
        """Offset in bytes."""
        ...

    def groups(self, default: bytes) -> tuple[bytes, ...]:
        """The groups from 1 on, default for those that took no part."""
        ...


class Compiled(Protocol):
    """A compiled pattern of RE2."""

    @property
    def groups(self) -> int:
        """How many groups it has."""
        ...

    def search(self, text: bytes) -> Match | None:
        """The first match anywhere in UTF-8 text, or None."""
        ...


class PatternError(ValueError):
    """What is wrong with a pattern and what would be right."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """source: as it stands in the file; expression and ignore_case: as RE2 got it."""

    source: str
    expression: str
    ignore_case: bool
    compiled: Compiled = field(compare=False, repr=False)

    def search(self, line: bytes) -> Match | None:
        """The first match in a line of UTF-8, or None."""
        return self.compiled.search(line)


def options(*, ignore_case: bool, memory: int = MEMORY) -> object:
    """The options with which every pattern is compiled, alone or together with others."""
    chosen = re2.Options()
    chosen.case_sensitive = not ignore_case
    chosen.dot_nl = True
    chosen.never_nl = True
    chosen.log_errors = False
    chosen.max_mem = memory
    return chosen


def compile_pattern(source: str, flags: str = "") -> Pattern:
    """The pattern with flags as in pcre_table(5): each toggles. Raises PatternError."""
    for flag in flags:
        if flag not in _FLAGS:
            raise PatternError(f"unknown flag {flag!r}: there are {', '.join(_FLAGS)}")
    if not source.isascii() and _HALF.search(source):
        raise PatternError("the pattern holds half a surrogate pair, which is no character")
    toggled = {flag for flag in _FLAGS if flags.count(flag) % 2}
    body = "".join(_translated(source, extended="x" in toggled))
    prefix = "(?mU)" if "U" in toggled else "(?m)"
    ignore_case = "i" not in toggled
    compiled = _compiled(prefix + body, ignore_case=ignore_case)
    expression = prefix + body
    if "A" in toggled:
        expression = f"{prefix}^(?:{body})"
        compiled = _compiled(expression, ignore_case=ignore_case)
    return Pattern(source, expression, ignore_case, compiled)


def _compiled(expression: str, *, ignore_case: bool) -> Compiled:
    try:
        compiled: Compiled = re2.compile(expression, options(ignore_case=ignore_case))
    except re2.error as error:
        reason = error.args[0] if error.args else b"refused"
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        reason = _PREFIX.sub("", reason, 1)
        raise PatternError(f"RE2 does not take the pattern: {reason}{_advice(reason)}") from error
    return compiled


_ADVICE = (
    ("invalid repetition size", ": a repetition may count to 1000; write {1000,} for more"),
    ("bad repetition operator", ": put (?:...) around what is to be repeated again"),
    ("no argument for repetition", ": write a backslash before *, + or ? that is meant as a character"),
    ("pattern too large", ": use smaller repetitions, or split it in several rules"),
    ("missing ]", r": write \[ for a bracket that is meant as a character"),
    ("missing )", r": write \( for a parenthesis that is meant as a character"),
    ("unexpected )", r": write \) for a parenthesis that is meant as a character"),
    ("invalid escape sequence", ": a letter or digit needs no backslash before it"),
    ("invalid perl operator", ": RE2 knows (?:...), (?i), (?s), (?U) and (?P<name>...)"),
)


def _advice(reason: str) -> str:
    return next((advice for problem, advice in _ADVICE if problem in reason), "")


# One step of a pattern: an escape, a class, the beginning of a group, a quantifier, or one character.
_LITERAL = re.compile(r"\\Q(.*?)(?:\\E|$)", re.DOTALL)
_OCTAL = re.compile(r"\\(?:0[0-7]{0,2}|[1-3][0-7]{2})")
_ESCAPE = re.compile(r"\\(?:[xpP]\{[^}]*\}|.)", re.DOTALL)
_QUANTIFIER = re.compile(r"(?:[*+?]|\{[0-9]+(?:,[0-9]*)?\})(\??)(\+?)")
_COMMENT = re.compile(r"\(\?#[^)]*\)")
_INLINE_FLAGS = re.compile(r"\(\?([A-Za-z]*)(?:-([A-Za-z]*))?([:)])")
_POSIX_CLASS = re.compile(r"\[([:.=])(.*?)\1\]")
_HORIZONTAL = r"\t\x{20}\x{a0}\x{1680}\x{180e}\x{2000}-\x{200a}\x{202f}\x{205f}\x{3000}"

_GROUPS = (
    ("(?=", "look-ahead", "split it in two: 'if /first/', then a rule for the other, then 'endif'"),
    ("(?!", "negative look-ahead", "split it in two: 'if !/what must not be there/', then the rule, then 'endif'"),
    ("(?<=", "look-behind", "match what stands before as well, and put ( ) around what $1 shall be"),
    ("(?<!", "negative look-behind", "split it in two: 'if !/what must not be there/', then the rule, then 'endif'"),
    ("(?>", "an atomic group", "write (?:...): RE2 never goes back, so it is as fast"),
    ("(?|", "a branch reset", "write one rule for each branch"),
    ("(?(", "a condition", "use 'if /condition/' or 'if !/condition/', then the rule, then 'endif'"),
    ("(?R", "a recursion", "write out as many levels as you need"),
    ("(?0", "a recursion", "write out as many levels as you need"),
    ("(?&", "a subroutine call", "repeat the group where it is called"),
    ("(?P>", "a subroutine call", "repeat the group where it is called"),
    ("(?P=", "a back-reference", "list what may be repeated as alternatives, or make a rule for each"),
    ("(?C", "a callout", "leave it out"),
    ("(?'", "a group named in quotes", "write (?P<name>...)"),
    ("(*", "a verb", "leave it out"),
)
_CALL = re.compile(r"\(\?[+-]?[0-9]+\)")
_ESCAPES = {
    "A": "(?:^)",
    "z": "(?:$)",
    "Z": "(?:$)",
    "h": f"[{_HORIZONTAL}]",
    "H": f"[^{_HORIZONTAL}]",
    "e": r"\x1b",
    "N": ".",
}
"""Escapes that RE2 lacks or would take for the ends of the whole text."""
_REFUSED = {
    "k": ("a back-reference", "list what may be repeated as alternatives, or make a rule for each"),
    "g": ("a back-reference", "list what may be repeated as alternatives, or make a rule for each"),
    "K": (r"\K", "put ( ) around what shall be kept and use $1"),
    "G": (r"\G", "write ^"),
    "R": (r"\R", "leave it out: a line holds no line end"),
    "X": (r"\X", r"write . or \pL\pM*"),
    "C": (r"\C", "write ."),
    "c": (r"\c", r"write the control character as \x and two hex digits"),
    "V": (r"\V", r"write . or a class"),
}


def _translated(source: str, *, extended: bool) -> Iterator[str]:
    at = 0
    while at < len(source):
        step, piece = _step(source, at, extended=extended)
        yield piece
        at += step


def _step(source: str, at: int, *, extended: bool) -> tuple[int, str]:
    """How much of the source is taken, and what it becomes."""
    char = source[at]
    if char == "\\":
        return _escape(source, at)
    if char == "[":
        return _class(source, at)
    if char == "(":
        return _group(source, at)
    if char in "*+?{" and (quantifier := _QUANTIFIER.match(source, at)):
        if quantifier[2]:
            bare = quantifier[0][:-1]
            raise _refusal(f"the possessive {quantifier[0]}", f"write {bare}: RE2 never goes back, so it is as fast")
        return len(quantifier[0]), quantifier[0]
    if extended and char.isspace():
        return 1, ""
    if extended and char == "#":
        raise PatternError(r"with the flag x, # begins a comment that takes all of the rest: write \#")
    return 1, char


def _refusal(what: str, instead: str) -> PatternError:
    return PatternError(f"RE2 does not know {what}, since it needs linear time for every text: {instead}")


def _escape(source: str, at: int) -> tuple[int, str]:
    if literal := _LITERAL.match(source, at):
        return len(literal[0]), re2.escape(literal[1])
    if octal := _OCTAL.match(source, at):
        return len(octal[0]), rf"\x{{{int(octal[0][1:], 8):x}}}"
    match = _ESCAPE.match(source, at)
    if match is None:
        raise PatternError(r"ends in a backslash: write \\ for a backslash that is meant as a character")
    letter = match[0][1]
    if letter.isdigit():
        instead = "list what may be repeated as alternatives, or make a rule for each"
        raise _refusal(f"the back-reference {match[0]}", instead)
    if letter in _REFUSED:
        raise _refusal(*_REFUSED[letter])
    if not letter.isascii():
        return 2, letter
    if letter == "b" and any(not char.isascii() and char.isalpha() for char in source[max(0, at - 1) : at + 3]):
        raise PatternError(r"\b knows the letters of ASCII only: write (?:^|\PL) before a word, (?:\PL|$) behind it")
    return len(match[0]), _ESCAPES.get(letter, match[0])


def _group(source: str, at: int) -> tuple[int, str]:
    if comment := _COMMENT.match(source, at):
        return len(comment[0]), ""
    if _CALL.match(source, at):
        raise _refusal("a subroutine call", "repeat the group where it is called")
    for beginning, what, instead in _GROUPS:
        if source.startswith(beginning, at):
            raise _refusal(f"{what}, {beginning}...)", instead)
    if flags := _INLINE_FLAGS.match(source, at):
        return len(flags[0]), _inline_flags(flags)
    return 1, "("


def _inline_flags(match: re.Match[str]) -> str:
    """Without m, which makes no difference within a line; with it off, a text of many lines would differ from one."""
    on, off = match[1] or "", match[2] or ""
    if "x" in on + off:
        raise PatternError("(?x) is not known inside a pattern: write the flag x behind the closing delimiter")
    on, off = on.replace("m", ""), off.replace("m", "")
    flags = f"{on}-{off}" if off else on
    if not flags:
        return "(?:" if match[3] == ":" else ""
    return f"(?{flags}{match[3]}"


def _class(source: str, at: int) -> tuple[int, str]:
    """A class in brackets. A bracket that comes first is a character, in POSIX and in PCRE."""
    pieces = ["["]
    position = at + 1
    if source.startswith("^", position):
        pieces.append("^")
        position += 1
    if source.startswith("]", position):
        pieces.append(r"\]")
        position += 1
    while position < len(source):
        char = source[position]
        if char == "]":
            return position + 1 - at, "".join([*pieces, "]"])
        taken, piece = _in_class(source, position)
        pieces.append(piece)
        position += taken
    raise PatternError(rf"the class {source[at : at + 20]} has no closing bracket: write \[ for a bracket as such")


def _in_class(source: str, at: int) -> tuple[int, str]:
    if posix := _POSIX_CLASS.match(source, at):
        if posix[1] != ":" or posix[2] in ("<", ">"):
            raise PatternError(rf"{posix[0]} is not known: write \b for the edge of a word, and characters as such")
        return len(posix[0]), posix[0]
    if source[at] == "\\":
        return _escape_in_class(source, at)
    return 1, r"\[" if source[at] == "[" else source[at]


_IN_CLASS = {"b": r"\x08", "e": r"\x1b", "h": _HORIZONTAL}


def _escape_in_class(source: str, at: int) -> tuple[int, str]:
    if octal := _OCTAL.match(source, at):
        return len(octal[0]), rf"\x{{{int(octal[0][1:], 8):x}}}"
    match = _ESCAPE.match(source, at)
    if match is None:
        raise PatternError(r"ends in a backslash: write \\ for a backslash that is meant as a character")
    letter = match[0][1]
    return len(match[0]), _IN_CLASS.get(letter, match[0] if letter.isascii() else letter)
