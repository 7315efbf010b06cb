"""What a reader of a message would see, as text: enough to judge it by, never rendered."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from contentfilter.message import Message
from contentfilter.mime import Part, parse
from contentfilter.mime.charset import decode

_LONGEST = 262_144
"""Bytes of each part that are looked at."""

# Each pattern stops at the next "<", so that a page full of them takes linear time.
_TAG = re.compile(r"(<[^<>]*>)")
_TAG_NAME = re.compile(r"</?\s*([a-zA-Z0-9]+)")
_SILENT = frozenset({"script", "style", "head", "title"})
_BREAKING = frozenset({"br", "p", "div", "tr", "li", "table", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote"})
_BLANKS = re.compile(r"[ \t\r\f\v]+")
_EMPTY_LINES = re.compile(r"\n\s*\n\s*")


def visible_text(message: Message) -> str:
    """The text parts in order, decoded; of HTML the words only. Other parts are named in brackets. Never raises."""
    return "\n\n".join(_shown(parse(message.buffer).leaves))


def _shown(leaves: tuple[Part, ...]) -> Iterator[str]:
    for part in leaves:
        if part.readings:
            continue  # the straight reading is what most programs show
        if part.disposition == "attachment" or part.declared_type not in {"text/plain", "text/html"}:
            name = f" {part.name!r}" if part.name else ""
            yield f"[{part.declared_type}{name}, {part.size} bytes]"
            continue
        text = decode(part.content()[:_LONGEST], part.charset or "utf-8").replace("\r\n", "\n")
        text = words_of_html(text) if part.declared_type == "text/html" else text
        yield text.strip("\n") + (f"\n[cut after {_LONGEST} bytes]" if part.size > _LONGEST else "")


def words_of_html(page: str) -> str:
    """The text of a page without its tags, scripts and styles."""
    words: list[str] = []
    silent = ""
    for piece in _TAG.split(page):
        tag = _TAG_NAME.match(piece) if piece.startswith("<") and piece.endswith(">") else None
        name = tag[1].lower() if tag else ""
        if silent:
            silent = "" if name == silent and piece.startswith("</") else silent
        elif name in _SILENT and not piece.startswith("</"):
            silent = name
        elif name in _BREAKING:
            words.append("\n")
        elif not tag and not piece.startswith("<!"):
            words.append(html.unescape(_BLANKS.sub(" ", piece.replace("\n", " "))))
    return _EMPTY_LINES.sub("\n\n", "".join(words)).strip()
