"""A configuration as text: the one in effect, and the reference of all keys with their defaults."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import (
    BaseModel,
)

from contentfilter.config.banned import LISTS_OF_BANNED, Banned
from contentfilter.config.tree import Config
from contentfilter.inspectors.banned_default import (
    DEFAULT,
)
from contentfilter.policy.settings import Policy


def plain(table: BaseModel) -> dict[str, Any]:
    """A table as TOML values: what was configured, completed with every default."""
    names = [name for name in type(table).model_fields if not _is_replaced(table, name)]
    values = ((name, getattr(table, name)) for name in names)
    return {name: _plain_value(value) for name, value in values if value is not None}


def _is_replaced(table: BaseModel, name: str) -> bool:
    """Whether a key must not stand beside what was configured."""
    return isinstance(table, Banned) and DEFAULT in table.set and name in LISTS_OF_BANNED


def _plain_value(value: object) -> Any:
    if isinstance(value, BaseModel):
        # What a bank leaves out it leaves to others: written out with its default it would override them.
        return _set_values(value) if type(value) is Policy else plain(value)
    if isinstance(value, Mapping):
        return {key: _plain_entry(key, entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [_set_values(item) if isinstance(item, BaseModel) else _plain_value(item) for item in value]
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
        for key, inner in _defaults(table):
            if isinstance(inner, BaseModel):
                lines += ["", f"# {_summary(inner)}", f"[{name}.{key}]", *_reference_keys(inner)]
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
        "# Sets of rules for attachments; banned_rules of a policy names them. The first rule that matches decides.",
        "#[banned.set.engineers]",
        '#text = "Programs are accepted in zip archives only."',
        "#rules = [",
        '#    { action = "allow", extensions = ["exe", "dll"], inside = ["zip"] },',
        '#    { action = "deny", types = ["application/x-msi"], text = "Ask the helpdesk for installers." },',
        "#]",
        '#[policy."@engineering.example.org"]',
        '#banned_rules = ["engineers", "default"]',
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
