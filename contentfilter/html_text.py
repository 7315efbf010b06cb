"""What an HTML body says: the text that a reader sees, and all the text there is.

The tree is built by lexbor (through selectolax), as browsers build it. A document that nests too deep for that, which
takes quadratic time in any HTML parser, is stripped of its tags instead.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser

from contentfilter.html_source import bounded

_DEEPEST = 256
_MOST_STEPS = 4_000_000
_MOST_REOPENED = 500_000
_STYLE_LENGTH = 1000

_TAG_NAME = re.compile(r"<(/?+[A-Za-z][^\s/>]*+)")
_TAG = re.compile(r"<[/!?]?[A-Za-z\[-][^<>]*+>?")
# Elements that hold nothing, or that the next of their kind closes: left open they do not nest.
_FLAT = frozenset({
    "p", "li", "td", "th", "tr", "dt", "dd", "option", "tbody", "thead", "tfoot", "colgroup", "col", "area", "base",
    "br", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr", "rp", "rt",
})  # fmt: skip
_FORMATTING = frozenset({
    "a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u",
})  # fmt: skip
_BREAKS = re.compile(
    r"<(?=/?(?:address|article|aside|blockquote|body|br|caption|center|dd|div|dl|dt|fieldset|figure|footer|form|h[1-6]|"
    r"header|hr|li|main|nav|ol|option|p|pre|section|table|tbody|td|tfoot|th|thead|title|tr|ul)[\s/>])",
    re.IGNORECASE,
)

_ZERO = r":[+-]?0*(?:\.0*)?(?:px|pt|em|rem|ex|ch|%|vh|vw)?(?:!important)?(?:;|$)"
_HIDING = re.compile(
    r"(?:^|;)(?:display:none|visibility:(?:hidden|collapse)|content-visibility:hidden|mso-hide:all|color:transparent|"
    rf"opacity{_ZERO}|font-size{_ZERO}|font-size:0*(?:1(?:\.0*)?|0?\.\d+)(?:px|pt|%)|text-indent:-\d{{3}}|(?:left|top):-\d{{4}})"
)
_NO_HEIGHT = re.compile(rf"(?:^|;)(?:max-)?(?:height|width){_ZERO}")
_CSS_NOISE = re.compile(r"/\*[^*]*+\*/|\s++")

# Private marks around what is hidden and around what is no text; the source is freed of them first.
_HIDE, _SHOW, _CODE, _TEXT = "\ue000", "\ue001", "\ue002", "\ue003"
_MARKS = re.compile(f"([{_HIDE}-{_TEXT}])")
_BLANKS = re.compile(r"\x20[^\S\n]+|[^\S\n\x20][^\S\n]*")
_LINES = re.compile(r" ?\n[ \n]*")


@dataclass(frozen=True, slots=True)
class HtmlText:
    """visible: what a reader sees; complete: that, and what is hidden, commented out or an alternative text."""

    visible: str
    complete: str


def html_text(source: str) -> HtmlText:
    """Both texts of an HTML document. Linear time; never raises.

    Hidden is what a `hidden` or `style` attribute hides (display, visibility, opacity, a font size of at most 1, no
    height or width with overflow hidden, far off the page), and title and template. Not seen through are classes of a
    style sheet and text in the colour of its background: such text counts as visible. Scripts and style sheets are in
    neither text.
    """
    source = bounded(_MARKS.sub("", source).replace("\0", ""))
    if _too_deep(source):
        text = _tidy(html.unescape(_TAG.sub("\n", source)))
        return HtmlText(text, text)
    marked, further = _marked(_BREAKS.sub("\n<", source))
    visible, complete = _apart(marked)
    complete = "\n".join([complete, *further, *_comments(source)])
    tidy = _tidy(visible)
    return HtmlText(tidy, tidy if complete == visible else _tidy(complete))


def _too_deep(source: str) -> bool:
    """Whether lexbor would need much more than linear time.

    Each tag may look through all open elements, and each block reopens all open formatting elements. Only an end tag
    of the innermost element is counted, so that the count is never too low.
    """
    names = _TAG_NAME.findall(source)
    opened: list[str] = []
    deepest = formatting = most_formatting = 0
    for name in names:
        tag = name.lower()
        if tag[0] == "/":
            if opened and opened[-1] == tag[1:]:
                formatting -= opened.pop() in _FORMATTING
        elif tag not in _FLAT:
            opened.append(tag)
            formatting += tag in _FORMATTING
            deepest, most_formatting = max(deepest, len(opened)), max(most_formatting, formatting)
    return deepest > _DEEPEST or deepest * len(names) > _MOST_STEPS or most_formatting * len(names) > _MOST_REOPENED


def _marked(source: str) -> tuple[str, list[str]]:
    """The text of the tree with marks in it, and what its attributes say."""
    tree = LexborHTMLParser(source)
    root = tree.root
    if root is None:
        return "", []
    further: list[str] = []
    for node in root.css("script,style,noframes"):
        node.insert_before(_CODE)
        node.insert_after(_TEXT)
    for node in root.css("title,[hidden],[style]"):
        attributes = node.attributes
        if node.tag == "title" or "hidden" in attributes or _hides(attributes.get("style") or ""):
            node.insert_before(_HIDE)
            node.insert_after(_SHOW)
    for node in root.css("[alt],[title]"):
        further += [value for key, value in node.attributes.items() if key in {"alt", "title"} and value]
    for node in root.css("template"):
        further.append(_TAG.sub(" ", node.html or ""))
    return root.text(), further


def _hides(style: str) -> bool:
    plain = _CSS_NOISE.sub("", style[:_STYLE_LENGTH].lower())
    return bool(_HIDING.search(plain) or ("overflow:hidden" in plain and _NO_HEIGHT.search(plain)))


def _apart(marked: str) -> tuple[str, str]:
    visible: list[str] = []
    complete: list[str] = []
    hidden = code = 0
    for piece in _MARKS.split(marked):
        if piece in _STEPS:
            step = _STEPS[piece]
            hidden, code = hidden + step[0], code + step[1]
        elif not code:
            complete.append(piece)
            if not hidden:
                visible.append(piece)
    return "".join(visible), "".join(complete)


_STEPS = {_HIDE: (1, 0), _SHOW: (-1, 0), _CODE: (0, 1), _TEXT: (0, -1)}


def _comments(source: str) -> list[str]:
    found: list[str] = []
    at = source.find("<!--")
    while at >= 0:
        end = source.find("-->", at + 4)
        end = len(source) if end < 0 else end
        found.append(html.unescape(_TAG.sub(" ", source[at + 4 : end])))
        at = source.find("<!--", end)
    return found


def _tidy(text: str) -> str:
    return _LINES.sub("\n", _BLANKS.sub(" ", text)).strip()
