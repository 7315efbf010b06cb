"""Cases that do not give their result yet, each with the reason. They are expected to fail: one that passes is told."""

from __future__ import annotations

from types import MappingProxyType

IN_CHECK = MappingProxyType[str, str]({})
"""By the name of the case: when judged as `contentfilter check` does."""

IN_DAEMON = MappingProxyType[str, str]({})
"""The same through the daemon."""

AMONG_BOMBS = MappingProxyType[str, str]({})
"""Bombs that cost more, or are answered otherwise, than they should."""
