"""Messages that try to slip past a filter, and messages that only look so.

All of them are generated: what a scanner looks for exists only while a test runs. Each family has a module of its own,
and each case says why it is there, and which real program reads it so that it does harm. Sources are the work on MIME
ambiguities of CCS 2024 ("Inbox Invasion"), advisories where a CVE is named, the RFCs, and formats' documentation; where
no public source names a program, the case says so.
"""

from __future__ import annotations

from tests.corpus import (
    active_content,
    base64_tricks,
    boundaries,
    conflicting_fields,
    containers,
    embedded_text,
    encodings,
    file_names,
    header_syntax,
    line_ends,
    nesting,
    preamble_epilogue,
    quoted_printable,
)
from tests.corpus.case import Case

_FAMILIES = (
    *(conflicting_fields, boundaries, encodings, base64_tricks, quoted_printable, header_syntax, line_ends),
    *(preamble_epilogue, nesting, file_names, embedded_text, containers, active_content),
)

HOSTILE: tuple[Case, ...] = tuple(case for family in _FAMILIES for case in family.CASES)
