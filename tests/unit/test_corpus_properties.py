"""Messages of the corpus, damaged at random: the parser never raises, and stays within its limits."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from contentfilter.mime import Limits, parse
from tests.corpus import HOSTILE
from tests.corpus.case import Case

LIMITS = Limits(depth=8, parts=300, readings=16)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(HOSTILE), st.data())
def test_damaged_hostile_message_gives_a_tree_within_the_limits(case: Case, data: st.DataObject) -> None:
    raw = case.build()
    at = data.draw(st.integers(0, len(raw)))
    gone = data.draw(st.integers(0, 200))
    damaged = raw[:at] + data.draw(st.binary(max_size=40)) + raw[at + gone :]
    tree = parse(damaged, LIMITS)
    assert 1 <= len(tree.parts) <= LIMITS.parts
    assert tree.root.buffer[:] == damaged
