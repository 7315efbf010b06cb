"""Local rules: tables in the format of Postfix's header_checks(5), matched against the decoded message. Pure: no I/O.

Four tables, each a file: header_checks, mime_header_checks, nested_header_checks, body_checks (:mod:`.view` says what
each of them sees, :mod:`.table` what is written in them). A table is looked through for every line of the message, and
the first rule that hits decides for that line; DUNNO decides that nothing is asked for.

What several hits make of one message is as at Postfix:

- Lines are looked at in the order of the message: of each part its header, then its text; of a message's own header
  first header_checks (or nested_header_checks), then mime_header_checks.
- The first REJECT or DISCARD ends it: nothing further is matched, and what was asked for before stands but for the
  delivery, which there is none of. HOLD goes on, so that a REJECT or DISCARD behind it beats it.
- WARN, INFO, PREPEND, REPLACE, IGNORE and BCC add up. Of several REDIRECTs the last counts.
- SCORE, which is ours, adds its points once for each name of a test, however many lines are hit.

A message is matched up to a budget of characters; what lies beyond is reported in :attr:`RuleHits.unmatched`.
"""

from __future__ import annotations

from contentfilter.rules.hits import Hit, RuleHits, header_edits
from contentfilter.rules.matching import DEFAULT_BUDGET, RuleSet, match
from contentfilter.rules.table import RuleError, Table, TableKind, parse

__all__ = [
    "DEFAULT_BUDGET",
    "Hit",
    "RuleError",
    "RuleHits",
    "RuleSet",
    "Table",
    "TableKind",
    "header_edits",
    "match",
    "parse",
]
