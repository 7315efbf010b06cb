"""HTML and SVG: scripts that make files out of text ("smuggling"), and links that start programs."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from contentfilter.text import decode
from contentfilter.unpack.opener import Kind
from contentfilter.unpack.sign_names import UNEXAMINED
from contentfilter.unpack.signs.sign import Family, Sign, sign

_BYTES = 16 * 1024 * 1024
_START_BYTES = 64 * 1024
_MOST_SCRIPTS = 500
_SCRIPT_LENGTH = 4 * 1024 * 1024

_HTML = re.compile(
    r"<(?:!doctype\s+html|html|head|body|script|iframe|meta|svg|table|div|span|p|a|img|form|center|font|br|title|hta:application)[\s/>]",
    re.IGNORECASE,
)
_SVG = re.compile(r"<(?:[\w.-]{1,32}:)?svg[\s/>]", re.IGNORECASE)
_SCRIPT = re.compile(r"<(?:[\w.-]{1,32}:)?script([^<>]{0,2000}+)>", re.IGNORECASE)
_SCRIPT_END = re.compile(r"</(?:[\w.-]{1,32}:)?script", re.IGNORECASE)
_DATA_SCRIPT = re.compile(
    r"""type\s{0,8}=\s{0,8}["']?(?:application/(?:ld\+)?json|text/template|text/x-template)""", re.IGNORECASE
)
_HANDLER = re.compile(
    r"""[\s/"']on[a-z]{3,24}\s{0,8}=\s{0,8}(?:"([^"]{1,20000})|'([^']{1,20000})|([^\s"'>]{1,2000}))""", re.IGNORECASE
)
_SCRIPT_URL = re.compile(
    r"""=\s{0,8}["']?[\s\0]{0,16}j\s{0,4}a\s{0,4}v\s{0,4}a\s{0,4}s\s{0,4}c\s{0,4}r\s{0,4}i\s{0,4}p\s{0,4}t\s{0,4}:""",
    re.IGNORECASE,
)

_MAKES_FILE = re.compile(
    r"\bnew\s{1,8}(?:window\.)?(?:Blob|File)\b|msSaveOrOpenBlob|msSaveBlob|createObjectURL|MSBlobBuilder|showSaveFilePicker",
    re.IGNORECASE,
)
_HANDS_OVER = re.compile(
    r"\.\s{0,4}download\b|[\"']download[\"']|\.click\b|msSave|createObjectURL|location\b|\.href\b|window\.open|dispatchEvent",
    re.IGNORECASE,
)
_DECODES = re.compile(
    r"\b(?:atob|unescape|decodeURIComponent|fromCharCode|fromCodePoint|parseInt|charCodeAt|TextDecoder)\b"
)
_RUNS = re.compile(
    r"\beval\b|\bFunction\s{0,4}\(|document\s{0,4}(?:\.\s{0,4}write(?:ln)?\b|\[)|\.\s{0,4}(?:innerHTML|outerHTML|srcdoc)\b|insertAdjacentHTML|createContextualFragment|\bexecScript\b|location\b|setTimeout\s{0,4}\(\s{0,4}[\"'`]"
)
_LITERAL = re.compile(
    r"[A-Za-z0-9+/=_%\\-]{400}|(?:(?:0x[0-9a-f]{1,4}|\d{1,5})\s{0,4},\s{0,4}){100}|(?:\\x[0-9a-f]{2}|%[0-9a-f]{2}|\\u[0-9a-f]{4}){60}",
    re.IGNORECASE,
)
_DATA_LINK = re.compile(
    r"""<(?:a|area|iframe|frame|object|embed|meta|form|base)\b[^<>]{0,2000}?["'=\s](?:href|src|data|content|action|xlink:href)\s{0,8}=\s{0,8}["']?[^"'>]{0,40}?data:(?!image/|font/|audio/|video/)([\w.+/-]{0,80})[;,]""",
    re.IGNORECASE,
)
_HANDLERS = re.compile(
    r"""["'=\s(](ms-msdt|search-ms|ms-officecmd|ms-appinstaller|ms-(?:word|excel|powerpoint):(?:ofe|ofv|nft)|ms-cxh|ms-search|shell|hcp|vbscript)\s{0,4}:[^"'>\s]{1,200}""",
    re.IGNORECASE,
)
_APPLICATION = re.compile(r"<hta:application\b", re.IGNORECASE)
_ENCODED = re.compile(r"#@~\^[A-Za-z0-9+/=]{6}==")
_OLD_SCRIPT = re.compile(
    r"\b(?:WScript\.Shell|Shell\.Application|ADODB\.Stream|MSXML2\.XMLHTTP|Scripting\.FileSystemObject|ActiveXObject)\b",
    re.IGNORECASE,
)


def _accepts(kind: Kind) -> bool:
    if kind.media_type in {"text/html", "image/svg+xml", "application/xhtml+xml"}:
        return True
    if kind.head.startswith((b"%PDF", b"{\\rt", b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"MZ")):
        return False
    start = decode(kind.head[:_START_BYTES])
    return bool(_HTML.search(start, 0, 8192) or _APPLICATION.search(start) or _ENCODED.search(start))


def _signs(file: BinaryIO, _kind: Kind) -> Iterator[Sign]:
    text = decode(file.read(_BYTES), is_html=True)
    if file.read(1):
        yield sign(UNEXAMINED, "html: too large")
    if _APPLICATION.search(text):
        yield sign("html-application")
    if encoded := _ENCODED.search(text):
        yield sign("encoded-script", encoded[0])
    plain = html.unescape(text) if "&" in text else text
    scripts = [script for script in islice(_scripts(text), _MOST_SCRIPTS) if script.strip()]
    if scripts or _SCRIPT_URL.search(plain):
        is_svg = _SVG.search(text, 0, _START_BYTES) and not re.search(r"<html[\s>]", text[:_START_BYTES], re.IGNORECASE)
        longest = max(scripts, key=len)[:80] if scripts else "javascript:"
        yield sign("html-script-in-svg" if is_svg else "html-script", longest)
    yield from _smuggling("\n".join(scripts)[:_SCRIPT_LENGTH])
    if "data:" in plain.lower():
        for found in islice(_DATA_LINK.finditer(plain), 5):
            yield sign("html-smuggling", f"data:{found[1]}")
    for found in islice(_HANDLERS.finditer(plain), 5):
        yield sign("html-protocol-handler", found[0][1:])


def _scripts(text: str) -> Iterator[str]:
    """What runs: the contents of script elements, and event handlers."""
    at = 0
    while found := _SCRIPT.search(text, at):
        end = _SCRIPT_END.search(text, found.end())
        at = end.end() if end else len(text)
        if not _DATA_SCRIPT.search(found[1]):
            yield text[found.end() : end.start() if end else len(text)] + (" src" if "src" in found[1].lower() else "")
    for handler in _HANDLER.finditer(text):
        yield html.unescape(handler[1] or handler[2] or handler[3])


def _smuggling(script: str) -> Iterator[Sign]:
    """A script that makes a file and hands it over, or that writes a page out of one long encoded text."""
    makes = _MAKES_FILE.search(script)
    if makes and _HANDS_OVER.search(script):
        yield sign("html-smuggling", makes[0])
    decodes, runs = _DECODES.search(script), _RUNS.search(script)
    if decodes and runs and _LITERAL.search(script):
        yield sign("html-smuggling", f"{decodes[0]} {runs[0]}")
    if old := _OLD_SCRIPT.search(script):
        yield sign("script-object", old[0])


FAMILY = Family("html", _accepts, _signs)
