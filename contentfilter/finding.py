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
    """What a local rule asks for, in the words of header_checks(5); SCORE is ours."""

    REJECT = "REJECT"
    DISCARD = "DISCARD"
    HOLD = "HOLD"
    """Withhold into quarantine."""
    WARN = "WARN"
    INFO = "INFO"
    IGNORE = "IGNORE"
    """Remove the header field."""
    PREPEND = "PREPEND"
    REPLACE = "REPLACE"
    REDIRECT = "REDIRECT"
    BCC = "BCC"
    DUNNO = "DUNNO"
    """Ask for nothing, and let no later rule of the table see the line."""
    SCORE = "SCORE"
    """Add to the spam score, under the name of a test."""

    @property
    def ends(self) -> bool:
        """Whether nothing further of the message is matched."""
        return self in (RuleAction.REJECT, RuleAction.DISCARD)

    @property
    def edits(self) -> bool:
        """Whether it changes the header."""
        return self in (RuleAction.IGNORE, RuleAction.PREPEND, RuleAction.REPLACE)


@dataclass(frozen=True, slots=True)
class RuleHit:
    """A local rule that hit.

    source: table and line of the rule, "header_checks:12"; text: what stands behind the action, expanded, printable:
    the answer to the sender, the line for the log, the address, the field, the name of the test.
    status: the enhanced status code of a REJECT (RFC 3463), class 4 or 5. matched: the line that it hit, or a piece.
    start, end: offsets of the header field, for the actions that edit, else None; replacement: what an edit puts there
    (IGNORE, REPLACE: for the field, PREPEND: before it), whole lines of ASCII with CRLF.
    """

    action: RuleAction
    source: str
    text: str = ""
    status: str = ""
    matched: str = ""
    start: int | None = None
    end: int | None = None
    replacement: str = ""

    def __str__(self) -> str:
        words = (f"{self.source}:", self.action.value, self.status, self.text)
        return " ".join(word for word in words if word)


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact.

    inspector: who reports ("clamd", "spamd", "rspamd", "banned", "header", "rules", "mime", "unpack");
    name: what was found, for people and logs;
    part: the path of the part it is about ("1.2"), "" for the whole message; score and tests: for SPAM,
    and for a RULE whose action is SCORE; rule: for RULE;
    user: the user whose preferences gave the score, "" where the scanner's own apply;
    banned_rules: the sets that it follows from, as a policy names them, () where it concerns everybody;
    text: what a recipient is told of it, "" for nothing in particular;
    adds: for SPAM, whether the score is added to that of other scanners; else the greatest counts.
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
    banned_rules: tuple[str, ...] = ()
    text: str = ""
    adds: bool = False
