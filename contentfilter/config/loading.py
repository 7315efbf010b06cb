"""Reads configuration files. A ConfigError says in one line which file, table and key are wrong."""

from __future__ import annotations

import os
import re
import socket
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import (
    BaseModel,
    ValidationError,
)

from contentfilter.config.mistakes import first_error
from contentfilter.config.recipients import (
    PolicyTable,
)
from contentfilter.config.tree import Config, PolicyFile
from contentfilter.config.values import quoted
from contentfilter.errors import ConfigError
from contentfilter.rules import RuleError, RuleSet, TableKind
from contentfilter.rules import parse as parse_rules

DEFAULT_PATH = Path("/etc/contentfilter/contentfilter.toml")
ENVIRONMENT_VARIABLE = "CONTENTFILTER_CONFIG"

_T = TypeVar("_T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file that a configuration was read from. key: what names it, "" for the first; secret: a password is in it."""

    key: str
    path: Path
    secret: bool = False


def path_in_use(given: Path | None) -> Path:
    """Which file to read: the option, else the environment, else the usual place."""
    return given or Path(os.environ.get(ENVIRONMENT_VARIABLE) or DEFAULT_PATH)


def load(path: Path) -> Config:
    """Read and check a configuration file, and the policy file that it names. Raises ConfigError."""
    raw = _raw(_text(path), str(path))
    config = _validated(Config, raw, str(path))
    if config.policies.file:
        other = path.parent / config.policies.file
        more = _raw(_text(other, f"{path}: [policies] file: "), str(other))
        _validated(PolicyFile, more, str(other))
        config = _merged(raw, more, path, other)
    config._rule_set = _rules(config, path)  # noqa: SLF001 - only a loader knows where the files are
    return _complete(config)


def _rules(config: Config, path: Path) -> RuleSet:
    tables = []
    for kind in TableKind:
        name = getattr(config.rules, kind.value)
        if not name:
            continue
        file = path.parent / name
        try:
            text = _text(file, f"{path}: [rules] {kind.value}: ")
            tables.append(parse_rules(text, str(file), kind))
        except RuleError as error:
            raise ConfigError(f"{path}: [rules] {kind.value}: {error}") from error
    return RuleSet(tuple(tables))


def files(config: Config, path: Path) -> tuple[NamedFile, ...]:
    """Which files this configuration, loaded from path, was read from."""
    urls = (config.policies.database, config.policies.amavis_database, config.quarantine.database)
    named = {"[policies] file": config.policies.file}
    named |= {f"[rules] {kind.value}": getattr(config.rules, kind.value) for kind in TableKind}
    others = (NamedFile(key, path.parent / name) for key, name in named.items() if name)
    return (NamedFile("", path, any(map(_has_password, urls))), *others)


def _has_password(url: str) -> bool:
    """Whether a URL has a password before its host, or among its parameters."""
    return bool(re.search(r"://[^/@]*:[^/@]+@|[?&]password=", url))


def _text(path: Path, named_by: str = "") -> str:
    """named_by: the file and key that name it, for messages."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{named_by}{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{named_by}{path}: is not UTF-8 (byte {error.start})") from error


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
        raise ConfigError(f"{name}: {first_error(error, kind)}") from error


def _merged(raw: dict[str, Any], more: dict[str, Any], path: Path, other: Path) -> Config:
    """The configuration with the tables of the policy file in it. Of each table both files say where it stands."""
    both = dict(raw)
    file_of: dict[str, str] = {}
    for name in PolicyFile.model_fields:
        ours, theirs = raw.get(name, {}), more.get(name, {})
        for key in theirs:
            if key in ours:
                raise ConfigError(f"{other}: [{name}.{quoted(key)}]: stands in {path} as well")
            file_of[f"{name} {key}"] = other.name
        both[name] = {**ours, **theirs}
    config = _validated(Config, both, f"{path} with {other}")
    config._file_of.update(file_of)  # noqa: SLF001 - only a loader knows which file it was
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
