"""The tables of which there are any number: `[policy."…"]`, `[list."…"]`, `[bank.…]`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    model_validator,
)

from contentfilter.config.values import (
    DomainPattern,
    Endpoint,
    NetworkValue,
    Table,
    expiry,
    expiry_of_lists,
)
from contentfilter.policy.keys import canonical_key
from contentfilter.policy.lists import canonical_subject, checked_score
from contentfilter.policy.settings import Policy, as_tuple


def _policy_key(key: str) -> str:
    """Accept default, user@dom, user, user@ (the same), @dom, @.dom and @. - a user may have an +extension."""
    if key != "default":
        canonical_key(key)
    return key


def no_key_twice(policies: Mapping[str, Policy]) -> Mapping[str, Policy]:
    """Refuse tables whose names mean the same recipients."""
    names: dict[str, str] = {}
    for key in policies:
        other = names.setdefault(canonical_key(key), key)
        if other != key:
            raise ValueError(f'"{other}" and "{key}" mean the same')
    return policies


def _owner_key(key: str) -> str:
    canonical_key(key)
    return key


def _bank_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
        raise ValueError(f"must be a name of letters, digits, - and _, not {name!r}")
    return name


PolicyKey = Annotated[str, AfterValidator(_policy_key)]
OwnerKey = Annotated[str, AfterValidator(_owner_key)]
BankName = Annotated[str, AfterValidator(_bank_name)]
ListSubject = Annotated[str, AfterValidator(canonical_subject)]


class PolicyTable(Policy):
    """`[policy."…"]`: settings, and when they end."""

    expires: Annotated[float | None, BeforeValidator(expiry)] = Field(
        default=None, description="the last day, or the moment, at which the entry applies"
    )


class ListTable(Table):
    """`[list."…"]`: senders and clients that a recipient, a domain, or everybody ("@.") allows, denies or scores."""

    allow: Annotated[tuple[ListSubject, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="their mail is no spam"
    )
    deny: Annotated[tuple[ListSubject, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="their mail is spam"
    )
    score: Mapping[ListSubject, Annotated[float, AfterValidator(checked_score)]] = Field(
        default={}, description="added to the spam score, such as {'@news.example' = -2.0}"
    )
    expires: Annotated[float | Mapping[ListSubject, float] | None, BeforeValidator(expiry_of_lists)] = Field(
        default=None,
        description="the last day, or the moment, at which the table applies; or a table of them by subject",
    )

    @model_validator(mode="after")
    def _no_subject_twice(self) -> ListTable:
        subjects = Counter([*self.allow, *self.deny, *self.score])
        for subject, count in subjects.items():
            if count > 1:
                raise ValueError(f'"{subject}" stands here more than once')
        for subject in self.expires if isinstance(self.expires, Mapping) else ():
            if subject not in subjects:
                raise ValueError(f'expires: "{subject}" stands neither in allow nor in deny nor in score')
        return self

    def expiry_of(self, subject: str) -> float | None:
        """When the entry about this subject ends, in seconds since the epoch; None: never."""
        return self.expires.get(subject) if isinstance(self.expires, Mapping) else self.expires


class BankTable(Table):
    """`[bank.…]`: settings laid over everybody's policy for messages that come a certain way."""

    listeners: Annotated[tuple[Endpoint, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="addresses of [listen] that the message came in at"
    )
    networks: Annotated[tuple[NetworkValue, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="networks of the client, by XFORWARD"
    )
    local_source: bool = Field(
        default=False, description="mail that Postfix took from its own host, such as by sendmail(1)"
    )
    sender_domains: Annotated[tuple[DomainPattern, ...], BeforeValidator(as_tuple)] = Field(
        default=(), description="domains of the envelope sender"
    )
    policy: Policy = Field(default=Policy(), description="the settings")

    @model_validator(mode="after")
    def _means_something(self) -> BankTable:
        if not (self.listeners or self.networks or self.local_source or self.sender_domains):
            raise ValueError(
                "must have one of listeners, networks, local_source and sender_domains: "
                "settings for every message belong into [policy.default]"
            )
        return self
