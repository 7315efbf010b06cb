"""One mail transaction with the next hop, on a connection that is open: from XFORWARD to the reply to the final dot.

RFC 5321 section 3.3; its parameters are those of RFC 1870 (SIZE), RFC 3461 (DSN), RFC 6152 (8BITMIME) and RFC 6531
(SMTPUTF8). Which connection it is, and what becomes of that afterwards, is the business of
:mod:`contentfilter.next_hop`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from contentfilter import reply
from contentfilter.envelope import Envelope, Recipient
from contentfilter.errors import NextHopError
from contentfilter.mail_data import Content, all_ascii, header_ascii
from contentfilter.reply import Reply
from contentfilter.smtp_client import Connection
from contentfilter.xforward import xforward_lines

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")

_Step = tuple[bytes, Callable[[Reply], None]]
"""A command, and what its reply means."""


class Transaction:
    """One mail transaction.

    open: the peer may hold state of it; data_begun: a second try could deliver twice; xforward_reply: how XFORWARD was
    refused, if it was.
    """

    def __init__(
        self, connection: Connection, envelope: Envelope, recipients: Sequence[Recipient], content: Content, size: int
    ) -> None:
        self.open = False
        self.data_begun = False
        self.xforward_reply: Reply | None = None
        self._connection = connection
        self._offered = connection.keywords
        self._envelope = envelope
        self._recipients = tuple(recipients)
        self._content = content
        self._size = size
        self._invited = False
        self._replies: list[Reply | None] = [None] * len(recipients)

    @property
    def replies(self) -> tuple[Reply, ...]:
        """One per recipient; what nobody answered for is a temporary failure."""
        return tuple(one or reply.INTERNAL for one in self._replies)

    def settle(self, answer: Reply) -> None:
        """Give this answer to the recipients that have none yet."""
        self._replies = [one or answer for one in self._replies]

    async def run(self) -> None:
        """The dialog from XFORWARD to the final dot. Raises NextHopError and leaves open what was not answered."""
        mail = _line(f"MAIL FROM:<{self._envelope.mail_from}>", self._mail_parameters())
        refusal = reply.BAD_SENDER if mail is None else self._missing_extension()
        if mail is None or refusal is not None:
            self.settle(refusal or reply.BAD_SENDER)
            return
        self.open = True
        steps = [*self._forwarding(), (mail, self._note_sender), *self._naming_recipients()]
        if all(self._replies):
            return
        steps.append((b"DATA", self._note_invitation))
        if "PIPELINING" in self._offered:
            await self._all_at_once(steps)
        else:
            await self._step_by_step(steps)
        await self._send_content()

    async def _all_at_once(self, steps: Sequence[_Step]) -> None:
        before = list(self._replies)
        try:
            await self._connection.commands([line for line, _ in steps], lambda at, answer: steps[at][1](answer))
        except NextHopError as error:
            if error.reply is reply.NEXT_HOP_CONFUSED:
                # One reply too many or too few, and each is taken for another recipient's.
                self._replies = before
            raise

    async def _step_by_step(self, steps: Sequence[_Step]) -> None:
        for line, note in steps:
            if all(self._replies):
                return  # nobody is left to go on for
            note(await self._connection.command(line))

    async def _send_content(self) -> None:
        if not self._invited:
            return
        if all(self._replies):
            raise NextHopError("DATA: accepted without a recipient", reply.NEXT_HOP_CONFUSED)
        self.data_begun = True
        self.settle(await self._connection.content(self._content))
        self.open = False

    def _forwarding(self) -> Iterator[_Step]:
        offered = self._offered.get("XFORWARD", "").upper().split()
        return ((line, self._note_forwarding) for line in xforward_lines(self._envelope.client, offered))

    def _note_forwarding(self, answer: Reply) -> None:
        # As Postfix's own client: worth a line in the log, not worth deferring mail for.
        if not answer.positive:
            self.xforward_reply = answer

    def _note_sender(self, answer: Reply) -> None:
        if not answer.positive:
            self.settle(answer)

    def _naming_recipients(self) -> Iterator[_Step]:
        for index, recipient in enumerate(self._recipients):
            line = _line(f"RCPT TO:<{recipient.address}>", self._rcpt_parameters(recipient))
            if line is None:
                self._replies[index] = reply.BAD_RECIPIENT
            else:
                yield line, partial(self._note_recipient, index)

    def _note_recipient(self, index: int, answer: Reply) -> None:
        if not answer.positive:
            self._replies[index] = self._replies[index] or answer

    def _note_invitation(self, answer: Reply) -> None:
        self._invited = answer.positive
        if not answer.positive:
            self.settle(answer)

    def _mail_parameters(self) -> Iterator[str]:
        envelope = self._envelope
        if "SIZE" in self._offered:
            yield f"SIZE={self._size}"
        if envelope.body and "8BITMIME" in self._offered:
            yield f"BODY={envelope.body}"
        if envelope.smtputf8 and "SMTPUTF8" in self._offered:
            yield "SMTPUTF8"
        if "DSN" in self._offered:
            if envelope.ret:
                yield f"RET={envelope.ret}"
            if envelope.envid:
                yield f"ENVID={envelope.envid}"

    def _rcpt_parameters(self, recipient: Recipient) -> Iterator[str]:
        if "DSN" in self._offered:
            if recipient.notify:
                yield f"NOTIFY={','.join(recipient.notify)}"
            if recipient.orcpt:
                yield f"ORCPT={recipient.orcpt}"

    def _missing_extension(self) -> Reply | None:
        """The refusal if the message needs what the next hop does not offer.

        8-bit content that nobody declared goes as it is: refusing it would bounce mail that has always passed.
        """
        envelope = self._envelope
        if envelope.smtputf8 and "SMTPUTF8" not in self._offered and not self._ascii_enough():
            return reply.NEXT_HOP_NO_SMTPUTF8
        if envelope.body == "8BITMIME" and "8BITMIME" not in self._offered and not all_ascii(self._content):
            return reply.NEXT_HOP_NO_8BITMIME
        return None

    def _ascii_enough(self) -> bool:
        addresses = (self._envelope.mail_from, *(recipient.address for recipient in self._recipients))
        return all(map(str.isascii, addresses)) and header_ascii(self._content)


def _line(command: str, parameters: Iterator[str]) -> bytes | None:
    """A command line as bytes, None if it cannot be one. Bytes that were no UTF-8 go out as they came in."""
    try:
        line = " ".join((command, *parameters)).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None
    return None if _CONTROL.search(line) else line
