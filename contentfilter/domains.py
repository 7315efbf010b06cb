"""Domains: one form for all the ways to write one, and which of them are at home here."""

from __future__ import annotations

from collections.abc import Sequence

import idna

from contentfilter.envelope import split_address


def canonical_domain(domain: str) -> str:
    """Lower case, without a final dot, and in ASCII (RFC 5891, UTS 46), so that equal domains are equal texts.

    What is no domain name, such as an address literal, is only made lower case.
    """
    domain = domain.lower().rstrip(".")
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError:
        return domain


class LocalDomains:
    """The domains of `[domains] local`. An address without a domain is local, as it is for Postfix."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._exact = {canonical_domain(pattern.lstrip(".")) for pattern in patterns}
        self._parents = {canonical_domain(pattern[1:]) for pattern in patterns if pattern.startswith(".")}

    def has(self, address: str) -> bool:
        """Whether the address is local: its domain is listed, or lies below one that is listed with a dot."""
        domain = canonical_domain(split_address(address)[1])
        if not domain or domain in self._exact or "" in self._parents:
            return True
        return any(parent in self._parents for parent in _parents(domain))


def _parents(domain: str) -> list[str]:
    labels = domain.split(".")
    return [".".join(labels[start:]) for start in range(1, len(labels))]
