from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter.envelope import Client, Recipient
from contentfilter.failure import OnFailure
from contentfilter.finding import Finding, Kind, RuleAction, RuleHit, Test
from contentfilter.mail_id import is_id, new_id
from contentfilter.policy.entry import Effective, Entry, merged
from contentfilter.policy.lists import Effect, ListEntry
from contentfilter.verdict import Action, Category
from quarantine.record import Record, State, Withheld
from tests.unit.quarantine_items import make, withheld

TEXT = st.text(st.characters(codec=None), max_size=20)  # surrogates included: undecodable bytes look like that
OPTIONAL = st.none() | TEXT
NUMBER = st.floats(allow_nan=False)
ENTRY = Entry("sql", "bob@example.org", (("kill_level", float("inf")), ("spam_action", Action.REJECT)))
LISTING = ListEntry("sql", "@.", "@y.example", Effect.SCORE, -2.0)
RECORDS = st.builds(
    Record,
    id=st.builds(new_id),
    time=st.floats(0, 4e9),
    mail_from=TEXT,
    withheld=st.lists(
        st.builds(
            Withheld,
            recipient=st.builds(Recipient, TEXT, st.lists(TEXT, max_size=3).map(tuple), OPTIONAL),
            category=st.sampled_from(Category),
            action=st.sampled_from(Action),
            reasons=st.lists(TEXT, max_size=3).map(tuple),
            state=st.sampled_from(State),
            changed_at=st.none() | NUMBER,
            quarantine=st.booleans(),
            score=st.none() | NUMBER,
            local=st.booleans(),
            effective=st.none() | st.just(Effective(merged((ENTRY,)), (ENTRY,), LISTING)),
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
    size=st.integers(0, 2**40),
    digest=TEXT,
    subject=TEXT,
    message_id=TEXT,
    score=st.none() | NUMBER,
    findings=st.lists(
        st.builds(
            Finding,
            kind=st.sampled_from(Kind),
            inspector=TEXT,
            name=TEXT,
            score=NUMBER,
            tests=st.lists(st.builds(Test, TEXT, st.none() | NUMBER), max_size=2).map(tuple),
            rule=st.none()
            | st.builds(
                RuleHit, st.sampled_from(RuleAction), TEXT, TEXT, TEXT, TEXT, st.none() | st.integers(), st.none()
            ),
            banned_rules=st.lists(TEXT, max_size=2).map(tuple),
            text=TEXT,
        ),
        max_size=2,
    ).map(tuple),
    client=st.builds(Client, OPTIONAL, OPTIONAL),
    body=OPTIONAL,
    smtputf8=st.booleans(),
    ret=OPTIONAL,
    envid=OPTIONAL,
    listener=TEXT,
    on_failure=st.dictionaries(TEXT, st.sampled_from(OnFailure)),
)


@given(RECORDS)
def test_a_record_comes_back_from_json_as_it_was(record: Record) -> None:
    assert Record.from_json(record.to_json()) == record


def test_a_record_of_before_there_were_sets_of_rules_is_read() -> None:
    finding = Finding(Kind.BANNED, "banned", ".exe: a.exe")
    withheld = (Withheld(Recipient("bob@x.example"), Category.BANNED, Action.DISCARD),)
    record = Record("id", 1.0, "a@y.example", withheld, 3, "digest", findings=(finding,))
    values = json.loads(record.to_json())
    assert values["findings"][0].pop("banned_rules") == []
    assert values["findings"][0].pop("text") == ""
    assert Record.from_json(json.dumps(values)) == record


@given(RECORDS)
def test_the_file_of_a_record_holds_nothing_that_drives_a_terminal(record: Record) -> None:
    text = record.to_json()
    assert text.isascii()
    assert text.replace("\n", "").isprintable()


def test_a_record_from_before_there_were_rules_is_read() -> None:
    record, _ = make()
    values = json.loads(record.to_json())
    assert [one.pop("rule") for one in values["findings"]] == [None]
    assert Record.from_json(json.dumps(values)) == record


def test_json_says_in_words_what_is_the_matter() -> None:
    record, _ = make(to=(withheld("a@x", Category.SPAM), withheld("b@x", Category.BAD_HEADER, State.RELEASED)))
    values = json.loads(record.to_json())
    assert (values["version"], values["date"]) == (1, "2026-11-21T12:00:00Z")
    assert (values["category"], values["state"]) == ("spam", "pending")
    assert [one["category"] for one in values["withheld"]] == ["spam", "bad_header"]
    assert values["findings"][0]["kind"] == "spam"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"version": 1}',
        "\x00",
        '{"version": 2}',
        make()[0].to_json().replace('"pending"', '"lost"'),
        make()[0].to_json().replace('"mail_from"', '"sender"'),
        make()[0].to_json().replace('"withheld": [', '"withheld": [], "x": ['),
        json.dumps({**make()[0].to_mapping(), "withheld": []}),
        make()[0].to_json()[:-20],
    ],
)
def test_what_is_not_a_record_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Record.from_json(text)


def test_the_gravest_category_counts() -> None:
    record, _ = make(to=(withheld("a@x", Category.SPAM), withheld("b@x", Category.BANNED)))
    assert record.category is Category.BANNED


@pytest.mark.parametrize(
    ("states", "whole"),
    [
        ((State.PENDING, State.RELEASED), State.PENDING),
        ((State.RELEASED, State.DELIVERED), State.RELEASED),
        ((State.DELIVERED,), State.DELIVERED),
    ],
)
def test_an_item_is_pending_as_long_as_one_recipient_is(states: tuple[State, ...], whole: State) -> None:
    record, _ = make(to=tuple(withheld("a@x", state=state) for state in states))
    assert record.state is whole


def test_release_marks_only_whom_it_reached() -> None:
    record, _ = make(to=(withheld("a@x"), withheld("a@x"), withheld("b@x")))
    after = record.released([1], 5.0)
    assert [(one.state, one.changed_at) for one in after.withheld] == [
        (State.PENDING, None),
        (State.RELEASED, 5.0),
        (State.PENDING, None),
    ]
    assert replace(after, withheld=record.withheld) == record


def test_ids_are_fit_for_file_names_and_telephones() -> None:
    ids = {new_id() for _ in range(2000)}
    assert len(ids) == 2000
    assert all(is_id(one) for one in ids)
    assert not set("".join(ids)) & set("01ilo-_.")
    assert len(set("".join(ids))) ** len(new_id()) >= 2**80


@pytest.mark.parametrize("text", ["", "..", "-help", "a" * 16, "a" * 18, "A" * 17, "a" * 16 + "\n", "a" * 17 + "\n"])
def test_what_is_no_id_is_told_apart(text: str) -> None:
    assert not is_id(text)
