"""Runs of equal bytes in BinHex: 90 hex marks one, its count, or itself."""

from __future__ import annotations

import pytest

from contentfilter.mime.costs import Costs
from contentfilter.mime.embedded import _without_runs


@pytest.mark.parametrize(
    ("packed", "plain"),
    [
        (b"", b""),
        (b"abc", b"abc"),
        (b"a\x90\x05b", b"aaaaab"),
        (b"a\x90\x00b", b"a\x90b"),
        (b"\x90\x00\x90\x03", b"\x90\x90\x90"),
        # The count may look like a mark.
        (b"A\x90\x90b", b"A" * 144 + b"b"),
        (b"A\x90\x90\x90\x02", b"A" * 145),
        (b"a\x90\x01b", b"ab"),
        (b"a\x90\x03\x90\x03", b"aaaaa"),
        (b"a\x90", b"a\x90"),
    ],
)
def test_runs(packed: bytes, plain: bytes) -> None:
    assert _without_runs(packed, 1000, Costs()) == (plain, False)


def test_growth_has_a_limit_and_is_told() -> None:
    for marks, room, most in ((10_000, 1 << 30, 20 * 20_001), (1_000, 1 << 30, 64 * 1024), (10_000, 5_000, 5_000)):
        plain, cut = _without_runs(b"a" + b"\x90\xff" * marks, room, Costs())
        assert len(plain) <= most
        assert cut
