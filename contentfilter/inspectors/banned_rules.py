"""The language of banned rules: ordered allow and deny, of which the first that matches a content decides about it.

All criteria of a rule have to hold; of one criterion any of its values will do. How a rule is compared with a content
is in :mod:`contentfilter.inspectors.banned_matching`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import re2


class Pattern(Protocol):
    """A compiled pattern; re2 says nothing of its types."""

    def search(self, text: str) -> object | None:
        """A match anywhere in the text, or None."""
        ...


Patterns = tuple[tuple[str, Pattern], ...]
"""Patterns as they were written, and compiled."""


@dataclass(frozen=True, slots=True)
class Types:
    """Media types; "audio/*" stands for all that begin so."""

    exact: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    @classmethod
    def of(cls, types: Iterable[str]) -> Types:
        """Out of what people write."""
        lower = [each.lower() for each in types]
        exact = frozenset(each for each in lower if not each.endswith("/*"))
        return cls(exact, tuple(each.removesuffix("*") for each in lower if each.endswith("/*")))

    def __bool__(self) -> bool:
        return bool(self.exact or self.prefixes)

    def __contains__(self, media_type: str) -> bool:
        return media_type in self.exact or media_type.startswith(self.prefixes)


NO_TYPES = Types()


@dataclass(frozen=True, slots=True)
class BannedRule:
    """One rule. Empty criteria, and None, are not given.

    allow: else deny; names: patterns searched for in file names; extensions: in lower case, without the dot;
    types: declared or detected ones; declared_types, detected_types: only these;
    min_depth, max_depth: how many containers and attached messages the content lies in;
    inside_extensions, inside_types, inside_names: what one of these is, any of the three. For an allow rule it is the
    one that the content lies in directly, and inside_names is for nothing: a name does not make a container;
    encrypted: whether the content cannot be seen without a password; signs: names of active content;
    text: for the recipient; origin: where the rule stands, for people ("engineers, rule 2").
    """

    allow: bool = False
    names: Patterns = ()
    extensions: frozenset[str] = frozenset()
    types: Types = NO_TYPES
    declared_types: Types = NO_TYPES
    detected_types: Types = NO_TYPES
    min_depth: int | None = None
    max_depth: int | None = None
    inside_extensions: frozenset[str] = frozenset()
    inside_types: Types = NO_TYPES
    inside_names: Patterns = ()
    encrypted: bool | None = None
    signs: frozenset[str] = frozenset()
    text: str = ""
    origin: str = ""

    @property
    def has_inside(self) -> bool:
        """Whether it asks for a container of some kind."""
        return bool(self.inside_extensions or self.inside_types or self.inside_names)

    @property
    def has_depth(self) -> bool:
        """Whether it asks how deep a content lies."""
        return self.min_depth is not None or self.max_depth is not None

    @property
    def has_kind(self) -> bool:
        """Whether it asks what a content is called, or what type it has."""
        return bool(self.names or self.extensions or self.has_types)

    @property
    def has_types(self) -> bool:
        """Whether it asks for a type."""
        return bool(self.types or self.declared_types or self.detected_types)

    @property
    def has_criteria(self) -> bool:
        """Whether it asks for anything."""
        asks = self.has_kind or self.has_inside or self.has_depth
        return asks or self.encrypted is not None or bool(self.signs)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules in their order, under a name. text: for the recipient, of rules that have none of their own."""

    name: str
    rules: tuple[BannedRule, ...]
    text: str = ""


PROGRAM_TYPES = frozenset({
    "application/x-dosexec",
    "application/vnd.microsoft.portable-executable",
    "application/x-msdownload",
    "application/x-msi",
    "application/x-ms-shortcut",
    "application/x-executable",
    "application/x-pie-executable",
    "application/x-sharedlib",
    "application/x-mach-binary",
    "application/x-java-applet",
})  # fmt: skip
"""Detected types of programs. None of them is text."""

PROGRAM_EXTENSIONS = frozenset({
    *("exe", "dll", "scr", "pif", "com", "cpl", "ocx", "sys", "drv", "msi", "msp", "mst", "lnk", "xll", "wll"),
    *("class", "so", "o", "ko", "dylib", "bin", "elf", "run", "efi", "mui", "node", "pyd"),
})  # fmt: skip
"""How programs are called by whoever does not hide what they are."""

CONTAINER_TYPES = {
    "zip": ("application/zip",),
    "jar": ("application/java-archive", "application/zip"),
    "war": ("application/java-archive", "application/zip"),
    "apk": ("application/vnd.android.package-archive", "application/java-archive", "application/zip"),
    "7z": ("application/x-7z-compressed",),
    "rar": ("application/x-rar", "application/vnd.rar"),
    "tar": ("application/x-tar",),
    "gz": ("application/gzip", "application/x-gzip"),
    "tgz": ("application/gzip", "application/x-gzip"),
    "bz2": ("application/x-bzip2",),
    "xz": ("application/x-xz",),
    "zst": ("application/zstd", "application/x-zstd"),
    "cab": ("application/vnd.ms-cab-compressed",),
    "iso": ("application/x-iso9660-image",),
    "msi": ("application/x-msi",),
    "eml": ("message/rfc822", "message/global", "message/news"),
    "msg": ("application/vnd.ms-outlook",),
    "pdf": ("application/pdf",),
    "doc": ("application/msword",),
    "xls": ("application/vnd.ms-excel",),
    "ppt": ("application/vnd.ms-powerpoint",),
    **{
        name: (f"application/vnd.openxmlformats-officedocument.{kind}", "application/zip")
        for names, kind in (
            (("docx", "docm", "dotm"), "wordprocessingml.document"),
            (("xlsx", "xlsm", "xltm"), "spreadsheetml.sheet"),
            (("pptx", "pptm", "ppsm"), "presentationml.presentation"),
        )
        for name in names
    },
    "odt": ("application/vnd.oasis.opendocument.text",),
    "ods": ("application/vnd.oasis.opendocument.spreadsheet",),
    "odp": ("application/vnd.oasis.opendocument.presentation",),
}
"""Extensions of containers, and what libmagic calls such a content: first its own type, then less exact ones."""


def extensions_of(values: Iterable[str]) -> frozenset[str]:
    """Extensions out of what people write."""
    return frozenset(each.lower().removeprefix(".") for each in values)


def compile_patterns(patterns: Sequence[str]) -> Patterns:
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


def minds_text(rule: BannedRule, others: frozenset[str]) -> bool:
    """Whether the rule may want to know the type of plain text. others: types that no plain text has."""
    return any(types.prefixes or not types.exact <= others for types in (rule.types, rule.detected_types))


def minds_places(rule: BannedRule) -> bool:
    """Whether it matters to the rule where else a content lies, or what lies in it.

    For a rule that denies by one criterion alone it does not: such a content is denied wherever it was looked at.
    """
    if rule.allow or rule.has_inside or rule.has_depth:
        return True
    return rule.has_kind and (bool(rule.signs) or rule.encrypted is not None)
