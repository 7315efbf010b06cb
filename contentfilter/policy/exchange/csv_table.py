"""CSV (RFC 4180): a row for each entry and list entry, a column for each setting.

    type,key,subject,effect,kill_level,…,expires
    policy,bob@example.org,,,6.5,…,2026-12-31
    list,bob@example.org,alice@example.com,allow,,…,

An empty cell is a setting that the entry does not set; a text that is empty is "". What a spreadsheet would take for a
formula stands in quotes, as in TOML: "@example.org", which in the file are quotes within a quoted cell. Reading takes
keys with and without them, columns in whatever order, semicolons or tabs for commas, and files with a byte order mark.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Iterator, Mapping

from contentfilter.policy import forms
from contentfilter.policy.entry import Entry
from contentfilter.policy.exchange.content import EXPIRES, Content
from contentfilter.policy.exchange.reading import Reading
from contentfilter.policy.keys import written_key
from contentfilter.policy.lists import Effect, ListEntry, effect_of, effect_text

_FIRST = ("type", "key", "subject", "effect")
_COLUMNS = (*_FIRST, *forms.NAMES, EXPIRES)
_ENTRY, _LIST = "policy", "list"


def write_csv(what: Content) -> str:
    """Everything, sorted, every column."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for key in sorted(what.entries):
        writer.writerow(_cells(_entry_cells(what.entries[key])))
    for pair in sorted(what.listed):
        writer.writerow(_cells(_list_cells(what.listed[pair])))
    return out.getvalue()


def _cells(values: Mapping[str, str]) -> list[str]:
    return [values.get(column, "") for column in _COLUMNS]


def _entry_cells(entry: Entry) -> dict[str, str]:
    settings = {name: forms.to_text(value) for name, value in entry.settings}
    return {"type": _ENTRY, "key": forms.quoted_if_needed(written_key(entry.key)), **settings, **_expiry(entry)}


def _list_cells(entry: ListEntry) -> dict[str, str]:
    return {
        "type": _LIST,
        "key": forms.quoted_if_needed(written_key(entry.owner)),
        "subject": forms.quoted_if_needed(entry.subject),
        "effect": effect_text(entry),
        **_expiry(entry),
    }


def _expiry(entry: Entry | ListEntry) -> dict[str, str]:
    return {} if entry.expires is None else {EXPIRES: forms.expiry_to_text(entry.expires)}


def read_csv(text: str, reading: Reading) -> None:
    """Put what stands in the text, and what is wrong with it, into the reading."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=_delimiter(text))
    number = 1
    try:
        heading = _heading(next(rows, []), reading)
        if not heading:
            return
        reading.covers = frozenset(heading) - {*_FIRST}
        number = rows.line_num + 1
        for row in rows:
            _read_row(f"line {number}", heading, row, reading)
            number = rows.line_num + 1
    except csv.Error as error:
        reading.complain(f"line {number}", f"is no CSV, or is cut off: {error}")


def _delimiter(text: str) -> str:
    """Spreadsheets write semicolons where the comma is part of numbers."""
    heading = text.partition("\n")[0]
    return max(",;\t", key=heading.count)


def _heading(cells: list[str], reading: Reading) -> list[str]:
    """The names of the columns; an empty list if they cannot be used."""
    names = [cell.strip().lower() for cell in cells]
    for name in dict.fromkeys(names):
        if name not in _COLUMNS:
            close = difflib.get_close_matches(name, _COLUMNS, n=1)
            advice = f"did you mean {close[0]}?" if close else "known are key, expires and what policy keys shows"
            reading.complain("line 1", f"unknown column {name!r}; {advice}")
        elif names.count(name) > 1:
            reading.complain("line 1", f"column {name} stands there more than once")
    if "key" not in names:
        reading.complain("line 1", "must be the names of the columns, with key among them")
    return [] if reading.problems else names


def _read_row(where: str, heading: list[str], row: list[str], reading: Reading) -> None:
    if not any(cell.strip() for cell in row):
        return
    if len(row) != len(heading):
        reading.complain(where, f"has {len(row)} cells where the heading has {len(heading)}: is the line complete?")
        return
    cells = {name: cell for name, cell in zip(heading, row, strict=True) if cell.strip()}
    kind = forms.unquoted(cells.pop("type", _ENTRY).strip()).lower()
    key = reading.key(where, forms.unquoted(cells.pop("key", "").strip()))
    if kind not in (_ENTRY, _LIST):
        reading.complain(where, "type", f"must be {_ENTRY} or {_LIST}, not {kind!r}")
    elif key is not None:
        (_read_entry if kind == _ENTRY else _read_listed)(where, key, cells, reading)


def _read_entry(where: str, key: str, cells: dict[str, str], reading: Reading) -> None:
    before = len(reading.problems)
    for name in ("subject", "effect"):
        if name in cells:
            reading.complain(where, written_key(key), name, f"must be empty where type is {_ENTRY}")
    names = [name for name in cells if name in forms.DEFAULTS]
    settings = [(name, value) for name in names for value in _value(where, key, name, cells[name], reading)]
    expires = _read_expiry(where, key, cells, reading)
    if len(reading.problems) == before:
        reading.put_entry(where, key, settings, expires)


def _value(where: str, key: str, name: str, text: str, reading: Reading) -> Iterator[object]:
    try:
        yield forms.from_text(name, text)
    except ValueError as error:
        reading.complain(where, written_key(key), name, str(error))


def _read_expiry(where: str, key: str, cells: dict[str, str], reading: Reading) -> float | None:
    try:
        return forms.expiry_from_text(cells[EXPIRES]) if EXPIRES in cells else None
    except ValueError as error:
        reading.complain(where, written_key(key), EXPIRES, str(error))
        return None


def _read_listed(where: str, owner: str, cells: dict[str, str], reading: Reading) -> None:
    before = len(reading.problems)
    for name in cells:
        if name in forms.DEFAULTS:
            reading.complain(where, written_key(owner), name, f"must be empty where type is {_LIST}")
    subject = reading.subject(where, owner, forms.unquoted(cells.get("subject", "").strip()))
    expires = _read_expiry(where, owner, cells, reading)
    what = (Effect.ALLOW, 0.0)
    try:
        what = effect_of(forms.unquoted(cells.get("effect", "").strip()))
    except ValueError as error:
        reading.complain(where, written_key(owner), "effect", str(error))
    if subject is not None and len(reading.problems) == before:
        reading.put_listed(where, owner, subject, what, expires)
