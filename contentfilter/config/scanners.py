"""The tables of the scanners that are asked over the network."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from pydantic import Field

from contentfilter.config.values import (
    ActionMeaning,
    Bytes,
    FailureKey,
    Grace,
    ScannerAddresses,
    Seconds,
    Table,
)
from contentfilter.failure import OnFailure
from contentfilter.policy.settings import enum_by_value

FailureGrace = Annotated[
    Grace, Field(description="seconds of a message's age; a younger one is deferred before on_failure counts")
]
FailuresToRest = Annotated[int, Field(gt=0, description="failures in a row after which an address is not asked")]


class ClamAV(Table):
    """The virus scanner."""

    enabled: bool = Field(default=True, description="ask clamd")
    socket: ScannerAddresses = Field(
        default=("unix:/run/clamav/clamd.ctl",),
        description="unix:/path or tcp:host:port; a list names others that are asked where the first cannot answer",
    )
    on_failure: FailureKey = Field(
        default=OnFailure.DEFER, description="when clamd cannot answer: defer, quarantine, tag or pass"
    )
    failure_grace: FailureGrace = 0.0
    timeout: Seconds = Field(default=120.0, description="seconds for one message, at each address")
    failures_to_rest: FailuresToRest = 5
    rest: Seconds = Field(default=30.0, description="seconds for which it is not asked; then PING tells")
    cache: int = Field(
        default=8192, ge=0, le=1_000_000, description="results kept by content, for each address and worker; 0: none"
    )
    large_scans: int = Field(
        default=8,
        gt=0,
        description="contents over 1 MB at an address at once, of all workers, one each at least; less than MaxThreads",
    )


class SpamAssassin(Table):
    """The spam scanner."""

    enabled: bool = Field(default=True, description="ask spamd")
    address: ScannerAddresses = Field(
        default=("tcp:127.0.0.1:783",),
        description="tcp:host:port or unix:/path; a list names others that are asked where the first cannot answer",
    )
    on_failure: FailureKey = Field(
        default=OnFailure.PASS, description="when spamd cannot answer: defer, quarantine, tag or pass"
    )
    failure_grace: FailureGrace = 0.0
    timeout: Seconds = Field(default=180.0, description="seconds for one message, at each address")
    failures_to_rest: FailuresToRest = 5
    rest: Seconds = Field(default=30.0, description="seconds for which it is not asked; then PING tells")
    size_limit: Bytes = Field(default=524_288, description="bytes; of larger messages spamd sees the beginning")
    user: str = Field(
        default="", description="whose preferences apply unless a policy says otherwise; empty: spamd's own"
    )


class Combine(Enum):
    """What Rspamd's score is beside that of spamd."""

    GREATER = "greater"
    """The greater of the two counts."""
    SUM = "sum"


class RspamdActions(Table):
    """What Rspamd's actions mean: a least score, "defer" (451), or "ignore" (its score alone counts)."""

    reject: ActionMeaning = Field(default=15.0, description="what Rspamd would refuse")
    discard: ActionMeaning = Field(default=15.0, description="what it would discard")
    quarantine: ActionMeaning = Field(default=15.0, description="what it would put into quarantine")
    add_header: ActionMeaning = Field(default=6.2, description="what it would mark as spam")
    rewrite_subject: ActionMeaning = Field(default=6.2, description="what it would mark in the subject")
    soft_reject: ActionMeaning = Field(default="defer", description="what it would refuse for now, as at a rate limit")
    greylist: ActionMeaning = Field(default="ignore", description="what it would greylist")
    no_action: ActionMeaning = Field(default="ignore", description="what it would let pass")


class Rspamd(Table):
    """The other spam scanner, beside spamd or in its place."""

    enabled: bool = Field(default=False, description="ask Rspamd")
    address: ScannerAddresses = Field(
        default=("tcp:127.0.0.1:11333",),
        description="of its normal worker, tcp:host:port or unix:/path; a list as for spamd",
    )
    on_failure: FailureKey = Field(
        default=OnFailure.PASS, description="when Rspamd cannot answer: defer, quarantine, tag or pass"
    )
    failure_grace: FailureGrace = 0.0
    timeout: Seconds = Field(default=60.0, description="seconds for one message, at each address")
    failures_to_rest: FailuresToRest = 5
    rest: Seconds = Field(default=30.0, description="seconds for which it is not asked; then /ping tells")
    size_limit: Bytes = Field(default=10_485_760, description="bytes; of larger messages Rspamd sees the beginning")
    scale: float = Field(
        default=0.9, gt=0, le=100, description="what one of its points is worth in SpamAssassin's, whose levels we use"
    )
    combine: Annotated[Combine, enum_by_value(Combine)] = Field(
        default=Combine.GREATER, description="where spamd is asked as well: greater, or sum of both scores"
    )
    actions: RspamdActions = RspamdActions()
