"""Text from strangers made fit for a terminal: nothing in it moves the cursor or turns the line around."""

from __future__ import annotations

import unicodedata

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories: controls, format characters (bidirectional overrides), surrogates, unassigned, line breaks."""

_JOINERS = "\u200c\u200d"
"""Format characters that scripts and emoji need and that change nothing but their neighbours' shape."""


def printable(text: str, keep: str = "") -> str:
    r"""The text with each unsafe character as a visible escape (``\x1b``, ``\u202e``).

    keep: characters that may stay although they are controls, such as newline and tab in running text.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_escape, text)) if not keep else "".join(c if c in keep else _escape(c) for c in text)


def _escape(character: str) -> str:
    if character in _JOINERS or unicodedata.category(character) not in _UNSAFE:
        return character
    return character.encode("unicode_escape").decode("ascii")
