"""Attachments of a kind that is not accepted: by file name, by declared type, and by what they really are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import re2

from contentfilter.filetype import SAMPLE, detect, is_text
from contentfilter.finding import Finding, Kind
from contentfilter.inspectors import Content, Subject
from contentfilter.inspectors.file_name import extension, plain_names
from contentfilter.printable import printable

DEFAULT_EXTENSIONS = (
    # Programs that Windows starts on a double click.
    *("exe", "scr", "pif", "com", "cpl", "msi", "msix", "msixbundle", "appx", "appxbundle", "msp", "mst", "gadget"),
    # Scripts that an interpreter of Windows or Office runs.
    *("bat", "cmd", "vb", "vbe", "vbs", "js", "jse", "ws", "wsc", "wsf", "wsh", "sct", "hta", "ps1", "psm1", "psc1"),
    # Files that start something else: shortcuts, settings, help, consoles, remote desktops, Office add-ins.
    *("lnk", "scf", "url", "website", "inf", "reg", "chm", "hlp", "msc", "rdp", "application", "appref-ms"),
    *("settingcontent-ms", "library-ms", "search-ms", "diagcab", "theme", "themepack", "xll", "wll", "iqy", "slk"),
    # Libraries and drivers.
    *("dll", "ocx", "sys", "drv"),
    # Programs for Java, macOS and Android.
    *("jar", "jnlp", "class", "app", "dmg", "pkg", "command", "apk"),
    # Disk images: what is taken out of them bears no mark of where it came from.
    *("iso", "img", "vhd", "vhdx", "udf"),
    # Archives that only malware still uses.
    *("ace", "arj"),
)
"""Endings of file names, without the dot."""

DEFAULT_NAMES = (
    # A class identifier in place of an extension: Windows hides it and asks the class to open the file.
    r"\.\{[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\}?$",
    # Two extensions, the second of a program: "invoice.pdf.exe".
    r"\.[^./]*[a-z][^./]*\.\s*(exe|vbs|pif|scr|bat|cmd|com|cpl|dll)[.\s]*$",
)
"""RE2 patterns searched for in file names, without regard to case."""

DEFAULT_TYPES = (
    # Programs for DOS and Windows, in the words of libmagic and of mail programs.
    "application/x-dosexec",
    "application/vnd.microsoft.portable-executable",
    "application/x-msdownload",
    "application/x-msdos-program",
    "application/x-ms-dos-executable",
    "application/x-ms-installer",
    "application/x-msi",
    "application/x-ms-shortcut",
    "application/hta",
    # Programs for Unix and macOS.
    "application/x-executable",
    "application/x-pie-executable",
    "application/x-sharedlib",
    "application/x-mach-binary",
    # Java.
    "application/java-archive",
    "application/x-java-applet",
    "application/x-java-archive",
    # Disk images.
    "application/x-iso9660-image",
)
"""Declared or detected types; "audio/*" stands for all types that begin so. Nothing that is plain text has one of
these, which :meth:`BannedInspector._detected` relies on."""

DEFAULT_SIGNS = (
    # Macros that run when the document is opened, and formulas that start programs.
    "macro-autorun",
    "dde",
    # Programs in documents and disk images, shortcuts that start something.
    "ole-executable",
    "image-with-executable",
    "shortcut",
    # Documents that start a program.
    "pdf-launch",
    # A page that builds a file out of itself, past every filter.
    "html-smuggling",
)
"""Names of signs. Macros as such, forms and scripts in PDF are in honest mail every day and are left to other rules."""

INLINE_LEAVES = 8
"""Up to so many leaves are judged at once; more go to a thread. Detecting one takes up to a millisecond of CPU."""

_SHOWN = 100
"""Characters of a name that go into a finding; of a longer one its end is kept, for that is where the extension is."""


class Pattern(Protocol):
    """A compiled pattern; re2 says nothing of its types."""

    def search(self, text: str) -> object | None:
        """A match anywhere in the text, or None."""
        ...


@dataclass(frozen=True, slots=True)
class BannedSettings:
    """What is not accepted. Order does not matter; empty tuples switch a test off."""

    extensions: tuple[str, ...] = DEFAULT_EXTENSIONS
    names: tuple[str, ...] = DEFAULT_NAMES
    types: tuple[str, ...] = DEFAULT_TYPES
    signs: tuple[str, ...] = DEFAULT_SIGNS


class BannedInspector:
    """Looks at every part of the tree, in every reading, and at what is in containers.

    Raises ValueError for a pattern that is none.
    """

    name = "banned"

    def __init__(self, settings: BannedSettings) -> None:
        self._extensions = frozenset(each.lower().removeprefix(".") for each in settings.extensions)
        self._names = compile_patterns(settings.names)
        types = [each.lower() for each in settings.types]
        self._types = frozenset(each for each in types if not each.endswith("/*"))
        self._type_prefixes = tuple(each.removesuffix("*") for each in types if each.endswith("/*"))
        self._signs = frozenset(each.lower() for each in settings.signs)
        self._text_can_be_banned = not set(types) <= set(DEFAULT_TYPES)

    async def inspect(self, subject: Subject) -> tuple[Finding, ...]:
        """One finding for each part that is banned. Raises InspectorError when libmagic fails."""
        if len(subject.contents) <= INLINE_LEAVES:
            return tuple(self._findings(subject))
        return await asyncio.to_thread(lambda: tuple(self._findings(subject)))

    def _findings(self, subject: Subject) -> Iterator[Finding]:
        contents: tuple[Content, ...] = (*subject.tree.parts, *subject.opened.members)
        for part in contents:
            rule = self._by_name(part) or self._by_type(part)
            if rule:
                yield Finding(Kind.BANNED, self.name, rule, part.path)
        for sign in subject.opened.signs:
            if sign.name in self._signs:
                yield Finding(Kind.BANNED, self.name, _shown(str(sign)), sign.path)

    def _by_name(self, part: Content) -> str:
        for name in part.names:
            for plain in plain_names(name):
                ending = extension(plain)
                if ending in self._extensions:
                    return f".{ending}: {_shown(name)}"
                for pattern, compiled in self._names:
                    if compiled.search(plain):
                        return f"{_shown(pattern)}: {_shown(name)}"
        return ""

    def _by_type(self, part: Content) -> str:
        found = ""
        if self._is_banned(part.declared_type):
            found = part.declared_type
        elif part.is_leaf and (self._types or self._type_prefixes):
            detected = part.detected_type or self._detected(part.head(SAMPLE))
            found = detected if self._is_banned(detected) else ""
        return f"{_shown(found)}: {_shown(part.name)}" if found and part.name else _shown(found)

    def _detected(self, sample: bytes) -> str:
        """The type as libmagic has it. Asking it about text takes half a millisecond: only if that can matter."""
        return detect(sample) if self._text_can_be_banned or not is_text(sample) else ""

    def _is_banned(self, media_type: str) -> bool:
        return media_type in self._types or media_type.startswith(self._type_prefixes)


def compile_patterns(patterns: Sequence[str]) -> tuple[tuple[str, Pattern], ...]:
    """Patterns of RE2, which takes linear time whatever it is given, without regard to case.

    Raises ValueError that names the pattern and what is wrong with it.
    """
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    compiled = []
    for pattern in patterns:
        try:
            compiled.append((pattern, re2.compile(pattern, options)))
        except re2.error as error:
            reason = error.args[0].decode("utf-8", "replace") if error.args else "refused by RE2"
            raise ValueError(f"the pattern {pattern!r} is not valid: {reason}") from error
    return tuple(compiled)


def _shown(text: str) -> str:
    half = _SHOWN // 2
    return printable(text if len(text) <= _SHOWN else f"{text[: half - 3]}...{text[-half:]}")
