"""Fragments on the wire to a live door: what it takes for messages, and what it answers, is what the reference says."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.door import Client, Door, Keeper, open_door
from tests.end_of_data import BEGIN, END, LINE_ENDS, SMUGGLED, Session, fragments, session

WITHOUT_LIMITS = {"max_errors": 1_000_000}
AT_A_TIME = 50
RSET = b"RSET\r\n"


def in_data(fragment: bytes, before: bytes) -> bytes:
    return BEGIN + before + fragment + SMUGGLED + END + RSET


class Talk:
    """Sends streams over one connection for as long as it stays open, and compares what came of them."""

    def __init__(self, door: Door, keeper: Keeper, kind: str = "tcp") -> None:
        self._door = door
        self._kind = kind
        self._keeper = keeper
        self._client: Client | None = None
        self.messages = 0

    async def check(self, *pieces: bytes) -> None:
        """Send these pieces, each on its own, and look."""
        wanted = session(b"".join(pieces))
        client = await self._connected()
        # Where it hangs up, a piece behind that would find nobody.
        for piece in [b"".join(pieces)] if wanted.closed else pieces:
            await client.send(piece)
            for _ in range(3):  # turns of the loop: the door has this piece before the next is sent
                await asyncio.sleep(0)
        try:
            codes = [int((await client.reply())[:3]) for _ in wanted.codes]
            if wanted.closed:
                assert await client.rest() == b""
        except ValueError:
            pytest.fail(f"closed too early: {pieces}")
        self._compare(wanted, codes, pieces)
        if wanted.closed:
            await self.close()

    def _compare(self, wanted: Session, codes: list[int], pieces: tuple[bytes, ...]) -> None:
        taken = [(envelope.mail_from.encode(), content) for envelope, content in self._keeper.taken]
        self._keeper.taken.clear()
        assert taken == wanted.messages, pieces
        assert codes == wanted.codes, pieces
        self.messages += len(taken)

    async def _connected(self) -> Client:
        if self._client is None:
            self._client = await self._door.greeted(self._kind)
            assert (await self._client.say("EHLO mx"))[0].startswith("250 ")
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None


def batches(streams: Iterable[bytes]) -> Iterator[list[bytes]]:
    """So many at a time, and after one at which the door must hang up none."""
    batch: list[bytes] = []
    for stream in streams:
        batch.append(stream)
        if len(batch) == AT_A_TIME or session(stream).closed:
            yield batch
            batch = []
    if batch:
        yield batch


async def test_every_fragment_in_data(tmp_path: Path) -> None:
    keeper = Keeper()
    async with open_door(tmp_path, keeper, **WITHOUT_LIMITS) as door:
        talk = Talk(door, keeper)
        streams = [in_data(fragment, before) for before in (b"", b"x") for fragment in fragments(5)]
        for batch in batches(streams):
            await talk.check(b"".join(batch))
        await talk.close()
    print(f"end of data, live door: {len(streams)} fragments, {talk.messages} messages")
    assert talk.messages > len(streams)


async def test_fragments_cut_into_packets_at_every_place(tmp_path: Path) -> None:
    keeper = Keeper()
    tried = 0
    async with open_door(tmp_path, keeper, **WITHOUT_LIMITS) as door:
        # On TCP the kernel may put what was sent apart together again, and holds back the second of two short answers.
        talk = Talk(door, keeper, "unix")
        ends = [fragment for fragment in fragments(5, LINE_ENDS) if b"." in fragment and len(fragment) in (1, 2, 3, 5)]
        for fragment, before in itertools.product(ends, (b"", b"x")):
            stream = in_data(fragment, before)
            start = len(BEGIN) + len(before)
            for cut in range(start, start + len(fragment) + 1):
                await talk.check(stream[:cut], stream[cut:])
                tried += 1
        await talk.close()
    print(f"end of data, live door, cut into packets: {tried} streams, {talk.messages} messages")


PLACES: dict[str, Callable[[bytes], bytes]] = {
    "sender": lambda f: b"MAIL FROM:<a" + f + b"@y.example>\r\n",
    "sender's parameter": lambda f: b"MAIL FROM:<a@y.example> ENVID=a" + f + b"\r\n",
    "recipient": lambda f: b"MAIL FROM:<a@y.example>\r\nRCPT TO:<b" + f + b"@x.example>\r\n",
    "recipient's parameter": lambda f: b"MAIL FROM:<a@y.example>\r\nRCPT TO:<b@x.example> ORCPT=rfc822;b" + f + b"\r\n",
    "XFORWARD": lambda f: b"XFORWARD HELO=a" + f + b"\r\nMAIL FROM:<a@y.example>\r\n",
}


@pytest.mark.parametrize("place", PLACES)
async def test_every_fragment_in_a_command(place: str, tmp_path: Path) -> None:
    keeper = Keeper()
    rest = b"RCPT TO:<c@x.example>\r\nDATA\r\nSubject: x\r\n" + END + RSET
    async with open_door(tmp_path, keeper, **WITHOUT_LIMITS) as door:
        talk = Talk(door, keeper)
        streams = [PLACES[place](fragment) + rest for fragment in fragments(4)]
        for batch in batches(streams):
            await talk.check(b"".join(batch))
        await talk.close()
    print(f"fragments in a command, {place}: {len(streams)}, {talk.messages} messages")
    assert talk.messages
