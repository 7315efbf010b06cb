"""Every file name that a part bears: each mail program takes it from another place, so all of them count."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from contentfilter.mime.fields import Header
from contentfilter.mime.parameters import parameters, texts, without_comments

_PLACES = (("content-disposition", "filename"), ("content-type", "name"))
_KEYS = frozenset(key for key, _ in _PLACES)


def file_names(header: Header, limit: int) -> tuple[str, ...]:
    """The names in Content-Disposition (RFC 2183) and Content-Type, decoded, each once, the preferred place first.

    limit: how many parameters of a field are looked at, and how many names of a part.
    """
    return tuple(dict.fromkeys(name for name in islice(_names(header, limit), limit) if name))


def too_many_parameters(header: Header, limit: int) -> bool:
    """Whether there were more parameters than were looked at."""
    declared = [field for field in header.fields if field.key in _KEYS]
    return len(declared) >= limit or any(
        # Counting the signs is cheap, and seldom are there so many.
        field.raw.count(b"=") >= limit and len(parameters(field.value, limit)) >= limit
        for field in declared
    )


def _names(header: Header, limit: int) -> Iterator[str]:
    for key, parameter in _PLACES:
        for field in header.fields:
            if field.key != key or b"name" not in field.raw.lower():
                continue
            value = field.value
            yield from texts(parameters(value, limit), parameter)
            # "a(1).exe" without quotes is a name with a comment to some and a name to others.
            if b"(" in value:
                yield from texts(parameters(without_comments(value), limit), parameter)
