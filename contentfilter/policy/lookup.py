"""Which entries apply to a recipient, in which order, and how they are merged.

Per key the first entry that sets it wins: policy banks, then the sources in their order, of each source the most
specific entry first (amavis's order), then `[policy.default]`, then the built-in default.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from contentfilter.envelope import Envelope
from contentfilter.gradually import gradually
from contentfilter.policy.banks import Bank, overlays
from contentfilter.policy.entry import Effective, Entry, Found, merged
from contentfilter.policy.keys import lookup_keys
from contentfilter.policy.lists import ListEntry, Subjects, deciding
from contentfilter.policy.settings import Policy


class PolicySource(Protocol):
    """Where settings and lists stand."""

    async def find(self, recipients: Sequence[Sequence[str]], subjects: Sequence[str]) -> Sequence[Found]:
        """What there is for each recipient, in their order.

        recipients: the lookup keys of each; subjects: those of the message, a lists.Subjects; both most
        specific first. Raises PolicyError when the source cannot tell: never a guess.
        """
        ...

    def close(self) -> None:
        """Let go of connections and threads."""
        ...


@dataclass(frozen=True, slots=True)
class Ways:
    """How addresses are compared. delimiter: Postfix's recipient_delimiter; case_sensitive: about local parts."""

    delimiter: str = "+"
    case_sensitive: bool = False

    def keys(self, address: str) -> tuple[str, ...]:
        """The lookup keys of a recipient."""
        return lookup_keys(address, self.delimiter, case_sensitive=self.case_sensitive)


class Policies:
    """The settings of every recipient. default: `[policy.default]`; clock: seconds since the epoch."""

    def __init__(
        self,
        default: Entry,
        sources: Sequence[PolicySource],
        *,
        ways: Ways = Ways(),
        banks: Sequence[Bank] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._default = default
        self._sources = tuple(sources)
        self._ways = ways
        self._banks = tuple(banks)
        self._clock = clock

    async def of_all(self, envelope: Envelope, signed_by: Collection[str] = ()) -> tuple[Effective, ...]:
        """The settings of each recipient, in their order; those alike share one object. Raises PolicyError.

        signed_by: domains whose DKIM signature of the message is valid.
        """
        keys = await gradually(self._ways.keys, [recipient.address for recipient in envelope.recipients])
        subjects = Subjects(envelope.mail_from, envelope.client.addr, signed_by, self._ways.delimiter)
        found = [await source.find(keys, subjects) for source in self._sources]
        above = overlays(self._banks, envelope)
        now = self._clock()
        alike: dict[tuple[int, ...], Effective] = {}

        def settled(index: int) -> Effective:
            entries, listing = self._entries(above, [each[index] for each in found], now)
            same = *map(id, entries), id(listing)
            if same not in alike:
                alike[same] = Effective(merged(entries), entries, listing)
            return alike[same]

        return tuple(await gradually(settled, range(len(keys))))

    async def settings_of(self, address: str, envelope: Envelope) -> Policy:
        """The settings of one recipient, without a look at the lists. Raises PolicyError.

        For what is asked about each of a message's recipients by itself.
        """
        keys = [self._ways.keys(address)]
        found = [(await source.find(keys, ()))[0] for source in self._sources]
        return merged(self._entries(overlays(self._banks, envelope), found, self._clock())[0])

    def close(self) -> None:
        """Let the sources go that hold something."""
        for source in self._sources:
            source.close()

    def _entries(
        self, above: Sequence[Entry], found: Sequence[Found], now: float
    ) -> tuple[tuple[Entry, ...], ListEntry | None]:
        entries = (*above, *(entry for one in found for entry in one.entries if entry.holds(now)), self._default)
        return entries, deciding([entry for one in found for entry in one.listed], now)
