"""What the journey knows of retries: it asks the ledger, and takes the turns. No fault of either stops mail.

DESIGN's promise 7: twice rather than lost, and not even twice where a retry can be recognised.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol as Interface

from contentfilter import maillog
from contentfilter.board import Place
from contentfilter.envelope import Envelope, Protocol
from contentfilter.errors import LedgerError
from contentfilter.identity import Identity
from contentfilter.large_work import in_thread
from contentfilter.ledger import NOTHING_KNOWN, Known, Ledger
from contentfilter.message import Message
from contentfilter.reply import Reply
from contentfilter.turns import Turns

DIGEST_IN_THREAD = 1 << 20
"""Bytes from which a digest is left to a thread: it would hold up the loop for half a millisecond or more."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One coming of a message. open: its envelope, with the recipients that are still to be served."""

    identity: Identity
    envelope: Envelope
    known: Known

    @property
    def answered(self) -> Mapping[str, Reply]:
        """The replies that recipients of this envelope have from an earlier attempt, by address.

        Postfix sends a message with many recipients in several transactions: others of it are no business of this one.
        """
        asked, known = (one.address for one in self.envelope.recipients), self.known.settled
        settled = {address: known[address] for address in asked if address in known} if known else known
        if self.envelope.protocol is Protocol.LMTP or not settled:
            return settled
        if all(settled.get(one.address, _NONE).permanent for one in self.envelope.recipients):
            return settled
        # One reply brings back those who were refused as well: they are refused anew, and then reported.
        return {address: answer for address, answer in settled.items() if answer.positive}

    @property
    def open(self) -> Envelope:
        """The envelope with the recipients that nobody answered for yet."""
        answered = self.answered
        if not answered:
            return self.envelope
        return replace(
            self.envelope, recipients=tuple(one for one in self.envelope.recipients if one.address not in answered)
        )


_NONE = Reply(0, "", "")


class Memory(Interface):
    """What the journey needs of it."""

    async def attempt(self, envelope: Envelope, message: Message) -> Attempt:
        """What is known of this message. Never raises."""
        ...

    async def remember(self, attempt: Attempt, replies: Mapping[str, Reply], additions: Sequence[str] = ()) -> bool:
        """Keep what recipients got, who will come again all the same. Nothing to keep: whether that could be done.

        False if it could not.
        """
        ...

    async def complete(self, mail_id: str, attempt: Attempt) -> None:
        """A retry got the last of its replies: nobody needs to come again with it."""
        ...

    async def strike(self, mail_id: str, attempt: Attempt, harm: str) -> None:
        """Count a harm that the message did."""
        ...

    async def absolve(self, mail_id: str, attempt: Attempt) -> None:
        """Forget what it did before."""
        ...

    def alone(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Held while a message is in work that did harm before. Raises FilterError if others take too long."""
        ...

    def at_risk(self, attempt: Attempt) -> contextlib.AbstractContextManager[None]:
        """Held while a message is in work: should we die meanwhile, it counts as a harm of this message."""
        ...


class Forgetful:
    """No ledger: for messages that are only looked at."""

    async def attempt(self, envelope: Envelope, message: Message) -> Attempt:
        """Nothing is known."""
        return Attempt(Identity.of(envelope, ""), envelope, NOTHING_KNOWN)

    async def remember(self, attempt: Attempt, replies: Mapping[str, Reply], additions: Sequence[str] = ()) -> bool:
        """It cannot."""
        return False

    async def complete(self, mail_id: str, attempt: Attempt) -> None:
        """There is nothing to forget."""

    async def strike(self, mail_id: str, attempt: Attempt, harm: str) -> None:
        """Not counted."""

    async def absolve(self, mail_id: str, attempt: Attempt) -> None:
        """There is nothing to forget."""

    def alone(self) -> contextlib.AbstractAsyncContextManager[None]:
        """At once."""
        return contextlib.nullcontext()

    def at_risk(self, attempt: Attempt) -> contextlib.AbstractContextManager[None]:
        """Nobody looks."""
        return contextlib.nullcontext()


class Retries:
    """The ledger and the turns of a worker. place: where it writes down what is in work."""

    def __init__(self, ledger: Ledger, turns: Turns, place: Place) -> None:
        self._ledger = ledger
        self._turns = turns
        self._place = place

    async def attempt(self, envelope: Envelope, message: Message) -> Attempt:
        """As :meth:`Memory.attempt`."""
        identity = await _identity(envelope, message)
        return Attempt(identity, envelope, self._ledger.known(identity))

    async def remember(self, attempt: Attempt, replies: Mapping[str, Reply], additions: Sequence[str] = ()) -> bool:
        """As :meth:`Memory.remember`."""
        try:
            await asyncio.to_thread(self._ledger.remember, attempt.identity, replies, additions)
        except LedgerError as error:
            maillog.not_remembered(attempt.envelope, error)
            # Who may be answered from the ledger has to find his copy: twice rather than lost.
            return error.unsure and bool(replies)
        return True

    async def complete(self, mail_id: str, attempt: Attempt) -> None:
        """As :meth:`Memory.complete`. Without a queue id the same bytes are from now on a message sent anew."""
        if attempt.identity.ident:
            return
        try:
            await asyncio.to_thread(self._ledger.forget, [attempt.identity.name])
        except LedgerError as error:
            maillog.step_failed(mail_id, "forgetting who has a message", error)

    async def strike(self, mail_id: str, attempt: Attempt, harm: str) -> None:
        """As :meth:`Memory.strike`."""
        try:
            await asyncio.to_thread(self._ledger.strike, [attempt.identity.name], harm, attempt.known.strikes)
        except LedgerError as error:
            maillog.step_failed(mail_id, "counting a harm", error)

    async def absolve(self, mail_id: str, attempt: Attempt) -> None:
        """As :meth:`Memory.absolve`."""
        try:
            await asyncio.to_thread(self._ledger.absolve, attempt.identity)
        except LedgerError as error:
            maillog.step_failed(mail_id, "forgetting a harm", error)

    def alone(self) -> contextlib.AbstractAsyncContextManager[None]:
        """As :meth:`Memory.alone`."""
        return self._turns.of_suspect()

    @contextlib.contextmanager
    def at_risk(self, attempt: Attempt) -> Iterator[None]:
        """As :meth:`Memory.at_risk`."""
        entry = self._place.begin(attempt.identity.name)
        try:
            yield
        finally:
            self._place.end(entry)

    @contextlib.asynccontextmanager
    async def turn(self, envelope: Envelope, message: Message) -> AsyncIterator[None]:
        """Held while a message is handled and answered, for the door. Raises FilterError.

        Without a queue id nothing tells a retry from the same bytes sent anew, and those need not wait for one another.
        """
        if not envelope.client.ident:
            yield
            return
        identity = await _identity(envelope, message)
        async with self._turns.of(identity, (one.address for one in envelope.recipients)):
            yield

    async def unheard(self, envelope: Envelope, digest: str, replies: Sequence[Reply]) -> None:
        """A client may not have heard these replies, so it may come again with the message. For the door."""
        one_each = replies if envelope.protocol is Protocol.LMTP else list(replies) * len(envelope.recipients)
        final = {
            recipient.address: answer
            for recipient, answer in zip(envelope.recipients, one_each, strict=True)
            if not answer.temporary
        }
        if final:
            await self.remember(Attempt(Identity.of(envelope, digest), envelope, NOTHING_KNOWN), final)

    def close(self) -> None:
        """Let go of the ledger."""
        self._ledger.close()


async def _identity(envelope: Envelope, message: Message) -> Identity:
    if len(message) >= DIGEST_IN_THREAD and not message.is_digested:
        return Identity.of(envelope, await in_thread(getattr, message, "digest"))
    return Identity.of(envelope, message.digest)
