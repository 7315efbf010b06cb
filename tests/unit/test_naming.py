"""Which names of a member are told, and how much of each."""

from __future__ import annotations

import pytest

from contentfilter.unpack.naming import LONGEST_NAME, MOST_CHARACTERS, MOST_NAMES, shortened, stream_names, told


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("a.txt.gz", ("a.txt",)),
        ("a.txt.GZ. .", ("a.txt",)),
        ("dir/a.js.xz", ("a.js",)),
        ("a.tgz", ("a",)),
        ("a.exe", ("a.exe",)),
        ("a.gz.xz", ("a.gz", "a")),
    ],
)
def test_a_stream_is_called_as_its_container(name: str, inside: tuple[str, ...]) -> None:
    assert stream_names((name, name)) == inside


def test_without_a_name_there_is_none_in_it() -> None:
    assert stream_names(()) == stream_names((".gz", "dir/")) == ()


def test_of_a_long_name_the_beginning_and_the_end_are_kept() -> None:
    name = shortened("a" * 250 + ".exe" + "b" * 2000 + ".txt")
    assert len(name) == LONGEST_NAME
    assert name.startswith("a" * 250 + ".exe")
    assert name.endswith("b.txt")
    assert shortened("a" * LONGEST_NAME) == "a" * LONGEST_NAME


@pytest.mark.parametrize(
    ("names", "room", "count", "whole"),
    [
        (["a"] * MOST_NAMES, MOST_CHARACTERS, MOST_NAMES, True),
        (["a"] * (MOST_NAMES + 1), MOST_CHARACTERS, MOST_NAMES, False),
        (["abc", "def", "ghi"], 6, 3, True),
        (["abc", "def", "ghi"], 5, 2, False),
        (["abc"], 0, 1, True),
        ([], 0, 0, True),
    ],
)
def test_names_are_left_out_only_with_a_word(names: list[str], room: int, count: int, *, whole: bool) -> None:
    assert told(names, room) == (tuple(names[:count]), whole)
