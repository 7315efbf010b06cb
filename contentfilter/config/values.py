"""The kinds of value that keys of the configuration take. A bad one raises ValueError, saying what would be right."""

from __future__ import annotations

import ipaddress
import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)

from contentfilter import endpoint
from contentfilter.failure import OnFailure
from contentfilter.inspectors.header import HeaderTest
from contentfilter.policy import forms
from contentfilter.policy.settings import as_tuple, enum_by_value
from contentfilter.policy.sqlite_file import path_of

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


def _endpoint(value: str) -> str:
    endpoint.Endpoint.parse(value)
    return value


def _scheme_endpoint(value: str) -> str:
    endpoint.SchemeEndpoint.parse(value)
    return value


def _one_or_more(value: object) -> object:
    """A list of TOML, or the only thing that would be in it."""
    if not isinstance(value, str | list | tuple):
        raise ValueError(f'must be an address such as "tcp:127.0.0.1:783", or a list of them, not {value!r}')  # noqa: TRY004 - pydantic's way
    return (value,) if isinstance(value, str) else as_tuple(value)


def _each_once(addresses: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(addresses)) < len(addresses):
        raise ValueError(f"must name each address once, not {', '.join(addresses)}")
    return addresses


def _action_meaning(value: object) -> object:
    """A number of TOML, whole or not, or one of two words."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number and value not in ("defer", "ignore"):
        raise ValueError(f'must be a least score such as 6.2, "defer" or "ignore", not {value!r}')
    return float(value) if isinstance(value, int) else value


def _database(value: str) -> str:
    if value and path_of(value) is None:
        from sqlalchemy.engine import make_url  # noqa: PLC0415 - it takes memory and time, and few need it
        from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

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


def expiry(value: object) -> object:
    """A date counts to its end, in local time; so does a date and time without an offset."""
    return None if value is None else forms.expiry(value)


def expiry_of_lists(value: object) -> object:
    """The same, or a table of them."""
    return {subject: expiry(one) for subject, one in value.items()} if isinstance(value, dict) else expiry(value)


def quoted(table: str) -> str:
    """A name of a table as TOML writes it."""
    return table if table.replace("_", "").isalnum() else f'"{table}"'


DirectoryPath = Annotated[Path, BeforeValidator(_path)]
NetworkValue = Annotated[Network, BeforeValidator(_network)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
SchemeEndpoint = Annotated[str, AfterValidator(_scheme_endpoint)]
ScannerAddresses = Annotated[
    tuple[SchemeEndpoint, ...], BeforeValidator(_one_or_more), Field(min_length=1), AfterValidator(_each_once)
]
DatabaseUrl = Annotated[str, AfterValidator(_database)]
DomainPattern = Annotated[str, AfterValidator(_domain)]
HeaderTestKey = Annotated[HeaderTest, enum_by_value(HeaderTest)]
FailureKey = Annotated[OnFailure, enum_by_value(OnFailure)]
ActionMeaning = Annotated[float | Literal["defer", "ignore"], BeforeValidator(_action_meaning)]
Seconds = Annotated[float, Field(gt=0)]
Grace = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Bytes = Annotated[int, Field(gt=0)]


class Table(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
