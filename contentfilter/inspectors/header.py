"""Headers that are not well formed: the eight tests that amavis users know (RFC 5322, 2045, 6532)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from contentfilter.finding import Finding, Kind
from contentfilter.inspectors import Subject
from contentfilter.mime import Field, Header, Tree
from contentfilter.printable import printable


class HeaderTest(Enum):
    """What can be wrong with a header."""

    MIME = "mime"
    """The structure is ambiguous or broken: a field that may stand once contradicts itself, a boundary is missing."""
    EIGHT_BIT = "8bit"
    """Bytes above 127, unless they are UTF-8 in a message that was announced as SMTPUTF8."""
    CONTROL = "control"
    """NUL, or CR that ends no line."""
    EMPTY = "empty"
    """A folded field with a line of nothing but blanks."""
    LONG = "long"
    """A line longer than 998 characters (RFC 5322 section 2.1.1)."""
    SYNTAX = "syntax"
    """A line that is no field, or a field whose name holds what a name may not."""
    MISSING = "missing"
    """No Date or no From (RFC 5322 section 3.6)."""
    MULTIPLE = "multiple"
    """A field that may stand once stands more often."""


ALL_TESTS = tuple(HeaderTest)

_REQUIRED = {"date": "Date", "from": "From"}
# RFC 5322 section 3.6, RFC 2045, RFC 2183, RFC 3834.
_ONCE_NAMES = (
    *("Date", "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Message-ID", "In-Reply-To", "References", "Subject"),
    *("MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Content-ID", "Content-Description"),
    *("Content-Disposition", "Auto-Submitted"),
)
_ONCE = {name.lower(): name for name in _ONCE_NAMES}
_LONGEST = 998
_BLANK_LINE = re.compile(rb"\n[ \t]+\r?(?:\n|\Z)")
_CONTROL = re.compile(rb"\x00|\r(?!\n)")
_EIGHT_BIT = re.compile(rb"[\x80-\xff]")
# C0 but for TAB and line ends, DEL, and C1, which RFC 5198 keeps out of text on the net.
_UNICODE_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# What is odd in a body is no fault of the header, and a folded line of blanks is told as such.
_NO_FAULTS = (
    *("base64-", "quoted-printable-", "uuencode-", "embedded-", "payload-in-", "boundary-prefix"),
    "blank-line-in-header",
)
_MOST_FINDINGS = 20
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class HeaderSettings:
    """Which tests are made."""

    tests: tuple[HeaderTest, ...] = ALL_TESTS


class HeaderInspector:
    """Looks at the header of the message itself; the "mime" test at the whole tree."""

    name = "header"

    def __init__(self, settings: HeaderSettings) -> None:
        self._tests = frozenset(settings.tests)

    async def inspect(self, subject: Subject) -> tuple[Finding, ...]:
        """One finding for each test and field that failed. Cheap enough for the event loop: headers are limited."""
        found: dict[tuple[HeaderTest, str], Finding] = {}
        for test, about, text, path in _faults(subject):
            if test in self._tests:
                name = ": ".join(each for each in (test.value, about, text) if each)
                found.setdefault((test, about.lower()), Finding(Kind.BAD_HEADER, self.name, printable(name), path))
            if len(found) >= _MOST_FINDINGS:
                break
        return tuple(found.values())


_Fault = tuple[HeaderTest, str, str, str]
"""The test, the field or the ambiguity, what is wrong, and the part's path ("" for the message)."""


def _faults(subject: Subject) -> Iterator[_Fault]:
    header = subject.tree.header
    yield from _line_faults(subject)
    # One that was not read to its end may go on for many megabytes.
    if not header.complete or _may_have_faults(subject.tree.root.buffer[header.start : header.end]):
        for field in header.fields:
            yield from _field_faults(field, smtputf8=subject.envelope.smtputf8)
    yield from _count_faults(header)
    yield from _mime_faults(subject.tree)


def _line_faults(subject: Subject) -> Iterator[_Fault]:
    for defect in subject.tree.header.defects:
        line = subject.tree.root.buffer[defect.start : min(defect.end, defect.start + _SHOWN)]
        yield HeaderTest.SYNTAX, "", _excerpt(line.partition(b"\n")[0]), ""


def _may_have_faults(raw: bytes) -> bool:
    """False for nearly every header: then no field needs to be looked at by itself."""
    return (
        not raw.isascii()
        or b"\0" in raw
        or raw.count(b"\r") != raw.count(b"\r\n")
        or raw.startswith(b"--")
        or b"\n--" in raw
        or _BLANK_LINE.search(raw) is not None
        or max(map(len, raw.split(b"\n"))) > _LONGEST
    )


def _field_faults(field: Field, *, smtputf8: bool) -> Iterator[_Fault]:
    name = field.name[:_SHOWN]
    raw = field.raw
    if "\\x" in field.name or field.name.startswith("--"):
        yield HeaderTest.SYNTAX, name, "not a field name", ""
    if field.end - field.start > _LONGEST and (length := _longest_line(field)) > _LONGEST:
        yield HeaderTest.LONG, name, f"{length} characters", ""
    if b"\n" in raw and _BLANK_LINE.search(raw):
        yield HeaderTest.EMPTY, name, "a folded line of blanks", ""
    if (control := _CONTROL.search(raw)) is not None:
        yield HeaderTest.CONTROL, name, _around(raw, control.start()), ""
    if (octet := _EIGHT_BIT.search(raw)) is not None and not (smtputf8 and _is_unicode_text(raw)):
        yield HeaderTest.EIGHT_BIT, name, _around(raw, octet.start()), ""


def _longest_line(field: Field) -> int:
    """Length of a field's longest line without its line end; the first one begins with the name and the colon."""
    lines = [len(line.removesuffix(b"\r")) for line in field.raw.split(b"\n")]
    lines[0] += len(field.name) + 1
    return max(lines)


def _is_unicode_text(raw: bytes) -> bool:
    try:
        return _UNICODE_CONTROL.search(raw.decode("utf-8")) is None
    except UnicodeError:
        return False


def _count_faults(header: Header) -> Iterator[_Fault]:
    keys = [field.key for field in header.fields if field.key in _ONCE]
    for key, name in _REQUIRED.items():
        # Of a header that was not read to its end nobody can say what is missing.
        if key not in keys and header.complete:
            yield HeaderTest.MISSING, name, "", ""
    if len(set(keys)) < len(keys):
        for key, name in _ONCE.items():
            if (count := keys.count(key)) > 1:
                yield HeaderTest.MULTIPLE, name, f"{count} times", ""


def _mime_faults(tree: Tree) -> Iterator[_Fault]:
    for ambiguity in tree.ambiguities:
        # Behind "~" lies a further reading: what is odd there comes of reading it so.
        if not ambiguity.name.startswith(_NO_FAULTS) and "~" not in ambiguity.path:
            yield HeaderTest.MIME, ambiguity.name, "", ambiguity.path


def _around(raw: bytes, offset: int) -> str:
    return _excerpt(raw[max(0, offset - _SHOWN // 2) : offset + _SHOWN // 2])


def _excerpt(raw: bytes) -> str:
    return raw.strip(b" \t\r\n").decode("ascii", "backslashreplace")
