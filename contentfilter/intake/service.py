"""The service behind a door: what becomes of messages, as whoever opens the door has it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from contentfilter import reply
from contentfilter.envelope import Envelope
from contentfilter.errors import FilterError
from contentfilter.message import Message
from contentfilter.reply import Reply

Handler = Callable[[Envelope, Message], Awaitable[Sequence[Reply]]]
"""What becomes of a message: exactly one reply per recipient in LMTP, exactly one in SMTP. The message stays ours."""

Admission = Callable[[Envelope, int], Awaitable[Reply | None]]
"""Asked about the last recipient of an envelope and the size in bytes that MAIL has declared: a refusal, or None."""

Turn = Callable[[Envelope, Message], AbstractAsyncContextManager[None]]
"""Held while a message is handled and answered. Entering it may take its time, and may raise FilterError."""

Unheard = Callable[[Envelope, str, Sequence[Reply]], Awaitable[None]]
"""Called when the client may not have heard these replies about the message with this digest (SHA-256, in hex).

That is when its side was closed by the time we answered, and when the session ends without another command: a client
that is alive has one, and be it QUIT. Postfix may send QUIT along with the final dot (RFC 2920); then only the open
connection tells that it is alive when we answer. One that told no queue id is believed to have heard in the second
case: should it send the same bytes again, nothing would tell them from a new message.
"""

log = logging.getLogger("contentfilter.intake")


def _at_any_time(_envelope: Envelope, _message: Message) -> AbstractAsyncContextManager[None]:
    return contextlib.nullcontext()


@dataclass(frozen=True, slots=True)
class Service:
    """What is done with messages. handle is asked about each; the rest is for who cares."""

    handle: Handler
    admit: Admission | None = None
    turn: Turn = _at_any_time
    unheard: Unheard | None = None

    async def refusal(self, envelope: Envelope, size: int, name: str) -> Reply | None:
        """What speaks against the last recipient of an envelope, and be it that asking failed. name: as for replies."""
        if self.admit is None:
            return None
        try:
            return await self.admit(envelope, size)
        except FilterError as error:
            log.warning("%s: recipient answered with %s: %s", name, error.reply, error)
            return error.reply
        except Exception:
            log.exception("%s: asking about a recipient failed", name)
            return reply.INTERNAL

    async def replies(self, envelope: Envelope, message: Message, wanted: int, name: str) -> Sequence[Reply]:
        """So many replies, whatever the handler does. name: of the client, for the log.

        Raises only CancelledError, when the task is cancelled that this runs in.
        """
        try:
            replies = await self.handle(envelope, message)
        except FilterError as error:
            log.warning("%s: message answered with %s: %s", name, error.reply, error)
            return [error.reply] * wanted
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            log.exception("%s: something in the handler was cancelled", name)
            return [reply.INTERNAL] * wanted
        except Exception:
            log.exception("%s: handler failed", name)
            return [reply.INTERNAL] * wanted
        if len(replies) != wanted:
            log.error("%s: handler gave %d replies where %d are due", name, len(replies), wanted)
            return [reply.INTERNAL] * wanted
        return replies
