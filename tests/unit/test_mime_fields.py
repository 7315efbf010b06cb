from __future__ import annotations

import mmap
import tempfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contentfilter.message import Message
from contentfilter.mime import Defect, Field, Header, parse_header


def tiles(header: Header, raw: bytes) -> bytes:
    pieces: list[Field | Defect] = [*header.fields, *header.defects]
    pieces.sort(key=lambda piece: piece.start)
    return b"".join(raw[piece.start : piece.end] for piece in pieces)


def test_offsets_cover_the_whole_field_with_its_folds() -> None:
    raw = b"From: a\r\nSubject: one\r\n two\r\n\tthree\r\nTo:b\r\n\r\nbody"
    header = parse_header(raw)
    subject = header.get("SUBJECT")
    assert subject is not None
    assert raw[subject.start : subject.end] == b"Subject: one\r\n two\r\n\tthree\r\n"
    assert subject.raw == b" one\r\n two\r\n\tthree"
    assert subject.value == b"one two\tthree"
    assert (subject.name, subject.key) == ("Subject", "subject")
    assert [field.key for field in header.fields] == ["from", "subject", "to"]
    assert raw[header.end : header.body_start] == b"\r\n"
    assert raw[header.body_start :] == b"body"


@pytest.mark.parametrize(
    ("raw", "fields", "defects", "end", "body"),
    [
        (b"", [], [], 0, b""),
        (b"\r\nbody", [], [], 0, b"body"),
        (b"\nbody", [], [], 0, b"body"),
        (b"A: b", [b"A: b"], [], 4, b""),
        (b"A: b\r\n", [b"A: b\r\n"], [], 6, b""),
        (b"A: b\nC: d\n\nbody", [b"A: b\n", b"C: d\n"], [], 10, b"body"),
        (b"A: b\r\n\nbody", [b"A: b\r\n"], [], 6, b"body"),
        (b"A : b\r\n\r\n", [b"A : b\r\n"], [], 7, b""),
        (b"A\xe4: b\r\n\r\n", [b"A\xe4: b\r\n"], [], 7, b""),
        (b"no field\r\n more\r\nA: b\r\n\r\nx", [b"A: b\r\n"], [b"no field\r\n more\r\n"], 23, b"x"),
        (b" leading: fold\r\nA: b\r\n\r\n", [b"A: b\r\n"], [b" leading: fold\r\n"], 22, b""),
        (b": no name\r\n\r\n", [], [b": no name\r\n"], 11, b""),
        (b"A: b\r\n  \r\nC: d\r\n\r\n", [b"A: b\r\n  \r\n", b"C: d\r\n"], [], 16, b""),
        (b"A: b\rC: d\r\n\r\nx", [b"A: b\rC: d\r\n"], [], 11, b"x"),
        (b"A: \0b\r\n\r\nx", [b"A: \0b\r\n"], [], 7, b"x"),
    ],
)
def test_fields_and_defects(raw: bytes, fields: list[bytes], defects: list[bytes], end: int, body: bytes) -> None:
    header = parse_header(raw)
    assert [raw[each.start : each.end] for each in header.fields] == fields
    assert [raw[each.start : each.end] for each in header.defects] == defects
    assert header.end == end
    assert raw[header.body_start :] == body


def test_all_gives_every_field_of_a_name_and_get_the_first() -> None:
    header = parse_header(b"X-A: 1\r\nx-a: 2\r\nB: 3\r\n\r\n")
    assert [field.value for field in header.all("X-a")] == [b"1", b"2"]
    first = header.get("x-A")
    assert first is not None
    assert first.value == b"1"
    assert header.get("C") is None


def test_mailbox_line_is_told_from_other_defects() -> None:
    assert [each.mbox for each in parse_header(b"From a@b Mon\r\nA: b\r\nFrom c\r\n\r\n").defects] == [True, False]
    assert [each.mbox for each in parse_header(b">From a@b Mon\r\nA: b\r\n\r\n").defects] == [True]


@pytest.mark.parametrize(("limit", "count"), [(0, 0), (1, 0), (5, 0), (6, 0), (7, 1), (11, 1), (12, 2), (99, 2)])
def test_header_over_its_limit_is_incomplete_but_its_body_is_found(limit: int, count: int) -> None:
    raw = b"A: b\r\nC: d\r\n\r\nbody"
    header = parse_header(raw, max_bytes=limit)
    assert header.complete is (limit >= 12)
    assert [field.key for field in header.fields] == ["a", "c"][:count]
    assert raw[header.body_start :] == b"body"


def test_a_field_cut_by_the_limit_is_not_given_in_part() -> None:
    header = parse_header(b"A: b\r\n folded\r\n\r\n", max_bytes=6)
    assert header.fields == ()
    assert not header.complete


def test_field_count_is_limited() -> None:
    header = parse_header(b"A: b\r\n" * 100 + b"\r\nbody", max_fields=10)
    assert len(header.fields) == 10
    assert not header.complete


def test_memory_map_gives_the_same_as_bytes() -> None:
    raw = b"A: b\r\n c\r\nbad\r\nD: e\r\n\r\nbody"
    with tempfile.TemporaryFile() as file:
        file.write(raw)
        file.flush()
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert parse_header(mapped) == parse_header(raw)


PIECES = st.sampled_from(
    [b"A: b", b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"bad", b"From ", b"\0", b"\xe4", b"Subject"]
)


@given(st.lists(PIECES).map(b"".join))
@example(b"A: b\r\n\n")
@example(b"\r\r\n")
def test_fields_and_defects_tile_the_header(raw: bytes) -> None:
    header = parse_header(raw)
    assert header.complete
    assert tiles(header, raw) == raw[: header.end]
    assert raw[header.end : header.body_start] in {b"", b"\n", b"\r\n"}


@given(st.lists(PIECES).map(b"".join))
def test_header_ends_where_the_message_says(raw: bytes) -> None:
    canonical = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    assert parse_header(canonical).end == Message(canonical).header_end


@given(st.binary(), st.integers(0, 30), st.integers(0, 30))
def test_header_of_a_stretch_stays_inside_it(raw: bytes, start: int, length: int) -> None:
    start = min(start, len(raw))
    end = min(len(raw), start + length)
    header = parse_header(raw, start, end)
    assert start == header.start <= header.end <= header.body_start <= end
    assert tiles(header, raw) == raw[start : header.end]
