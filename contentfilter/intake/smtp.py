"""One SMTP or LMTP connection: the shell around the dialog, over :mod:`contentfilter.intake.wire`.

aiosmtpd was here before. Its command loop inspects its own members for each connection (0.3 ms), takes a bare LF for a
line end, reads DATA a line at a time, knows neither DSN nor XFORWARD, and cancels the handler when the client goes
away, which here would be a delivery cut in the middle; and what it builds on, asyncio's streams, was a tenth of what a
small message cost. A handler of ours is cancelled by nothing but the end of :meth:`Listener.drain`'s patience.

Pure parsing is elsewhere; here, and for a message that comes in in :mod:`contentfilter.intake.reception`, are the
waits, each with its timeout, and the promise that whatever happens the client gets a proper reply or a closed
connection, the log a line, and the message an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from contentfilter import reply
from contentfilter.envelope import Envelope
from contentfilter.errors import BusyError, FilterError
from contentfilter.intake.capacity import Capacity
from contentfilter.intake.dialog import Dialog
from contentfilter.intake.holdings import Holding
from contentfilter.intake.patience import Patience
from contentfilter.intake.reception import Reception
from contentfilter.intake.refusals import Refusals
from contentfilter.intake.service import Service
from contentfilter.intake.settings import IntakeSettings
from contentfilter.intake.unconfirmed import Unconfirmed
from contentfilter.intake.wire import BareNewline, ClientGone, LineTooLong, Wire
from contentfilter.large_work import in_thread
from contentfilter.message import Message
from contentfilter.reply import Reply

log = logging.getLogger("contentfilter.intake")

_CLOSING = frozenset({221, 421, 521})
"""Codes after which we close."""

LINGER = 5.0
"""Seconds that a client has to take our last words before the connection is cut."""


class Connection:
    """One connection. It puts itself into register while it lives.

    wire: is connected; listener: our own address; refusal: greet with this reply and close, for clients that may not
    come in; capacity: of the worker. To be made in the task that calls :meth:`serve`.
    """

    def __init__(
        self,
        wire: Wire,
        service: Service,
        settings: IntakeSettings,
        register: set[Connection],
        capacity: Capacity,
        *,
        peer_address: str = "",
        listener: str = "",
        refusal: Reply | None = None,
    ) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task")
        self.task: asyncio.Task[None] = task
        """The session. It ends when the connection is closed and never fails."""
        self._loop = task.get_loop()
        self._wire = wire
        self._patience = Patience(self._loop, self._patience_is_over)
        self._service = service
        self._settings = settings
        self._register = register
        self._refusal = refusal
        self._capacity = capacity
        self._reception = Reception(wire, self._patience, settings, capacity)
        self._dialog = Dialog(settings, peer_address, listener)
        self._name = peer_address or "unix"
        self._refusals = Refusals(settings, self._name)
        self._listening = False
        self._listening_since = 0.0
        self._draining = False
        self._spared = False
        self._fresh = True
        self._leaving = False
        self._unconfirmed = Unconfirmed(service.unheard, self._name)

    # What the listener tells us.

    @property
    def leaving(self) -> bool:
        """Whether it is being closed."""
        return self._leaving

    @property
    def idle(self) -> float:
        """Seconds for which the client could have said something and has not; 0 where a message would suffer."""
        return self._loop.time() - self._listening_since if self._listening and not self._leaving else 0.0

    def give_way(self) -> None:
        """Close an idle connection: others have something to do."""
        log.debug("%s: idle for %.0f s in state %s, gives way", self._name, self.idle, self._dialog.state.name)
        self._part_with(reply.TOO_MANY_CONNECTIONS)

    def drain(self, *, gently: bool = False) -> None:
        """Close, but not before a message that comes in or is handled has its answer.

        Between commands the client has the whole message still, however far its envelope has come. gently: a client
        that has sent none yet, or has begun with one, is spared until that is answered.
        """
        self._draining = True
        self._spared = gently and (self._fresh or self._dialog.in_transaction)
        if self._listening and not self._spared:
            self._part_with(reply.SHUTTING_DOWN)

    def cut(self) -> None:
        """Close now, whatever runs."""
        log.warning("%s: cut off in state %s", self._name, self._dialog.state.name)
        self._part_with(reply.SHUTTING_DOWN)
        self.task.cancel()

    def _patience_is_over(self) -> None:
        if not self._leaving:
            received = self._reception.received
            state = self._dialog.state.name if received is None else f"DATA after {received} bytes"
            log.warning("%s: timeout in state %s, closing", self._name, state)
        if self._leaving or self._wire.stuck:
            # It takes nothing from us: it would not hear a farewell either.
            self._leaving = True
            self._wire.abort()
        else:
            self._part_with(reply.COMMAND_TIMEOUT)

    def _part_with(self, last_words: Reply) -> None:
        if not self._wire.closing:
            self._close(last_words)

    def _close(self, last_words: Reply | None = None) -> None:
        self._leaving = True
        self._patience.reset(LINGER)
        self._wire.close(last_words)

    # The session.

    async def serve(self) -> None:
        """From the greeting to the end. Never fails."""
        self._register.add(self)
        try:
            await self._converse()
            await self._wire.flush()
        except ClientGone as event:
            self._log_departure(event)
        except Exception:
            log.exception("%s: session failed", self._name)
        finally:
            await self._end()

    async def _end(self) -> None:
        self._close()
        if self._unconfirmed.recognisable or self.task.cancelling():
            await self._unconfirmed.report()
        try:
            with contextlib.suppress(OSError):
                await self._wire.wait_closed()
        finally:
            self._patience.end()
            self._register.discard(self)

    def _log_departure(self, event: ClientGone) -> None:
        if self._leaving:
            return
        state = self._dialog.state
        level = logging.WARNING if self._dialog.in_transaction else logging.INFO
        log.log(level, "%s: client left without QUIT in state %s: %s", self._name, state.name, event)

    async def _converse(self) -> None:
        if self._refusal is not None:
            # Of too many the listener tells once.
            level = logging.DEBUG if self._refusal is reply.TOO_MANY_CONNECTIONS else logging.WARNING
            log.log(level, "%s: not served: %s", self._name, self._refusal)
            await self._wire.send(self._refusal)
            return
        await self._wire.send(self._dialog.greeting())
        while not await self._exchange():
            if self._draining and not self._spared:
                await self._wire.send(reply.SHUTTING_DOWN)
                return

    async def _exchange(self) -> bool:
        """One command and its answer; True if it was the last."""
        line = b""
        try:
            line = await self._next_line()
            answer = await self._considered(self._dialog.answer(line))
        except LineTooLong:
            answer = reply.COMMAND_TOO_LONG
        except BareNewline:
            answer = reply.BARE_NEWLINE
        await self._wire.send(answer)
        if answer is reply.START_DATA:
            await self._data()
            self._fresh = self._spared = False
        elif answer.permanent and self._refusals.add(line, self._dialog.state.name, answer):
            answer = reply.TOO_MANY_ERRORS
            await self._wire.send(answer)
        return answer.code in _CLOSING

    async def _next_line(self) -> bytes:
        self._patience.reset(self._settings.command_timeout)
        self._listening = True
        self._listening_since = self._loop.time()
        try:
            line = await self._wire.read_line()
        finally:
            self._listening = False
        if self._leaving:
            # It came as we hung up. A message must not be taken after the client was told that it was not.
            raise ClientGone("too late")
        self._unconfirmed.heard()
        return line

    async def _considered(self, answer: Reply) -> Reply:
        """What the dialog answers, unless there is no room for it."""
        if answer is reply.RECIPIENT_OK:
            return await self._admission()
        if answer is reply.SENDER_OK and not self._capacity.has_room(self._dialog.declared_size):
            return await self._room()
        if answer is reply.START_DATA and self._capacity.holdings.full:
            self._capacity.refuse()
            return reply.STORAGE_FAILED
        return answer

    async def _room(self) -> Reply:
        """What the sender that was just named gets: no message is begun that could not be worked on.

        Never 421, which would cut off the commands that are on their way behind MAIL: a connection that is lost makes
        Postfix hold back all mail for this destination for minutes.
        """
        self._patience.rest()
        there_is_room = await self._capacity.room(self._dialog.declared_size)
        self._patience.reset(self._settings.command_timeout)
        if there_is_room:
            return reply.SENDER_OK
        self._dialog.put_off()
        return reply.BUSY

    async def _admission(self) -> Reply:
        """What the recipient that was just named gets: some accept no message of the size that was declared."""
        size = self._dialog.declared_size
        if self._service.admit is None or not size:
            return reply.RECIPIENT_OK
        refusal = await self._service.refusal(self._dialog.envelope(), size, self._name)
        if refusal is None:
            return reply.RECIPIENT_OK
        self._dialog.withdraw_recipient()
        return refusal

    async def _data(self) -> None:
        holding = Holding(self._capacity.holdings)
        try:
            await self._take_in(holding)
        finally:
            holding.release()
            self._capacity.serve()

    async def _take_in(self, holding: Holding) -> None:
        try:
            message = await self._reception.message(holding)
        except FilterError as error:
            if isinstance(error, BusyError):
                self._capacity.refuse()
            else:
                log.warning("%s: message not taken: %s", self._name, error)
            await self._conclude([error.reply] * self._dialog.answers)
            return
        try:
            await self._hand_over(message)
        finally:
            if message.in_file:
                await asyncio.shield(in_thread(message.close))
            else:
                message.close()

    async def _hand_over(self, message: Message) -> None:
        envelope = self._dialog.envelope()
        self._patience.rest()
        try:
            async with self._service.turn(envelope, message):
                await self._handle(envelope, message)
        except FilterError as error:
            log.warning("%s: message answered with %s: %s", self._name, error.reply, error)
            await self._conclude([error.reply] * self._dialog.answers)

    async def _handle(self, envelope: Envelope, message: Message) -> None:
        replies = await self._in_slot(envelope, message)
        self._patience.reset(self._settings.command_timeout)
        self._refusals.forgive()
        self._unconfirmed.said(envelope, message, replies)
        try:
            await self._conclude(replies)
            await self._wire.flush()
        except ClientGone:
            await self._unconfirmed.report()
            raise
        if self._wire.client_closed:
            await self._unconfirmed.report()

    async def _in_slot(self, envelope: Envelope, message: Message) -> Sequence[Reply]:
        """Have the message worked on when it is its turn. The slot is given back before anybody reads our replies."""
        size, was_there = len(message), not self._wire.client_closed
        if not self._capacity.try_enter(size):
            try:
                await self._capacity.enter(size)
            except BusyError as error:
                return [error.reply] * self._dialog.answers
        try:
            if was_there and self._wire.client_closed:
                # It gave up waiting and will come again: whatever we did now would be done twice.
                return [reply.BUSY] * self._dialog.answers
            return await self._service.replies(envelope, message, self._dialog.answers, self._name)
        finally:
            self._capacity.leave(size)

    async def _conclude(self, replies: Sequence[Reply]) -> None:
        self._dialog.end_transaction()
        for answer in replies:
            await self._wire.send(answer)
