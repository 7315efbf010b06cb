"""Which recipients are at home here."""

from __future__ import annotations

from collections.abc import Sequence

from contentfilter.envelope import split_address


class LocalDomains:
    """The domains of `[domains] local`. An address without a domain is local, as it is for Postfix."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._exact = {pattern.lstrip(".").lower() for pattern in patterns}
        self._parents = {pattern[1:].lower() for pattern in patterns if pattern.startswith(".")}

    def has(self, address: str) -> bool:
        """Whether the address is local: its domain is listed, or lies below one that is listed with a dot."""
        domain = split_address(address)[1].lower()
        if not domain or domain in self._exact or "" in self._parents:
            return True
        return any(parent in self._parents for parent in _parents(domain))


def _parents(domain: str) -> list[str]:
    labels = domain.split(".")
    return [".".join(labels[start:]) for start in range(1, len(labels))]
