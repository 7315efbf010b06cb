"""Builds each part of the filter from the configuration, and hands the parts to one another: the bill of materials."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING

from contentfilter import ledger, turns
from contentfilter.board import Place
from contentfilter.config import Config
from contentfilter.config.scanners import ClamAV, Combine, Rspamd, SpamAssassin
from contentfilter.domains import LocalDomains
from contentfilter.history import DIRECTORY, History
from contentfilter.inspectors import Inspector
from contentfilter.inspectors.backends import Resting
from contentfilter.inspectors.banned import BannedInspector
from contentfilter.inspectors.clamd import ClamdInspector
from contentfilter.inspectors.header import HeaderInspector, HeaderSettings
from contentfilter.inspectors.rules import RulesInspector
from contentfilter.inspectors.spamd import SpamdInspector
from contentfilter.intake.capacity import CapacityLimits
from contentfilter.intake.settings import IntakeSettings
from contentfilter.judging import Site
from contentfilter.ledger import Ledger
from contentfilter.mime import Limits
from contentfilter.next_hop import NextHop, NextHopSettings
from contentfilter.pipeline import Pipeline
from contentfilter.policy.lookup import Policies, PolicySource, Ways
from contentfilter.policy.sql import PolicyReader, SqlSource
from contentfilter.policy.sqlite_file import path_of
from contentfilter.policy.sqlite_reader import SqliteReader
from contentfilter.policy.toml import TomlSource
from contentfilter.retries import Memory, Retries
from contentfilter.routes import Routes
from contentfilter.turns import Turns
from contentfilter.unpack.box import Box, BoxSettings
from contentfilter.unpack.budget import Budget
from quarantine.late import LateQuarantine

if TYPE_CHECKING:
    from contentfilter.inspectors.rspamd import RspamdInspector
    from contentfilter.policy.amavis_database import AmavisDatabase
    from contentfilter.policy.database import PolicyDatabase

_PART_OF_THE_LIMIT = 0.9


def pipeline_for(
    config: Config, routes: Routes, box: Box, history: History | None = None, memory: Memory | None = None
) -> Pipeline:
    """The journey, with everybody who has a part in it. history, memory: None where messages are only looked at."""
    return Pipeline(
        site_for(config),
        policies_for(config),
        inspectors_for(config),
        routes,
        LateQuarantine(config.quarantine.directory, config.quarantine.database),
        box=box,
        history=history,
        memory=memory,
    )


@contextlib.asynccontextmanager
async def onlooker_for(config: Config) -> AsyncIterator[Pipeline]:
    """The journey for who only looks at messages, with ways out and helpers that are let go in the end."""
    routes, box = routes_for(config), box_for(config)
    pipeline = pipeline_for(config, routes, box)
    try:
        yield pipeline
    finally:
        await pipeline.close()
        await box.close()
        await routes.close()


def retries_for(config: Config, place: Place) -> Retries:
    """Who already has what comes again. place: where we write down what is in work."""
    site = site_for(config)
    patience = site.inspect_timeout + site.send_timeout
    return Retries(ledger_for(config), Turns(config.state_directory / turns.FILE, patience), place)


def ledger_for(config: Config) -> Ledger:
    """Where that is written down."""
    return Ledger(config.state_directory / ledger.FILE, keep=config.ledger.keep_days * ledger.DAY)


def history_for(config: Config) -> History | None:
    """Where it is noted how messages fared, if anywhere."""
    return History(config.state_directory / DIRECTORY) if config.history.keep_days else None


def box_for(config: Config, door: socket.socket | None = None) -> Box:
    """The processes that containers are opened in. door: of a nursery that others use too."""
    limits = config.limits
    budget = Budget(
        depth=limits.unpack_depth,
        parts=limits.unpack_parts,
        bytes=limits.unpack_bytes,
        ratio=limits.unpack_ratio,
        seconds=limits.unpack_seconds,
    )
    return Box(
        BoxSettings(
            directory=config.state_directory,
            helpers=config.unpack.helpers,
            jobs_per_helper=config.unpack.jobs_per_helper,
            memory=config.unpack.memory,
            queue=limits.messages_in_work,
            wait=limits.inspect_timeout,
            budget=budget,
        ),
        door,
    )


def site_for(config: Config) -> Site:
    """Who we are, for the pipeline."""
    scanners: dict[str, ClamAV | SpamAssassin | Rspamd] = {"clamd": config.clamav, "spamd": config.spamassassin}
    if config.rspamd.enabled:
        scanners["rspamd"] = config.rspamd
    return Site(
        hostname=config.hostname,
        local=LocalDomains(config.domains.local),
        inspect_timeout=config.limits.inspect_timeout,
        send_timeout=2 * config.next_hop.data_timeout,
        max_hops=config.limits.max_hops,
        max_passes=config.limits.max_passes,
        mime_limits=Limits(
            depth=config.limits.mime_depth,
            parts=config.limits.mime_parts,
            readings=config.limits.mime_readings,
            header_bytes=config.limits.mime_header_bytes,
            fields=config.limits.mime_fields,
            parameters=config.limits.mime_parameters,
            seconds=config.limits.mime_seconds,
        ),
        on_failure={name: table.on_failure for name, table in scanners.items()},
        recipient_delimiter=config.domains.recipient_delimiter,
        poison_after=config.ledger.poison_after,
        failure_grace={name: table.failure_grace for name, table in scanners.items()},
    )


def policies_for(config: Config) -> Policies:
    """Where recipients' settings come from."""
    domains = config.domains
    ways = Ways(domains.recipient_delimiter, case_sensitive=domains.case_sensitive)
    table = config.policies
    sources: list[PolicySource] = [SqlSource(policy_reader_for(config), timeout=table.timeout)]
    if table.amavis_database:
        from contentfilter.policy.amavis import AmavisSource  # noqa: PLC0415 - what loads SQLAlchemy, few need

        sources.append(
            AmavisSource(
                amavis_database_for(config),
                local=LocalDomains(domains.local),
                delimiter=domains.recipient_delimiter,
                cache_seconds=table.cache_seconds,
                timeout=table.timeout,
            )
        )
    sources.append(TomlSource(config.entries, config.listed))
    return Policies(config.default_policy, sources, ways=ways, banks=config.banks)


def policy_reader_for(config: Config) -> PolicyReader:
    """The database of settings and lists, for the lookup."""
    path = path_of(config.policies.database)
    return policy_database_for(config) if path is None else SqliteReader(path, timeout=config.policies.timeout)


def policy_database_for(config: Config) -> PolicyDatabase:
    """The same, to change it or to ask what state it is in."""
    from contentfilter.policy.database import PolicyDatabase  # noqa: PLC0415 - as above

    return PolicyDatabase(config.policies.database, timeout=config.policies.timeout)


def amavis_database_for(config: Config) -> AmavisDatabase:
    """The amavis database that is read as well."""
    from contentfilter.policy.amavis_database import AmavisDatabase  # noqa: PLC0415 - as above

    return AmavisDatabase(config.policies.amavis_database, timeout=config.policies.timeout)


def inspectors_for(config: Config) -> tuple[Inspector, ...]:
    """Everybody who looks at a message."""
    inspectors: list[Inspector] = [
        BannedInspector(config.banned.sets),
        HeaderInspector(HeaderSettings(tests=config.header.tests)),
    ]
    if config.rule_set:
        inspectors.append(RulesInspector(config.rule_set, config.rules.characters))
    if config.clamav.enabled:
        inspectors.append(clamd_for(config))
    if config.spamassassin.enabled:
        inspectors.append(spamd_for(config))
    if config.rspamd.enabled:
        inspectors.append(rspamd_for(config))
    return tuple(inspectors)


def clamd_for(config: Config, *addresses: str) -> ClamdInspector:
    """The virus scanner. addresses: in place of those of the configuration, for a look at some of them."""
    table = config.clamav
    return ClamdInspector(
        addresses or table.socket,
        timeout=_patience(table.timeout, config),
        resting=Resting(table.failures_to_rest, table.rest),
        cache=0 if addresses else table.cache,
        large_scans=max(1, table.large_scans // max(1, config.workers)),
    )


def spamd_for(config: Config, *addresses: str) -> SpamdInspector:
    """The spam scanner. addresses: in place of those of the configuration, for a look at some of them."""
    table = config.spamassassin
    return SpamdInspector(
        addresses or table.address,
        user=table.user,
        timeout=_patience(table.timeout, config),
        resting=Resting(table.failures_to_rest, table.rest),
        size_limit=table.size_limit,
    )


def rspamd_for(config: Config, *addresses: str) -> RspamdInspector:
    """The other spam scanner. addresses: in place of those of the configuration, for a look at some of them."""
    # HTTP is loaded only where somebody speaks it.
    from contentfilter.inspectors.rspamd import RspamdInspector  # noqa: PLC0415
    from contentfilter.inspectors.rspamd_answer import Scale  # noqa: PLC0415

    table = config.rspamd
    # Rspamd's configuration writes add_header, its answers "add header".
    actions = {name.replace("_", " "): getattr(table.actions, name) for name in type(table.actions).model_fields}
    return RspamdInspector(
        addresses or table.address,
        scale=Scale(table.scale, actions, adds=table.combine is Combine.SUM),
        hostname=config.hostname,
        timeout=_patience(table.timeout, config),
        resting=Resting(table.failures_to_rest, table.rest),
        size_limit=table.size_limit,
    )


def _patience(timeout: float, config: Config) -> float:
    """Seconds that a scanner may take: who is only ever cut off by the limit for all is never known to hang."""
    return min(timeout, _PART_OF_THE_LIMIT * config.limits.inspect_timeout)


def routes_for(config: Config) -> Routes:
    """The ways out."""
    settings = next_hop_settings(config)
    return Routes(NextHop(settings), lambda address: NextHop(replace(settings, address=address)))


def next_hop_for(config: Config) -> NextHop:
    """The way out of everybody whose policy names no other."""
    return NextHop(next_hop_settings(config))


def next_hop_settings(config: Config) -> NextHopSettings:
    """Where the way out leads, and how long we wait there."""
    hop = config.next_hop
    return NextHopSettings(
        address=hop.address,
        hostname=config.hostname,
        connect_timeout=hop.connect_timeout,
        command_timeout=hop.command_timeout,
        data_timeout=hop.data_timeout,
        pool_size=hop.pool_size,
        idle_timeout=hop.idle_timeout,
    )


def intake_settings(config: Config) -> IntakeSettings:
    """The way in."""
    return IntakeSettings(
        hostname=config.hostname,
        spool_directory=config.state_directory,
        allow=config.listen.allow,
        max_message_size=config.limits.message_size,
        memory_threshold=config.limits.memory_threshold,
        max_recipients=config.listen.max_recipients,
        max_connections=config.listen.max_connections,
        command_timeout=config.listen.command_timeout,
        data_timeout=config.listen.data_timeout,
        min_data_rate=config.listen.min_data_rate,
    )


def capacity_limits(config: Config) -> CapacityLimits:
    """How much is worked on at a time."""
    limits = config.limits
    return CapacityLimits(
        messages=limits.messages_in_work,
        bytes=limits.bytes_in_work,
        messages_in_all=limits.messages_in_all,
        bytes_in_all=limits.bytes_in_all,
        memory=limits.memory_held,
        spool=limits.spool_held,
        mail_wait=limits.mail_wait,
        slot_wait=limits.slot_wait,
    )
