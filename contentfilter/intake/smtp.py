"""One SMTP or LMTP connection: the shell around :mod:`contentfilter.intake.dialog`, on aiosmtpd.

Of aiosmtpd we keep the protocol on asyncio's streams, its session and its timer. Its command loop we replace: it
inspects its own members for each connection (0.3 ms), takes a bare LF for a line end, reads DATA a line at a time,
knows neither DSN nor XFORWARD, and cancels the handler when the client goes away, which here would be a delivery cut in
the middle. A handler of ours is cancelled by nothing but the end of :meth:`Listener.drain`'s patience.

Pure parsing is elsewhere; here are the waits, each with its timeout, and the promise that whatever happens the client
gets a proper reply or a closed connection, the log a line, and the message an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import aiosmtpd.smtp

from contentfilter import reply
from contentfilter.envelope import Envelope
from contentfilter.errors import BusyError, FilterError
from contentfilter.intake.capacity import Capacity
from contentfilter.intake.data import Receiver
from contentfilter.intake.dialog import Dialog
from contentfilter.intake.holdings import Holding
from contentfilter.intake.refusals import Refusals
from contentfilter.intake.settings import IntakeSettings
from contentfilter.intake.wire import CHUNK, BareNewline, ClientGone, LineTooLong, Wire, encode
from contentfilter.large_work import in_thread
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

# aiosmtpd tells of each connection at INFO; our log has one line for each message, and one for each anomaly.
aiosmtpd.smtp.log.setLevel(logging.WARNING)

_CLOSING = frozenset({221, 421, 521})
"""Codes after which we close."""

_AT_ONCE = 0.001
"""Seconds: a timer is not asked for none."""

_LARGE = 1 << 20
"""Bytes from which a message that comes in has to give way to others after each chunk."""

LINGER = 5.0
"""Seconds that a client has to take our last words before the connection is cut."""


def _at_any_time(_envelope: Envelope, _message: Message) -> AbstractAsyncContextManager[None]:
    return contextlib.nullcontext()


@dataclass(frozen=True, slots=True)
class Service:
    """What is done with messages. handle is asked about each; the rest is for who cares."""

    handle: Handler
    admit: Admission | None = None
    turn: Turn = _at_any_time
    unheard: Unheard | None = None


class Connection(aiosmtpd.smtp.SMTP):
    """One connection. It puts itself into register while it lives.

    listener: our own address; refusal: greet with this reply and close, for clients that may not come in;
    capacity: of the worker, by default one for this connection alone.
    """

    def __init__(
        self,
        service: Service,
        settings: IntakeSettings,
        register: set[Connection],
        *,
        peer_address: str = "",
        listener: str = "",
        refusal: Reply | None = None,
        capacity: Capacity | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        # Past aiosmtpd's own __init__, which looks for handler methods in all members of self: see above.
        asyncio.StreamReaderProtocol.__init__(
            self, asyncio.StreamReader(limit=CHUNK, loop=loop), self._cb_client_connected, loop=loop
        )
        self.loop = loop
        self.session = None
        self.envelope = None
        self.transport = None
        self._original_transport = None
        self._timeout_handle: asyncio.TimerHandle | None = None
        self._patience_ends: float | None = None
        self._timeout_duration = settings.command_timeout
        self._handler_coroutine = None
        self._service = service
        self._settings = settings
        self._register = register
        self._refusal = refusal
        self._capacity = capacity or Capacity()
        self._dialog = Dialog(settings, peer_address, listener)
        self._name = peer_address or "unix"
        self._refusals = Refusals(settings, self._name)
        self._listening = False
        self._listening_since = 0.0
        self._received: int | None = None
        self._draining = False
        self._spared = False
        self._fresh = True
        self._client_closed = False
        self._leaving = False
        self._unconfirmed: tuple[Envelope, str, Sequence[Reply]] | None = None

    # What the event loop tells us.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the session."""
        super().connection_made(transport)
        self._register.add(self)

    def eof_received(self) -> bool:
        """The client has no more to say; what it has said is still done and answered."""
        self._client_closed = True
        self._reader.feed_eof()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        """Wake whoever waits for the client. A delivery goes on: its outcome is no longer the client's to stop."""
        self._client_closed = True
        asyncio.StreamReaderProtocol.connection_lost(self, error)

    def _reset_timeout(self, duration: float | None = None) -> None:
        """From now on the client has so many seconds, by default those for a command.

        The timer is set anew only when it would come too late: for each command that would cost more than the command.
        One that comes too early looks how long there still is.
        """
        self._patience_ends = self.loop.time() + (self._timeout_duration if duration is None else duration)
        if self._timeout_handle is None or self._patience_ends < self._timeout_handle.when():
            self._set_timer(self._patience_ends)

    def _rest(self) -> None:
        """No timeout while we are the one who is waited for: the handler has its own deadlines."""
        self._patience_ends = None

    def _set_timer(self, when: float) -> None:
        self._drop_timer()
        self._timeout_handle = self.loop.call_at(when, self._look_at_the_clock)

    def _drop_timer(self) -> None:
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
            self._timeout_handle = None

    def _look_at_the_clock(self) -> None:
        self._timeout_handle = None
        if self._patience_ends is None:
            return
        if self._patience_ends - self.loop.time() >= _AT_ONCE:
            self._set_timer(self._patience_ends)
        else:
            self._timeout_cb()

    def _timeout_cb(self) -> None:
        if not self._leaving:
            state = self._dialog.state.name if self._received is None else f"DATA after {self._received} bytes"
            log.warning("%s: timeout in state %s, closing", self._name, state)
        transport = self._writer.transport
        if self._leaving or transport.get_write_buffer_size():
            # It takes nothing from us: it would not hear a farewell either.
            self._leaving = True
            transport.abort()
        else:
            self._part_with(reply.COMMAND_TIMEOUT)

    # What the listener tells us.

    @property
    def task(self) -> asyncio.Task[None]:
        """The session. It ends when the connection is closed and never fails."""
        if self._handler_coroutine is None:
            raise RuntimeError("the connection is not made yet")
        return self._handler_coroutine

    @property
    def leaving(self) -> bool:
        """Whether it is being closed."""
        return self._leaving

    @property
    def idle(self) -> float:
        """Seconds for which the client could have said something and has not; 0 where a message would suffer."""
        return self.loop.time() - self._listening_since if self._listening and not self._leaving else 0.0

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

    def _part_with(self, last_words: Reply) -> None:
        if not self._writer.is_closing():
            self._writer.write(encode(last_words))
            self._close()

    def _close(self) -> None:
        self._leaving = True
        self._reset_timeout(LINGER)
        self._writer.close()

    # The session.

    async def _handle_client(self) -> None:
        wire = Wire(self._reader, self._writer, self._settings.max_command_length)
        try:
            await self._converse(wire)
            await wire.flush()
        except ClientGone as event:
            self._log_departure(event)
        except Exception:
            log.exception("%s: session failed", self._name)
        finally:
            await self._end()

    async def _end(self) -> None:
        self._close()
        if self._unconfirmed is not None and (self._unconfirmed[0].client.ident or self.task.cancelling()):
            await self._report_unheard()
        try:
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        finally:
            self._drop_timer()
            self._register.discard(self)

    def _log_departure(self, event: ClientGone) -> None:
        if self._leaving:
            return
        state = self._dialog.state
        level = logging.WARNING if self._dialog.in_transaction else logging.INFO
        log.log(level, "%s: client left without QUIT in state %s: %s", self._name, state.name, event)

    async def _converse(self, wire: Wire) -> None:
        if self._refusal is not None:
            # Of too many the listener tells once.
            level = logging.DEBUG if self._refusal is reply.TOO_MANY_CONNECTIONS else logging.WARNING
            log.log(level, "%s: not served: %s", self._name, self._refusal)
            await wire.send(self._refusal)
            return
        await wire.send(self._dialog.greeting())
        while not await self._exchange(wire):
            if self._draining and not self._spared:
                await wire.send(reply.SHUTTING_DOWN)
                return

    async def _exchange(self, wire: Wire) -> bool:
        """One command and its answer; True if it was the last."""
        line = b""
        try:
            line = await self._next_line(wire)
            answer = await self._considered(self._dialog.answer(line))
        except LineTooLong:
            answer = reply.COMMAND_TOO_LONG
        except BareNewline:
            answer = reply.BARE_NEWLINE
        await wire.send(answer)
        if answer is reply.START_DATA:
            await self._data(wire)
            self._fresh = self._spared = False
        elif answer.permanent and self._refusals.add(line, self._dialog.state.name, answer):
            answer = reply.TOO_MANY_ERRORS
            await wire.send(answer)
        return answer.code in _CLOSING

    async def _next_line(self, wire: Wire) -> bytes:
        self._reset_timeout(self._settings.command_timeout)
        self._listening = True
        self._listening_since = self.loop.time()
        try:
            line = await wire.read_line()
        finally:
            self._listening = False
        if self._leaving:
            # It came as we hung up. A message must not be taken after the client was told that it was not.
            raise ClientGone("too late")
        self._unconfirmed = None
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
        self._rest()
        there_is_room = await self._capacity.room(self._dialog.declared_size)
        self._reset_timeout(self._settings.command_timeout)
        if there_is_room:
            return reply.SENDER_OK
        self._dialog.put_off()
        return reply.BUSY

    async def _admission(self) -> Reply:
        """What the recipient that was just named gets: some accept no message of the size that was declared."""
        size = self._dialog.declared_size
        if self._service.admit is None or not size:
            return reply.RECIPIENT_OK
        try:
            refusal = await self._service.admit(self._dialog.envelope(), size)
        except FilterError as error:
            log.warning("%s: recipient answered with %s: %s", self._name, error.reply, error)
            refusal = error.reply
        except Exception:
            log.exception("%s: asking about a recipient failed", self._name)
            refusal = reply.INTERNAL
        if refusal is None:
            return reply.RECIPIENT_OK
        self._dialog.withdraw_recipient()
        return refusal

    async def _data(self, wire: Wire) -> None:
        holding = Holding(self._capacity.holdings)
        try:
            await self._take_in(wire, holding)
        finally:
            holding.release()
            self._capacity.serve()

    async def _take_in(self, wire: Wire, holding: Holding) -> None:
        settings = self._settings
        receiver = Receiver(settings.spool_directory, settings.memory_threshold, settings.max_message_size, holding)
        try:
            await self._receive(wire, receiver)
            await receiver.settle()
            message = receiver.finish()
        except FilterError as error:
            if isinstance(error, BusyError):
                self._capacity.refuse()
            else:
                log.warning("%s: message not taken: %s", self._name, error)
            await self._conclude(wire, [error.reply] * self._dialog.answers)
            return
        finally:
            receiver.abandon()
        try:
            await self._hand_over(wire, message)
        finally:
            if message.in_file:
                await asyncio.shield(in_thread(message.close))
            else:
                message.close()

    async def _receive(self, wire: Wire, receiver: Receiver) -> None:
        patience, rate = self._settings.data_timeout, self._settings.min_data_rate
        now = self.loop.time()
        deadline = now + patience
        ended = False
        self._received = 0
        while not ended:
            self._reset_timeout(max(deadline - now, _AT_ONCE))
            chunk = await wire.read_chunk()
            came = self.loop.time()
            self._received += len(chunk)
            if self._received <= _LARGE:
                ended = receiver.feed(chunk)
            else:
                self._rest()
                async with self._capacity.large_data:
                    ended = receiver.feed(chunk)
                    await receiver.settle()
                    await asyncio.sleep(0)
            now = self.loop.time()
            deadline = min(now + patience, deadline + now - came + len(chunk) / rate)
        self._received = None
        wire.unread(receiver.rest)

    async def _hand_over(self, wire: Wire, message: Message) -> None:
        envelope = self._dialog.envelope()
        self._rest()
        try:
            async with self._service.turn(envelope, message):
                await self._handle(wire, envelope, message)
        except FilterError as error:
            log.warning("%s: message answered with %s: %s", self._name, error.reply, error)
            await self._conclude(wire, [error.reply] * self._dialog.answers)

    async def _handle(self, wire: Wire, envelope: Envelope, message: Message) -> None:
        replies = await self._in_slot(envelope, message)
        self._reset_timeout(self._settings.command_timeout)
        self._refusals.forgive()
        if self._service.unheard is not None:
            self._unconfirmed = envelope, message.digest, replies
        try:
            await self._conclude(wire, replies)
            await wire.flush()
        except ClientGone:
            await self._report_unheard()
            raise
        if self._client_closed:
            await self._report_unheard()

    async def _in_slot(self, envelope: Envelope, message: Message) -> Sequence[Reply]:
        """Have the message worked on when it is its turn. The slot is given back before anybody reads our replies."""
        size, was_there = len(message), not self._client_closed
        if not self._capacity.try_enter(size):
            try:
                await self._capacity.enter(size)
            except BusyError as error:
                return [error.reply] * self._dialog.answers
        try:
            if was_there and self._client_closed:
                # It gave up waiting and will come again: whatever we did now would be done twice.
                return [reply.BUSY] * self._dialog.answers
            return await self._outcome(envelope, message)
        finally:
            self._capacity.leave(size)

    async def _conclude(self, wire: Wire, replies: Sequence[Reply]) -> None:
        self._dialog.end_transaction()
        for answer in replies:
            await wire.send(answer)

    async def _outcome(self, envelope: Envelope, message: Message) -> Sequence[Reply]:
        wanted = self._dialog.answers
        try:
            replies = await self._service.handle(envelope, message)
        except FilterError as error:
            log.warning("%s: message answered with %s: %s", self._name, error.reply, error)
            return [error.reply] * wanted
        except asyncio.CancelledError:
            if self.task.cancelling():
                raise
            log.exception("%s: something in the handler was cancelled", self._name)
            return [reply.INTERNAL] * wanted
        except Exception:
            log.exception("%s: handler failed", self._name)
            return [reply.INTERNAL] * wanted
        if len(replies) != wanted:
            log.error("%s: handler gave %d replies where %d are due", self._name, len(replies), wanted)
            return [reply.INTERNAL] * wanted
        return replies

    async def _report_unheard(self) -> None:
        if self._service.unheard is None or self._unconfirmed is None:
            return
        envelope, digest, replies = self._unconfirmed
        self._unconfirmed = None
        said = "; ".join(sorted({str(one) for one in replies}))
        log.info("%s: client may not have heard %s", self._name, said)
        try:
            await self._service.unheard(envelope, digest, replies)
        except Exception:
            log.exception("%s: could not note that the client was gone", self._name)
