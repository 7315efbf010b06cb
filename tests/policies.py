"""Policies out of plain tables, as tests write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from contentfilter.envelope import Envelope, Recipient
from contentfilter.policy.banks import Bank
from contentfilter.policy.entry import Effective, Entry, settings_of
from contentfilter.policy.keys import canonical_key
from contentfilter.policy.lists import ListEntry
from contentfilter.policy.lookup import Policies
from contentfilter.policy.settings import Policy
from contentfilter.policy.toml import TomlSource


def entry(key: str, policy: Policy, *, source: str = "test", expires: float | None = None) -> Entry:
    """An entry that sets what the policy sets."""
    return Entry(source, key if key == "default" else canonical_key(key), settings_of(policy), expires)


def toml(entries: Mapping[str, Policy], listed: Iterable[ListEntry] = ()) -> TomlSource:
    """A source of these entries."""
    return TomlSource([entry(key, policy) for key, policy in entries.items()], listed)


def policies_of(
    default: Policy,
    entries: Mapping[str, Policy] | None = None,
    *,
    listed: Iterable[ListEntry] = (),
    banks: Sequence[Bank] = (),
) -> Policies:
    """A lookup in a single source."""
    return Policies(entry("default", default), [toml(entries or {}, listed)], banks=banks)


async def effective_of(policies: Policies, address: str, envelope: Envelope | None = None) -> Effective:
    """The settings of this recipient, of a message that is otherwise like this one."""
    one = replace(envelope or Envelope("", ()), recipients=(Recipient(address),))
    return (await policies.of_all(one))[0]
