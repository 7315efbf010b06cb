"""The soak's accounting: what it takes for lost, for a duplicate with a reason, and for one without."""

from __future__ import annotations

import pytest

from tests.soak.account import ANSWER_LOST, GONE, KILLED, MIXED, settle
from tests.soak.hop import Taken
from tests.soak.letters import Attempt, Letter
from tests.soak.watch import Sample, growth

BOB = "bob@plain.example"
KEY = ("m1", BOB)


def tried(*attempts: tuple[str, int], lmtp: bool = True) -> Letter:
    """Fates and replies of attempts that took a second each, from 100, 110 and so on."""
    letter = Letter("m1", null_sender=False, lmtp=lmtp, recipients=(BOB,), body=b"", digest=b"", open=set())
    for number, (fate, code) in enumerate(attempts):
        began = 100.0 + 10 * number
        letter.attempts.append(Attempt(began, lmtp, began + 1, fate, {BOB: code} if code else {}))
    return letter


def by(*attempts: int, answer_lost: bool = False) -> dict[tuple[str, str], list[Taken]]:
    return {KEY: [Taken(attempt, 90.5 + 10 * attempt, answer_lost) for attempt in attempts]}


@pytest.mark.parametrize(
    ("letter", "taken", "kept", "reason"),
    [
        (tried(("lost", 0), ("answered", 250)), by(1, 2), {}, ""),
        (tried(("answered", 250)), by(1, 1), {}, ""),
        (tried(("answered", 250)), by(1), by(1), ""),
        (tried(("answered", 451), ("answered", 250)), by(1, 2), {}, ""),
        (tried(("answered", 451), ("answered", 554)), by(1), {}, ""),
        (tried(("answered", 451), ("answered", 250), lmtp=False), by(1, 2), {}, MIXED),
        (tried(("vanished", 0), ("answered", 250)), by(1, 2), {}, GONE),
        (tried(("timeout", 0), ("answered", 250)), by(2), by(1), GONE),
        (tried(("answered", 451), ("answered", 250)), by(1, 2, answer_lost=True), {}, ANSWER_LOST),
    ],
)
def test_why_there_are_two(letter: Letter, taken: dict, kept: dict, reason: str) -> None:  # type: ignore[type-arg]
    account = settle([letter], taken, {}, kept, kills=[])
    assert bool(account.unexplained) is not bool(reason)
    assert dict(account.duplicates) == ({reason: 1} if reason else {})
    assert account.lost == account.unsettled == []


def test_a_kill_explains_the_attempt_in_which_it_came_and_no_other() -> None:
    letter = tried(("lost", 0), ("answered", 250))
    assert settle([letter], by(1, 2), {}, {}, kills=[100.9]).duplicates == {KILLED: 1}
    assert settle([letter], by(1, 2), {}, {}, kills=[105.0]).unexplained


@pytest.mark.parametrize(("code", "lost"), [(250, True), (554, False)])
def test_a_message_that_is_nowhere(code: int, lost: bool) -> None:
    account = settle([tried(("answered", code))], {}, {}, {}, kills=[])
    assert bool(account.lost) is lost
    assert account.ends["bounce"] == (not lost)


def test_a_report_and_a_copy_in_quarantine_are_ends() -> None:
    assert settle([tried(("answered", 250))], {}, by(1), {}, kills=[]).ends == {"report": 1}
    assert settle([tried(("answered", 250))], {}, {}, by(1), kills=[]).ends == {"quarantine": 1}


def test_a_message_that_is_still_open() -> None:
    letter = tried(("answered", 451))
    letter.open.add(BOB)
    assert settle([letter], by(1), {}, {}, kills=[]).unsettled == [f"m1 {BOB}"]


@pytest.mark.parametrize(("last", "grows"), [(200.0, False), (240.0, False), (280.0, True)])
def test_growth_is_told_from_the_second_quarter_to_the_last(last: float, grows: bool) -> None:
    # What it takes to get warm is in the first quarter, and counts for nothing.
    samples = [Sample(at, 50.0 if at < 25 else 200.0 if at < 75 else last, 100, 9) for at in range(100)]
    assert [line.endswith("GROWS") for line in growth(samples)] == [grows, False, False]
