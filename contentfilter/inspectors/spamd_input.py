"""What SpamAssassin gets to read: the head of the message, and what we know of its envelope before it. Pure.

SpamAssassin learns the envelope sender, for SPF and its likes, from header fields. Return-Path is the one that a
delivered message bears too, so that training with delivered mail sees the same; X-Envelope-From is for sites without
our snippet, because SpamAssassin then prefers it. Both stand on top, and foreign copies of all fields that could
speak in their place are left out: one foreign X-Envelope-From below a Received field is enough to make SpamAssassin
distrust ours. Nothing of this goes further than to the scanner.
"""

from __future__ import annotations

import re

from contentfilter.envelope import Envelope
from contentfilter.message import Message

_FOREIGN = re.compile(
    rb"^(?:Return-Path|X-Envelope-From|Envelope-Sender|X-Envelope-To)[ \t]*:[^\n]*\n?(?:[ \t][^\n]*\n?)*",
    re.MULTILINE | re.IGNORECASE,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def scanner_input(message: Message, envelope: Envelope, size_limit: int) -> bytes:
    """The message as SpamAssassin shall see it. Beyond size_limit bytes of the original the tail is cut, at a line."""
    end = cut(message, size_limit)
    header_end = min(message.header_end, end)
    header = _FOREIGN.sub(b"", message.buffer[:header_end])
    return b"".join((_envelope_fields(envelope), header, message.buffer[header_end:end]))


def cut(message: Message, size_limit: int) -> int:
    """Where to stop: behind the last line that ends within the limit, or at the limit if none does."""
    if len(message) <= size_limit:
        return len(message)
    return message.buffer.rfind(b"\n", 0, size_limit) + 1 or size_limit


def _envelope_fields(envelope: Envelope) -> bytes:
    sender = _path(envelope.mail_from)
    recipients = ",\r\n ".join(_path(recipient.address) for recipient in envelope.recipients)
    text = f"Return-Path: {sender}\r\nX-Envelope-From: {sender}\r\nX-Envelope-To: {recipients}\r\n"
    return text.encode("utf-8", "surrogateescape")


def _path(address: str) -> str:
    """The address as it stood in MAIL or RCPT; a control character must not begin a field of its own."""
    return f"<{_CONTROL.sub('?', address)}>"
