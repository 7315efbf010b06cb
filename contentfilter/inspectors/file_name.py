"""File names as the recipient's system will take them, whatever was done to hide what they end in."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote

# Control and format characters (NUL, bidirectional overrides, zero-width blanks), line breaks, variation selectors.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Letters, marks and symbols that show nothing: variation selectors, fillers, joiners, the empty pattern of Braille.
_SHOWS_NOTHING = re.compile(
    "[\ufe00-\ufe0f\U000e0100-\U000e01ef\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0]"
)
_SEPARATORS = re.compile(r"[/\\]")
# NFKC knows the full-width dot and the leader; these are dots to some input methods and programs as well.
_DOTS = str.maketrans(dict.fromkeys("\u3002\uff61\ufe12\u06d4\u0701\u0702\u2e3c\ua4f8", "."))
_ENDS_IN = " .'\"\t\r\n\N{NO-BREAK SPACE}"
_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")

_LONG = 128
"""Characters from which on some system cuts a name short, and so decides what it ends in."""

_MOST_CUTS = 50
"""Places near the end of a long name at which it may be cut that are looked at."""

_CUT_BY = 320
"""Characters after which some system has cut every name; the usual limit is 255 bytes."""


def plain_names(name: str) -> tuple[str, ...]:
    r"""The names that a file called so may get: lower case, without path, invisible characters and trailing dots.

    Compatibility characters are folded (NFKC): a full-width dot is a dot. Windows takes ``a.exe::$DATA`` for ``a.exe``,
    and a program written in C takes ``a.exe\0.txt`` for it; other programs do not, so all of these count. So does what
    is left when a long name is cut, and what percent signs may stand for.
    """
    names: dict[str, None] = {}
    for whole in _wholes(name):
        visible = _visible(unicodedata.normalize("NFKC", whole)).translate(_DOTS).lower()
        last = _last(visible)
        for candidate in (last, last.partition(":")[0]):
            plain = candidate.strip().rstrip(_ENDS_IN).lstrip("'\"")
            names[plain] = None
            if len(plain) > _LONG:
                names.update(dict.fromkeys(_cut(plain)))
    return tuple(each for each in names if each)


def extension(name: str) -> str:
    """What stands after the last dot of a plain name, "" if there is none."""
    return name.rpartition(".")[2].strip() if "." in name else ""


def _wholes(name: str) -> Iterator[str]:
    yield name
    if "\0" in name:
        yield name.partition("\0")[0]
    if "%" in name and _ESCAPE.search(name):
        yield unquote(name)


def _last(path: str) -> str:
    """The last part of a path that is a name, not a step upwards or nothing."""
    parts = [part for part in _SEPARATORS.split(path) if part.strip(_ENDS_IN)]
    return parts[-1] if parts else ""


def _cut(name: str) -> Iterator[str]:
    """A long name without what stands behind each of its dots: wherever it is cut, it ends in one of these."""
    end = len(name)
    for _ in range(_MOST_CUTS):
        end = name.rfind(".", 0, end)
        if end <= 0:
            return
        yield name[:end].rstrip(_ENDS_IN)
    end = min(end, _CUT_BY)
    while (end := name.rfind(".", 0, end)) > 0:
        yield name[:end].rstrip(_ENDS_IN)


def _visible(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    kept = "".join(character for character in text if unicodedata.category(character) not in _INVISIBLE)
    return _SHOWS_NOTHING.sub("", kept)
