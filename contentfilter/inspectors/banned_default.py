"""What is banned where nobody says otherwise: the set of rules called "default", out of four lists."""

from __future__ import annotations

from dataclasses import dataclass

from contentfilter.inspectors.banned_rules import BannedRule, RuleSet, Types, compile_patterns, extensions_of

DEFAULT = "default"
"""The name of the set."""

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
these, which :func:`~contentfilter.inspectors.banned_rules.minds_text` relies on."""

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


@dataclass(frozen=True, slots=True)
class BannedSettings:
    """What is not accepted. Order does not matter; empty tuples switch a test off."""

    extensions: tuple[str, ...] = DEFAULT_EXTENSIONS
    names: tuple[str, ...] = DEFAULT_NAMES
    types: tuple[str, ...] = DEFAULT_TYPES
    signs: tuple[str, ...] = DEFAULT_SIGNS


def default_set(settings: BannedSettings) -> RuleSet:
    """The set "default" out of the lists of `[banned]`. Raises ValueError for a pattern that is none."""
    rules = (
        BannedRule(extensions=extensions_of(settings.extensions)),
        BannedRule(names=compile_patterns(settings.names)),
        BannedRule(types=Types.of(settings.types)),
        BannedRule(signs=frozenset(sign.lower() for sign in settings.signs)),
    )
    return RuleSet(DEFAULT, tuple(rule for rule in rules if rule.has_criteria))
