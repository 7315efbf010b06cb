"""Where a message goes on: the address it goes out under, and the next hop of those who have one of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol as Interface

from contentfilter import xtext
from contentfilter.envelope import Envelope, Recipient, split_address
from contentfilter.mail_data import Content
from contentfilter.next_hop import NextHop
from contentfilter.reply import Reply
from contentfilter.verdict import Route


class Way(Interface):
    """The way out, as :class:`Routes` offers it."""

    async def send(
        self, envelope: Envelope, recipients: Sequence[Recipient], content: Content, size: int, via: str = ""
    ) -> tuple[Reply, ...]:
        """One reply per recipient; no fault of the next hop raises. via: an address, "" for the usual next hop."""
        ...


class Routes:
    """Next hops by their address, made when they are first needed. default: where everything else goes."""

    def __init__(self, default: NextHop, make: Callable[[str], NextHop]) -> None:
        self._default = default
        self._make = make
        self._others: dict[str, NextHop] = {}

    async def send(
        self, envelope: Envelope, recipients: Sequence[Recipient], content: Content, size: int, via: str = ""
    ) -> tuple[Reply, ...]:
        """As :meth:`NextHop.send`. via: the address of the next hop, "" for the default one."""
        return await self._hop(via).send(envelope, recipients, content, size)

    def _hop(self, via: str) -> NextHop:
        if not via:
            return self._default
        if via not in self._others:
            self._others[via] = self._make(via)
        return self._others[via]

    async def close(self) -> None:
        """Let go of idle connections."""
        for hop in (self._default, *self._others.values()):
            await hop.close()


def outgoing(recipient: Recipient, route: Route, delimiter: str) -> Recipient:
    """Who is written into RCPT TO. An address that changes keeps its original in ORCPT (RFC 3461 section 5.2.1).

    delimiter: Postfix's recipient_delimiter; without one no extension is added.
    """
    address = route.redirect or _extended(recipient.address, route.extension, delimiter)
    if address == recipient.address:
        return recipient
    orcpt = recipient.orcpt
    if orcpt is None:
        came = recipient.address
        orcpt = f"rfc822;{xtext.encode(came)}" if came.isascii() else f"utf-8;{xtext.encode_international(came)}"
    return replace(recipient, address=address, orcpt=orcpt)


def _extended(address: str, extension: str, delimiter: str) -> str:
    """The address with this extension in place of the one that it may have."""
    local, domain = split_address(address)
    if not extension or not delimiter or local.startswith('"'):
        return address
    bare = local[: local.index(delimiter, 1)] if delimiter in local[1:] else local
    return f"{bare}{delimiter}{extension}@{domain}" if domain else f"{bare}{delimiter}{extension}"
