"""Policy banks: settings laid over everybody's policy for messages that come a certain way, such as outgoing mail."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from contentfilter.domains import LocalDomains
from contentfilter.envelope import Envelope
from contentfilter.policy.entry import Entry, Settings
from contentfilter.policy.lists import client_address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Bank:
    """One bank. A message is meant if it satisfies each kind of condition that is given; of one kind, any will do.

    listeners: of our own addresses, as in `[listen] addresses`; networks: of the client that XFORWARD tells of;
    local_source: XFORWARD SOURCE=LOCAL, mail that Postfix took by sendmail(1); senders: domains of the envelope sender.
    """

    name: str
    settings: Settings
    listeners: tuple[str, ...] = ()
    networks: tuple[Network, ...] = ()
    local_source: bool = False
    senders: LocalDomains | None = None

    def means(self, envelope: Envelope) -> bool:
        """Whether the bank applies to a message in this envelope."""
        if self.listeners and envelope.listener not in self.listeners:
            return False
        if (self.networks or self.local_source) and not self._from_our_own(envelope):
            return False
        # LocalDomains counts an address without a domain as local, which here the null sender must not be.
        return self.senders is None or ("@" in envelope.mail_from and self.senders.has(envelope.mail_from))

    def _from_our_own(self, envelope: Envelope) -> bool:
        if self.local_source and (envelope.client.source or "").upper() == "LOCAL":
            return True
        ip = client_address(envelope.client.addr)
        return ip is not None and any(ip in network for network in self.networks)


def overlays(banks: Sequence[Bank], envelope: Envelope) -> tuple[Entry, ...]:
    """The settings to lay over everybody's policy, those of the last bank first: a later bank wins."""
    return tuple(Entry("bank", bank.name, bank.settings) for bank in reversed(banks) if bank.means(envelope))
