"""Cases that do not give their result yet, each with the reason. They are expected to fail: one that passes is told."""

from __future__ import annotations

from types import MappingProxyType

_OPEN = {
    "embedded-text/uuencode-blanks-lost": "a line that lost blanks at its end is not taken for a line of uuencode",
}

IN_CHECK = MappingProxyType(_OPEN)
"""By the name of the case: when judged as `contentfilter check` does."""

IN_DAEMON = MappingProxyType(_OPEN)
"""The same through the daemon."""

AMONG_BOMBS = MappingProxyType[str, str]({})
"""Bombs that cost more, or are answered otherwise, than they should."""
