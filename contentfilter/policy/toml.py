"""Settings that stand in the configuration file, as `[policy."user@dom"]`, `[policy."@dom"]`, `[policy."@.dom"]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contentfilter.policy.settings import Policy


class TomlSource:
    """The entries of one loaded configuration."""

    def __init__(self, entries: Mapping[str, Policy]) -> None:
        self._entries = {key.lower(): entry for key, entry in entries.items()}

    async def entries(self, keys: Sequence[str]) -> Mapping[str, Policy]:
        """The entries under these keys."""
        return {key: self._entries[key] for key in keys if key in self._entries}
