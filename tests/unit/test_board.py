"""The board that the supervisor and all workers share."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter.board import ENTRIES, IDENTITY, Board, Place


def identity(number: int) -> bytes:
    return number.to_bytes(IDENTITY, "big")


def in_another_process(work: Callable[[], None]) -> int:
    """The status of waitpid of a process that did this."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1]


def die_over(place: Place) -> None:
    place.beat()
    done = place.begin(identity(1))
    place.begin(identity(2))
    place.begin(identity(0))
    place.end(done)
    place.publish(2, 500)
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_process_had_in_work_is_read_by_the_one_that_forked_it() -> None:
    board = Board(8)
    first, second = board.place(0), board.place(5)
    second.begin(identity(9))
    second.publish(1, 7)
    before = time.monotonic_ns()
    status = in_another_process(lambda: die_over(first))
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert sorted(first.in_work()) == [identity(0), identity(2)]
    assert before < first.beaten < time.monotonic_ns()
    assert board.totals() == (3, 507)
    first.clear()
    assert (first.in_work(), first.beaten, board.totals()) == ([], 0, (1, 7))
    assert second.in_work() == [identity(9)]


def test_what_finds_no_entry_is_not_named() -> None:
    place = Board(2).place(1)
    entries = [place.begin(identity(number)) for number in range(ENTRIES + 3)]
    assert entries[ENTRIES:] == [-1] * 3
    assert len(set(entries)) == ENTRIES + 1
    assert set(place.in_work()) == {identity(number) for number in range(ENTRIES)}
    place.end(-1)
    place.end(entries[0])
    assert place.begin(identity(7777)) == entries[0]
    assert identity(7777) in place.in_work()


def test_what_is_published_is_the_last_word() -> None:
    board = Board(2)
    one, other = board.place(0), board.place(1)
    other.publish(3, 30)
    for messages, size in ((1, 5), (7, 1 << 80), (2, -4), (2, 20)):
        one.publish(messages, size)
    assert board.totals() == (5, 50)
    one.clear()
    assert board.totals() == (3, 30)


def test_there_are_only_so_many_places() -> None:
    board = Board(3)
    for index in (-1, 3):
        with pytest.raises(ValueError, match="only 3 places"):
            board.place(index)


@given(st.lists(st.binary(max_size=40) | st.integers(0, 400), max_size=700))
def test_a_place_holds_what_was_begun_and_not_ended_whatever_it_is(steps: list[bytes | int]) -> None:
    board = Board(2)
    place, other = board.place(0), board.place(1)
    other.begin(identity(1))
    begun: list[tuple[int, bytes]] = []
    for step in steps:
        if isinstance(step, bytes):
            begun.append((place.begin(step), step[:IDENTITY].ljust(IDENTITY, b"\0")))
        elif begun:
            entry, _ = begun.pop(step % len(begun))
            place.end(entry)
    assert sorted(place.in_work()) == sorted(name for entry, name in begun if entry >= 0)
    assert other.in_work() == [identity(1)]


def test_ends_that_do_not_fit_do_no_harm() -> None:
    place = Board(1).place(0)
    for entry in (0, -1, 5, 3):
        place.end(entry)
    place.begin(b"")
    assert place.in_work() == [bytes(IDENTITY)]
    entries = {place.begin(identity(number)) for number in range(ENTRIES)}
    assert len(entries) == ENTRIES  # none was freed twice: 255 entries, and -1 for the last
