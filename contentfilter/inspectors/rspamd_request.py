"""What Rspamd is told of a message besides its bytes: the envelope and the client, in fields of the request. Pure.

The names are those of Rspamd's HTTP protocol. Not sent are:

- User: to Rspamd it means that the client has logged in under that name (SASL), and it then checks less. Postfix does
  not tell us of logins. Whose preferences count it learns from Deliver-To.
- Pass, Flags, Settings, Settings-ID: what Rspamd does with a message its own configuration says.

Rspamd gives up on a request whose header has more than 80 kB, so ours has a limit far below: a sender who names
thousands of recipients must not go unscanned for it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

from contentfilter.envelope import Client, Envelope

Fields = list[tuple[bytes, bytes]]

MOST_RECIPIENTS: Final = 100
LONGEST_VALUE: Final = 512
"""Bytes of one value; an address has 320 at most (RFC 5321 section 4.5.3.1), and of anything longer we say nothing."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def request_fields(envelope: Envelope, hostname: str, user: str) -> Fields:
    """The fields of the request. hostname: ours; user: whose preferences count, "" for nobody's.

    No value can end its line or begin another: control characters become "?".
    """
    told = [*_envelope_fields(envelope), *_client_fields(envelope.client)]
    told += [("MTA-Name", hostname), ("Deliver-To", user), ("User-Agent", "contentfilter")]
    encoded = ((name, _CONTROL.sub("?", value).strip().encode("utf-8", "surrogateescape")) for name, value in told)
    return [(name.encode(), value) for name, value in encoded if 0 < len(value) <= LONGEST_VALUE]


def _envelope_fields(envelope: Envelope) -> Iterator[tuple[str, str]]:
    # Without this field Rspamd would believe the message's own From or Return-Path. <> is the null sender.
    yield "From", f"<{envelope.mail_from}>"
    for recipient in envelope.recipients[:MOST_RECIPIENTS]:
        yield "Rcpt", f"<{recipient.address}>"


def _client_fields(client: Client) -> Iterator[tuple[str, str]]:
    if address := _ip(client.addr or ""):
        yield "IP", address
    yield "Helo", client.helo or ""
    yield "Hostname", client.name or ""
    yield "Queue-Id", client.ident or ""


def _ip(text: str) -> str:
    """The address, if it is one: of another Rspamd would make no sense."""
    try:
        return str(ipaddress.ip_address(text.lower().removeprefix("ipv6:")))
    except ValueError:
        return ""
