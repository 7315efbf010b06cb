"""The envelope: who sends, who shall receive, and what was said about delivery reports.

RFC 5321 (MAIL, RCPT), RFC 3461 (RET, ENVID, NOTIFY, ORCPT), RFC 6152 (BODY), RFC 6531 (SMTPUTF8), and Postfix's
XFORWARD. Values keep the case and the xtext form in which they came, so that they go out as they came in.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum


class Protocol(Enum):
    """Which door the message came through: it decides whether there is one reply or one per recipient."""

    SMTP = "SMTP"
    ESMTP = "ESMTP"
    LMTP = "LMTP"


@dataclass(frozen=True, slots=True)
class Client:
    """The remote host that XFORWARD tells of, not the Postfix that talks to us. None is ``[UNAVAILABLE]``.

    Values are decoded from xtext and hold no control characters.
    """

    name: str | None = None
    addr: str | None = None
    port: str | None = None
    proto: str | None = None
    helo: str | None = None
    ident: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """The host that talks to us, for our Received field: its address and the name it gave in EHLO, HELO or LHLO."""

    addr: str = ""
    helo: str = ""


@dataclass(frozen=True, slots=True)
class Recipient:
    """One RCPT TO. address has no angle brackets and keeps its case and quoting.

    notify: the NOTIFY keywords, upper case, empty when not given. orcpt: as given ("rfc822;bob+2Bx@example.org").
    """

    address: str
    notify: tuple[str, ...] = ()
    orcpt: str | None = None

    @property
    def wants_failure_report(self) -> bool:
        """RFC 3461 section 4.1: a failure is reported unless NOTIFY says otherwise."""
        return not self.notify or "FAILURE" in self.notify


@dataclass(frozen=True, slots=True)
class Envelope:
    """One mail transaction. mail_from "" is the null sender; times are seconds since the epoch.

    listener: the one of our own addresses that it came in at, as `[listen] addresses` names it.
    """

    mail_from: str
    recipients: tuple[Recipient, ...]
    body: str | None = None
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None
    client: Client = Client()
    peer: Peer = Peer()
    listener: str = ""
    protocol: Protocol = Protocol.ESMTP
    received_at: float = field(default_factory=time.time)


def split_address(address: str) -> tuple[str, str]:
    """Local part and domain ("" if there is none). The last @ outside of quotes divides (RFC 5321 section 4.1.2)."""
    if address.endswith('"'):
        return address, ""
    local, at, domain = address.rpartition("@")
    return (local, domain) if at else (address, "")
