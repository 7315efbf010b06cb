"""Recipients who are asked about at RCPT: those refused are not served, and the others are."""

from __future__ import annotations

from pathlib import Path

import pytest

from contentfilter import reply
from contentfilter.envelope import Envelope
from contentfilter.errors import PolicyError
from contentfilter.reply import Reply
from tests.door import Keeper, open_door


async def picky(envelope: Envelope, size: int) -> Reply | None:
    """Refuses large@, and cannot tell about away@ and broken@."""
    name = envelope.recipients[-1].address.partition("@")[0]
    assert size == 99
    if name == "away":
        raise PolicyError("the database is away")
    if name == "broken":
        raise ZeroDivisionError
    return reply.REJECTED_OVERSIZED if name == "large" else None


MAIL = "MAIL FROM:<a@y.example> SIZE=99"
RCPTS = ("bob", "large", "away", "broken", "carol")


@pytest.mark.parametrize("together", [True, False], ids=["pipelined", "one by one"])
async def test_who_is_refused_is_not_served(tmp_path: Path, together: bool, caplog: pytest.LogCaptureFixture) -> None:
    keeper = Keeper()
    lines = [
        "LHLO mx.example",
        "MAIL FROM:<a@y.example> SIZE=99",
        *(f"RCPT TO:<{one}@x.example>" for one in RCPTS),
        "DATA",
    ]
    async with open_door(tmp_path, keeper, service={"admit": picky}) as door, await door.greeted() as client:
        said = await client.say(*lines) if together else [(await client.say(line))[0] for line in lines]
        assert [answer[:9] for answer in said[2:]] == [
            *("250 2.1.5", "552 5.3.4", "451 4.3.5", "451 4.3.0", "250 2.1.5"),
            "354 End d",
        ]
        await client.send(b"x\r\n.\r\n")
        assert len(await client.replies(2)) == 2
        assert (await client.say("NOOP"))[0][:3] == "250"  # no reply too many
    ((envelope, _),) = keeper.taken
    assert [one.address for one in envelope.recipients] == ["bob@x.example", "carol@x.example"]
    assert "the database is away" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_a_message_whose_recipients_are_all_refused_has_none(tmp_path: Path) -> None:
    async with open_door(tmp_path, Keeper(), service={"admit": picky}) as door, await door.greeted() as client:
        said = await client.say("EHLO a", MAIL, "RCPT TO:<large@x.example>", "DATA", "RSET")
        assert [answer[:9] for answer in said[2:]] == ["552 5.3.4", "503 5.5.1", "250 2.0.0"]


async def test_without_a_declared_size_nobody_is_asked(tmp_path: Path) -> None:
    async with open_door(tmp_path, Keeper(), service={"admit": picky}) as door, await door.greeted() as client:
        said = await client.say("EHLO a", "MAIL FROM:<a@y.example>", "RCPT TO:<large@x.example>")
        assert said[2][:9] == "250 2.1.5"
