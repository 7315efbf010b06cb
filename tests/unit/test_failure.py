"""How old a message is, and what counts for one of that age when a scanner cannot answer."""

from __future__ import annotations

import math
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter.age import age_of
from contentfilter.failure import OnFailure, in_force, strictest
from contentfilter.mime import Header, parse_header

NOW = 1_795_262_400.0  # Sat, 21 Nov 2026 12:00:00 UTC
POSTFIX = (
    b"Received: from c.example (c.example [192.0.2.7])\r\n\tby mx.example (Postfix) with ESMTP id 4\r\n"
    b"\tfor <bob@x.example>; %b\r\n"
)


def header_of(raw: bytes) -> Header:
    return parse_header(raw, 0, len(raw))


@pytest.mark.parametrize(
    ("date", "age"),
    [
        (b"Sat, 21 Nov 2026 12:00:00 +0000 (UTC)", 0),
        (b"Sat, 21 Nov 2026 11:50:00 +0000 (UTC)", 600),
        (b"Sat, 21 Nov 2026 12:50:00 +0100 (CET)", 600),
        (b"Sat, 21 Nov 2026 11:50:00 -0000", 600),
        (b"21 Nov 26 11:50 GMT", 600),
        (b"Mon, 16 Nov 2026 12:00:00\r\n +0000 (UTC)", 5 * 86400),
        # In the future: a clock was set back, or somebody lies.
        (b"Sat, 21 Nov 2026 12:00:01 +0000 (UTC)", 0),
        (b"Fri, 31 Dec 9999 23:59:59 -2359", 0),
        # No date.
        (b"", 0),
        (b"yesterday", 0),
        (b"Sat, 32 Nov 2026 11:50:00 +0000", 0),
        (b"Sat, 21 Nov 2026 25:50:00 +0000", 0),
        (b"Sat, 21 Nov 2026 11:50:00 +99999999999999999999", 0),
        (b"Sat, 21 Nov 2026 11:50:00 +0000" + b" (" + b"x" * 100 + b")", 0),
        (b"\xff\xfe", 0),
    ],
)
def test_the_age_is_that_of_the_topmost_received_field(date: bytes, age: float) -> None:
    older = POSTFIX % b"Sun, 01 Jan 2006 00:00:00 +0000 (UTC)"
    assert age_of(header_of(b"Return-Path: <a@b>\r\n" + POSTFIX % date + older), NOW) == age


def test_a_client_that_greets_with_a_date_is_not_believed() -> None:
    lie = POSTFIX.replace(b"from c.example (", b"from c;Sun, 01 Jan 2006 00:00:00 +0000 (")
    assert age_of(header_of(lie % b"Sat, 21 Nov 2026 11:50:00 +0000 (UTC)"), NOW) == 600
    assert age_of(header_of(lie.replace(b"; %b", b"")), NOW) == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"Subject: hi\r\n",
        b"Received: from here\r\n" + POSTFIX % b"Sun, 01 Jan 2006 00:00:00 +0000",
        b"Date: Sun, 01 Jan 2006 00:00:00 +0000\r\n",
        b"Received:\r\n",
    ],
)
def test_without_a_date_of_our_own_a_message_is_new(raw: bytes) -> None:
    assert age_of(header_of(raw), NOW) == 0


@given(st.floats(0, 10_000_000))
def test_what_postfix_writes_is_read(age: float) -> None:
    date = formatdate(NOW - age, usegmt=False).encode()
    assert age_of(header_of(POSTFIX % date), NOW) == pytest.approx(age, abs=1)


@given(
    st.binary(max_size=150) | st.from_regex(rb"[A-Z][a-z]{2}, -?\d+ [A-Z][a-z]{2} \d+ [\d:]+ [+-]?\w+", fullmatch=True)
)
def test_any_date_has_an_age(date: bytes) -> None:
    age = age_of(header_of(POSTFIX % date), NOW)
    assert 0 <= age < math.inf


DEFER, QUARANTINE, TAG, PASS = OnFailure.DEFER, OnFailure.QUARANTINE, OnFailure.TAG, OnFailure.PASS


@pytest.mark.parametrize("mode", OnFailure)
@pytest.mark.parametrize(("age", "deferred"), [(0, True), (599.9, True), (600, False), (1e9, False)])
def test_a_younger_message_is_deferred_first(mode: OnFailure, age: float, deferred: bool) -> None:
    modes = in_force({"clamd": mode, "spamd": PASS}, {"clamd": 600.0}, age)
    assert modes == {"clamd": DEFER if deferred else mode, "spamd": PASS}


def test_without_grace_the_mode_counts_at_once() -> None:
    assert in_force({"clamd": TAG}, {"clamd": 0.0}, 0.0) == {"clamd": TAG}


@pytest.mark.parametrize(
    ("modes", "strict"),
    [
        ([PASS, TAG], TAG),
        ([TAG, QUARANTINE, PASS], QUARANTINE),
        ([QUARANTINE, DEFER], DEFER),
        ([PASS], PASS),
        ([], PASS),
    ],
)
def test_the_strictest(modes: list[OnFailure], strict: OnFailure) -> None:
    assert strictest(modes) is strict


@pytest.mark.parametrize("mode", OnFailure)
def test_every_mode_is_stricter_or_laxer_than_each_other(mode: OnFailure) -> None:
    assert (*mode.stricter, mode, *mode.laxer) == (DEFER, QUARANTINE, TAG, PASS)
