from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter.envelope import Envelope
from contentfilter.finding import Finding, Kind
from contentfilter.inspectors import Subject
from contentfilter.inspectors.header import (
    ALL_TESTS,
    HeaderInspector,
    HeaderSettings,
    HeaderTest,
    _field_faults,
    _may_have_faults,
)
from contentfilter.message import Message
from contentfilter.mime import parse
from contentfilter.mime.fields import parse_header

GOOD = b"From: a@example.com\r\nDate: Mon, 02 Mar 2026 10:00:00 +0000\r\n"


async def findings(
    raw: bytes, tests: tuple[HeaderTest, ...] = ALL_TESTS, *, smtputf8: bool = False
) -> tuple[Finding, ...]:
    subject = Subject("id", Envelope("", (), smtputf8=smtputf8), Message(raw), parse(raw))
    return await HeaderInspector(HeaderSettings(tests)).inspect(subject)


async def names(header: bytes, *, smtputf8: bool = False) -> list[str]:
    return [each.name for each in await findings(GOOD + header + b"\r\nbody\r\n", smtputf8=smtputf8)]


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (b"", []),
        (b"Subject: fine\r\n folded\r\n\tas it should be\r\n", []),
        (b"Subject:\r\n", []),
        (b"X-Blank : before the colon\r\n", []),
        (b"Received: a\r\nReceived: b\r\n", []),
        # syntax
        (b"no field at all\r\n", ["syntax: no field at all", "mime: header-defect"]),
        (b"X\xe4: y\r\n", ["syntax: X\\xe4: not a field name"]),
        (b"--x: y\r\n", ["syntax: --x: not a field name"]),
        # 8bit
        (b"Subject: Gr\xfc\xdfe\r\n", ["8bit: Subject: Gr\\xfc\\xdfe"]),
        (b"Subject: Gr\xc3\xbc\xc3\x9fe\r\n", ["8bit: Subject: Gr\\xc3\\xbc\\xc3\\x9fe"]),
        # control
        (b"Subject: a\0b\r\n", ["control: Subject: a\\x00b"]),
        (b"Subject: a\rb\r\n", ["control: Subject: a\\rb"]),
        # empty
        (b"Subject: a\r\n \t\r\n b\r\n", ["empty: Subject: a folded line of blanks"]),
        (b"Subject: a\r\n \r\n", ["empty: Subject: a folded line of blanks"]),
        # long
        (b"Subject: " + b"x" * 989 + b"\r\n", []),
        (b"Subject: " + b"x" * 990 + b"\r\n", ["long: Subject: 999 characters"]),
        (b"Subject: x\r\n " + b"y" * 1200 + b"\r\n z\r\n", ["long: Subject: 1201 characters"]),
        (b"Subject: x" + b"\r\n yyyyyyyyyyyyyyy" * 100 + b"\r\n", []),
        # multiple
        (b"Subject: a\r\nsubject: b\r\n", ["multiple: Subject: 2 times"]),
        (b"To: a\r\nTo: b\r\nTO: c\r\nFrom: d\r\n", ["multiple: From: 2 times", "multiple: To: 3 times"]),
        # mime
        (b"Content-Type: multipart/mixed; boundary=b\r\n", ["mime: no-delimiter"]),
        (b"Content-Type: text\r\n", ["mime: malformed-content-type"]),
        (b"Content-Transfer-Encoding: base64\r\n", []),
    ],
)
async def test_what_is_wrong_with_a_header(header: bytes, wanted: list[str]) -> None:
    assert await names(header) == wanted


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (b"Subject: Gr\xc3\xbc\xc3\x9fe\r\n", 0),
        (b"Subject: Gr\xfc\xdfe\r\n", 1),
        (b"Subject: C1 \xc2\x85\r\n", 1),
        (b"Subject: C0 \x07 \xc3\xbc\r\n", 1),
        (b"Subject: surrogate \xed\xa0\x80\r\n", 1),
    ],
)
async def test_with_smtputf8_only_unicode_text_may_be_8bit(header: bytes, wanted: int) -> None:
    assert len(await names(header, smtputf8=True)) == wanted


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b"Date: x\r\n\r\n", ["missing: From"]),
        (b"From: x\r\n\r\n", ["missing: Date"]),
        (b"\r\n", ["missing: Date", "missing: From"]),
    ],
)
async def test_missing_fields(raw: bytes, wanted: list[str]) -> None:
    assert [each.name for each in await findings(raw)] == wanted


async def test_missing_is_not_said_of_a_header_that_was_not_read_to_its_end() -> None:
    assert await findings(b"X: y\r\n" * 10_000 + GOOD + b"\r\n") == ()


@pytest.mark.parametrize("test", ALL_TESTS)
async def test_each_test_can_be_made_alone(test: HeaderTest) -> None:
    raw = (
        b"Subject: a\0\xfc\r\n \r\nSubject: "
        + b"x" * 1000
        + b"\r\nContent-Type: text\r\nno field\r\nDate: x\r\n\r\nbody"
    )
    found = await findings(raw, (test,))
    assert found
    assert {each.name.partition(":")[0] for each in found} == {test.value}
    assert await findings(raw, ()) == ()


async def test_finding_is_about_the_message_and_once_a_field() -> None:
    raw = GOOD + b"X: \xfc\r\nX: \xfc\r\n\r\n"
    assert await findings(raw) == (Finding(Kind.BAD_HEADER, "header", "8bit: X: \\xfc"),)


async def test_findings_are_few_and_short_whatever_comes() -> None:
    raw = GOOD + b"".join(b"X-%d: \xfc\x1b[2J%s\r\n" % (number, b"\xfc" * 500) for number in range(500)) + b"\r\n"
    found = await findings(raw)
    assert 0 < len(found) <= 20
    assert all(len(each.name) < 400 and each.name.isprintable() for each in found)


_PIECES = st.sampled_from(
    [b"From: a@b", b"--x: y", b"Subject", b":", b" ", b"\t", b"\r\n", b"\n", b"\r", b"\0", b"\xc3\xa4", b"z" * 998]
)


@given(st.lists(_PIECES, max_size=12).map(b"".join))
def test_a_header_that_is_passed_over_as_a_whole_has_no_field_with_a_fault(raw: bytes) -> None:
    header = parse_header(raw)
    if not _may_have_faults(raw[header.start : header.end]):
        assert [fault for field in header.fields for fault in _field_faults(field, smtputf8=False)] == []
