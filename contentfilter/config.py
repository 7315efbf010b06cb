"""The configuration: one frozen tree, one loader, the default of every key.

TOML, strictly typed; an unknown key is an error. A :class:`ConfigError` says in one line which file, table and key are
wrong and what would be right. `conf/contentfilter.toml` is :func:`reference` of this module, and a test holds that.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import os
import re
import socket
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from contentfilter import endpoint
from contentfilter.decision import OnFailure
from contentfilter.domains import LocalDomains
from contentfilter.errors import ConfigError
from contentfilter.inspectors.banned import (
    DEFAULT_EXTENSIONS,
    DEFAULT_NAMES,
    DEFAULT_SIGNS,
    DEFAULT_TYPES,
    compile_patterns,
)
from contentfilter.inspectors.header import ALL_TESTS, HeaderTest
from contentfilter.policy import forms
from contentfilter.policy.banks import Bank
from contentfilter.policy.entry import Entry, settings_of
from contentfilter.policy.keys import canonical_key
from contentfilter.policy.lists import Effect, ListEntry, canonical_subject, checked_score
from contentfilter.policy.settings import Policy, enum_by_value

DEFAULT_PATH = Path("/etc/contentfilter/contentfilter.toml")
ENVIRONMENT_VARIABLE = "CONTENTFILTER_CONFIG"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_T = TypeVar("_T", bound=BaseModel)


def _network(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return ipaddress.ip_network(value)
    except ValueError:
        raise ValueError(f'must be a network such as "127.0.0.0/8", not {value!r}') from None


def _path(value: object) -> object:
    return Path(value) if isinstance(value, str) else value


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _endpoint(value: str) -> str:
    endpoint.Endpoint.parse(value)
    return value


def _scheme_endpoint(value: str) -> str:
    endpoint.SchemeEndpoint.parse(value)
    return value


def _database(value: str) -> str:
    if value:
        try:
            make_url(value)
        except (ArgumentError, ValueError):  # a port that is no number is a plain ValueError
            # The value is not shown: it may have a password in it.
            raise ValueError('must be a URL such as "sqlite:////path" or "postgresql://user@host/name"') from None
    return value


def _domain(value: str) -> str:
    if not value or "@" in value or any(mark in value for mark in " \t*/"):
        raise ValueError(f'must be a domain such as "example.org", or ".example.org" for all below it, not {value!r}')
    return value.lower()


def _policy_key(key: str) -> str:
    """Accept default, user@dom, user, user@ (the same), @dom, @.dom and @. - a user may have an +extension."""
    if key != "default":
        canonical_key(key)
    return key


def _no_key_twice(policies: Mapping[str, Policy]) -> Mapping[str, Policy]:
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


def _expiry(value: object) -> object:
    """A date counts to its end, in local time; so does a date and time without an offset."""
    return None if value is None else forms.expiry(value)


def _expiry_of_lists(value: object) -> object:
    return {subject: _expiry(one) for subject, one in value.items()} if isinstance(value, dict) else _expiry(value)


def _pattern(value: str) -> str:
    compile_patterns([value])
    return value


DirectoryPath = Annotated[Path, BeforeValidator(_path)]
NetworkValue = Annotated[Network, BeforeValidator(_network)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
SchemeEndpoint = Annotated[str, AfterValidator(_scheme_endpoint)]
DatabaseUrl = Annotated[str, AfterValidator(_database)]
DomainPattern = Annotated[str, AfterValidator(_domain)]
Pattern = Annotated[str, AfterValidator(_pattern)]
PolicyKey = Annotated[str, AfterValidator(_policy_key)]
OwnerKey = Annotated[str, AfterValidator(_owner_key)]
BankName = Annotated[str, AfterValidator(_bank_name)]
ListSubject = Annotated[str, AfterValidator(canonical_subject)]
HeaderTestKey = Annotated[HeaderTest, enum_by_value(HeaderTest)]
FailureKey = Annotated[OnFailure, enum_by_value(OnFailure)]
Seconds = Annotated[float, Field(gt=0)]
Bytes = Annotated[int, Field(gt=0)]


class Table(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Listen(Table):
    """Where mail comes in."""

    addresses: Annotated[tuple[Endpoint, ...], BeforeValidator(_tuple), Field(min_length=1)] = Field(
        default=("127.0.0.1:10025",), description="host:port or unix:/path; each speaks SMTP to EHLO and LMTP to LHLO"
    )
    allow: Annotated[tuple[NetworkValue, ...], BeforeValidator(_tuple)] = Field(
        default=(ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")),
        description="networks that may connect; others get 554",
    )
    unix_mode: str = Field(default="0660", pattern=r"^0?[0-7]{3}$", description="permissions of a Unix socket, octal")
    max_connections: int = Field(
        default=200, gt=0, description="connections a worker serves at once; further ones get 421"
    )
    max_recipients: int = Field(default=2000, ge=100, description="recipients of one message; further ones get 452")
    command_timeout: Seconds = Field(
        default=600.0, description="seconds without a command before the connection is closed"
    )
    data_timeout: Seconds = Field(
        default=180.0, description="seconds without a byte of DATA before the connection is closed"
    )


class Limits(Table):
    """What one message may cost."""

    message_size: Bytes = Field(default=104_857_600, description="bytes; larger messages get 552")
    memory_threshold: Bytes = Field(default=1_048_576, description="bytes; larger messages wait in an anonymous file")
    inspect_timeout: Seconds = Field(
        default=240.0, description="seconds for all inspectors together; below Postfix's patience"
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

    helpers: int = Field(default=2, gt=0, le=64, description="processes of each worker; so many messages at once")
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

    local: Annotated[tuple[DomainPattern, ...], BeforeValidator(_tuple)] = Field(
        default=(),
        description='domains whose recipients see X-Spam fields; ".example.org" is example.org and all below, "." all',
    )
    recipient_delimiter: str = Field(default="+", max_length=1, description="as in Postfix; empty: none")
    case_sensitive: bool = Field(
        default=False, description="whether Bob@example.org and bob@example.org are two people for policies"
    )


class ClamAV(Table):
    """The virus scanner."""

    enabled: bool = Field(default=True, description="ask clamd")
    socket: SchemeEndpoint = Field(default="unix:/run/clamav/clamd.ctl", description="unix:/path or tcp:host:port")
    on_failure: FailureKey = Field(default=OnFailure.DEFER, description="when clamd cannot answer")
    timeout: Seconds = Field(default=120.0, description="seconds for one message")


class SpamAssassin(Table):
    """The spam scanner."""

    enabled: bool = Field(default=True, description="ask spamd")
    address: SchemeEndpoint = Field(default="tcp:127.0.0.1:783", description="tcp:host:port or unix:/path")
    on_failure: FailureKey = Field(default=OnFailure.PASS, description="when spamd cannot answer")
    timeout: Seconds = Field(default=180.0, description="seconds for one message")
    size_limit: Bytes = Field(default=524_288, description="bytes; of larger messages spamd sees the beginning")
    user: str = Field(
        default="", description="whose preferences apply unless a policy says otherwise; empty: spamd's own"
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


class Header(Table):
    """Which of the bad-header tests are made."""

    tests: Annotated[tuple[HeaderTestKey, ...], BeforeValidator(_tuple)] = Field(
        default=ALL_TESTS, description="what makes a header bad"
    )


class Banned(Table):
    """Attachments that are not accepted."""

    extensions: Annotated[tuple[str, ...], BeforeValidator(_tuple)] = Field(
        default=DEFAULT_EXTENSIONS, description="endings of file names, without the dot"
    )
    names: Annotated[tuple[Pattern, ...], BeforeValidator(_tuple)] = Field(
        default=DEFAULT_NAMES, description="RE2 patterns searched for in file names, without regard to case"
    )
    types: Annotated[tuple[str, ...], BeforeValidator(_tuple)] = Field(
        default=DEFAULT_TYPES, description="declared or detected types"
    )
    signs: Annotated[tuple[str, ...], BeforeValidator(_tuple)] = Field(
        default=DEFAULT_SIGNS, description="active content, by the names that contentfilter check shows"
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


class PolicyTable(Policy):
    """`[policy."…"]`: settings, and when they end."""

    expires: Annotated[float | None, BeforeValidator(_expiry)] = Field(
        default=None, description="the last day, or the moment, at which the entry applies"
    )


class ListTable(Table):
    """`[list."…"]`: senders and clients that a recipient, a domain, or everybody ("@.") allows, denies or scores."""

    allow: Annotated[tuple[ListSubject, ...], BeforeValidator(_tuple)] = Field(
        default=(), description="their mail is no spam"
    )
    deny: Annotated[tuple[ListSubject, ...], BeforeValidator(_tuple)] = Field(
        default=(), description="their mail is spam"
    )
    score: Mapping[ListSubject, Annotated[float, AfterValidator(checked_score)]] = Field(
        default={}, description="added to the spam score, such as {'@news.example' = -2.0}"
    )
    expires: Annotated[float | Mapping[ListSubject, float] | None, BeforeValidator(_expiry_of_lists)] = Field(
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

    listeners: Annotated[tuple[Endpoint, ...], BeforeValidator(_tuple)] = Field(
        default=(), description="addresses of [listen] that the message came in at"
    )
    networks: Annotated[tuple[NetworkValue, ...], BeforeValidator(_tuple)] = Field(
        default=(), description="networks of the client, by XFORWARD"
    )
    local_source: bool = Field(
        default=False, description="mail that Postfix took from its own host, such as by sendmail(1)"
    )
    sender_domains: Annotated[tuple[DomainPattern, ...], BeforeValidator(_tuple)] = Field(
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
    workers: int = Field(default=0, ge=0, le=256, description="processes; 0: one a core")
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
    banned: Banned = Banned()
    header: Header = Header()
    policies: Policies = Policies()
    policy: Annotated[Mapping[PolicyKey, PolicyTable], AfterValidator(_no_key_twice)] = Field(
        default={}, description="settings by recipient"
    )
    list: Mapping[OwnerKey, ListTable] = Field(default={}, description="senders by recipient")
    bank: Mapping[BankName, BankTable] = Field(default={}, description="settings by the way mail comes")
    quarantine: Quarantine = Quarantine()
    log: Log = Log()

    _file_of: dict[str, str] = PrivateAttr(default_factory=dict)

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

    policy: Annotated[Mapping[PolicyKey, PolicyTable], AfterValidator(_no_key_twice)] = {}
    list: Mapping[OwnerKey, ListTable] = {}
    bank: Mapping[BankName, BankTable] = {}


def path_in_use(given: Path | None) -> Path:
    """Which file to read: the option, else the environment, else the usual place."""
    return given or Path(os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_PATH)


def load(path: Path) -> Config:
    """Read and check a configuration file, and the policy file that it names. Raises ConfigError."""
    raw = _raw(_text(path), str(path))
    config = _validated(Config, raw, str(path))
    if config.policies.file:
        other = path.parent / config.policies.file
        more = _raw(_text(other), str(other))
        _validated(PolicyFile, more, str(other))
        config = _merged(raw, more, path, other)
    return _complete(config)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 (byte {error.start})") from error


def parse(text: str, name: str) -> Config:
    """Check a configuration given as text; name is for messages. Raises ConfigError."""
    return _complete(_validated(Config, _raw(text, name), name))


def _raw(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: is not TOML: {error}") from error


def _validated(kind: type[_T], raw: dict[str, Any], name: str) -> _T:
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{name}: {_first_error(error)}") from error


def _merged(raw: dict[str, Any], more: dict[str, Any], path: Path, other: Path) -> Config:
    """The configuration with the tables of the policy file in it. Of each table both files say where it stands."""
    both = dict(raw)
    file_of: dict[str, str] = {}
    for name in PolicyFile.model_fields:
        ours, theirs = raw.get(name, {}), more.get(name, {})
        for key in theirs:
            if key in ours:
                raise ConfigError(f"{other}: [{name}.{_quoted(key)}]: stands in {path} as well")
            file_of[f"{name} {key}"] = other.name
        both[name] = {**ours, **theirs}
    config = _validated(Config, both, f"{path} with {other}")
    config._file_of.update(file_of)  # noqa: SLF001 - it is of this module
    return config


def _complete(config: Config) -> Config:
    """Fill in what depends on the host or on other keys."""
    directory = config.quarantine.directory
    if directory == Path():
        directory = config.state_directory / "quarantine"
    database = config.quarantine.database or f"sqlite:///{directory / 'index.sqlite'}"
    return config.model_copy(
        update={
            "hostname": config.hostname or socket.getfqdn(),
            "workers": config.workers or len(os.sched_getaffinity(0)),
            "policy": {"default": config.policy.get("default", PolicyTable()), **config.policy},
            "policies": config.policies.model_copy(
                update={"database": config.policies.database or f"sqlite:///{config.state_directory / 'policy.sqlite'}"}
            ),
            "quarantine": config.quarantine.model_copy(update={"directory": directory, "database": database}),
        }
    )


def _first_error(error: ValidationError) -> str:
    first = error.errors()[0]
    *tables, key = [str(step) for step in first["loc"] if not isinstance(step, int)] or [""]
    names_of_tables = ".".join(_quoted(table) for table in tables)
    place = f"[{names_of_tables}] {key}" if tables else key
    if key == "[key]":  # pydantic's way to say that the name of a table is wrong
        place = f"[{names_of_tables}]"
    if first["type"] == "extra_forbidden":
        return f"{place}: unknown key{_nearest(key, tables)}"
    return f"{place}: {forms.problem_of(dict(first))}"


def _quoted(table: str) -> str:
    return table if table.replace("_", "").isalnum() else f'"{table}"'


_NAMED_TABLES: Mapping[str, type[BaseModel]] = {"policy": PolicyTable, "list": ListTable, "bank": BankTable}
"""Tables of which there may be any number, each with a name of its own."""


def _nearest(key: str, tables: list[str]) -> str:
    model: type[BaseModel] = Config
    if tables[:1] and tables[0] in _NAMED_TABLES:
        model, tables = _NAMED_TABLES[tables[0]], tables[2:]
    for table in tables:
        annotation = model.model_fields[table].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    close = difflib.get_close_matches(key, model.model_fields, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(sorted(model.model_fields))}"


def plain(table: BaseModel) -> dict[str, Any]:
    """A table as TOML values: what was configured, completed with every default."""
    values = ((name, getattr(table, name)) for name in type(table).model_fields)
    return {name: _plain_value(value) for name, value in values if value is not None}


def _plain_value(value: object) -> Any:
    if isinstance(value, BaseModel):
        # What a bank leaves out it leaves to others: written out with its default it would override them.
        return _set_values(value) if type(value) is Policy else plain(value)
    if isinstance(value, Mapping):
        return {key: _plain_entry(key, entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [_plain_value(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return "" if value == Path() else str(value)
    return value if isinstance(value, bool | int | float | str) else str(value)


def _plain_entry(key: str, entry: object) -> Any:
    if not isinstance(entry, BaseModel):
        return entry
    return plain(entry) if key == "default" else _set_values(entry)


def _set_values(entry: BaseModel) -> dict[str, Any]:
    values = {name: _plain_value(getattr(entry, name)) for name in sorted(entry.model_fields_set)}
    ends = values.get("expires")
    if isinstance(ends, float):
        values["expires"] = datetime.fromtimestamp(ends, UTC)
    elif isinstance(ends, dict):
        values["expires"] = {subject: datetime.fromtimestamp(end, UTC) for subject, end in ends.items()}
    return {name: value for name, value in values.items() if value is not None}


def json_values(value: Any) -> Any:
    """Plain values as JSON can say them: it has no infinity, so that inf and -inf become these words."""
    if isinstance(value, dict):
        return {key: json_values(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [json_values(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def show(config: Config) -> str:
    """The configuration in effect, as TOML."""
    return tomli_w.dumps(plain(config))


_REFERENCE_WIDTH = 110


def reference() -> str:
    """Every key with its meaning and default, commented out: the file that a postmaster starts from."""
    lines = [
        "# The configuration of contentfilter. Every key stands here with its meaning and its default;",
        "# remove the # in front of a key to change it. After a change: contentfilter config check, then reload.",
        "",
    ]
    tables = {name: value for name, value in _defaults(Config()) if isinstance(value, BaseModel)}
    lines.extend(_reference_keys(Config()))
    for name, table in tables.items():
        lines += ["", f"# {_summary(table)}", f"[{name}]", *_reference_keys(table)]
    lines += ["", "# Settings that apply to everybody, unless an entry below sets them.", "[policy.default]"]
    lines += _reference_keys(Policy())
    lines += [
        "",
        "# Settings of one recipient, a domain, or a domain and all below it. Key by key the most specific entry wins.",
        '#[policy."user@example.org"]',
        "#kill_level = 5.0",
        '#[policy."@example.org"]',
        '#spam_subject_tag2 = "***SPAM*** "',
        "# A user of that name, in whatever domain.",
        '#[policy."postmaster@"]',
        '#spam_action = "pass"',
        '#[policy."@.example.org"]',
        '#spam_action = "pass"',
        "",
        '# Senders, client networks and signing domains that somebody allows, denies or scores; "@." is everybody.',
        '#[list."bob@example.org"]',
        '#allow = ["alice@example.com", "@example.net", "@.example.edu"]',
        '#deny = ["192.0.2.0/24", "alice@"]',
        '#score = { "@news.example" = -2.0, "dkim:lists.example" = -1.5 }',
        "#expires = 2030-12-31",
        "",
        "# Settings laid over everybody's policy for mail that comes a certain way.",
        "#[bank.outgoing]",
        '#networks = ["192.0.2.0/24"]',
        "#local_source = true",
        '#sender_domains = ["example.org"]',
        '#policy = { spam_action = "reject", warn_unchecked_recipient = false }',
    ]
    return "\n".join(lines) + "\n"


def _defaults(table: BaseModel) -> Iterator[tuple[str, Any]]:
    for name in type(table).model_fields:
        yield name, getattr(table, name)


def _summary(table: BaseModel) -> str:
    return (type(table).__doc__ or "").strip().splitlines()[0]


def _reference_keys(table: BaseModel) -> list[str]:
    """The keys of a table that are no tables themselves."""
    lines: list[str] = []
    for name, value in _defaults(table):
        if isinstance(value, BaseModel | Mapping):
            continue
        lines.append(f"# {type(table).model_fields[name].description}")
        lines.extend(f"#{line}" for line in _assignment(name, _plain_value(value)))
    return lines


def _assignment(name: str, value: Any) -> list[str]:
    """One key as TOML, a long list on several lines."""
    if not isinstance(value, list):
        return tomli_w.dumps({name: value}).splitlines()
    items = [tomli_w.dumps({"": item}).partition(" = ")[2].strip() for item in value]
    line = f"{name} = [{', '.join(items)}]"
    if len(line) <= _REFERENCE_WIDTH:
        return [line]
    lines = [f"{name} = ["]
    for item in items:
        if len(lines) == 1 or len(lines[-1]) + len(item) > _REFERENCE_WIDTH:
            lines.append("   ")
        lines[-1] += f" {item},"
    return [*lines, "]"]
