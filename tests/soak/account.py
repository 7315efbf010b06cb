"""What became of each recipient of each message: once at the next hop, in quarantine or bounced. Pure."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.soak.hop import Taken
from tests.soak.letters import Attempt, Letter

Places = Mapping[tuple[str, str], Sequence[Taken]]
"""Copies by message and recipient."""

SLACK = 0.5
"""Seconds by which a kill may come before the client sees it, or a note be dated beside an attempt."""

ANSWER_LOST = "the next hop took it, and its answer was lost"
KILLED = "a worker was killed before the client heard"
GONE = "the client was gone before it heard"
MIXED = "SMTP, 4xx for one recipient is 4xx for all"
NO_LEDGER = (GONE, MIXED)
"""Duplicates that a ledger of who is served makes needless."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One end that a recipient's copy found. place: "next hop", "quarantine", "report" or "bounce"."""

    place: str
    attempt: int
    answer_lost: bool = False


@dataclass(slots=True)
class Account:
    """The sums. lost, unexplained: one line for each recipient."""

    recipients: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)


def settle(letters: Iterable[Letter], taken: Places, reported: Places, kept: Places, kills: Sequence[float]) -> Account:
    """Compare what the sender was told with what is there. kills: when workers were killed."""
    account = Account()
    for letter in letters:
        for recipient in letter.recipients:
            account.recipients += 1
            name = f"{letter.token} {recipient}"
            if recipient in letter.open:
                account.unsettled.append(name)
                continue
            copies = list(_copies(letter, recipient, taken, reported, kept))
            if not copies:
                account.lost.append(f"{name}: {_history(letter, recipient)}")
                continue
            account.ends[copies[-1].place] += 1
            for reason in _needless(letter, recipient, copies, kills):
                if reason:
                    account.duplicates[reason] += 1
                else:
                    what = ", ".join(f"{one.place} by attempt {one.attempt}" for one in copies)
                    account.unexplained.append(f"{name}: {what}; {_history(letter, recipient)}")
    return account


def _copies(letter: Letter, recipient: str, taken: Places, reported: Places, kept: Places) -> Iterable[Copy]:
    key = (letter.token, recipient)
    found = [
        Copy(place, one.attempt if one.attempt >= 0 else _attempt_at(letter, one.time), one.answer_lost)
        for place, places in (("next hop", taken), ("quarantine", kept), ("report", reported))
        for one in places.get(key, ())
    ]
    for number, attempt in enumerate(letter.attempts, 1):
        if attempt.codes.get(recipient, 0) // 100 == 5:
            found.append(Copy("bounce", number))
    return sorted(found, key=lambda copy: (copy.attempt, not copy.answer_lost))


def bounced(letters: Iterable[Letter]) -> set[tuple[str, str]]:
    """Whom the sender had to report as failed, by message and recipient."""
    return {
        (letter.token, recipient)
        for letter in letters
        for attempt in letter.attempts
        for recipient, code in attempt.codes.items()
        if code // 100 == 5
    }


def _attempt_at(letter: Letter, time: float) -> int:
    """The last attempt that had begun by then."""
    return max((n for n, one in enumerate(letter.attempts, 1) if one.began <= time + SLACK), default=1)


def _needless(letter: Letter, recipient: str, copies: Sequence[Copy], kills: Sequence[float]) -> Iterable[str]:
    """Why there is each copy but the last, "" where nothing explains it."""
    for copy, after in itertools.pairwise(copies):
        attempt = letter.attempts[copy.attempt - 1]
        if copy.answer_lost:
            yield ANSWER_LOST
        elif after.attempt == copy.attempt:
            yield ""
        else:
            yield _reason(attempt, recipient, kills)


def _reason(attempt: Attempt, recipient: str, kills: Sequence[float]) -> str:
    heard = attempt.codes.get(recipient, 0)
    if heard:
        return MIXED if heard // 100 == 4 and not attempt.lmtp else ""
    if attempt.fate in ("vanished", "timeout"):
        return GONE
    killed = any(attempt.began - SLACK <= kill <= attempt.ended + SLACK for kill in kills)
    return KILLED if attempt.fate == "lost" and killed else ""


def _history(letter: Letter, recipient: str) -> str:
    """The attempts, for whoever looks into it."""
    return "; ".join(
        f"{'LMTP' if one.lmtp else 'SMTP'} {one.fate} {one.codes.get(recipient, '-')}"
        f" at {one.began:.2f}-{one.ended:.2f}"
        for one in letter.attempts
    )
