"""Lists of senders and clients that a recipient, a domain or the site allows, denies or scores.

An entry has an owner, a lookup key like that of a policy entry ("bob@example.org", "@example.org", "@." for the site),
and a subject: an envelope sender ("alice@example.com", "alice@" in whatever domain, "@example.com", "@.example.com"
with all below, "@." for everybody), a network of clients ("192.0.2.0/24", by XFORWARD ADDR), or the domain of a valid
DKIM signature ("dkim:example.com").

The most specific owner decides, and of one owner's entries the most specific subject, in the order of
:class:`Subjects`; nothing adds up. An allowed sender's mail is no spam; what else is wrong with it still counts.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import overload

from contentfilter.domains import canonical_domain
from contentfilter.policy.keys import canonical_key, lookup_keys

DKIM = "dkim:"


class Effect(Enum):
    """What a list entry does."""

    ALLOW = "allow"
    DENY = "deny"
    SCORE = "score"


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One entry. score: added to the spam score, for Effect.SCORE; expires: seconds since the epoch, None: never."""

    source: str
    owner: str
    subject: str
    effect: Effect
    score: float = 0.0
    expires: float | None = None

    def holds(self, now: float) -> bool:
        """Whether it has not expired at this time, in seconds since the epoch."""
        return self.expires is None or now < self.expires

    def __str__(self) -> str:
        what = f"score {self.score:+g}" if self.effect is Effect.SCORE else self.effect.value
        return f"{what} {self.subject}, listed for {self.owner} in {self.source}"


class Subjects(Sequence[str]):
    """All subjects under which an entry about a message may stand, the most specific first.

    mail_from: the envelope sender, "" for the null sender, which only "<>" names; addr: the client's address;
    signed_by: domains of valid DKIM signatures. Worked out when somebody looks: most owners have no lists, and a client
    is in up to 129 networks.
    """

    def __init__(self, mail_from: str, addr: str | None, signed_by: Collection[str] = (), delimiter: str = "+") -> None:
        self._about = mail_from, addr, tuple(signed_by), delimiter

    @cached_property
    def _all(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_subjects(*self._about)))

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return self._all[index]

    def __len__(self) -> int:
        return len(self._all)


def _subjects(mail_from: str, addr: str | None, signed_by: Collection[str], delimiter: str) -> Iterator[str]:
    if mail_from:
        keys = lookup_keys(mail_from, delimiter)
        yield from (key if "@" in key else f"{key}@" for key in keys if key != "@.")
    else:
        yield "<>"
    yield from (f"{DKIM}{domain}" for domain in sorted(map(canonical_domain, signed_by)))
    yield from _networks(addr)
    yield "@."


def _networks(addr: str | None) -> Iterator[str]:
    ip = client_address(addr)
    if ip is None:
        return
    kind = ipaddress.IPv4Network if isinstance(ip, ipaddress.IPv4Address) else ipaddress.IPv6Network
    for length in range(ip.max_prefixlen, -1, -1):
        yield str(kind((int(ip), length), strict=False))


def client_address(addr: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that XFORWARD ADDR tells, an IPv4 address in IPv6 clothes as IPv4; None if it tells none."""
    try:
        ip = ipaddress.ip_address((addr or "").lower().removeprefix("ipv6:"))
    except ValueError:
        return None
    return (ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None) or ip


_WHAT_IS_RIGHT = (
    'must be a sender such as "alice@example.com", "@example.com" or "@.example.com" for a domain, "<>", '
    'a network such as "192.0.2.0/24", or "dkim:example.com", not {!r}'
)


def canonical_subject(text: str) -> str:
    """A subject as it is looked up: lower case, networks without host bits, an address without length as one host.

    Raises ValueError that says what would be right.
    """
    value = text.strip().lower()
    if value == "<>":
        return value
    try:
        if value.startswith(DKIM):
            return DKIM + canonical_key(f"@{value.removeprefix(DKIM)}").removeprefix("@")
        if "@" in value:
            key = canonical_key(value)
            return key if "@" in key else f"{key}@"
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise ValueError(_WHAT_IS_RIGHT.format(text)) from None


def stored_subject(text: str) -> str:
    """The canonical subject for an entry of a database. Raises ValueError that says what would be right."""
    if not text.isprintable():
        raise ValueError("must not have control or format characters, nor bytes that are not UTF-8")
    return canonical_subject(text)


def checked_score(value: float) -> float:
    """A score that can be added. Raises ValueError for what is not a finite number."""
    if not math.isfinite(value):
        raise ValueError(f"must be a finite number, not {value}")
    return value


def effect_of(text: str) -> tuple[Effect, float]:
    """What somebody typed: allow, deny, or a score. Raises ValueError that says what would be right."""
    word = text.strip().lower()
    if word in (Effect.ALLOW.value, Effect.DENY.value):
        return Effect(word), 0.0
    try:
        return Effect.SCORE, checked_score(float(word))
    except ValueError:
        close = difflib.get_close_matches(word, (Effect.ALLOW.value, Effect.DENY.value), n=1)
        advice = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"must be allow, deny, or a finite score such as -2.0, not {text!r}{advice}") from None


def effect_text(entry: ListEntry) -> str:
    """The effect as text that :func:`effect_of` understands."""
    return repr(entry.score) if entry.effect is Effect.SCORE else entry.effect.value


def deciding(listed: Sequence[ListEntry], now: float) -> ListEntry | None:
    """The first entry that has not expired at this time, in seconds since the epoch."""
    return next((entry for entry in listed if entry.holds(now)), None)
