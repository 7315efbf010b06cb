"""Containers that were damaged anywhere: openers answer within the contract, and give no more than the budget."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contentfilter.unpack.openers import OPENERS
from contentfilter.unpack.openers.common import NAME_LIMIT, readable
from tests.unit import test_openers_archives as archives
from tests.unit import test_openers_documents as documents
from tests.unit import test_openers_locked as locked
from tests.unit import test_openers_text as texts
from tests.unit import test_openers_zip as zips
from tests.unit.compound_file import compound_file
from tests.unit.opener_sink import unpack

SEEDS: list[bytes] = [
    *(content for content, _ in archives.ARCHIVES.values() if len(content) < 20_000),
    *archives.STREAMS.values(),
    *(content for content, _, _ in (*locked.LOCKED.values(), *locked.NAMES_LOCKED.values())),
    *zips.lies().values(),
    documents.tnef(documents.attachment(b"a.exe", b"x" * 99, (0x1F, 0x3707, b"a\0b\0"))),
    compound_file(
        {("__attach_version1.0_#00000000", "__substg1.0_37010102"): b"x" * 99, ("WordDocument",): bytes(5000)}
    ),
    compound_file({("_1", "\x01Ole10Native"): documents.ole_package(b"a.exe", b"x" * 99)}),
    rb"{\rtf1{\object{\*\objdata " + documents.ole1(b"a.exe", b"x" * 99).hex().encode() + rb"}}}",
    documents.pdf_with("a.exe", b"x" * 99),
    texts.uu(b"a", b"x" * 99),
    texts.yenc(b"a", b"x" * 99),
    texts.binhex(b"a", b"x" * 99),
]
OF_7Z = {"arj", "7z", "7z-udf", "7z-msi", "7z-installer"}


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, len(content)))
        piece = draw(st.binary(max_size=8) | st.sampled_from([b"\xff" * 4, bytes(4), b"\xff" * 8, b"\x7f\xff\xff\xff"]))
        if draw(st.booleans()):
            content[position : position + len(piece)] = piece
        else:
            content[position : position + draw(st.integers(0, 64))] = piece
    return bytes(content)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(damaged())
def test_openers_keep_the_contract(content: bytes) -> None:
    """unpack() lets through nothing but what the contract names, and checks that nothing is left on the disk."""
    for opener in OPENERS:
        if opener.name not in OF_7Z:
            sink = unpack(content, ("sesam",), room=100_000, only=opener)
            assert sum(len(member.content) for member in sink.members) <= 100_000


@settings(max_examples=12, deadline=None)
@given(damaged())
def test_7z_keeps_the_contract(content: bytes) -> None:
    unpack(content, room=100_000)


@given(
    st.binary(max_size=40) | st.text(max_size=40) | st.text(st.characters(categories=["Cs"]), max_size=3) | st.none()
)
def test_names_are_always_text(name: bytes | str | None) -> None:
    readable(name, "unnamed").encode()


def test_names_have_an_end() -> None:
    for name in ("é" * 5000 + ".exe", b"\xff" * 50_000 + b".exe", "\udcff" * 5000 + ".exe"):
        assert len(readable(name)) == NAME_LIMIT
        assert readable(name).endswith(".exe")
    assert readable(os.fsdecode(b"\xc3\xa9")) == "é"


def test_a_gzip_in_a_gzip_in_a_gzip_ends() -> None:
    content = b"core"
    for _ in range(60):
        content = gzip.compress(content)
    sink = unpack(content)
    assert sink.members or sink.errors


def test_the_docs_name_each_opener_in_its_order() -> None:
    page = (Path(__file__).parents[2] / "docs" / "unpacking.md").read_text()
    assert re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE) == [opener.name for opener in OPENERS]
