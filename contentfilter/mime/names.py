"""Every file name that a part bears: each mail program takes it from another place, so all of them count."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from contentfilter.mime.charset import decode
from contentfilter.mime.fields import Field, Header
from contentfilter.mime.parameters import parameters, texts, without_comments
from contentfilter.mime.words import decode_words

# The second parameter of each is not its own, but read by some programs all the same.
_PLACES = (("content-disposition", ("filename", "name")), ("content-type", ("name", "filename")))
_KEYS = frozenset(key for key, _ in _PLACES)
_LOOSE = re.compile(rb'(?<![^\s;,"])(?:file)?name\s*=\s*("[^"]*+"?|[^;]*)', re.IGNORECASE)
_MOST_FORMS = 8
"""Names that one parameter can give: two verbatim forms, two ways of reading the field, each in UTF-7 as well."""
_UTF7 = re.compile(r"\+[A-Za-z0-9+/]{2,}-?")


def file_names(header: Header, limit: int) -> tuple[str, ...]:
    """The names in Content-Disposition (RFC 2183) and Content-Type, decoded, each once, the preferred place first.

    limit: how many parameters of a field are looked at, and how many names of a part, as often as they stand there.
    """
    return tuple(dict.fromkeys(name for name in islice(_names(header, limit), limit) if name))


def too_many_parameters(header: Header, limit: int) -> bool:
    """Whether there were more parameters than were looked at, or more names than :func:`file_names` gives."""
    declared = [field for field in header.fields if field.key in _KEYS]
    # Counting the signs is cheap, and seldom are there so many. An encoded field may hide its own.
    if len(declared) < limit and sum(map(_signs, declared)) * _MOST_FORMS < limit:
        return False
    if len(declared) >= limit or any(
        len(parameters(value, limit)) >= limit for field in declared for value in _as_read(field.value)
    ):
        return True
    return next(islice(_names(header, limit), limit, None), None) is not None


def _signs(field: Field) -> int:
    """At least as many as there are parameters in any way of reading the field."""
    return len(field.raw) if field.raw.lstrip().startswith(b"=?") else field.raw.count(b"=")


def _as_read(value: bytes) -> Iterator[bytes]:
    """The ways to read the value of a field as a whole."""
    yield value
    # "a(1).exe" without quotes is a name with a comment to some and a name to others.
    if b"(" in value:
        yield without_comments(value)
    # The field may be encoded as a whole.
    if value.lstrip().startswith(b"=?"):
        yield decode_words(value).encode("utf-8", "replace")


def _names(header: Header, limit: int) -> Iterator[str]:
    for key, wanted in _PLACES:
        for field in header.fields:
            if field.key == key and (b"name" in field.raw.lower() or b"=?" in field.raw):
                for name in _in_value(field.value, wanted, limit):
                    yield name
                    yield from _in_utf7(name)


def _in_value(value: bytes, wanted: tuple[str, str], limit: int) -> Iterator[str]:
    is_strict = False
    for number, read in enumerate(_as_read(value)):
        found = parameters(read, limit)
        for name in (name for parameter in wanted for name in texts(found, parameter)):
            is_strict = is_strict or not number
            yield name
    # Without a semicolon before it, the parameter is one to lenient programs only.
    if not is_strict:
        for loose in _LOOSE.finditer(value):
            yield decode_words(loose[1].strip(b'" \t'))


def _in_utf7(name: str) -> Iterator[str]:
    """The name as a program shows it that decodes UTF-7 (RFC 2152) where nobody declared it."""
    if "+" in name and name.isascii() and _UTF7.search(name):
        text = decode(name.encode("ascii"), "utf-7")
        if "\N{REPLACEMENT CHARACTER}" not in text:
            yield text
