"""The dialog: one command line in, one reply out, and what was agreed on in between.

RFC 5321, LMTP (RFC 2033), pipelining without looking ahead (RFC 2920), enhanced codes (RFC 2034), DSN (RFC 3461),
XFORWARD. It knows no sockets and no clock; :mod:`contentfilter.intake.smtp` carries the bytes.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from enum import StrEnum

from contentfilter import reply
from contentfilter.envelope import Client, Envelope, Peer, Protocol, Recipient
from contentfilter.errors import CommandError
from contentfilter.intake.parameters import Sender, parse_mail, parse_rcpt
from contentfilter.intake.settings import IntakeSettings
from contentfilter.intake.xforward import ATTRIBUTES, parse_xforward
from contentfilter.reply import Reply


class State(StrEnum):
    """Where a session stands."""

    START = "no EHLO, HELO or LHLO yet"
    READY = "between transactions"
    MAIL = "has a sender"
    RCPT = "has a recipient"


OUT_OF_TURN = {
    ("XFORWARD", State.START): reply.HELLO_FIRST,
    ("XFORWARD", State.MAIL): reply.IN_TRANSACTION,
    ("XFORWARD", State.RCPT): reply.IN_TRANSACTION,
    ("MAIL", State.START): reply.HELLO_FIRST,
    ("MAIL", State.MAIL): reply.NESTED_MAIL,
    ("MAIL", State.RCPT): reply.NESTED_MAIL,
    ("RCPT", State.START): reply.HELLO_FIRST,
    ("RCPT", State.READY): reply.MAIL_FIRST,
    ("DATA", State.START): reply.HELLO_FIRST,
    ("DATA", State.READY): reply.MAIL_FIRST,
    ("DATA", State.MAIL): reply.RCPT_FIRST,
}
"""Commands that are refused in a state. What is not listed is in turn."""

_EXTENSIONS = ("PIPELINING", "SIZE {size}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN")
_HELLOS = {"HELO": Protocol.SMTP, "EHLO": Protocol.ESMTP, "LHLO": Protocol.LMTP}
_WITHOUT_ARGUMENT = frozenset({"DATA", "RSET", "QUIT"})
_NOT_IMPLEMENTED = frozenset({"EXPN", "TURN", "ETRN", "SEND", "SOML", "SAML", "STARTTLS", "AUTH", "BDAT"})
_MAX_HOST_NAME = 255
_NOBODY = Client()
# Answers that depend on nothing.
_STANDING = {
    "DATA": reply.START_DATA,
    "NOOP": reply.OK,
    "HELP": reply.HELP,
    "QUIT": reply.GOODBYE,
    **dict.fromkeys(_NOT_IMPLEMENTED, reply.NOT_IMPLEMENTED),
}


class Dialog:
    """One session's side of the talk. peer_address: who talks to us, "" for a Unix socket; listener: where."""

    def __init__(self, settings: IntakeSettings, peer_address: str = "", listener: str = "") -> None:
        self._settings = settings
        self._listener = listener
        self._peer = Peer(addr=peer_address)
        self._protocol: Protocol | None = None
        self._client = _NOBODY
        self._sender: Sender | None = None
        self._put_off = False
        self._recipients: list[Recipient] = []

    @property
    def state(self) -> State:
        """Where the session stands."""
        if self._recipients:
            return State.RCPT
        if self._sender is not None:
            return State.MAIL
        return State.START if self._protocol is None else State.READY

    @property
    def in_transaction(self) -> bool:
        """Between MAIL and the end of the message, or RSET."""
        return self._sender is not None

    @property
    def answers(self) -> int:
        """How many replies the end of the message gets: in LMTP one for each recipient."""
        return len(self._recipients) if self._protocol is Protocol.LMTP else 1

    def greeting(self) -> Reply:
        """What we say first."""
        return _greeting(self._settings.hostname)

    def answer(self, line: bytes) -> Reply:
        """The reply to a command line, given without its CRLF.

        After reply.START_DATA comes the message, then envelope and end_transaction; after reply.GOODBYE the end.
        """
        if b"\0" in line or b"\r" in line:
            return reply.COMMAND_BINARY
        word, _, argument = line.partition(b" ")
        verb = word.upper().decode("ascii", "replace")
        try:
            return self._obey(verb, argument.strip(b" "))
        except CommandError as error:
            return error.reply

    def _obey(self, verb: str, argument: bytes) -> Reply:
        refusal = OUT_OF_TURN.get((verb, self.state))
        if refusal is not None:
            # These were on their way before the client heard that its MAIL was put off. A 503 is for good.
            return reply.BUSY if self._put_off and verb in ("RCPT", "DATA") else refusal
        if verb in _WITHOUT_ARGUMENT and argument:
            return reply.SYNTAX_NO_ARGUMENT
        match verb:
            case "EHLO" | "LHLO" | "HELO":
                answer = self._hello(_HELLOS[verb], argument)
            case "XFORWARD":
                answer = self._xforward(argument)
            case "MAIL":
                answer = self._mail(argument)
            case "RCPT":
                answer = self._rcpt(argument)
            case "RSET":
                answer = self._rset()
            case "VRFY":
                answer = reply.CANNOT_VERIFY if argument else reply.SYNTAX_VRFY
            case _:
                answer = _STANDING.get(verb, reply.COMMAND_UNKNOWN)
        return answer

    def _hello(self, protocol: Protocol, argument: bytes) -> Reply:
        name = argument.decode("ascii", "replace")
        if not name or not name.isascii() or not name.isprintable() or " " in name:
            return reply.SYNTAX_HELLO
        if self._protocol is not None and (self._protocol is Protocol.LMTP) is not (protocol is Protocol.LMTP):
            return reply.HELLO_MISMATCH
        self.end_transaction()
        self._protocol = protocol
        self._peer = Peer(self._peer.addr, name[:_MAX_HOST_NAME])
        extended = protocol is not Protocol.SMTP
        return _offer(self._settings.hostname, self._settings.max_message_size if extended else None)

    def _xforward(self, argument: bytes) -> Reply:
        """Several commands add up: Postfix splits what does not fit into one line."""
        self._client = replace(self._client, **parse_xforward(argument))
        return reply.OK

    def _mail(self, argument: bytes) -> Reply:
        sender = parse_mail(argument)
        if sender.size > self._settings.max_message_size:
            return reply.MESSAGE_TOO_LARGE
        self._put_off = False
        self._sender = sender
        return reply.SENDER_OK

    def _rcpt(self, argument: bytes) -> Reply:
        if len(self._recipients) >= self._settings.max_recipients:
            return reply.TOO_MANY_RECIPIENTS
        self._recipients.append(parse_rcpt(argument))
        return reply.RECIPIENT_OK

    def _rset(self) -> Reply:
        self.end_transaction()
        return reply.OK

    def envelope(self) -> Envelope:
        """What the message is to be done with, as far as it was said. Only in a transaction."""
        if self._sender is None or self._protocol is None:
            raise ValueError(f"no envelope in state {self.state.name}")
        return Envelope(
            mail_from=self._sender.address,
            recipients=tuple(self._recipients),
            body=self._sender.body,
            smtputf8=self._sender.smtputf8,
            ret=self._sender.ret,
            envid=self._sender.envid,
            client=self._client,
            peer=self._peer,
            listener=self._listener,
            protocol=self._protocol,
        )

    @property
    def declared_size(self) -> int:
        """Bytes that MAIL has declared with SIZE (RFC 1870), 0 if it has not."""
        return self._sender.size if self._sender is not None else 0

    def put_off(self) -> None:
        """Forget the sender, for whose message there is no room now."""
        self._sender = None
        self._put_off = True

    def withdraw_recipient(self) -> None:
        """Forget the last recipient, who was refused after all."""
        self._recipients.pop()

    def end_transaction(self) -> None:
        """Forget sender, recipients and what XFORWARD told; it is told anew for each message."""
        self._sender = None
        self._put_off = False
        self._recipients = []
        self._client = _NOBODY


@functools.lru_cache(maxsize=8)
def _greeting(hostname: str) -> Reply:
    return reply.GREETING.saying(f"{hostname} ESMTP {reply.GREETING.text}")


@functools.lru_cache(maxsize=8)
def _offer(hostname: str, size: int | None) -> Reply:
    """What EHLO and LHLO are told of; for HELO, which has no size to be told, only who we are."""
    lines = [hostname]
    if size is not None:
        lines += (line.format(size=size) for line in _EXTENSIONS)
        lines.append(" ".join(("XFORWARD", *ATTRIBUTES)))
    return reply.HELLO.saying("\n".join(lines))
