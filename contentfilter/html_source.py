"""HTML sources made harmless for HTML parsers, which take quadratic time over thousands of attributes of one tag."""

from __future__ import annotations

import re

_MOST_ATTRIBUTES = 100
_NAME_LENGTH = 64
_LONGEST_VALUE = 1000

# Tags that every tokenizer ends at the same place: no angle bracket inside, and quotes only around values.
_ORDINARY = re.compile(
    rf"""<(?:/[A-Za-z][\w:.-]{{0,{_NAME_LENGTH}}}+\s*+|[A-Za-z][\w:.-]{{0,{_NAME_LENGTH}}}+
    (?:[\s/]++[\w:.@-]++(?:\s*+=\s*+(?:"[^"<>]*+"|'[^'<>]*+'|[^\s"'<>=`]++))?+){{0,{_MOST_ATTRIBUTES}}}+
    [\s/]*+)>""",
    re.VERBOSE,
)
_OPENS = re.compile("</?[A-Za-z]")
_TAG = re.compile(r"""<(/?+[A-Za-z][^\s/>]*+)((?:"[^"]*+"|'[^']*+'|[^"'>])*+)>""")
_NAME = re.compile(rf"/?[A-Za-z][\w:.-]{{0,{_NAME_LENGTH}}}")
_KEPT = re.compile(
    r"""(?<![\w:.-])(style|alt|title|hidden)(?![\w:.-])(?:\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++)))?+""",
    re.IGNORECASE,
)
_RAW_END = {name: re.compile(f"</{name}", re.IGNORECASE) for name in ("script", "style", "xmp", "noembed", "noframes")}


def bounded(source: str) -> str:
    """The same text and structure with every tag ordinary and none of more than 100 attributes. Linear time."""
    if "<" not in source or not _OPENS.search(_ORDINARY.sub("", source)):
        return source
    return "".join(_rewritten(source))


def _rewritten(source: str) -> list[str]:
    pieces: list[str] = []
    at = 0
    while (start := source.find("<", at)) >= 0:
        pieces.append(source[at:start])
        if source.startswith(("<!", "<?"), start):
            at, piece = _declaration(source, start)
        elif not _OPENS.match(source, start):
            at, piece = start + 1, "&lt;"
        elif tag := _TAG.match(source, start):
            at, piece = _element(source, tag)
        else:
            # No tag ends here any more. A browser shows nothing of the rest; it is read all the same.
            at, piece = len(source), _escaped(source[start:])
        pieces.append(piece)
    pieces.append(source[at:])
    return pieces


def _declaration(source: str, start: int) -> tuple[int, str]:
    """A comment, as which browsers also take <!...> and <?...>."""
    opening, closing = ("<!--", "-->") if source.startswith("<!--", start) else (source[start : start + 2], ">")
    end = source.find(closing, start + len(opening))
    if end < 0:
        return len(source), _escaped(source[start:])
    inside = source[start + len(opening) : end].replace("--", " ").translate({60: " ", 62: " "})
    return end + len(closing), f"<!-- {inside} -->"


def _element(source: str, tag: re.Match[str]) -> tuple[int, str]:
    name = tag[1].lower()
    if not _NAME.fullmatch(name):
        return tag.end(), ""
    if name.startswith("/"):
        return tag.end(), f"<{name}>"
    kept = {each[1].lower(): each[2] or each[3] or each[4] or "" for each in reversed(list(_KEPT.finditer(tag[2])))}
    attributes = "".join(f' {key}="{_escaped(value[:_LONGEST_VALUE])}"' for key, value in kept.items())
    raw_end = _RAW_END.get(name)
    if raw_end is None:
        return tag.end(), f"<{name}{attributes}>"
    ends = raw_end.search(source, tag.end())
    at = ends.start() if ends else len(source)
    return at, f"<{name}>{source[tag.end() : at].replace('<', ' ')}" + ("" if ends else f"</{name}>")


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
