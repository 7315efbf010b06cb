"""Every file name that a part bears: each mail program takes it from another place, so all of them count."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from contentfilter.mime.charset import decode
from contentfilter.mime.fields import Header
from contentfilter.mime.parameters import parameters, texts, without_comments
from contentfilter.mime.words import decode_words

# The second parameter of each is not its own, but read by some programs all the same.
_PLACES = (("content-disposition", ("filename", "name")), ("content-type", ("name", "filename")))
_KEYS = frozenset(key for key, _ in _PLACES)
_LOOSE = re.compile(rb'(?<![^\s;,"])(?:file)?name\s*=\s*("[^"]*+"?|[^;]*)', re.IGNORECASE)
_UTF7 = re.compile(r"\+[A-Za-z0-9+/]{2,}-?")


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
    for key, wanted in _PLACES:
        for field in header.fields:
            if field.key == key and (b"name" in field.raw.lower() or b"=?" in field.raw):
                for name in _in_value(field.value, wanted, limit):
                    yield name
                    yield from _in_utf7(name)


def _in_value(value: bytes, wanted: tuple[str, str], limit: int) -> Iterator[str]:
    found = parameters(value, limit)
    strict = [name for parameter in wanted for name in texts(found, parameter)]
    yield from strict
    # "a(1).exe" without quotes is a name with a comment to some and a name to others.
    if b"(" in value:
        bare = parameters(without_comments(value), limit)
        yield from (name for parameter in wanted for name in texts(bare, parameter))
    # The field may be encoded as a whole.
    if value.lstrip().startswith(b"=?"):
        decoded = parameters(decode_words(value).encode("utf-8", "replace"), limit)
        yield from (name for parameter in wanted for name in texts(decoded, parameter))
    # Without a semicolon before it, the parameter is one to lenient programs only.
    if not strict:
        for loose in islice(_LOOSE.finditer(value), limit):
            yield decode_words(loose[1].strip(b'" \t'))


def _in_utf7(name: str) -> Iterator[str]:
    """The name as a program shows it that decodes UTF-7 (RFC 2152) where nobody declared it."""
    if "+" in name and name.isascii() and _UTF7.search(name):
        text = decode(name.encode("ascii"), "utf-7")
        if "\N{REPLACEMENT CHARACTER}" not in text:
            yield text
