"""What the tables see of a message: header fields and text, decoded, line by line, in the order of the message.

Header fields are unfolded and their encoded words decoded (RFC 2047): "Name: value". Beside the fields of a part,
mime_header_checks see each of its file names, decoded however it was encoded (RFC 2231, RFC 2047, bytes without a
charset), as a field of its own. Text is decoded from its transfer encoding and charset; of HTML there are the lines
that a reader sees, those hidden from him, and the source with its tags, each distinct line once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from contentfilter.mime import Field, Part, Tree
from contentfilter.mime.charset import decode
from contentfilter.rules.table import TableKind
from contentfilter.text import DEFAULT_LIMIT, is_text, part_text

LONGEST_LINE = 65_536
"""Characters of a line; what is longer goes on as a further line, as at Postfix's line_length_limit."""

_MOST_CHARSETS = 5

_LINE_END = re.compile(r"\r\n?")
_TOO_LONG = re.compile(rf"([^\n]{{{LONGEST_LINE}}})(?=[^\n])")
_READING = re.compile(r"~\d+")
_BREAK = re.compile(r"[\r\n]+[ \t]*")


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Lines for one table, joined by LF.

    part: the path of the part that they are of; fields: for headers, the field that each line is, None for a line that
    stands in no header as it is; own: whether it is the message's own header, as it is read by everybody;
    truncated: there was more.
    """

    kind: TableKind
    part: str
    text: str
    fields: tuple[Field | None, ...] = ()
    own: bool = False
    truncated: bool = False


def excerpts(tree: Tree, kinds: frozenset[TableKind], budget: int) -> Iterator[Excerpt]:
    """All that tables of these kinds see: part by part, of each the header before the text, nothing twice.

    budget: characters of text, after which no more is decoded. Headers are limited already, by :class:`Limits`.
    """
    seen: set[object] = set()
    parts = {part.path: part for part in tree.parts}
    charsets = tuple(dict.fromkeys(part.charset for part in tree.parts if part.charset))[:_MOST_CHARSETS]
    for part in tree.parts:
        for kind in _header_kinds(part, parts):
            if kind in kinds:
                mime_only = kind is TableKind.MIME_HEADER_CHECKS and _is_message(part, parts)
                yield _header(kind, part, seen, charsets, mime_only=mime_only, own=part is tree.root)
        if TableKind.BODY_CHECKS in kinds and part.is_leaf and (is_text(part) or _is_report(part)):
            body = _body(part, budget)
            if body.text not in seen:
                # The same text may be cut short twice, which has to be told of both.
                seen.update(() if body.truncated else (body.text,))
                budget -= len(body.text)
                yield body


def _is_report(part: Part) -> bool:
    """Fields of a delivery report and the like (RFC 3464), which are lines of text to Postfix."""
    return part.declared_type.startswith("message/")


def _is_message(part: Part, parts: Mapping[str, Part]) -> bool:
    """Whether its header is that of a message: the one that came, or one attached to it."""
    return not part.parent or parts[part.parent].declared_type.startswith("message/")


def _header_kinds(part: Part, parts: Mapping[str, Part]) -> tuple[TableKind, ...]:
    if not part.parent:
        return (TableKind.HEADER_CHECKS, TableKind.MIME_HEADER_CHECKS)
    if _is_message(part, parts):
        return (TableKind.NESTED_HEADER_CHECKS, TableKind.MIME_HEADER_CHECKS)
    return (TableKind.MIME_HEADER_CHECKS,)


def _header(
    kind: TableKind, part: Part, seen: set[object], charsets: Iterable[str], *, mime_only: bool, own: bool
) -> Excerpt:
    """A part that exists in several readings has one header: of a further reading only what is new is seen."""
    fields = (field for field in part.header.fields if not mime_only or _is_mime(field))
    lines: list[tuple[str, Field | None]] = [(_one_line(f"{field.name}: {field.text}"), field) for field in fields]
    if kind is TableKind.MIME_HEADER_CHECKS:
        known = {text for text, _ in lines}
        lines += [(text, None) for text in _name_lines(part, charsets) if text not in known]
    place = kind, _READING.sub("", part.path)
    if "~" in part.path:
        lines = [(text, field) for text, field in lines if (*place, text) not in seen]
    seen.update((*place, text) for text, _ in lines)
    text = "\n".join(text for text, _ in lines)
    return Excerpt(kind, part.path, text, tuple(field for _, field in lines), own, not part.header.complete)


def _is_mime(field: Field) -> bool:
    return field.key.startswith("content-") or field.key == "mime-version"


def _name_lines(part: Part, charsets: Iterable[str]) -> Iterator[str]:
    for name in _names(part, charsets):
        yield _one_line(f'Content-Disposition: {part.disposition or "attachment"}; filename="{name}"')
        yield _one_line(f'Content-Type: {part.declared_type}; name="{name}"')


def _names(part: Part, charsets: Iterable[str]) -> Iterator[str]:
    """The file names, and what bytes without a charset may mean: they were taken for Windows-1252."""
    raw = any(not field.raw.isascii() for field in part.header.fields if field.key in _NAMING)
    for name in part.names:
        yield name
        if raw and not name.isascii():
            data = name.encode("cp1252", "ignore")
            yield from dict.fromkeys(decode(data, charset) for charset in (*charsets, *_UNDECLARED))


_NAMING = frozenset({"content-disposition", "content-type"})
_UNDECLARED = ("koi8-r", "windows-1251")
"""Charsets in which file names come without saying so, besides those that the message declares for its text."""


def _one_line(text: str) -> str:
    """A decoded field may hold line ends, which would make two lines of it."""
    return _BREAK.sub(" ", text)[:LONGEST_LINE] if "\n" in text or "\r" in text else text[:LONGEST_LINE]


def _body(part: Part, budget: int) -> Excerpt:
    if budget <= 0:
        return Excerpt(TableKind.BODY_CHECKS, part.path, "", truncated=part.size > 0)
    found = part_text(part, min(DEFAULT_LIMIT, budget))
    text = _lines(found.visible)
    if found.source is not found.visible:
        whole = (text, _lines(found.complete), _lines(found.source))
        text = "\n".join(dict.fromkeys(line for each in whole for line in each.split("\n")))
    truncated = found.truncated or len(text) > budget
    text = text[:budget]
    if len(text) > LONGEST_LINE:
        text = _TOO_LONG.sub(r"\1\n", text)
    return Excerpt(TableKind.BODY_CHECKS, part.path, text, truncated=truncated)


def _lines(text: str) -> str:
    return _LINE_END.sub("\n", text) if "\r" in text else text
