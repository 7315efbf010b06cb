"""The header fields that say what was done here. Nobody else writes them: not a stranger, not a local rule."""

from __future__ import annotations

OURS = frozenset(
    {
        "x-virus-scanned",
        "x-spam-flag",
        "x-spam-score",
        "x-spam-level",
        "x-spam-status",
        "x-quarantine-id",
        "x-quarantine-release",
        "x-contentfilter-alert",
    }
)
"""Names in lower case."""
