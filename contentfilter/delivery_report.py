"""The delivery report that we write ourselves: to the sender, about the recipients that were refused.

RFC 3464 (delivery status) in RFC 6522 (multipart/report), RFC 3461 (NOTIFY, RET, ENVID, ORCPT), RFC 3834
(Auto-Submitted), RFC 6533 where an address is not ASCII. One is needed only where the dialog cannot say it: plain
SMTP, some recipients accepted and some refused (see README "Design"). Everywhere else Postfix writes the bounce.
"""

from __future__ import annotations

import secrets
import textwrap
from collections.abc import Iterator, Sequence
from email.message import MIMEPart
from email.policy import SMTP
from email.utils import formatdate, make_msgid

from contentfilter import xtext
from contentfilter.envelope import Envelope, Recipient
from contentfilter.message import Message
from contentfilter.printable import printable
from contentfilter.reply import Reply

RETURN_LIMIT = 100_000
"""Bytes of a message that go back whole, and of a header that goes back at all."""

Refusal = tuple[Recipient, Reply]

_TEXT = """\
This is the mail system at {host}.

Your message could not be delivered to {whom} below. This \
report says nothing about recipients that it does not name.
{about}
{refusals}

The reason is given with each address. If it does not help you, or if you think \
it is wrong, write to postmaster@{host} and quote the reference {reference}.

If you did not send this message, somebody else has used your address. You need \
not do anything then.

For the administrator: the status of each address in machine-readable form and \
{returned} are attached.
"""


def failure_report(
    envelope: Envelope,
    refused: Sequence[Refusal],
    message: Message,
    *,
    hostname: str,
    mail_id: str,
    with_body: bool,
    subject: str = "",
) -> bytes:
    """The report as a message, lines ending in CRLF. Send it from the null sender to envelope.mail_from, as 8BITMIME.

    refused: recipients with the reply that each would have got; those whose NOTIFY forbids a report are left out.
    hostname: who reports; mail_id: our reference, which the log has too. with_body: whether the content may go back
    at all (never a virus); even so it does only if RET=FULL asks for it and it is small. subject: decoded, for people.

    Raises ValueError for the null sender and if nobody is left to report: ask before (RFC 5321 section 4.5.5).
    """
    refused = [(recipient, answer) for recipient, answer in refused if recipient.wants_failure_report]
    if not envelope.mail_from or not refused:
        raise ValueError("there is nobody to report to, or nobody to report about")
    whole = with_body and envelope.ret == "FULL" and len(message) <= RETURN_LIMIT
    status = _delivery_status(envelope, refused, hostname)
    parts = (
        _explanation(envelope, refused, hostname, mail_id, subject, whole=whole),
        _part("Delivery report", f"message/{_status_type(status)}", status.encode()),
        _original(envelope, message, whole=whole),
    )
    boundary = f"report-{secrets.token_hex(16)}"
    body = b"".join(b"--%b\r\n%b\r\n" % (boundary.encode(), part) for part in parts)
    body += b"--%b--\r\n" % boundary.encode()
    fields = _header(envelope.mail_from, hostname, _status_type(status), boundary, _encoding(body))
    return "".join(f"{name}: {value}\r\n" for name, value in fields).encode() + b"\r\n" + body


def _header(sender: str, hostname: str, status_type: str, boundary: str, encoding: str) -> Iterator[tuple[str, str]]:
    yield "From", f"Mail Delivery System <MAILER-DAEMON@{hostname}>"
    yield "To", f"<{printable(sender)}>"
    yield "Subject", "Your message could not be delivered to everyone"
    yield "Date", formatdate(localtime=True)
    yield "Message-ID", make_msgid(domain=hostname)
    yield "Auto-Submitted", "auto-replied"
    yield "MIME-Version", "1.0"
    yield "Content-Type", f'multipart/report; report-type={status_type};\r\n boundary="{boundary}"'
    yield "Content-Transfer-Encoding", encoding


def _explanation(
    envelope: Envelope, refused: Sequence[Refusal], hostname: str, mail_id: str, subject: str, *, whole: bool
) -> bytes:
    about = f"\n  Received: {formatdate(envelope.received_at, localtime=True)}\n"
    if subject:
        about += f"  Subject:  {printable(subject[:200])}\n"
    text = _TEXT.format(
        host=hostname,
        whom="the address" if len(refused) == 1 else f"the {len(refused)} addresses",
        about=about,
        refusals="\n\n".join(_refusal(recipient, answer) for recipient, answer in refused),
        reference=mail_id,
        returned="your message" if whole else "the header of your message",
    )
    part = MIMEPart(policy=SMTP)
    part.set_content("\n".join(_wrapped(line) for line in text.split("\n")))
    part["Content-Description"] = "Notification"
    return part.as_bytes()


def _wrapped(line: str) -> str:
    return line if line.startswith(" ") else _folded(line)


def _refusal(recipient: Recipient, answer: Reply) -> str:
    said = textwrap.wrap(printable(str(answer)), 74, initial_indent="    ", subsequent_indent="    ")
    return "\n".join((f"  <{printable(recipient.address)}>", *said))


def _delivery_status(envelope: Envelope, refused: Sequence[Refusal], hostname: str) -> str:
    """RFC 3464 section 2.1: the fields of the message, then a group of fields for each recipient."""
    groups = [_message_fields(envelope, hostname), *(_recipient_fields(*refusal) for refusal in refused)]
    return "\r\n".join(
        "".join(_folded(f"{name}: {printable(value)}", "\r\n    ") + "\r\n" for name, value in group)
        for group in groups
    )


def _message_fields(envelope: Envelope, hostname: str) -> Iterator[tuple[str, str]]:
    client = envelope.client
    envid = xtext.decode(envelope.envid or "")
    if envid.strip():
        yield "Original-Envelope-Id", envid
    yield "Reporting-MTA", f"dns; {hostname}"
    if client.name or client.helo or client.addr:
        yield "Received-From-MTA", f"dns; {client.name or client.helo or f'[{client.addr}]'}"
    yield "Arrival-Date", formatdate(envelope.received_at, localtime=True)


def _recipient_fields(recipient: Recipient, answer: Reply) -> Iterator[tuple[str, str]]:
    if recipient.orcpt:
        kind, _, original = recipient.orcpt.partition(";")
        yield "Original-Recipient", _typed(kind, xtext.decode(original))
    yield "Final-Recipient", _typed("rfc822", recipient.address)
    yield "Action", "failed"
    yield "Status", answer.enhanced or f"{answer.code // 100}.0.0"
    yield "Diagnostic-Code", f"smtp; {answer}"


def _typed(kind: str, address: str) -> str:
    """RFC 6533 section 3: what is not ASCII is an address of type utf-8."""
    return f"{kind if address.isascii() else 'utf-8'}; {address}"


def _status_type(status: str) -> str:
    return "delivery-status" if status.isascii() else "global-delivery-status"


def _original(envelope: Envelope, message: Message, *, whole: bool) -> bytes:
    header = bytes(message.buffer[: min(message.header_end, RETURN_LIMIT)])
    if len(header) == RETURN_LIMIT:
        header = header[: header.rfind(b"\r\n") + 2]
    # Only who asked for SMTPUTF8 has sent UTF-8; anybody else's 8-bit header is in whatever charset.
    international = envelope.smtputf8 and not header.isascii()
    if whole:
        kind = "message/global" if international else "message/rfc822"
        return _part("Undelivered message", kind, bytes(message.buffer[:]))
    kind = "message/global-headers" if international else "text/rfc822-headers"
    return _part("Undelivered message header", kind, header)


def _part(description: str, kind: str, body: bytes) -> bytes:
    fields = f"Content-Description: {description}\r\nContent-Type: {kind}\r\n"
    return f"{fields}Content-Transfer-Encoding: {_encoding(body)}\r\n\r\n".encode() + body


def _encoding(body: bytes) -> str:
    return "7bit" if body.isascii() else "8bit"


def _folded(line: str, separator: str = "\n") -> str:
    return separator.join(textwrap.wrap(line, 76, break_long_words=False, break_on_hyphens=False)) or line
