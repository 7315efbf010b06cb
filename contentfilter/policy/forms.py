"""The value of a setting in each of its forms, converted in one place.

typed: as :class:`Policy` has it; plain: as TOML has it, with ``inf``, lists and words for enums; text: as people type
it on a command line or into a spreadsheet. What cannot be converted is a ValueError that says what would be right.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from typing import Any

import tomli_w
from pydantic import ValidationError

from contentfilter.policy.settings import Policy

Plain = bool | int | float | str | list[str]

NAMES = tuple(Policy.model_fields)
DEFAULTS: Mapping[str, object] = {name: getattr(Policy(), name) for name in NAMES}
NEVER = "never"

_TRUE = frozenset({"true", "yes", "on", "y", "1"})
_FALSE = frozenset({"false", "no", "off", "n", "0"})
_FORMULA = ("=", "+", "-", "@", "\t", "\r", '"', "'")
"""What makes a spreadsheet take a cell for a formula, or swallow the first character."""

PLAIN_WORDS = {
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
    "missing": "must be given",
}
"""Our words for what pydantic says in Python's."""


def problem_of(details: Mapping[str, Any]) -> str:
    """One of the errors of a pydantic ValidationError in our words: "must be a number, not 'x'"."""
    problem = PLAIN_WORDS.get(details["type"]) or details["msg"].removeprefix("Value error, ")
    shown = details["type"] != "value_error" and isinstance(details["input"], str | int | float | bool)
    return f"{problem[0].lower()}{problem[1:]}" + (f", not {details['input']!r}" if shown else "")


def known_name(name: str) -> str:
    """The same name. Raises ValueError that names the nearest one if there is no such setting."""
    if name in DEFAULTS:
        return name
    close = difflib.get_close_matches(name.strip().lower().replace("-", "_"), NAMES, n=1)
    advice = f"did you mean {close[0]}?" if close else "contentfilter policy keys shows them all"
    raise ValueError(f"unknown setting; {advice}")


def typed(name: str, value: object) -> object:
    """A plain value as Policy has it."""
    try:
        return getattr(Policy.model_validate({name: value}), name)
    except ValidationError as error:
        raise ValueError(problem_of(error.errors()[0])) from None


def plain(value: object) -> Plain:
    """A typed value as TOML has it."""
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return [str(item) for item in value]
    return value if isinstance(value, bool | int | float | str) else str(value)


def from_text(name: str, text: str) -> object:
    """What somebody typed, as Policy has it. A text may stand in quotes as in TOML; a list has commas, or is TOML's."""
    default, bare = DEFAULTS[name], text.strip()
    if isinstance(default, str):
        return typed(name, _encodable(unquoted(text)))
    if isinstance(default, tuple):
        return typed(name, _items(bare))
    word = unquoted(bare).lower()
    if isinstance(default, bool):
        return _boolean(word, text)
    if isinstance(default, Enum):
        return _member(type(default), word, text)
    return typed(name, _number(word, text, whole=isinstance(default, int)))


def to_text(value: object) -> str:
    """A typed value as text that :func:`from_text` makes the same value of. Never a formula for a spreadsheet."""
    simple = plain(value)
    if isinstance(simple, bool):
        return "true" if simple else "false"
    if isinstance(simple, list):
        return ",".join(simple) or "[]"
    if isinstance(simple, float):
        return quoted_if_needed(repr(simple)) if simple == float("-inf") else repr(simple)
    return quoted_if_needed(simple) if isinstance(simple, str) else str(simple)


def unquoted(text: str) -> str:
    """A text that stands in quotes as in TOML, without them; any other as it is."""
    if len(text) < len('""') or text[0] != text[-1] or text[0] not in "\"'":
        return text
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, str) else text


def quoted_if_needed(text: str) -> str:
    """A text for a cell: in TOML's quotes if it could be a formula for a spreadsheet, or could get lost there."""
    safe = text and text == text.strip() and text.isprintable() and not text.startswith(_FORMULA)
    return text if safe else in_quotes(text)


def in_quotes(text: str) -> str:
    """A text in quotes, as TOML has it."""
    return tomli_w.dumps({"v": text}).partition(" = ")[2].removesuffix("\n")


def _items(text: str) -> list[str]:
    if text.startswith("["):
        try:
            value = tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            raise ValueError(f'must be a list such as a,b or ["a", "b"], not {text!r}') from None
        return value if isinstance(value, list) else [text]
    return [unquoted(item.strip()) for item in text.split(",")] if text else []


def _boolean(word: str, text: str) -> bool:
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError(f"must be true or false, not {text!r}")


def _member(kind: type[Enum], word: str, text: str) -> Enum:
    words = [str(member.value) for member in kind]
    if "yes" in words and word in _TRUE | _FALSE:  # of local, which TOML takes as a boolean as well
        word = "yes" if word in _TRUE else "no"
    if word in words:
        return kind(word)
    close = difflib.get_close_matches(word, words, n=1)
    advice = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"must be one of {' | '.join(words)}, not {text!r}{advice}")


def _number(word: str, text: str, *, whole: bool) -> float:
    try:
        return int(word) if whole else float(word)
    except ValueError:
        right = "a whole number" if whole else "a number such as 6.5, inf or -inf"
        raise ValueError(f"must be {right}, not {text!r}") from None


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be UTF-8") from None
    return text


def allowed(name: str) -> str:
    """What the values of a setting may be, for people."""
    default = DEFAULTS[name]
    if isinstance(default, bool | Enum):
        return " | ".join(choices(name))
    if isinstance(default, tuple):
        return "list of names"
    if isinstance(default, int):
        return "whole number"
    return "number | inf | -inf" if isinstance(default, float) else "text"


def choices(name: str) -> tuple[str, ...]:
    """The words that a setting may have, where it is only words."""
    default = DEFAULTS[name]
    if isinstance(default, bool):
        return ("true", "false")
    return tuple(str(member.value) for member in type(default)) if isinstance(default, Enum) else ()


_FIRST_MOMENT = datetime(2, 1, 1, tzinfo=UTC).timestamp()
_LAST_MOMENT = datetime(9998, 12, 31, tzinfo=UTC).timestamp()
_WHEN = "must be a date such as 2026-12-31, or a date and time such as 2026-12-31T18:00"


def expiry(value: object) -> float:
    """The end of a date, or a moment, in seconds since the epoch. What has no offset is local time."""
    try:
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, date):
            return (datetime.combine(value, time()) + timedelta(days=1)).timestamp()
    except (OverflowError, ValueError, OSError):
        raise ValueError(f"{_WHEN}, not one so far away") from None
    raise ValueError("must be a date such as 2026-12-31, without quotes")


def plain_expiry(seconds: float) -> date | datetime:
    """The moment as TOML has it: a date where it is the end of one, else in UTC. There are years 2 to 9998."""
    seconds = min(max(seconds, _FIRST_MOMENT), _LAST_MOMENT)
    last_day = datetime.fromtimestamp(seconds).date() - timedelta(days=1)
    return last_day if expiry(last_day) == seconds else datetime.fromtimestamp(seconds, UTC)


def expiry_from_text(text: str) -> float | None:
    """What somebody typed; None for "never"."""
    word = unquoted(text.strip())
    if word.lower() == NEVER:
        return None
    try:
        moment = datetime.fromisoformat(word)
    except ValueError:
        raise ValueError(f"{_WHEN}, or never, not {text!r}") from None
    return expiry(moment if ":" in word or "T" in word else moment.date())


def expiry_to_text(seconds: float | None) -> str:
    """The moment as text; "never" for None."""
    return NEVER if seconds is None else plain_expiry(seconds).isoformat()
