"""Structured field values: "text/plain; charset=utf-8" and its kin (RFC 2045 section 5.1, RFC 2183, RFC 2231).

Read as generously as the most generous mail program: unquoted blanks, forgotten semicolons and quotes, comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from contentfilter.mime.charset import decode, decode_unlabelled
from contentfilter.mime.words import decode_words

# parameter = attribute "=" value; value = token / quoted-string (RFC 2045 section 5.1). A quote that never closes takes
# the rest, an unquoted value all up to the next semicolon, and after a closing quote the semicolon may be missing.
_PARAMETER = re.compile(rb'(?:;|(?<="))\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"?|[^;]*)', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_PIECE = re.compile(rb'"(?:[^"\\]|\\.)*"?|\\.?|[()]|[^"()\\]+', re.DOTALL)
# attribute ["*" section] ["*"] (RFC 2231 section 7).
_EXTENDED = re.compile(r"([^*]+)(?:\*(\d{1,9}))?(\*?)")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter as written. name: lower case; value: without quotes, escapes undone; verbatim: escapes kept."""

    name: str
    value: bytes
    verbatim: bytes
    quoted: bool


def parameters(field_value: bytes, limit: int) -> tuple[Parameter, ...]:
    """The parameters of a value, in order, at most limit of them, comments not looked for."""
    found: list[Parameter] = []
    for match in _PARAMETER.finditer(field_value):
        if len(found) >= limit:
            break
        name = match[1].decode("ascii", "backslashreplace").lower()
        text = match[2]
        if text[:1] == b'"':
            verbatim = text[1:-1] if len(text) > 1 and text.endswith(b'"') else text[1:]
            value = _ESCAPED.sub(rb"\1", verbatim) if b"\\" in verbatim else verbatim
            found.append(Parameter(name, value, verbatim, quoted=True))
        else:
            found.append(Parameter(name, text.strip(), text.strip(), quoted=False))
    return tuple(found)


def without_comments(value: bytes) -> bytes:
    """The value with comments removed: in parentheses, nested, and not inside quotes (RFC 5322 section 3.2.2)."""
    kept: list[bytes] = []
    depth = 0
    for match in _PIECE.finditer(value):
        piece = match[0]
        if piece == b"(":
            depth += 1
        elif piece == b")" and depth:
            depth -= 1
        elif not depth:
            kept.append(piece)
    return b"".join(kept)


def texts(found: tuple[Parameter, ...], name: str) -> Iterator[str]:
    """Every text that this parameter can be read as: plain, by RFC 2231, and by RFC 2047, which is wrong but usual.

    Of a section that comes twice the first counts, and the last.
    """
    sections: dict[int, tuple[bytes, bool]] = {}
    last_sections: dict[int, tuple[bytes, bool]] = {}
    for parameter in found:
        if parameter.name == name:
            yield decode_words(parameter.value)
            if parameter.verbatim != parameter.value:
                yield decode_words(parameter.verbatim)
            continue
        match = _EXTENDED.fullmatch(parameter.name)
        if match is None or match[1] != name:
            continue
        if match[2] is None:
            yield _extended([(parameter.value, True)])
        else:
            sections.setdefault(int(match[2]), (parameter.value, bool(match[3])))
            last_sections[int(match[2])] = (parameter.value, bool(match[3]))
    if sections:
        yield from _continued(sections)
    if last_sections != sections:
        yield from _continued(last_sections)


def _continued(sections: dict[int, tuple[bytes, bool]]) -> Iterator[str]:
    """Continuations in the order of their numbers: up to the first gap, and all of them if there is one."""
    numbers = sorted(sections)
    yield _extended([sections[number] for number in numbers])
    unbroken = [number for position, number in enumerate(numbers) if number == position]
    if unbroken and len(unbroken) < len(numbers):
        yield _extended([sections[number] for number in unbroken])


def _extended(sections: list[tuple[bytes, bool]]) -> str:
    """charset'language'text: the first section names the charset, those marked are percent-encoded."""
    first, marked = sections[0]
    charset = b""
    if marked and first.count(b"'") >= 2:
        charset, _, first = first.split(b"'", 2)
    data = b"".join(
        unquote_to_bytes(text) if is_marked else text for text, is_marked in [(first, marked), *sections[1:]]
    )
    text = decode(data, charset.decode("ascii", "replace")) if charset else decode_unlabelled(data)
    return decode_words(data) if "=?" in text else text
