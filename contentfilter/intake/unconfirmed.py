"""Replies about a message of which the client has not shown yet that it has heard them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from contentfilter.envelope import Envelope
from contentfilter.intake.service import Unheard
from contentfilter.message import Message
from contentfilter.reply import Reply

log = logging.getLogger("contentfilter.intake")


class Unconfirmed:
    """The last such replies of one connection. tell: who wants to know if they stay that; name: of the client."""

    def __init__(self, tell: Unheard | None, name: str) -> None:
        self._tell = tell
        self._name = name
        self._last: tuple[Envelope, str, Sequence[Reply]] | None = None

    def said(self, envelope: Envelope, message: Message, replies: Sequence[Reply]) -> None:
        """These are on their way."""
        if self._tell is not None:
            self._last = envelope, message.digest, replies

    def heard(self) -> None:
        """The client has said something again."""
        self._last = None

    @property
    def recognisable(self) -> bool:
        """Whether there are any, and the message will be known by its queue id when it comes again."""
        return self._last is not None and bool(self._last[0].client.ident)

    async def report(self) -> None:
        """The client may never hear them. Tells so, once, and never fails."""
        if self._tell is None or self._last is None:
            return
        envelope, digest, replies = self._last
        self._last = None
        said = "; ".join(sorted({str(one) for one in replies}))
        log.info("%s: client may not have heard %s", self._name, said)
        try:
            await self._tell(envelope, digest, replies)
        except Exception:
            log.exception("%s: could not note that the client was gone", self._name)
