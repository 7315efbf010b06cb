"""The two functions that everything rests on, with every fragment cut at every place."""

from __future__ import annotations

from pathlib import Path

import pytest

from contentfilter.intake.data import Receiver
from contentfilter.intake.holdings import Holding, Holdings
from contentfilter.mail_data import dot_stuffed
from tests.end_of_data import END, SMUGGLED, fragments, lenient_message, one_message, with_full_line_ends

BEFORE = (b"", b"x")
BEHIND = b"NOOP\r\n"


def received(*pieces: bytes) -> tuple[bytes, bytes]:
    """What the intake takes for the message and for what stands behind it, of chunks cut like this."""
    receiver = Receiver(Path("/nowhere"), 1 << 20, 1 << 20, Holding(Holdings(1 << 40, 1 << 40)))
    rest = b""
    for at, piece in enumerate(pieces):
        if piece and receiver.feed(piece):
            rest = receiver.rest + b"".join(pieces[at + 1 :])
            break
    with receiver.finish() as message:
        return bytes(message.buffer), rest


def test_every_fragment_cut_at_every_place_comes_in_as_the_reference_says() -> None:
    tried = ends = 0
    for fragment in fragments(6):
        for before in BEFORE:
            stream = before + fragment + SMUGGLED + END + BEHIND
            wanted = one_message(stream)
            assert wanted is not None
            ends += wanted[1] != BEHIND
            # Cuts: before, inside and right behind the fragment, and each byte of it alone.
            size = len(before) + len(fragment)
            for cut in range(size + 2):
                assert received(stream[:cut], stream[cut:]) == wanted, (before, fragment, cut)
            assert received(*(stream[at : at + 1] for at in range(size)), stream[size:]) == wanted, (before, fragment)
            tried += size + 3
    print(f"end of data, coming in: {tried} streams, in {ends} fragments DATA ends for good reason")
    # CR LF dot CR LF alone or with a byte before or behind it; at the very start also dot CR LF with up to three bytes
    # behind, one of which is the first kind again.
    assert ends == 2 * (1 + 5 + 5) + (1 + 5 + 25 + 125) - 1


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 262_144])
def test_every_fragment_goes_out_so_that_no_reader_ends_early(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contentfilter.mail_data.CHUNK", chunk)
    tried = 0
    for fragment in fragments(6 if chunk > 7 else 5):
        for before in BEFORE:
            content = with_full_line_ends(before + fragment + b"MAIL")
            wire = b"".join(map(bytes, dot_stuffed([content])))
            assert one_message(wire) == (content + b"\r\n", b""), content
            bare = b"".join(line.rstrip(b"\r") + b"\n" for line in content.split(b"\r\n"))
            assert lenient_message(wire) == (bare, b""), content
            tried += 1
    print(f"end of data, going out in chunks of {chunk}: {tried} messages")
