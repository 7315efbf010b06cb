"""What signs of active content are called, and what of a content's name matters to them.

For those who speak of signs: whoever looks for them, :mod:`contentfilter.unpack.signs`, loads the parsers of formats.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

UNEXAMINED = "unexamined"
"""The sign of a content that should have been readable in its own format and was not."""

NAMES: Mapping[str, str] = MappingProxyType({
    "macro": "macros in Visual Basic or in OpenDocument Basic",
    "macro-autorun": "a macro that runs when the document is opened, closed or changed",
    "macro-suspicious": "a macro that starts programs, fetches or writes files, or hides what it does",
    "macro-without-source": "compiled macros whose source is missing",
    "xlm-macro": "macros of Excel 4.0, also in SYLK",
    "dde": "a field, cell or link that asks another program for data",
    "external-template": "a template, object or frame that is fetched from elsewhere when the document is opened",
    "ole-package": "a file of any kind embedded in a document",
    "ole-executable": "an embedded file that is a program or a script",
    "ole-exploited-class": "an embedded object of a class known from exploits",
    "equation-editor": "an object of the Equation Editor (CVE-2017-11882)",
    "office-encrypted": "an Office document that needs a password",
    "pdf-javascript": "a script in a PDF",
    "pdf-launch": "a PDF that starts a program or imports data",
    "pdf-open-action": "a PDF that does more than go to a page when it is opened",
    "pdf-embedded-file": "a file in a PDF",
    "pdf-rich-media": "Flash or another medium in a PDF",
    "pdf-xfa": "a form in XML in a PDF",
    "pdf-encrypted": "an encrypted PDF",
    "html-script": "a script in HTML",
    "html-script-in-svg": "a script in an SVG picture",
    "html-smuggling": "HTML that makes a file, or a page, out of encoded text",
    "html-application": "HTML that runs as a program (HTA)",
    "html-protocol-handler": "a link that starts a local program",
    "encoded-script": "a script in the encoded form of Windows Script",
    "script-object": "a script that uses the objects of Windows Script",
    "script-in-xml": "a Windows Script file or component, or a script in a style sheet",
    "shortcut": "a shortcut, or a settings file that works as one",
    "image-with-executable": "a disk image with a program or shortcut in it",
    "onenote-embedded": "a file other than a picture in a OneNote section",
    UNEXAMINED: "a content that claims a format and could not be read as such",
})  # fmt: skip
"""Every sign there is, for the documentation and for checking rules."""

_TABLES = re.compile(r"\.(?:csv|tsv|tab|txt|slk|dif|iqy|xls)[. ]*$", re.IGNORECASE)


def is_called_table(name: str) -> bool:
    """Whether a spreadsheet program opens a file of this name, and takes any text for a table."""
    return _TABLES.search(name) is not None


def is_macro_sheet(name: str) -> bool:
    """Whether a part of an Excel document is a sheet of macros by its place, and by nothing else."""
    return "macrosheets" in name.lower()


BY_NAME: Mapping[str, Callable[[str], bool]] = MappingProxyType({"table": is_called_table, "xml": is_macro_sheet})
"""The families of signs that go by names, each with whether a content called so shows signs that another does not."""


def name_traits(names: Iterable[str]) -> frozenset[str]:
    """The families of signs that look otherwise at a content because of one of these names.

    Contents with equal bytes and equal traits have equal signs.
    """
    known = tuple(names)
    return frozenset(family for family, means in BY_NAME.items() if any(map(means, known)))
