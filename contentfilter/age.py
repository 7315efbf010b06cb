"""How long a message has been under way here: since the topmost Received field, which our own Postfix wrote. Pure.

What cannot be told is age 0: nobody may make a message look old by leaving the date out or garbling it.
"""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

from contentfilter.mime.fields import Header

_LONGEST_DATE = 100
"""Characters of a date-time with its comment (RFC 5322 section 3.3); Postfix writes 37."""


def age_of(header: Header, now: float) -> float:
    """Seconds from the date of the topmost Received field (RFC 5321 section 4.4) to now, seconds since the epoch.

    0 where that field is missing, cannot be read, or lies in the future.
    """
    received = header.get("received")
    if received is None:
        return 0.0
    text = received.value.rpartition(b";")[2].strip().decode("ascii", "replace")
    if len(text) > _LONGEST_DATE:
        return 0.0
    try:
        written = parsedate_to_datetime(text)
        # A date with the zone -0000 is in UTC all the same (RFC 5322 section 3.3).
        then = (written if written.tzinfo is not None else written.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    return max(0.0, now - then)
