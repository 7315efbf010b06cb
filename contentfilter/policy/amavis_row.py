"""What a row of amavis's tables says, in our words. docs/amavis-sql.md has the table of columns.

A column that decides what happens to mail and cannot be understood is an error. One that only adorns (a subject tag, an
address extension, who is told) is passed over with a warning: mail of a whole domain does not wait for it.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from contentfilter.errors import PolicyError
from contentfilter.policy.entry import Settings
from contentfilter.policy.values import checked_settings
from contentfilter.printable import printable

_log = logging.getLogger(__name__)

_BOOLEANS = {
    "virus_lover": "virus_lover",
    "spam_lover": "spam_lover",
    "unchecked_lover": "unchecked_lover",
    "banned_files_lover": "banned_lover",
    "bad_header_lover": "bad_header_lover",
    "bypass_virus_checks": "bypass_virus_checks",
    "bypass_spam_checks": "bypass_spam_checks",
    "bypass_banned_checks": "bypass_banned_checks",
    "bypass_header_checks": "bypass_header_checks",
    "warnvirusrecip": "warn_virus_recipient",
    "warnbannedrecip": "warn_banned_recipient",
    "warnbadhrecip": "warn_bad_header_recipient",
    "local": "local",
}
_LEVELS = {
    "spam_tag_level": "tag_level",
    "spam_tag2_level": "tag2_level",
    "spam_tag3_level": "tag3_level",
    "spam_kill_level": "kill_level",
    "spam_dsn_cutoff_level": "dsn_cutoff_level",
    "spam_quarantine_cutoff_level": "quarantine_cutoff_level",
}
_QUARANTINES = {
    f"{word}_quarantine_to": f"{word}_quarantine"
    for word in ("virus", "banned", "unchecked", "spam", "bad_header", "clean")
}
_ADORNMENTS = {
    "spam_subject_tag": ("spam_subject_tag",),
    "spam_subject_tag2": ("spam_subject_tag2",),
    "spam_subject_tag3": ("spam_subject_tag3",),
    "addr_extension_virus": ("addr_extension_virus",),
    "addr_extension_banned": ("addr_extension_banned",),
    "addr_extension_spam": ("addr_extension_spam",),
    "addr_extension_bad_header": ("addr_extension_bad_header",),
    # amavis tells the same person of what it cannot look into.
    "virus_admin": ("virus_admin", "unchecked_admin"),
    "banned_admin": ("banned_admin",),
    "spam_admin": ("spam_admin",),
    "bad_header_admin": ("bad_header_admin",),
    "sa_username": ("spam_user",),
}
RULE_NAMES = "banned_rulenames"
_LIMIT = "message_size_limit"
_FORWARD = "forward_method"

COLUMNS = (*_BOOLEANS, *_LEVELS, *_QUARANTINES, *_ADORNMENTS, RULE_NAMES, _LIMIT, _FORWARD)
"""What we read of users and policy, besides ids and addresses."""

_FALSE = re.compile(r"([NnFf ]|0+|\0+)? *")
_SCORE = re.compile(r" *([+-]?\d+(?:\.\d*)?) *", re.ASCII)
_NEUTRAL = re.compile(r"[ \0]*")
_LISTS = {"w": True, "y": True, "t": True, "b": False, "n": False, "f": False}
_FORWARD_METHOD = re.compile(
    r"smtp:(?:(?P<path>/[^\s,]+)|(?:\[(?:ipv6:)?(?P<literal>[^\[\]]+)\]|(?P<host>[^\[\]:*/]+)):(?P<port>\d{1,5}))",
    re.ASCII | re.IGNORECASE,
)
_RULE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_USER = re.compile(r"[!-~]*")
_LEAST_LIMIT = 65_536
"""Bytes that a limit is raised to, as in amavis: RFC 5321 section 4.5.3.1.7 has every server take so many."""
_REMEMBERED = 1_000


class Warnings:
    """Says once what is passed over, not once a message."""

    def __init__(self) -> None:
        self._said: set[tuple[str, str, str]] = set()

    def say(self, where: str, column: str, problem: str) -> None:
        """A value in this row and column means nothing to us."""
        if (where, column, problem) not in self._said and len(self._said) < _REMEMBERED:
            self._said.add((where, column, problem))
            _log.warning("amavis database: %s: %s is passed over: %s", where, column, printable(problem))


def settings_of_row(row: Mapping[str, Any], where: str, warnings: Warnings) -> Settings:
    """What the columns of one user and its policy set; NULL sets nothing. row: some of :data:`COLUMNS`.

    where: the row for people, "policy id 5". Without banned_rulenames, which add up: see :func:`rule_names`.
    Raises PolicyError.
    """
    values: dict[str, Any] = {}
    for column, value in row.items():
        if value is None or column == RULE_NAMES:
            continue
        if column in _ADORNMENTS:
            values |= _adornment(column, value, where, warnings)
        else:
            key, convert = _DECISIVE[column]
            values |= _checked(key, convert, value, f"{where}: {column}")
    return checked_settings(values)


def rule_names(value: object, where: str, warnings: Warnings) -> tuple[str, ...]:
    """The names of banned_rulenames, a list with commas or blanks, in our words: amavis's DEFAULT is our default.

    A name that none of our sets can have is passed over, as amavis does with a name that it does not know.
    """
    names = []
    for name in re.split(r"[,\s]+", _text(value) if value is not None else ""):
        if _RULE_NAME.fullmatch(name):
            names.append("default" if name == "DEFAULT" else name)
        elif name:
            warnings.say(where, RULE_NAMES, f"{name!r} is not the name of a set")
    return tuple(names)


def listing(value: object, where: str) -> bool | float | None:
    """What wblist.wb says: True allows, False denies, None is neutral, and a number is a score. value: not NULL.

    Raises PolicyError for what is none of these.
    """
    text = _text(value)
    if (match := _SCORE.fullmatch(text)) and math.isfinite(score := float(match[1])):
        return score
    if _NEUTRAL.fullmatch(text):
        return None
    word = text.rstrip(" ").lower()
    if word not in _LISTS:
        raise PolicyError(
            f"amavis database: {where}: wb: must be W or Y, B or N, a blank, or a score, not {printable(repr(text))}"
        )
    return _LISTS[word]


def _checked(key: str, convert: Callable[[Any], Any], value: object, where: str) -> dict[str, Any]:
    try:
        converted = convert(value)
        checked_settings({key: converted})
    except ValueError as error:
        raise PolicyError(f"amavis database: {where}: {printable(str(error))}") from error
    return {key: converted}


def _adornment(column: str, value: object, where: str, warnings: Warnings) -> dict[str, Any]:
    text = _text(value)
    if not column.startswith("spam_subject_tag"):
        text = text.rstrip(" ")  # the padding of a char column; a tag's blank parts it from the subject
    values: dict[str, Any] = dict.fromkeys(_ADORNMENTS[column], text)
    if column == "sa_username" and not _USER.fullmatch(text):
        warnings.say(where, column, f"{text!r} is not the name of a user")
        return {}
    try:
        checked_settings(values)
    except ValueError as error:
        warnings.say(where, column, str(error))
        return {}
    return values


def _boolean(value: object) -> bool:
    """N, F, 0, NUL and blanks are false, everything else is true."""
    if isinstance(value, str | bytes):
        return not _FALSE.fullmatch(_text(value))
    return bool(value)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"must be a number, not {value!r}") from None


def _limit(value: Any) -> int:
    number = _number(value)
    if number < 0 or not number.is_integer():
        raise ValueError(f"must be bytes, or 0 for no limit, not {value!r}")
    return max(int(number), _LEAST_LIMIT) if number else 0


def _quarantine(value: object) -> bool:
    """Where to does not matter here; nothing means no quarantine."""
    return bool(_text(value).strip(" "))


def _next_hop(value: object) -> str:
    text = _text(value).strip()
    if not text:
        return ""
    match = _FORWARD_METHOD.fullmatch(text)
    if match is None:
        raise ValueError(f"must be like smtp:[127.0.0.1]:10025, which is where mail can go to from here, not {text!r}")
    if match["path"]:
        return f"unix:{match['path']}"
    host = match["literal"] or match["host"]
    return f"[{host}]:{match['port']}" if ":" in host else f"{host}:{match['port']}"


def _text(value: object) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _decisive() -> dict[str, tuple[str, Callable[[Any], Any]]]:
    groups: Sequence[tuple[Mapping[str, str], Callable[[Any], Any]]] = (
        (_BOOLEANS, _boolean),
        (_LEVELS, _number),
        (_QUARANTINES, _quarantine),
        ({_LIMIT: _LIMIT}, _limit),
        ({_FORWARD: "next_hop"}, _next_hop),
    )
    return {column: (key, convert) for keys, convert in groups for column, key in keys.items()}


_DECISIVE = _decisive()
