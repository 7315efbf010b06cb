"""The engine opens everything once, as deep as it may, and keeps what it saw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import BinaryIO

import pytest

from contentfilter.unpack.budget import DEFAULT_BUDGET, Budget, Meter
from contentfilter.unpack.engine import Described, Engine, Sign, Source
from contentfilter.unpack.opener import Kind
from contentfilter.unpack.store import Place, Store
from tests.fakes.helper import Toy


@dataclass
class Seen:
    """Collects what is reported."""

    store: Store
    members: dict[str, tuple[Described, bytes]] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    copies: list[tuple[str, str]] = field(default_factory=list)

    def member(self, member: Described, place: Place | None) -> None:
        self.members[member.path] = (member, b"" if place is None else self.store.read(place, 0, place.size))

    def sign(self, path: str, sign: Sign) -> None:
        self.problems.append((path, sign.name))

    def unchecked(self, path: str, why: str) -> None:
        self.problems.append((path, why))

    def same(self, path: str, as_path: str) -> None:
        self.copies.append((path, as_path))

    def exceeded(self, limit: str) -> None:
        self.limits.append(limit)


class Other(Toy):
    """Opens the same, when the first cannot."""

    name = "other"

    def open(self, file: BinaryIO, kind: Kind, sink: object) -> None:
        with sink.member("from-other") as writer:  # type: ignore[attr-defined] # any sink
            writer.write(b"x")


def look(file: BinaryIO, kind: Kind) -> Iterator[Sign]:
    return iter(())


def opened(content: str | bytes, directory: Path, *, budget: Budget = DEFAULT_BUDGET, openers: int = 1) -> Seen:
    data = content if isinstance(content, bytes) else content.encode()
    sources, store = Store(), Store()
    seen = Seen(store)
    engine = Engine((Toy(), Other())[:openers], look, Meter(budget, len(data)), seen, store, directory)
    try:
        engine.run(sources, [Source("1", sources.add(data))])
    finally:
        sources.close()
        store.close()
    return seen


def test_members_are_opened_in_their_turn(tmp_path: Path) -> None:
    seen = opened("do:give do:give do:give end\ndo:give other", tmp_path)
    assert [(path, content) for path, (_, content) in seen.members.items()] == [
        ("1/1", b"do:give do:give end"),
        ("1/2", b"other"),
        ("1/1/1", b"do:give end"),
        ("1/1/1/1", b"end"),
    ]
    assert not seen.problems
    assert not seen.limits


def test_a_container_of_itself_is_opened_once(tmp_path: Path) -> None:
    seen = opened("do:same ", tmp_path)
    assert list(seen.members) == ["1/1"]
    assert seen.copies == [("1/1", "1")]
    assert not seen.limits


def test_depth_is_limited_and_the_rest_goes_on(tmp_path: Path) -> None:
    seen = opened("do:deeper 0\ndo:give x", tmp_path, budget=Budget(depth=3))
    assert seen.limits == ["unpack_depth"]
    assert list(seen.members) == ["1/1", "1/2", "1/1/1", "1/1/1/1"]


@pytest.mark.parametrize(
    ("content", "budget", "limit"),
    [
        ("do:many 50", Budget(parts=10), "unpack_parts"),
        ("do:large 2000000", Budget(bytes=1_000_000, ratio=1e9), "unpack_bytes"),
        ("do:large 2000000", Budget(), "unpack_ratio"),
        ("do:many 50", Budget(seconds=-1), "unpack_seconds"),
    ],
)
def test_a_spent_budget_is_named(tmp_path: Path, content: str, budget: Budget, limit: str) -> None:
    assert opened(content, tmp_path, budget=budget).limits == [limit]


def test_what_was_written_before_the_limit_stays(tmp_path: Path) -> None:
    seen = opened("do:give first\ndo:large 2000000", tmp_path)
    assert seen.members["1/1"][1] == b"first"
    assert seen.members["1/2"][1] == bytes(len(seen.members["1/2"][1]))


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("encrypted", "encrypted: no password fits"),
        ("damaged", "damaged: toy: cut off"),
        ("defect", "unreadable: toy: ValueError: a defect"),
        ("memory", "unreadable: toy: MemoryError: "),
    ],
)
def test_an_opener_that_fails_leaves_its_container_unchecked(tmp_path: Path, what: str, problem: str) -> None:
    assert opened(f"do:raise {what}", tmp_path).problems == [("1", problem)]
    assert opened(f"do:raise {what}", tmp_path, openers=2).problems == []
    after_members = opened(f"do:give x\ndo:raise {what}", tmp_path, openers=2)
    assert after_members.problems == [("1", problem)]
    assert list(after_members.members) == ["1/1"]


def test_not_a_container_after_all_is_no_problem(tmp_path: Path) -> None:
    assert opened("do:raise not", tmp_path).problems == []


def test_a_name_without_content_is_told_and_unchecked_unless_harmless(tmp_path: Path) -> None:
    seen = opened("do:listed encrypted\ndo:listed directory", tmp_path)
    assert [member.why for member, _ in seen.members.values()] == ["encrypted", "directory"]
    assert seen.problems == [("1/1", "encrypted")]


def test_files_that_an_opener_leaves_are_removed(tmp_path: Path) -> None:
    opened("do:disk 10", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_message_in_a_container_is_taken_apart(tmp_path: Path) -> None:
    mail = EmailMessage()
    mail["From"] = "a@b.example"
    mail["MIME-Version"] = "1.0"
    mail.set_content("text")
    mail.add_attachment(b"do:give inside", maintype="application", subtype="octet-stream", filename="x.exe")
    seen = opened(bytes(mail), tmp_path)
    names = {path: member.names for path, (member, _) in seen.members.items()}
    assert names == {"1/1": (), "1/2": ("x.exe",), "1/2/1": ("given.txt",)}
    assert seen.members["1/2/1"][1] == b"inside"
