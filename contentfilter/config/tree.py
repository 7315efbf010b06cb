"""The whole configuration: all tables together, what must hold between them, and what the filter reads off them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from contentfilter.config.banned import Banned
from contentfilter.config.recipients import (
    BankName,
    BankTable,
    ListTable,
    OwnerKey,
    PolicyKey,
    PolicyTable,
    no_key_twice,
)
from contentfilter.config.scanners import ClamAV, Rspamd, SpamAssassin
from contentfilter.config.tables import (
    Domains,
    Header,
    History,
    Ledger,
    Limits,
    Listen,
    Log,
    NextHopTable,
    Policies,
    Quarantine,
    Rules,
    Unpack,
)
from contentfilter.config.values import DirectoryPath, Seconds, Table, quoted
from contentfilter.domains import LocalDomains
from contentfilter.inspectors.banned import no_such_set
from contentfilter.inspectors.banned_default import DEFAULT
from contentfilter.policy.banks import Bank
from contentfilter.policy.entry import Entry, settings_of
from contentfilter.policy.keys import canonical_key
from contentfilter.policy.lists import Effect, ListEntry
from contentfilter.policy.settings import Policy
from contentfilter.rules import RuleSet


class Config(Table):
    """The whole configuration."""

    state_directory: DirectoryPath = Field(
        default=Path("/var/lib/contentfilter"), description="what must survive a restart; the spool of large messages"
    )
    hostname: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]*$",
        description="our name in header fields and greetings; empty: the host's own",
    )
    user: str = Field(
        default="contentfilter",
        min_length=1,
        description="whom the filter becomes if it is started as root, once its sockets are open; root: nobody else",
    )
    workers: int = Field(default=0, ge=0, le=256, description="processes; 0: one a core")
    worker_timeout: Seconds = Field(
        default=60.0, description="seconds without a sign of life after which a worker is killed and replaced"
    )
    drain_timeout: Seconds = Field(
        default=300.0,
        description="seconds to finish what is in hand at a stop or reload; the unit's TimeoutStopSec has to be longer",
    )
    listen: Listen = Listen()
    next_hop: NextHopTable = NextHopTable()
    domains: Domains = Domains()
    limits: Limits = Limits()
    unpack: Unpack = Unpack()
    clamav: ClamAV = ClamAV()
    spamassassin: SpamAssassin = SpamAssassin()
    rspamd: Rspamd = Rspamd()
    banned: Banned = Banned()
    header: Header = Header()
    rules: Rules = Rules()
    policies: Policies = Policies()
    policy: Annotated[Mapping[PolicyKey, PolicyTable], AfterValidator(no_key_twice)] = Field(
        default={}, description="settings by recipient"
    )
    list: Mapping[OwnerKey, ListTable] = Field(default={}, description="senders by recipient")
    bank: Mapping[BankName, BankTable] = Field(default={}, description="settings by the way mail comes")
    quarantine: Quarantine = Quarantine()
    history: History = History()
    ledger: Ledger = Ledger()
    log: Log = Log()

    _file_of: dict[str, str] = PrivateAttr(default_factory=dict)
    _rule_set: RuleSet = PrivateAttr(default=RuleSet())

    @property
    def rule_set(self) -> RuleSet:
        """What the files of `[rules]` held when the configuration was loaded."""
        return self._rule_set

    @model_validator(mode="after")
    def _sets_are_there(self) -> Config:
        policies: dict[str, Policy] = {f"[policy.{quoted(key)}]": table for key, table in self.policy.items()}
        policies |= {f"[bank.{quoted(key)}.policy]": table.policy for key, table in self.bank.items()}
        for place, policy in policies.items():
            if problem := self.objection(policy.banned_rules):
                raise ValueError(f"{place} banned_rules: {problem}")
        return self

    @model_validator(mode="after")
    def _addresses_are_known(self) -> Config:
        addresses = self.listen.addresses
        if twice := next((one for one, count in Counter(addresses).items() if count > 1), ""):
            raise ValueError(f'[listen] addresses: "{twice}" stands here more than once')
        if self.next_hop.address in addresses:
            raise ValueError(
                f'[next_hop] address: "{self.next_hop.address}" is one of [listen] addresses, so mail would go in '
                "circles: give that of the smtpd of master.cf that has no content_filter"
            )
        for name, bank in self.bank.items():
            if unknown := next((one for one in bank.listeners if one not in addresses), ""):
                raise ValueError(
                    f'[bank.{name}] listeners: "{unknown}" is none of [listen] addresses: {", ".join(addresses)}'
                )
        return self

    @model_validator(mode="after")
    def _the_largest_message_can_be_spooled(self) -> Config:
        limits = self.limits
        if limits.spool_held < limits.message_size:
            raise ValueError(
                f"[limits] spool_held: {limits.spool_held} is less than one message may have: "
                f"must be at least message_size, {limits.message_size}"
            )
        return self

    @model_validator(mode="after")
    def _the_default_does_not_end(self) -> Config:
        if (default := self.policy.get("default")) is not None and default.expires is not None:
            raise ValueError('[policy.default] expires: the default has no end: put what has one into [policy."@."]')
        return self

    def objection(self, banned_rules: Sequence[str]) -> str:
        """What is wrong with names of sets of banned rules; "" if all of them are there."""
        known = {DEFAULT, *self.banned.set}
        return next((no_such_set(name, known) for name in banned_rules if name not in known), "")

    @property
    def default_policy(self) -> Entry:
        """`[policy.default]`."""
        return self._entry("default", self.policy.get("default", PolicyTable()))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """`[policy."..."]` other than the default."""
        return tuple(self._entry(key, table) for key, table in self.policy.items() if key != "default")

    def _entry(self, key: str, table: PolicyTable) -> Entry:
        name = key if key == "default" else canonical_key(key, case_sensitive=self.domains.case_sensitive)
        return Entry(self._source("policy", key), name, settings_of(table, without=("expires",)), table.expires)

    def _source(self, table: str, key: str) -> str:
        return self._file_of.get(f"{table} {key}", "contentfilter.toml")

    @property
    def listed(self) -> Iterator[ListEntry]:
        """The entries of every `[list."..."]`."""
        for key, table in self.list.items():
            owner = canonical_key(key, case_sensitive=self.domains.case_sensitive)
            source = self._source("list", key)
            for subject in table.allow:
                yield ListEntry(source, owner, subject, Effect.ALLOW, expires=table.expiry_of(subject))
            for subject in table.deny:
                yield ListEntry(source, owner, subject, Effect.DENY, expires=table.expiry_of(subject))
            for subject, score in table.score.items():
                yield ListEntry(source, owner, subject, Effect.SCORE, score, table.expiry_of(subject))

    @property
    def banks(self) -> tuple[Bank, ...]:
        """Every `[bank.…]`, in the order of the file."""
        return tuple(
            Bank(
                name,
                settings_of(table.policy),
                table.listeners,
                table.networks,
                table.local_source,
                LocalDomains(table.sender_domains) if table.sender_domains else None,
            )
            for name, table in self.bank.items()
        )


class PolicyFile(Table):
    """What may stand in `[policies] file`."""

    policy: Annotated[Mapping[PolicyKey, PolicyTable], AfterValidator(no_key_twice)] = {}
    list: Mapping[OwnerKey, ListTable] = {}
    bank: Mapping[BankName, BankTable] = {}
