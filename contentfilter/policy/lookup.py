"""Which entries apply to a recipient, in which order, and how they are merged.

The order is amavis's: the most specific entry first, and per key the first entry that sets it wins. Local parts are
compared without regard to case, as domains are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from contentfilter.envelope import split_address
from contentfilter.policy.settings import Policy


def lookup_keys(address: str, delimiter: str = "+") -> tuple[str, ...]:
    """The keys under which settings for this address may stand, most specific first.

    user+ext@dom, user@dom, user+ext, user, @dom, @.dom, @.parent …, @. - an address without a domain has no @dom.
    delimiter: Postfix's recipient_delimiter, "" for none.
    """
    return tuple(dict.fromkeys(_lookup_keys(address.lower(), delimiter)))


def _lookup_keys(address: str, delimiter: str) -> Iterator[str]:
    local, domain = split_address(address)
    bare = local
    if delimiter and not local.startswith('"') and delimiter in local[1:]:
        bare = local[: local.index(delimiter, 1)]
    if domain:
        yield f"{local}@{domain}"
        yield f"{bare}@{domain}"
    yield local
    yield bare
    if domain:
        yield f"@{domain}"
        labels = domain.split(".")
        for start in range(len(labels)):
            yield "@." + ".".join(labels[start:])
    yield "@."


class PolicySource(Protocol):
    """Where settings stand. Raises PolicyError when it cannot tell: never a guess."""

    async def entries(self, keys: Sequence[str]) -> Mapping[str, Policy]:
        """The entries that exist under these keys; an entry's model_fields_set says which settings it holds."""
        ...


class Policies:
    """The settings of every recipient: the sources in their order, then `[policy.default]`."""

    def __init__(self, default: Policy, sources: Sequence[PolicySource], delimiter: str = "+") -> None:
        self._default = default
        self._sources = tuple(sources)
        self._delimiter = delimiter

    async def of(self, address: str) -> Policy:
        """The settings that apply to this recipient. Raises PolicyError."""
        keys = lookup_keys(address, self._delimiter)
        found: list[Policy] = []
        for source in self._sources:
            entries = await source.entries(keys)
            found.extend(entries[key] for key in keys if key in entries)
        return _merged(tuple(_settings(entry) for entry in found), self._default) if found else self._default


Settings = tuple[tuple[str, object], ...]
"""The keys that an entry sets, with their values. Two entries may set different keys and yet be equal policies."""


def _settings(entry: Policy) -> Settings:
    return tuple((key, getattr(entry, key)) for key in sorted(entry.model_fields_set))


@lru_cache(maxsize=4096)
def _merged(entries: tuple[Settings, ...], default: Policy) -> Policy:
    """One policy out of several entries: per key the first that sets it, else the default's."""
    values = default.model_dump()
    for entry in reversed(entries):
        values.update(entry)
    return Policy.model_construct(**values)
