"""Findings: facts that inspectors report. What they mean for a recipient :mod:`contentfilter.decision` decides."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What sort of fact a finding is."""

    VIRUS = "virus"
    BANNED = "banned"
    UNCHECKED = "unchecked"
    SPAM = "spam"
    BAD_HEADER = "bad_header"
    RULE = "rule"
    """A line of a local rule table hit; Finding.rule says what it wants."""
    OVERSIZED = "oversized"
    SIGN = "sign"
    """Active content, such as a macro: a fact that rules may use, by itself nothing against the message."""
    FAILURE = "failure"
    """The inspector could not answer; `[...] on_failure` says what that means."""


@dataclass(frozen=True, slots=True)
class Test:
    """One rule of a spam scanner that hit; score is None where the scanner does not tell."""

    name: str
    score: float | None = None

    __test__ = False  # not a test case, whatever pytest thinks of the name

    def __str__(self) -> str:
        return self.name if self.score is None else f"{self.name}={self.score:g}"


class RuleAction(Enum):
    """What a line of a local rule table wants, in the words of header_checks(5) and one of ours."""

    REJECT = "REJECT"
    DISCARD = "DISCARD"
    HOLD = "HOLD"
    WARN = "WARN"
    INFO = "INFO"
    IGNORE = "IGNORE"
    PREPEND = "PREPEND"
    REPLACE = "REPLACE"
    REDIRECT = "REDIRECT"
    BCC = "BCC"
    SCORE = "SCORE"


@dataclass(frozen=True, slots=True)
class RuleHit:
    """One line that hit. source: "header_checks:12"; text: what stands behind the action, expanded.

    start, end, replacement: for IGNORE, PREPEND and REPLACE, the bytes of the raw message that become others.
    """

    action: RuleAction
    source: str
    text: str = ""
    start: int = 0
    end: int = 0
    replacement: bytes = b""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact.

    inspector: who reports ("clamd", "spamd", "banned", "header", "rules", "mime", "unpack");
    name: what was found, for people and logs;
    part: the path of the part it is about ("1.2"), "" for the whole message; score and tests: for SPAM;
    user: the SpamAssassin user whose preferences gave the score, "" where the scanner's own apply;
    rule: for RULE;
    rules: the sets of banned rules that it follows from, as a policy names them, () where it concerns everybody;
    text: what a recipient is told of it, "" for nothing in particular.
    """

    kind: Kind
    inspector: str
    name: str
    part: str = ""
    score: float = 0.0
    tests: tuple[Test, ...] = ()
    autolearn: str = "no"
    user: str = ""
    rule: RuleHit | None = None
    rules: tuple[str, ...] = ()
    text: str = ""
