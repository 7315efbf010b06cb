"""The plain tables of the configuration: every key with its meaning and its default, which depend on no other table."""

from __future__ import annotations

import ipaddress
from enum import Enum
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from contentfilter.config.values import (
    Bytes,
    DatabaseUrl,
    DirectoryPath,
    DomainPattern,
    Endpoint,
    HeaderTestKey,
    NetworkValue,
    Seconds,
    Table,
)
from contentfilter.inspectors.header import ALL_TESTS
from contentfilter.policy.settings import as_tuple, enum_by_value
from contentfilter.rules import DEFAULT_BUDGET


class Listen(Table):
    """Where mail comes in."""

    addresses: Annotated[tuple[Endpoint, ...], BeforeValidator(as_tuple), Field(min_length=1)] = Field(
        default=("127.0.0.1:10025",), description="host:port or unix:/path; each speaks SMTP to EHLO and LMTP to LHLO"
    )
    allow: Annotated[tuple[NetworkValue, ...], BeforeValidator(as_tuple)] = Field(
        default=(ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")),
        description="networks that may connect; others get 554",
    )
    unix_mode: str = Field(default="0660", pattern=r"^0?[0-7]{3}$", description="permissions of a Unix socket, octal")
    max_connections: int = Field(
        default=500,
        gt=0,
        description="connections a worker serves at once; for further ones an idle one goes, or else they get 421",
    )
    max_recipients: int = Field(default=2000, ge=100, description="recipients of one message; further ones get 452")
    command_timeout: Seconds = Field(
        default=600.0, description="seconds without a command before the connection is closed"
    )
    data_timeout: Seconds = Field(
        default=180.0, description="seconds for DATA before the connection is closed; bytes that come put it off"
    )
    min_data_rate: int = Field(
        default=500, gt=0, description="bytes a second of DATA below which data_timeout comes nearer, as in Postfix"
    )


class Limits(Table):
    """What one message may cost, and how much is worked on at a time."""

    message_size: Bytes = Field(default=104_857_600, description="bytes; larger messages get 552")
    memory_threshold: Bytes = Field(default=1_048_576, description="bytes; larger messages wait in an anonymous file")
    inspect_timeout: Seconds = Field(
        default=240.0, description="seconds for all inspectors together; below Postfix's patience"
    )
    messages_in_work: int = Field(
        default=100, gt=0, description="messages that a worker works on at a time; further ones wait, then get 451"
    )
    bytes_in_work: Bytes = Field(default=536_870_912, description="bytes of all messages that a worker works on")
    messages_in_all: int = Field(default=0, ge=0, description="messages in work of all workers together; 0: no limit")
    bytes_in_all: int = Field(default=0, ge=0, description="bytes in work of all workers together; 0: no limit")
    memory_held: Bytes = Field(
        default=67_108_864, description="bytes of messages in a worker's memory; further ones wait in anonymous files"
    )
    spool_held: Bytes = Field(
        default=4_294_967_296, description="bytes of messages in a worker's anonymous files; further ones get 452"
    )
    mail_wait: Seconds = Field(default=5.0, description="seconds that MAIL waits for room before it gets 451")
    slot_wait: Seconds = Field(
        default=120.0, description="seconds that a whole message waits for its turn before it gets 451"
    )
    max_hops: int = Field(default=100, gt=0, description="Received fields; more is a mail loop")
    max_passes: int = Field(
        default=3, gt=0, description="times that a message may pass through this filter; more is a mail loop"
    )
    mime_depth: int = Field(default=16, gt=0, description="nested entities; deeper is unchecked")
    mime_parts: int = Field(default=3000, gt=0, description="parts of a message; more is unchecked")
    mime_readings: int = Field(
        default=100, gt=0, description="ambiguous places read in a further way; more is unchecked"
    )
    mime_header_bytes: Bytes = Field(default=1_048_576, description="bytes of all headers; more is unchecked")
    mime_fields: int = Field(default=2000, gt=0, description="fields of one header; more is unchecked")
    mime_parameters: int = Field(default=200, gt=0, description="parameters of one field; more is unchecked")
    mime_seconds: Seconds = Field(default=5.0, description="CPU seconds for reading a message; longer is unchecked")
    unpack_depth: int = Field(default=16, gt=0, description="containers inside one another; deeper is unchecked")
    unpack_parts: int = Field(default=3000, gt=0, description="members of all containers; more is unchecked")
    unpack_bytes: Bytes = Field(default=500_000_000, description="bytes of all members; more is unchecked")
    unpack_ratio: float = Field(
        default=10.0, gt=0, description="times its own size that a message may unpack to, 100 kB at least"
    )
    unpack_seconds: Seconds = Field(default=30.0, description="seconds for opening containers; longer is unchecked")


class Unpack(Table):
    """The processes that containers are opened in."""

    helpers: int = Field(default=2, gt=0, le=64, description="processes of a worker at most; so many messages at once")
    jobs_per_helper: int = Field(default=200, gt=0, description="messages after which a process is replaced")
    memory: int = Field(default=1_073_741_824, ge=134_217_728, description="bytes of address space of one process")


class NextHopTable(Table):
    """Where mail goes on: the smtpd of master.cf that has no content_filter."""

    address: Endpoint = Field(default="127.0.0.1:10026", description="host:port or unix:/path")
    connect_timeout: Seconds = Field(default=30.0, description="seconds")
    command_timeout: Seconds = Field(default=120.0, description="seconds for each reply")
    data_timeout: Seconds = Field(default=300.0, description="seconds for the reply to the message, and for sending it")
    pool_size: int = Field(default=8, ge=0, description="idle connections that a worker keeps")
    idle_timeout: Seconds = Field(default=60.0, description="seconds before an idle connection is closed")


class Policies(Table):
    """Where settings of recipients stand besides this file."""

    file: str = Field(
        default="",
        description="a file with more [policy], [list] and [bank] tables, relative to this one; empty: none",
    )
    database: DatabaseUrl = Field(
        default="", description="SQLAlchemy URL; empty: SQLite in policy.sqlite below state_directory"
    )
    amavis_database: DatabaseUrl = Field(
        default="", description="SQLAlchemy URL of amavis's users, policy, mailaddr and wblist, to be read; empty: none"
    )
    cache_seconds: float = Field(
        default=60.0, ge=0, description="seconds for which amavis's database is not asked again for the same recipient"
    )
    timeout: Seconds = Field(default=10.0, description="seconds that a database may take before the mail is deferred")


class Domains(Table):
    """Who is at home here."""

    local: Annotated[tuple[DomainPattern, ...], BeforeValidator(as_tuple)] = Field(
        default=(),
        description='domains whose recipients see X-Spam fields; ".example.org" is example.org and all below, "." all',
    )
    recipient_delimiter: str = Field(default="+", max_length=1, description="as in Postfix; empty: none")
    case_sensitive: bool = Field(
        default=False, description="whether Bob@example.org and bob@example.org are two people for policies"
    )


class Quarantine(Table):
    """Where withheld messages wait."""

    directory: DirectoryPath = Field(default=Path(), description="empty: quarantine below state_directory")
    database: DatabaseUrl = Field(
        default="", description="SQLAlchemy URL; empty: SQLite in index.sqlite below directory"
    )
    keep_days: float = Field(default=30.0, gt=0, description="quarantine expire deletes older items")
    max_size: int = Field(
        default=0, ge=0, description="bytes; quarantine expire deletes the oldest items above; 0: no limit"
    )


class History(Table):
    """What contentfilter explain knows of messages that are not in quarantine."""

    keep_days: int = Field(
        default=7, ge=0, le=36500, description="days of history below state_directory; 0: none is kept"
    )


class Ledger(Table):
    """What is known of messages that come again: ledger.sqlite below state_directory."""

    keep_days: float = Field(default=5.0, gt=0, le=36500, description="days; Postfix's maximal_queue_lifetime at least")
    poison_after: int = Field(
        default=3,
        ge=0,
        description="crashes and timeouts over one message, then it goes to quarantine unseen; 0: never",
    )


class Header(Table):
    """Which of the bad-header tests are made."""

    tests: Annotated[tuple[HeaderTestKey, ...], BeforeValidator(as_tuple)] = Field(
        default=ALL_TESTS, description="what makes a header bad"
    )


class Rules(Table):
    """Local rules in the format of Postfix's header_checks(5), on decoded text; docs/rules.md has the differences."""

    header_checks: str = Field(
        default="", description="a file, relative to this one, for the message's own header; empty: none"
    )
    mime_header_checks: str = Field(default="", description="a file for the headers of its parts")
    nested_header_checks: str = Field(default="", description="a file for the headers of attached messages")
    body_checks: str = Field(default="", description="a file for the lines of its text")
    characters: int = Field(
        default=DEFAULT_BUDGET, gt=0, description="characters of a message's text that are matched; the rest is not"
    )


class LogDestination(Enum):
    """Where the log goes."""

    STDERR = "stderr"
    SYSLOG = "syslog"


class LogLevel(Enum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Log(Table):
    """Where the log goes and how much of it."""

    to: Annotated[LogDestination, enum_by_value(LogDestination)] = Field(
        default=LogDestination.STDERR, description="stderr is what journald reads; syslog uses facility mail"
    )
    level: Annotated[LogLevel, enum_by_value(LogLevel)] = Field(
        default=LogLevel.INFO, description="one line a message at info"
    )
    syslog_address: str = Field(default="/dev/log", description="socket of the syslog daemon")
