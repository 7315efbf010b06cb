"""What a retry is recognised by: the message, its sender, and the queue id that Postfix has for it. Pure.

A message that is sent anew has another queue id, and with it other bytes, because Postfix writes the id into its
Received field. Where no XFORWARD tells the queue id, message and sender have to do, until all of it is answered for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from contentfilter.envelope import Envelope

SIZE = 16
"""Bytes of a name."""


@dataclass(frozen=True)
class Identity:
    """Of one message in Postfix's queue. digest: SHA-256 of its bytes, in hex; ident: the queue id, or ""."""

    digest: str
    mail_from: str
    ident: str

    @classmethod
    def of(cls, envelope: Envelope, digest: str) -> Identity:
        """Of the message with this digest that came in this envelope, whoever its recipients are."""
        return cls(digest, envelope.mail_from, envelope.client.ident or "")

    @cached_property
    def name(self) -> bytes:
        """Sixteen bytes that stand for it."""
        return self._hashed("", SIZE)

    def claim_of(self, recipient: str) -> int:
        """A number of 62 bits that stands for it and one recipient."""
        return int.from_bytes(self._hashed(recipient, 8)) >> 2

    def _hashed(self, recipient: str, size: int) -> bytes:
        words = (self.digest, self.ident, self.mail_from, recipient)
        # No word holds NUL: RFC 5321 section 4.5.3.1.10 and our own door forbid it.
        text = "\0".join(words).encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, digest_size=size).digest()
