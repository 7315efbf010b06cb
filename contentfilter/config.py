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
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import tomli_w
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from contentfilter import endpoint
from contentfilter.decision import OnFailure
from contentfilter.envelope import split_address
from contentfilter.errors import ConfigError
from contentfilter.inspectors.banned import (
    DEFAULT_EXTENSIONS,
    DEFAULT_NAMES,
    DEFAULT_SIGNS,
    DEFAULT_TYPES,
    compile_patterns,
)
from contentfilter.inspectors.header import ALL_TESTS, HeaderTest
from contentfilter.policy.settings import Policy, enum_by_value

DEFAULT_PATH = Path("/etc/contentfilter/contentfilter.toml")
ENVIRONMENT_VARIABLE = "CONTENTFILTER_CONFIG"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


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


_DOMAIN = re.compile(r"""[^\s@*?"'<>()\[\],:;/\\.]+(\.[^\s@*?"'<>()\[\],:;/\\.]+)*|\[[0-9A-Za-z.:]+\]""")
_LOCAL_PART = re.compile(r"""[^\s@*"<>()\[\],:;\\]+|"[^\r\n]+\"""")
_LIKE_A_DOMAIN = re.compile(r"(.+)\.[A-Za-z]{2,}")


def _policy_key(key: str) -> str:
    """Accept default, user@dom, user, user@ (the same), @dom, @.dom and @. - a user may have an +extension."""
    local, domain = split_address(key)
    if not local and (domain == "." or _DOMAIN.fullmatch(domain.removeprefix("."))):
        return key
    if not _LOCAL_PART.fullmatch(local) or (domain and not _DOMAIN.fullmatch(domain)):
        raise ValueError(
            'must be default, "user@example.org", "@example.org" for a domain, "@.example.org" for it and all below, '
            'or "user@" for the user of that name in every domain'
        )
    if "@" not in key and _LIKE_A_DOMAIN.fullmatch(key):
        raise ValueError(
            f'looks like a domain without its @: write "@{key}" for the domain, '
            f'or "{key}@" for the user of that name in every domain'
        )
    return key


def _no_key_twice(policies: Mapping[str, Policy]) -> Mapping[str, Policy]:
    names: dict[str, str] = {}
    for key in policies:
        other = names.setdefault(_lookup_form(key).lower(), key)
        if other != key:
            raise ValueError(f'"{other}" and "{key}" mean the same')
    return policies


def _lookup_form(key: str) -> str:
    """How lookups name the entry: "user@" is how a postmaster writes a bare user whose name looks like a domain."""
    return key.removesuffix("@")


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
HeaderTestKey = Annotated[HeaderTest, enum_by_value(HeaderTest)]
FailureKey = Annotated[OnFailure, enum_by_value(OnFailure)]
Seconds = Annotated[float, Field(gt=0)]
Bytes = Annotated[int, Field(gt=0)]


_PLAIN_WORDS = {
    "tuple_type": 'must be a list such as ["a", "b"]',
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "dict_type": "must be a table",
    "mapping_type": "must be a table",
    "string_type": 'must be a text in quotes ("")',
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "too_short": "must not be empty",
}
"""Our words for what pydantic says in Python's."""


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


class Domains(Table):
    """Who is at home here."""

    local: Annotated[tuple[DomainPattern, ...], BeforeValidator(_tuple)] = Field(
        default=(),
        description='domains whose recipients see X-Spam fields; ".example.org" is example.org and all below, "." all',
    )
    recipient_delimiter: str = Field(default="+", max_length=1, description="as in Postfix; empty: none")


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
    policy: Annotated[Mapping[PolicyKey, Policy], AfterValidator(_no_key_twice)] = Field(
        default={}, description="settings by recipient"
    )
    quarantine: Quarantine = Quarantine()
    log: Log = Log()

    @property
    def default_policy(self) -> Policy:
        """`[policy.default]` over the built-in defaults."""
        return self.policy.get("default", Policy())

    @property
    def recipient_policies(self) -> dict[str, Policy]:
        """`[policy."..."]` other than the default."""
        return {_lookup_form(key): entry for key, entry in self.policy.items() if key != "default"}


def path_in_use(given: Path | None) -> Path:
    """Which file to read: the option, else the environment, else the usual place."""
    return given or Path(os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_PATH)


def load(path: Path) -> Config:
    """Read and check a configuration file. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 (byte {error.start})") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> Config:
    """Check a configuration given as text; name is for messages. Raises ConfigError."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: is not TOML: {error}") from error
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{name}: {_first_error(error)}") from error
    return _complete(config)


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
            "policy": {"default": config.default_policy, **config.policy},
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
    problem = _PLAIN_WORDS.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    return f"{place}: {problem[0].lower()}{problem[1:]}" + (f", not {first['input']!r}" if _shows(first) else "")


def _shows(details: Any) -> bool:
    return details["type"] != "value_error" and isinstance(details["input"], str | int | float | bool)


def _quoted(table: str) -> str:
    return table if table.replace("_", "").isalnum() else f'"{table}"'


def _nearest(key: str, tables: list[str]) -> str:
    model: type[BaseModel] = Config
    if tables[:1] == ["policy"]:
        model = Policy
    else:
        for table in tables:
            annotation = model.model_fields[table].annotation
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                model = annotation
    close = difflib.get_close_matches(key, model.model_fields, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(sorted(model.model_fields))}"


def plain(table: BaseModel) -> dict[str, Any]:
    """A table as TOML values: what was configured, completed with every default."""
    return {name: _plain_value(getattr(table, name)) for name in type(table).model_fields}


def _plain_value(value: object) -> Any:
    if isinstance(value, BaseModel):
        return plain(value)
    if isinstance(value, Mapping):
        return {key: plain(entry) if key == "default" else _set_values(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [_plain_value(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return "" if value == Path() else str(value)
    return value if isinstance(value, bool | int | float | str) else str(value)


def _set_values(entry: BaseModel) -> dict[str, Any]:
    return {name: _plain_value(getattr(entry, name)) for name in sorted(entry.model_fields_set)}


def json_values(value: Any) -> Any:
    """Plain values as JSON can say them: it has no infinity, so that inf and -inf become these words."""
    if isinstance(value, dict):
        return {key: json_values(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [json_values(item) for item in value]
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
