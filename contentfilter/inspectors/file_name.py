"""File names as the recipient's system will take them, whatever was done to hide what they end in."""

from __future__ import annotations

import re
import unicodedata

# Control and format characters (NUL, bidirectional overrides, zero-width blanks), line breaks, variation selectors.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_SEPARATORS = re.compile(r"[/\\]")


def plain_names(name: str) -> tuple[str, ...]:
    r"""The names that a file called so may get: lower case, without path, invisible characters and trailing dots.

    Compatibility characters are folded (NFKC): a full-width dot is a dot. Windows takes ``a.exe::$DATA`` for ``a.exe``,
    and a program written in C takes ``a.exe\0.txt`` for it; other programs do not, so all of these count.
    """
    names: dict[str, None] = {}
    for whole in (name, name.partition("\0")[0]):
        visible = _visible(unicodedata.normalize("NFKC", whole)).lower()
        last = _SEPARATORS.split(visible.rstrip("/\\ "))[-1]
        for candidate in (last, last.partition(":")[0]):
            names[candidate.strip().rstrip(". ")] = None
    return tuple(each for each in names if each)


def extension(name: str) -> str:
    """What stands after the last dot of a plain name, "" if there is none."""
    return name.rpartition(".")[2].strip() if "." in name else ""


def _visible(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    kept = "".join(character for character in text if unicodedata.category(character) not in _INVISIBLE)
    return _SELECTORS.sub("", kept)
