"""The engine opens everything once, as deep as it may, and keeps what it saw."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import BinaryIO

import pytest

from contentfilter.unpack.budget import DEFAULT_BUDGET, Budget, Meter
from contentfilter.unpack.engine import Engine, Look
from contentfilter.unpack.opener import COPY, Kind, Opener
from contentfilter.unpack.openers import OPENERS
from contentfilter.unpack.report import Described, Sign
from contentfilter.unpack.signs import look as real_look
from contentfilter.unpack.source import Source
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
    return opened_all([((), data)], directory, budget=budget, openers=(Toy(), Other())[:openers], look=look)


def opened_all(
    contents: Sequence[tuple[tuple[str, ...], bytes]],
    directory: Path,
    *,
    budget: Budget = DEFAULT_BUDGET,
    openers: Sequence[Opener] = OPENERS,
    look: Look = real_look,
) -> Seen:
    """Contents with their names; the first has the path "1"."""
    sources, store = Store(), Store()
    seen = Seen(store)
    engine = Engine(openers, look, Meter(budget, sum(len(data) for _, data in contents)), seen, store, directory)
    given = [Source(str(number), sources.add(data), names) for number, (names, data) in enumerate(contents, 1)]
    try:
        engine.run(sources, given)
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


def test_contents_of_one_size_are_told_apart_and_each_copy_is_known(tmp_path: Path) -> None:
    contents = [b"one thing", b"two thing", b"longer content", b"one thing", b"six thing", b"two thing", b"six thing"]
    seen = opened_all([((), content) for content in contents], tmp_path)
    assert seen.copies == [("4", "1"), ("6", "2"), ("7", "5")]


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


TABLE = b"name,sum\r\nx,\"=cmd|'/c calc'!A1\"\r\n"
MACRO_SHEET = b'<?xml version="1.0"?><worksheet><a/></worksheet>'


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("contents", "signs"),
    [
        ([("x.bin", TABLE), ("x.csv", TABLE)], [("2", "dde")]),
        ([("x.csv", TABLE), ("x.bin", TABLE)], [("1", "dde")]),
        ([("x.csv", TABLE), ("y.csv", TABLE), ("z.slk", TABLE)], [("1", "dde")]),
        ([("x.bin", TABLE), ("a.zip", zipped(**{"x.csv": TABLE}))], [("2/1", "dde")]),
        ([("a.zip", zipped(**{"x.bin": TABLE, "x.csv": TABLE}))], [("1/2", "dde")]),
        ([("x.bin", TABLE), ("x.csv.gz", gzip.compress(TABLE))], [("2/1", "dde")]),
        ([("a.xml", MACRO_SHEET), ("a.xlsx", zipped(xl__macrosheets__s=MACRO_SHEET))], [("2/1", "xlm-macro")]),
    ],
)
def test_a_sign_that_goes_by_the_name_is_seen_in_the_copy(
    tmp_path: Path, contents: list[tuple[str, bytes]], signs: list[tuple[str, str]]
) -> None:
    assert opened_all([((name,), data) for name, data in contents], tmp_path).problems == signs


def test_copies_are_looked_at_no_more_often_than_their_names_ask_for(tmp_path: Path) -> None:
    asked = []

    def counting(file: BinaryIO, kind: Kind) -> Iterator[Sign]:
        asked.append(kind.names)
        return real_look(file, kind)

    contents = [((f"{number}.{ending}",), TABLE) for number in range(50) for ending in ("bin", "csv", "tsv", "exe")]
    assert opened_all(contents, tmp_path, look=counting).problems == [("2", "dde")]
    assert asked == [("0.bin",), ("0.csv",)]


def test_what_a_stream_holds_has_a_name_by_each_name_of_the_stream(tmp_path: Path) -> None:
    stream = gzip.compress(b"harmless text")
    seen = opened_all([(("a.txt.gz", "b.js.gz. "), stream), (("a.txt.gz",), stream), (("c.exe.gz",), stream)], tmp_path)
    assert {path: (member.names, member.why) for path, (member, _) in seen.members.items()} == {
        "1/1": (("a.txt", "b.js"), ""),
        "3/1": (("c.exe",), COPY),
    }
    assert seen.members["3/1"][0].media_type == seen.members["1/1"][0].media_type
    assert seen.copies == [("2", "1"), ("3", "1"), ("3/1", "1/1")]
    assert not seen.problems


def test_the_names_of_a_stream_go_through_streams_and_to_signs(tmp_path: Path) -> None:
    stream = gzip.compress(gzip.compress(TABLE))
    seen = opened_all([(("a.bin.gz.gz",), stream), (("a.csv.gz.gz",), stream)], tmp_path)
    names = {path: member.names for path, (member, _) in seen.members.items()}
    assert names == {"1/1": ("a.bin.gz", "a.bin"), "2/1": ("a.csv.gz", "a.csv")}
    assert seen.problems == [("2/1", "dde")]


def test_a_container_is_opened_once_whatever_it_is_called(tmp_path: Path) -> None:
    contents = [((f"{number}.zip",), b"do:give x") for number in range(5)]
    assert list(opened_all(contents, tmp_path, openers=(Toy(),)).members) == ["1/1"]


def test_a_stream_of_itself_ends_with_its_endings(tmp_path: Path) -> None:
    seen = opened_all([(("a.gz.xz",), b"do:itself 1"), (("b.gz",), b"do:itself 1")], tmp_path, openers=(Toy(),))
    names = {path: member.names for path, (member, _) in seen.members.items()}
    assert names == {"1/1": ("a.gz", "a"), "2/1": ("b",)}
    assert seen.copies == [("2", "1"), ("1/1", "1"), ("2/1", "1")]
    assert not seen.limits


def test_a_further_name_is_no_deeper_than_what_bears_it(tmp_path: Path) -> None:
    inner = "do:stream x"
    contents = [(("a.gz",), inner.encode()), (("b",), f"do:give {inner}".encode())]
    names = {"1/1": ("a",), "2/1": ("given.txt",), "2/1/1": ("given.txt",)}
    seen = opened_all(contents, tmp_path, openers=(Toy(),))
    assert {path: member.names for path, (member, _) in seen.members.items()} == names
    cut = opened_all(contents, tmp_path, openers=(Toy(),), budget=Budget(depth=1))
    assert cut.limits == ["unpack_depth"]


def test_each_further_name_of_a_stream_costs_a_part_and_no_bytes(tmp_path: Path) -> None:
    stream = gzip.compress(bytes(90_000))
    contents = [((f"{number}.gz",), stream) for number in range(30)]
    assert not opened_all(contents, tmp_path, budget=Budget(least=100_000, ratio=0)).limits
    assert opened_all(contents, tmp_path, budget=Budget(parts=10)).limits == ["unpack_parts"]
