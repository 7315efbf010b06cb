"""Addresses of MAIL and RCPT: the path between the angle brackets (RFC 5321 section 4.1.2, RFC 6531 section 3.3).

We take what Postfix hands to us, which is a little more than the RFC: an address without domain, dots in any place,
odd domains. Nothing is rewritten: the address goes on in the form in which it came, only a source route is dropped, as
RFC 5321 appendix C asks.
"""

from __future__ import annotations

import re

from contentfilter.errors import CommandError
from contentfilter.reply import Reply

MAX_ADDRESS = 512
"""Bytes of an address.

RFC 5321 section 4.5.3.1 has 64 for the local part and 255 for the domain, which rewritten senders (SRS, VERP) exceed in
the wild. With this much an address still leaves room in a line of 998 bytes, of which Received fields are made.
"""

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-\u00a0-\U0010ffff]+"
_QUOTED = r'"(?:[^"\\\x00-\x1f\x7f-\x9f]|\\[^\x00-\x1f\x7f-\x9f])*"'
_LITERAL = r"\[[A-Za-z0-9:.\-]+\]"
_DOMAIN = rf"(?:{_ATOM}|{_LITERAL})"
_ROUTE = rf"(?:@{_DOMAIN}(?:,@{_DOMAIN})*:)?"

# Path = "<" [ A-d-l ":" ] Mailbox ">". Each alternative starts with a character that the others cannot hold, so the
# match takes linear time.
_PATH = re.compile(rf"<(?:{_ROUTE}((?:{_ATOM}|{_QUOTED})(?:@{_DOMAIN})?))?>")


_MAILBOX = re.compile(rf"(?:{_ATOM}|{_QUOTED})@{_DOMAIN}")


def is_mailbox(text: str) -> bool:
    """Whether this is an address with a local part and a domain, without brackets, not too long."""
    return _MAILBOX.fullmatch(text) is not None and len(text.encode("utf-8", "replace")) <= MAX_ADDRESS


def parse_path(text: str, malformed: Reply) -> tuple[str, str]:
    """The address at the start of text, without its brackets, and what follows; "" is the null path.

    Raises CommandError with the reply malformed, which differs between senders and recipients, also for an address that
    is too long.
    """
    match = _PATH.match(text)
    if match is None or text[match.end() : match.end() + 1] not in {"", " "}:
        raise CommandError(malformed)
    address = match[1] or ""
    if len(address.encode()) > MAX_ADDRESS:
        raise CommandError(malformed)
    return address, text[match.end() :]
