"""Every file name that a part bears: each mail program takes it from another place, so all of them count."""

from __future__ import annotations

from collections.abc import Iterator

from contentfilter.mime.fields import Header
from contentfilter.mime.parameters import parameters, texts, without_comments

_PLACES = (("content-disposition", "filename"), ("content-type", "name"))


def file_names(header: Header, parameter_limit: int) -> tuple[str, ...]:
    """The names in Content-Disposition (RFC 2183) and Content-Type, decoded, each once, the preferred place first."""
    return tuple(dict.fromkeys(name for name in _names(header, parameter_limit) if name))


def _names(header: Header, parameter_limit: int) -> Iterator[str]:
    for key, parameter in _PLACES:
        for field in header.fields:
            if field.key != key or b"name" not in field.raw.lower():
                continue
            value = field.value
            yield from texts(parameters(value, parameter_limit), parameter)
            # "a(1).exe" without quotes is a name with a comment to some and a name to others.
            if b"(" in value:
                yield from texts(parameters(without_comments(value), parameter_limit), parameter)
