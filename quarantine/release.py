"""The way back out: through the next hop, to those from whom the message was withheld, then marked.

The message goes on as it came, in its original envelope, below one field of ours::

    X-Quarantine-Release: ID; Sat, 21 Nov 2026 12:00:00 +0000

A recipient is marked as released once the next hop said 2xx. Whoever releases holds the item's lock, so two at once do
not send twice; a crash between the reply and the mark leaves the recipient pending: rather twice than never.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from contentfilter.envelope import Envelope, Recipient
from contentfilter.errors import QuarantineError
from contentfilter.mail_data import Content
from contentfilter.message import HeaderEdits, Message
from contentfilter.reply import Reply
from contentfilter.routes import Way
from quarantine.item import Item
from quarantine.record import Record, State
from quarantine.store import Quarantine
from quarantine.wrapping import release_mark, wrap


@dataclass(frozen=True, slots=True)
class Manner:
    """How to release.

    hostname: ours. to: send to this address instead; nobody is marked then, for those who were meant still wait.
    as_attachment: wrapped in a note from postmaster@hostname. again: also to those who have been sent it before.
    """

    hostname: str
    to: str | None = None
    as_attachment: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a release. sent: recipients and the next hop's replies; already: those served earlier."""

    sent: tuple[tuple[str, Reply], ...] = ()
    already: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[Reply, ...]:
        """The replies of those whom it did not reach."""
        return tuple(reply for _, reply in self.sent if not reply.positive)


@dataclass(frozen=True, slots=True)
class _Outgoing:
    envelope: Envelope
    content: Content
    size: int


async def release(quarantine: Quarantine, way: Way, mail_id: str, manner: Manner) -> Outcome:
    """Send an item to whom it is due and mark those whom it reached.

    Raises UnknownIdError, ItemBusyError, ItemDamagedError, QuarantineError.
    """
    with quarantine.lock(mail_id) as item:
        record = item.record()
        positions = _chosen(record, manner)
        recipients = tuple(record.withheld[position].recipient for position in positions)
        if manner.to is not None:
            recipients = (Recipient(manner.to),)
        if not recipients:
            return Outcome(already=tuple(one.recipient.address for one in record.withheld))
        with await asyncio.to_thread(quarantine.open_message, record) as message:
            out = _outgoing(record, message, recipients, manner)
            if manner.to is not None:
                replies = await way.send(out.envelope, recipients, out.content, out.size)
            else:
                replies = await _send_and_mark(quarantine, way, item, positions, out)
    sent = zip((recipient.address for recipient in recipients), replies, strict=True)
    return Outcome(tuple(sent), _others(record, positions) if manner.to is None else ())


async def _send_and_mark(
    quarantine: Quarantine, way: Way, item: Item, positions: Sequence[int], out: _Outgoing
) -> tuple[Reply, ...]:
    """To each by the next hop of his own. The replies in the order of the positions."""
    record = item.record()
    # Who could not mark it afterwards, for want of rights or of room on the disk, would send it again each time.
    quarantine.update(item, record)
    of_position: dict[int, Reply] = {}
    for via in dict.fromkeys(record.withheld[position].next_hop for position in positions):
        group = [position for position in positions if record.withheld[position].next_hop == via]
        recipients = [record.withheld[position].recipient for position in group]
        replies = await way.send(out.envelope, recipients, out.content, out.size, via)
        # Nothing is awaited between the replies and the mark: being cancelled here would send it twice.
        of_position |= zip(group, replies, strict=True)
        reached = [position for position in group if of_position[position].positive]
        record = _marked(quarantine, item, record, reached)
    return tuple(of_position[position] for position in positions)


def _chosen(record: Record, manner: Manner) -> list[int]:
    wanted = set(State) if manner.again else {State.PENDING}
    return [position for position, one in enumerate(record.withheld) if one.state in wanted]


def _others(record: Record, positions: Sequence[int]) -> tuple[str, ...]:
    return tuple(one.recipient.address for position, one in enumerate(record.withheld) if position not in positions)


def _marked(quarantine: Quarantine, item: Item, record: Record, reached: Sequence[int]) -> Record:
    if not reached:
        return record
    marked = record.released(reached, time.time())
    try:
        quarantine.update(item, marked)
    except QuarantineError as error:
        whom = ", ".join(f"<{record.withheld[position].recipient.address}>" for position in reached)
        raise QuarantineError(f"item {record.id} was sent to {whom}, but could not be marked: {error}") from error
    return marked


def _outgoing(record: Record, message: Message, recipients: tuple[Recipient, ...], manner: Manner) -> _Outgoing:
    now = time.time()
    if manner.as_attachment:
        return _wrapped(record, message, recipients, manner.hostname, now)
    mark = f"X-Quarantine-Release: {release_mark(record, now)}\r\n".encode("ascii")

    def content() -> Iterator[bytes | memoryview]:
        return message.edited(HeaderEdits(prepend=mark))

    envelope = record.envelope(recipients)
    if manner.to is not None:
        # The original sender asked for reports on other recipients.
        envelope = Envelope(
            record.mail_from,
            recipients,
            body=record.body,
            smtputf8=record.smtputf8 or not manner.to.isascii(),
            client=record.client,
        )
    return _Outgoing(envelope, content, len(mark) + len(message))


def _wrapped(
    record: Record, message: Message, recipients: tuple[Recipient, ...], hostname: str, now: float
) -> _Outgoing:
    wrapping = wrap(record, message, recipients, hostname, now)

    def content() -> Iterator[bytes | memoryview]:
        yield from message.edited(HeaderEdits(prepend=wrapping.head))
        yield wrapping.tail

    international = record.smtputf8 and not wrapping.is_ascii
    envelope = Envelope(
        f"postmaster@{hostname}",
        recipients,
        body=None if wrapping.is_ascii else "8BITMIME",
        smtputf8=international or not all(recipient.address.isascii() for recipient in recipients),
    )
    return _Outgoing(envelope, content, len(wrapping.head) + len(message) + len(wrapping.tail))
