"""The id of one message on its way through the filter: in the log, in the quarantine, on the phone.

It names files and stands on command lines, and who knows it may ask for the message. So it can't be guessed, and it
has no character that a shell, a file system or an ear could take for another.
"""

from __future__ import annotations

import re
import secrets

_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
"""Lower case without i, l, o, 0 and 1."""

_LENGTH = 17
"""31 letters, 17 of them: 84 bits."""

_ID = re.compile(f"[{_ALPHABET}]{{{_LENGTH}}}")


def new_id() -> str:
    """A fresh id from the system's random source, asked once: it is a call into the kernel."""
    number = secrets.randbelow(len(_ALPHABET) ** _LENGTH)
    letters = []
    for _ in range(_LENGTH):
        number, letter = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[letter])
    return "".join(letters)


def is_id(text: str) -> bool:
    """Whether the text could be an id of ours, and is therefore safe as a file name."""
    return _ID.fullmatch(text) is not None
