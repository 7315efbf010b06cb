"""The id of one message on its way through the filter: in the log, in the quarantine, on the phone.

It names files and stands on command lines, and who knows it may ask for the message. So it can't be guessed, and it
has no character that a shell, a file system or an ear could take for another.
"""

from __future__ import annotations

import os
import re

_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"
"""Lower case without i, l, o, 0 and 1."""

_LENGTH = 17
"""31 letters, 17 of them: 84 bits."""

_FAIR = 256 - 256 % len(_ALPHABET)
_LETTER_OF = bytes(ord(_ALPHABET[byte % len(_ALPHABET)]) for byte in range(256))
_UNFAIR = bytes(range(_FAIR, 256))
"""Bytes that are left out: with them the first letters of the alphabet would be likelier than the others."""

_ID = re.compile(f"[{_ALPHABET}]{{{_LENGTH}}}")


def new_id() -> str:
    """A fresh id from the system's random source. Nearly always it is asked once: that is a call into the kernel."""
    letters = b""
    while len(letters) < _LENGTH:
        letters += os.urandom(2 * _LENGTH).translate(_LETTER_OF, _UNFAIR)
    return letters[:_LENGTH].decode("ascii")


def is_id(text: str) -> bool:
    """Whether the text could be an id of ours, and is therefore safe as a file name."""
    return _ID.fullmatch(text) is not None
