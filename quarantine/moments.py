"""Ages, dates and sizes as people type them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_AGE = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_SIZE = re.compile(r"(\d{1,15})\s*([kKMGT]?)(?:i?B)?")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def seconds_of_age(text: str) -> float:
    """An age such as 90m, 12h, 7d or 2w, in seconds. Raises ValueError."""
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'"{text}" is no age such as 90m, 12h, 7d or 2w')
    return float(match[1]) * _SECONDS[match[2]]


def moment(text: str, now: float, *, end_of_day: bool = False) -> float:
    """An age before now, or a date with or without a time (ISO 8601, local unless it says otherwise).

    Returns seconds since the epoch. end_of_day: a date without a time means the end of that day. Raises ValueError.
    """
    text = text.strip()
    if _AGE.fullmatch(text):
        return now - seconds_of_age(text)
    try:
        parsed = datetime.fromisoformat(text)
        if end_of_day and _DATE.fullmatch(text):
            parsed += timedelta(days=1)
        return parsed.timestamp()
    except (ValueError, OverflowError) as error:
        raise ValueError(f'"{text}" is no age such as 7d or 12h, nor a date such as 2026-11-21') from error


def bytes_of_size(text: str) -> int:
    """A size such as 500M or 20G (powers of 1024), in bytes. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'"{text}" is no size such as 500M or 20G')
    return int(match[1]) * _UNITS[match[2].upper()]
