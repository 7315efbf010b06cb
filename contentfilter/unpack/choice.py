"""Which contents of a message have to be opened, and which passwords may help. Cheap: most mail needs no opening.

Plain text is not opened, HTML only if it has what can hide something, pictures, sounds and fonts only if something is
in them that does not belong there. Everything else goes into the box, whatever it is called.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Protocol

import re2

from contentfilter.filetype import SAMPLE, is_text
from contentfilter.mime import Part, Tree
from contentfilter.mime.charset import decode
from contentfilter.unpack.sign_names import name_traits

_LEAST: Final = 8
_MOST_PASSWORDS: Final = 10
_TEXT_READ: Final = 32 * 1024

_PASSIVE: Final = (
    *(b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"wOFF", b"wOF2", b"OggS", b"ID3", b"fLaC"),
    *(b"\xff\xfb", b"\x00\x00\x01\x00"),
)
"""How pictures, sounds and fonts begin."""


def _pattern(text: bytes) -> re.Pattern[bytes]:
    """A pattern for bytes, in linear time. re2 says nothing of its types."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.case_sensitive = False
    options.log_errors = False
    compiled: re.Pattern[bytes] = re2.compile(text, options)
    return compiled


_IN_HTML: Final = _pattern(
    rb"<script|<object|<embed|<iframe|<applet|<svg|data:[a-z]*/|data:;|javascript:|srcdoc|msSaveBlob|<form|http-equiv"
)
_INLINE_TEXTS: Final = frozenset(
    {"text/plain", "text/calendar", "text/enriched", "text/x-amp-html", "text/rfc822-headers"}
)
"""Texts that are shown as they stand, or read by a program that knows nothing else."""
_FOREIGN: Final = (
    *(b"PK\x03\x04", b"PK\x05\x06", b"Rar!\x1a\x07", b"7z\xbc\xaf\x27\x1c", b"%PDF-"),
    *(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"MSCF\0\0\0\0", b"<script", b"<SCRIPT", b"<?php"),
    *(b"This program cannot be run in DOS mode", b"This program must be run"),
)
"""What does not belong into a picture."""


class Candidate(Protocol):
    """A content that may be opened: a leaf of the message's tree."""

    @property
    def path(self) -> str:
        """Where it is in the message."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """All names that it goes by."""
        ...

    @property
    def declared_type(self) -> str:
        """What the message says that it is."""
        ...

    def content(self) -> bytes:
        """The whole content."""
        ...


def to_open(tree: Tree) -> tuple[Part, ...]:
    """The leaves that have to be looked into by a helper."""
    return tuple(part for part in tree.leaves if _worth_opening(part))


def _worth_opening(part: Part) -> bool:
    size = part.size
    if size < _LEAST:
        return False
    head = part.head(SAMPLE)
    if is_text(head):
        return _text_worth_opening(part, head)
    if (head.startswith(_PASSIVE) or head[4:8] == b"ftyp") and not name_traits(part.names):
        content = part.content()
        return any(content.find(mark, 1) >= 0 for mark in _FOREIGN)
    return True


def _text_worth_opening(part: Part, head: bytes) -> bool:
    if part.names or part.disposition == "attachment" or not part.declared_type.startswith("text/"):
        return True
    content = head if part.size <= len(head) else part.content()
    if content is not head and any(mark in content for mark in _FOREIGN[:4]):
        return True
    if part.declared_type == "text/html":
        return _IN_HTML.search(content) is not None
    return part.declared_type not in _INLINE_TEXTS


_QUOTES: Final = "\"'`\u201e\u201c\u201d\u00ab\u00bb\u2018\u2019"
_ASKED_FOR: Final = re.compile(
    r"(?:pass ?(?:word|wort|code|phrase)|\bpass|\bpwd?|kennwort|mot de passe|contraseña|\bclave|senha|hasło|parola"
    r"|wachtwoord|lösenord|adgangskode|heslo|пароль|密码|密碼|パスワード)"
    r"[^\S\n]{0,8}(?:\b(?:is|ist|lautet|est|es|é|è))?[^\S\n]{0,8}[:=\uff1a-]?\s{0,16}"
    rf"[{_QUOTES}<\[(]{{0,2}}([^\s{_QUOTES}<>\[\]()]{{1,64}})",
    re.IGNORECASE,
)
_WORDS: Final = re2.compile(
    "(?i)pass|pw|kennwort|contraseña|clave|senha|hasło|parola|wachtwoord|lösenord|adgangskode|heslo"
    "|пароль|密码|密碼|パスワード".encode()
)
"""Without one of these nothing above is found: most mail has none, and to look for a word is cheap."""
_QUOTED: Final = re.compile(rf"[{_QUOTES}]([^\s{_QUOTES}<>]{{3,64}})[{_QUOTES}]")
_TAG: Final = re.compile(r"<[^<>]{0,2000}>")


def passwords_in(text: str) -> tuple[str, ...]:
    """Words of a message that may be the password of what is attached, the likeliest first, few."""
    found: dict[str, None] = {}
    if not _WORDS.search(text.encode("utf-8", "replace")):
        return ()
    for match in _ASKED_FOR.finditer(text):
        for word in (match[1], match[1].rstrip(".,;:!?")):
            if word and len(found) < _MOST_PASSWORDS:
                found[word] = None
    for match in _QUOTED.finditer(text):
        if found and len(found) < _MOST_PASSWORDS:
            found[match[1]] = None
    return tuple(found)


def passwords_of(tree: Tree) -> tuple[str, ...]:
    """The passwords that the text of a message may tell, and the one that people who send malware agreed on."""
    return tuple(dict.fromkeys((*passwords_in("\n".join(_texts(tree))), "infected")))


def _texts(tree: Tree) -> Iterable[str]:
    subject = tree.header.get("subject")
    if subject is not None:
        yield subject.text
    texts = [part for part in tree.leaves if part.declared_type in ("text/plain", "text/html")]
    for part in texts[:4]:
        text = decode(part.head(_TEXT_READ), part.charset)
        yield _TAG.sub(" ", text) if part.declared_type == "text/html" and "<" in text else text
