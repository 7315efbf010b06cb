"""Text from strangers made fit for a terminal: nothing in it moves the cursor or turns the line around."""

from __future__ import annotations

import re
import traceback
import unicodedata

from contentfilter.errors import FilterError

_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories: controls, format characters (bidirectional overrides), surrogates, unassigned, line breaks."""

_QUOTED = re.compile(r"""b?(['"]).*?(?:\1|$)""", re.DOTALL)
_FRAMES = 5


def printable(text: str, keep: str = "") -> str:
    r"""The text with each unsafe character as a visible escape (``\x1b``, ``\u202e``).

    keep: characters that may stay although they are controls, such as newline and tab in running text.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_escape, text)) if not keep else "".join(c if c in keep else _escape(c) for c in text)


def _escape(character: str) -> str:
    if unicodedata.category(character) not in _UNSAFE:
        return character
    return character.encode("unicode_escape").decode("ascii")


def gist(error: BaseException) -> str:
    """An exception that nobody foresaw, without what a message may have put into it.

    Such exceptions quote what they stumble over, so that what is in quotes is left out.
    """
    text = _QUOTED.sub("'...'", printable(str(error)[:1000]))[:150]
    return f"{type(error).__name__}: {text}"


_OF_THE_INTERPRETER = frozenset(
    {TypeError, AttributeError, NameError, UnboundLocalError, ImportError, ModuleNotFoundError, IndexError}
    | {RecursionError, MemoryError, ZeroDivisionError, NotImplementedError, AssertionError}
)
"""Exceptions that are about code, and quote what they name."""


def identified(error: BaseException) -> str:
    """What exception it is, with its text only where that is not made of what somebody stumbled over."""
    system = isinstance(error, OSError) and error.errno is not None
    if system or isinstance(error, FilterError) or type(error) in _OF_THE_INTERPRETER:
        return gist(error)
    module = type(error).__module__
    name = type(error).__qualname__
    return name if module == "builtins" else f"{module}.{name}"


def told(error: BaseException) -> str:
    """An exception for the log: what it is, and the places where it and those before it came up, in one line.

    A library may put anything into the text of one, in quotes or not, a statement with its values or a line of a
    message; so there is no text but the system's, the interpreter's and ours. The place tells what is wrong.
    """
    chain: list[str] = []
    current: BaseException | None = error
    while current is not None and len(chain) < _FRAMES:
        frames = reversed(traceback.extract_tb(current.__traceback__)[-_FRAMES:])
        places = " < ".join(
            f"{'/'.join(frame.filename.split('/')[-2:])}:{frame.lineno} {frame.name}" for frame in frames
        )
        chain.append(f"{identified(current)} at {places or 'an unknown place'}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "; after ".join(chain)
