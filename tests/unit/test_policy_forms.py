"""Values of settings as people type them, and what is said about those that are none."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter.policy import forms
from contentfilter.policy.describe import settings
from contentfilter.policy.settings import Local, Policy
from contentfilter.verdict import Action


@pytest.fixture(autouse=True)
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Dates are local: one hour ahead of UTC in winter."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("kill_level", "6.5", 6.5),
        ("kill_level", "6", 6.0),
        ("kill_level", " inf ", math.inf),
        ("kill_level", "-inf", -math.inf),
        ("kill_level", '"-inf"', -math.inf),
        ("kill_level", "-2", -2.0),
        ("spam_lover", "true", True),
        ("spam_lover", "Yes", True),
        ("spam_lover", "on", True),
        ("spam_lover", "0", False),
        ("spam_lover", "n", False),
        ("local", "auto", Local.AUTO),
        ("local", "yes", Local.YES),
        ("local", "false", Local.NO),
        ("spam_action", "discard", Action.DISCARD),
        ("spam_action", "REJECT", Action.REJECT),
        ("spam_subject_tag2", "***SPAM*** ", "***SPAM*** "),
        ("spam_subject_tag2", '"***SPAM*** "', "***SPAM*** "),
        ("spam_subject_tag2", "'a\"b'", 'a"b'),
        ("spam_subject_tag2", '"half', '"half'),
        ("spam_subject_tag2", '"a" and "b"', '"a" and "b"'),
        ("spam_subject_tag2", "", ""),
        ("spam_subject_tag2", '""', ""),
        ("banned_rules", "strict,default", ("strict", "default")),
        ("banned_rules", " strict , default ", ("strict", "default")),
        ("banned_rules", '["strict", "default"]', ("strict", "default")),
        ("banned_rules", "", ()),
        ("banned_rules", "[]", ()),
        ("message_size_limit", "1000000", 1_000_000),
    ],
)
def test_what_people_type(name: str, text: str, value: object) -> None:
    got = forms.from_text(name, text)
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("kill_level", "6,5", "must be a number such as 6.5, inf or -inf, not '6,5'"),
        ("kill_level", "", "must be a number such as 6.5, inf or -inf, not ''"),
        ("kill_level", "nan", "must be a number, inf or -inf, not nan"),
        ("spam_lover", "ja", "must be true or false, not 'ja'"),
        ("local", "maybe", "must be one of auto | yes | no, not 'maybe'"),
        (
            "spam_action",
            "discrad",
            "must be one of pass | discard | reject | defer, not 'discrad'; did you mean discard?",
        ),
        ("spam_subject_tag", '"a\\nBcc: x"', "must not have control characters or line ends"),
        ("spam_subject_tag", "a\x1b[2J", "must not have control characters or line ends"),
        ("spam_subject_tag", "\udcff", "must be UTF-8"),
        ("spam_user", "bob\r\nHeader: x", "must not have control characters or line ends"),
        ("banned_rules", "a b", "must be the name of a set, of letters, digits, - and _, not 'a b'"),
        ("banned_rules", "[1", "must be a list such as a,b or [\"a\", \"b\"], not '[1'"),
        ("banned_rules", "[1]", 'must be a text in quotes (""), not 1'),
        ("message_size_limit", "10M", "must be a whole number, not '10M'"),
        ("message_size_limit", "-1", "input should be greater than or equal to 0, not -1"),
        ("spam_admin", "nobody", 'must be an address such as "virusalert@example.org", or empty, not \'nobody\''),
        ("next_hop", "nowhere", 'must be "host:port" or "unix:/path", not \'nowhere\''),
    ],
)  # fmt: skip
def test_what_is_refused_says_what_would_be_right(name: str, text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        forms.from_text(name, text)
    assert str(caught.value) == problem


@given(st.sampled_from(forms.NAMES), st.text())
def test_any_text_is_a_value_or_refused(name: str, text: str) -> None:
    try:
        value = forms.from_text(name, text)
    except ValueError:
        return
    assert forms.from_text(name, forms.to_text(value)) == value


def test_every_default_comes_back_from_text() -> None:
    for name, value in forms.DEFAULTS.items():
        assert forms.from_text(name, forms.to_text(value)) == value
        assert forms.typed(name, forms.plain(value)) == value


@pytest.mark.parametrize(
    ("text", "seconds", "written"),
    [
        ("never", None, "never"),
        ("2026-12-31", 1798758000.0, "2026-12-31"),
        ("20261231", 1798758000.0, "2026-12-31"),
        ('"2026-12-31"', 1798758000.0, "2026-12-31"),
        ("2026-12-31T18:00", 1798736400.0, "2026-12-31T17:00:00+00:00"),
        ("2026-12-31T18:00Z", 1798740000.0, "2026-12-31T18:00:00+00:00"),
        ("2026-12-31 18:00:00.5+02:00", 1798732800.5, "2026-12-31T16:00:00.500000+00:00"),
        ("2026-03-29", 1774821600.0, "2026-03-29"),  # a day of 23 hours
    ],
)
def test_ends(text: str, seconds: float | None, written: str) -> None:
    assert forms.expiry_from_text(text) == seconds
    assert forms.expiry_to_text(seconds) == written


@pytest.mark.parametrize("text", ["", "soon", "31.12.2026", "2026-02-30", "2026-1-1", "9999-12-31", "0001-01-01T00:00"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a date such as 2026-12-31, or a date and time such as "):
        forms.expiry_from_text(text)


@pytest.mark.parametrize("seconds", [math.inf, -math.inf, 1e300, -1e18])
def test_an_end_beyond_the_calendar_can_be_shown(seconds: float) -> None:
    assert forms.expiry_to_text(seconds)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("kill_levle", "unknown setting; did you mean kill_level?"),
        ("Kill-Level", "unknown setting; did you mean kill_level?"),
        ("spam_lovers", "unknown setting; did you mean spam_lover?"),
        ("xyzzy", "unknown setting; contentfilter policy keys shows them all"),
    ],
)
def test_an_unknown_name_is_told_the_nearest(name: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        forms.known_name(name)
    assert str(caught.value) == problem


def test_every_setting_is_described_once() -> None:
    described = list(settings())
    assert sorted(one.name for one in described) == sorted(Policy.model_fields)
    assert all(one.meaning and one.allowed and one.group for one in described)
    groups = [one.group for one in described]
    assert groups == sorted(groups, key=groups.index)
