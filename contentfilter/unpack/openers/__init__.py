"""The openers, each of which knows one family of containers, in the order in which they are asked.

"docs/unpacking.md" says for people what opens what.
"""

from __future__ import annotations

from contentfilter.unpack.opener import Opener
from contentfilter.unpack.openers import sevenzip
from contentfilter.unpack.openers.apple import Apple
from contentfilter.unpack.openers.arj import Arj
from contentfilter.unpack.openers.compound import Compound
from contentfilter.unpack.openers.embedded import Embedded
from contentfilter.unpack.openers.libarchive import Libarchive, missing
from contentfilter.unpack.openers.pdf import Pdf
from contentfilter.unpack.openers.rar import Rar
from contentfilter.unpack.openers.rtf import Rtf
from contentfilter.unpack.openers.sevenzip import Installer, Msi, SevenZip, Udf
from contentfilter.unpack.openers.text import Mailbox, Text
from contentfilter.unpack.openers.tnef import Tnef
from contentfilter.unpack.openers.zip import Zip

__all__ = ["OPENERS", "missing_helpers"]

OPENERS: tuple[Opener, ...] = (
    Zip(),
    Pdf(),
    Compound(),
    Tnef(),
    Rtf(),
    Mailbox(),
    Text(),
    Apple(),
    Udf(),
    Rar(),
    Libarchive(),
    Arj(),
    SevenZip(),
    Msi(),
    Installer(),
    Embedded(),
)
"""Those that are not exclusive first: they run beside whatever else accepts. Of the exclusive ones libarchive comes
before 7z, as it needs no process and no disk, and the search inside other contents comes last."""


def missing_helpers() -> list[tuple[str, str]]:
    """(what is missing, what cannot be opened without it), for a postmaster."""
    found = []
    if sevenzip.program() is None:
        found.append((
            "7zz or 7z (Debian package 7zip)",
            "arj, chm, msi, NSIS, SZDD, wim, disk images, encrypted 7z, zip with deflate64, implode or shrink",
        ))  # fmt: skip
    formats, filters = missing()
    found += [("libarchive without the format " + name, f"{name} archives") for name in formats]
    found += [("libarchive without the filter " + name, f"what is compressed with {name}") for name in filters]
    return found
