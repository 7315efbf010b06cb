"""Verdicts: what happens to a message for one recipient, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum

from contentfilter.finding import Test
from contentfilter.message import Replacement
from contentfilter.reply import Reply


class Category(IntEnum):
    """What the message is, for one recipient. The greater, the graver."""

    CLEAN = 0
    OVERSIZED = 1
    BAD_HEADER = 2
    SPAMMY = 3
    SPAM = 4
    UNCHECKED = 5
    RULE = 6
    """A local rule says what to do with it."""
    BANNED = 7
    VIRUS = 8

    @property
    def word(self) -> str:
        """The word in configuration, JSON and the quarantine: "bad_header"."""
        return self.name.lower()

    @property
    def log_word(self) -> str:
        """The word in the mail log, as amavis has it: "BAD-HEADER", "INFECTED"."""
        return _LOG_WORDS.get(self, self.name.replace("_", "-"))

    @property
    def names_matter(self) -> bool:
        """Whether the log line says what was found: the virus, the attachment, the defect."""
        return self in (Category.VIRUS, Category.BANNED, Category.RULE, Category.UNCHECKED, Category.BAD_HEADER)


_LOG_WORDS = {Category.VIRUS: "INFECTED"}


class Action(Enum):
    """What to do with the message for one recipient."""

    PASS = "pass"  # noqa: S105 - not a password
    DISCARD = "discard"
    REJECT = "reject"
    DEFER = "defer"


@dataclass(frozen=True, slots=True)
class SpamMark:
    """What the X-Spam fields say. flagged: at or above tag2_level. Levels and score are SpamAssassin points."""

    score: float
    tagged_above: float
    required: float
    flagged: bool
    tests: tuple[Test, ...] = ()
    autolearn: str = "no"


@dataclass(frozen=True, slots=True)
class Marking:
    """What is written into the header of a message that passes. Recipients with equal markings share a reinjection.

    virus_scanned: clamd really scanned it; alert: the value of X-Contentfilter-Alert;
    subject_tag: put before the subject; quarantine_id: the copy that was also kept, if any;
    edits: what local rules change in the header.
    """

    virus_scanned: bool = False
    spam: SpamMark | None = None
    alert: str | None = None
    subject_tag: str = ""
    quarantine_id: str | None = None
    edits: tuple[Replacement, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """Where a message that passes goes.

    next_hop: an address other than the site's, "" for that; extension: put behind the delimiter of the recipient's
    address; redirect: an address in place of the recipient's; bcc: addresses that get it as well.
    """

    next_hop: str = ""
    extension: str = ""
    redirect: str = ""
    bcc: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision for one recipient.

    category: the one that decided (the gravest that withholds, else the gravest present). reply: what to answer when
    the message is withheld; a message that passes gets the next hop's reply. route: where it goes if it passes.
    reasons are for people and not compared; local: whether the recipient is one of ours, whom notices may reach;
    score: in SpamAssassin points, with what rules and lists add, None if nobody scored;
    shadowed: what would have been done, where the policy only tries that.
    """

    category: Category
    action: Action
    marking: Marking = Marking()
    quarantine: bool = False
    reply: Reply | None = None
    route: Route = Route()
    reasons: tuple[str, ...] = field(default=(), compare=False)
    local: bool = True
    score: float | None = None
    shadowed: Verdict | None = field(default=None, compare=False)
