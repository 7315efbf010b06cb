"""A released message as the attachment of a note (RFC 2046 section 5.2.1), for who wants to look before opening."""

from __future__ import annotations

import email.policy
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from email.header import Header
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from contentfilter.envelope import Recipient
from contentfilter.message import Message
from contentfilter.printable import printable
from quarantine.record import Record, iso_date

_CRLF = "\r\n"
_CHUNK = 1 << 20
_LONGEST_SUBJECT = 200
_PLAIN_ADDRESS = re.compile(r"[A-Za-z0-9.+_=-]{1,64}@[A-Za-z0-9.-]{1,255}")

_NOTE = """\
This message was held in quarantine and has been released by the postmaster.
It is attached as it came. Open it with care.

    Quarantine id: {id}
    Received:      {date}
    From:          {mail_from}
    Subject:       {subject}
    Held because:  {why}
"""


@dataclass(frozen=True, slots=True)
class Wrapping:
    """What goes before and after the raw bytes of the message. is_ascii: the whole needs no 8BITMIME."""

    head: bytes
    tail: bytes
    is_ascii: bool


def wrap(record: Record, message: Message, recipients: Sequence[Recipient], hostname: str, now: float) -> Wrapping:
    """The note around this message. hostname: ours, for postmaster@; now: seconds since the epoch."""
    is_ascii = _is_ascii(message)
    encoding = "7bit" if is_ascii else "8bit"
    kind = "message/global" if record.smtputf8 and not is_ascii else "message/rfc822"
    boundary = f"=_{record.id}_{secrets.token_hex(16)}"
    lines = [
        *_header_lines(record, recipients, hostname, now),
        "MIME-Version: 1.0",
        f'Content-Type: multipart/mixed; boundary="{boundary}"',
        f"Content-Transfer-Encoding: {encoding}",
        "",
        f"--{boundary}",
        _note(record).rstrip(b"\r\n").decode("ascii"),
        "",
        f"--{boundary}",
        f"Content-Type: {kind}",
        f"Content-Transfer-Encoding: {encoding}",
        f'Content-Disposition: attachment; filename="{record.id}.eml"',
        "",
        "",
    ]
    return Wrapping(_CRLF.join(lines).encode("ascii"), f"\r\n--{boundary}--\r\n".encode("ascii"), is_ascii)


def release_mark(record: Record, now: float) -> str:
    """The value of X-Quarantine-Release: the id and when it was let go, as a Received field would say it."""
    return f"{record.id}; {formatdate(now, localtime=True)}"


def _header_lines(record: Record, recipients: Sequence[Recipient], hostname: str, now: float) -> list[str]:
    # Who else gets it is nobody's business: the original may have gone to them as Bcc.
    alone = len(recipients) == 1 and _PLAIN_ADDRESS.fullmatch(recipients[0].address)
    subject = f"Released from quarantine: {printable(record.subject)[:_LONGEST_SUBJECT]}".rstrip()
    charset = "us-ascii" if subject.isascii() else "utf-8"
    return [
        f"X-Quarantine-Release: {release_mark(record, now)}",
        f"From: postmaster@{hostname}",
        f"To: {recipients[0].address}" if alone else "To: undisclosed-recipients:;",
        f"Subject: {Header(subject, charset, header_name='Subject').encode(linesep=_CRLF)}",
        f"Date: {formatdate(now, localtime=True)}",
        f"Message-ID: {make_msgid(record.id, domain=hostname)}",
        "Auto-Submitted: auto-generated",
    ]


def _note(record: Record) -> bytes:
    why = ", ".join(dict.fromkeys(reason for one in record.withheld for reason in one.reasons)) or record.category.word
    part = EmailMessage(policy=email.policy.SMTP)
    part.set_content(
        _NOTE.format(
            id=record.id,
            date=iso_date(record.time),
            mail_from=f"<{printable(record.mail_from)}>",
            subject=printable(record.subject),
            why=printable(why),
        ),
        cte="quoted-printable",
    )
    del part["MIME-Version"]
    return part.as_bytes()


def _is_ascii(message: Message) -> bool:
    return all(message.buffer[start : start + _CHUNK].isascii() for start in range(0, len(message), _CHUNK))
