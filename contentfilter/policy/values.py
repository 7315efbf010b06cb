"""Settings as JSON and back: how a database keeps them, and how programs are told of them.

JSON has no infinity and no enumerations: inf and -inf are these words, an action is its word, a tuple is a list.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any, NoReturn

from pydantic import ValidationError

from contentfilter.policy.entry import Settings, settings_of
from contentfilter.policy.settings import Policy

_LEVELS = frozenset(name for name, field in Policy.model_fields.items() if field.annotation is float)
_INFINITE = {"inf": math.inf, "-inf": -math.inf}


def plain_settings(settings: Settings) -> dict[str, Any]:
    """Settings as JSON can say them."""
    return {key: _plain(value) for key, value in settings}


def checked_settings(values: Mapping[str, Any]) -> Settings:
    """Settings out of what JSON, or :func:`plain_settings`, says. Raises ValueError that names the key."""
    given = {key: _INFINITE.get(value, value) if _is_word(key, value) else value for key, value in values.items()}
    try:
        return settings_of(Policy.model_validate(given))
    except ValidationError as error:
        raise ValueError(_first(error)) from error


def to_json(settings: Settings) -> str:
    """Settings as one line of JSON, equal settings as equal text."""
    return json.dumps(plain_settings(settings), ensure_ascii=False, sort_keys=True, allow_nan=False)


def from_json(text: str) -> Settings:
    """Settings out of JSON text. Raises ValueError that says what is wrong, and under which key."""
    try:
        values = json.loads(text, object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("must be a JSON object of settings")  # noqa: TRY004 - one kind of error for whoever calls
    return checked_settings(values)


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def _is_word(key: str, value: object) -> bool:
    return key in _LEVELS and isinstance(value, str)


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    problem = first["msg"].removeprefix("Value error, ")
    return f"{key}: {problem[0].lower()}{problem[1:]}, not {first['input']!r}"


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key stands in it more than once")
    return values


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f'{word} is no JSON: infinity is "inf" or "-inf"')
