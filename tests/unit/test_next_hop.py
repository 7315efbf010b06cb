"""The way out against a next hop that misbehaves to order: who gets which reply, and what becomes of the connection."""

from __future__ import annotations

import asyncio
import logging
import mmap
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import uvloop

from contentfilter import next_hop, reply
from contentfilter.envelope import Client, Envelope, Recipient
from contentfilter.errors import NextHopError
from contentfilter.mail_data import Content
from contentfilter.message import HeaderEdits, Message
from contentfilter.next_hop import LARGE, NextHop, NextHopSettings
from contentfilter.reply import Reply
from tests.fakes.next_hop import (
    EVERYTHING,
    Close,
    FakeNextHop,
    Hang,
    Hold,
    Raw,
    Say,
    Script,
    Step,
    Trickle,
)

TEXT = b"Subject: hi\r\n\r\nbody\r\n"
A, B, C = (Recipient(f"{name}@example.org") for name in "abc")
ENVELOPE = Envelope("sender@example.com", (A, B, C), client=Client(name="mx.example.com", addr="192.0.2.1"))
QUEUED = Reply(250, "2.0.0", "Ok: queued as FAKE")


def content_of(*pieces: bytes) -> Content:
    return lambda: iter(pieces)


CONTENT = content_of(TEXT)


Connect = Callable[..., NextHop]


both_loops = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
"""Their transports differ in what they keep of the data and in when they notice a loss."""

Run = Callable[[Coroutine[None, None, None]], None]


def way_to(
    hop: FakeNextHop,
    *,
    command_timeout: float = 30,
    data_timeout: float = 30,
    pool_size: int = 8,
    idle_timeout: float = 60,
    max_uses: int = 100,
) -> NextHop:
    """Patience that no test waits for unless it says so."""
    return NextHop(
        NextHopSettings(
            hop.address, "filter.example.org", 30, command_timeout, data_timeout, pool_size, idle_timeout, max_uses
        )
    )


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Make next hops, which are closed at the end."""
    made: list[NextHop] = []

    def make(hop: FakeNextHop, **patience: Any) -> NextHop:
        made.append(way_to(hop, **patience))
        return made[-1]

    yield make
    for way in made:
        await way.close()


async def send(
    way: NextHop, envelope: Envelope = ENVELOPE, content: Content = CONTENT, size: int = len(TEXT)
) -> tuple[Reply, ...]:
    async with asyncio.timeout(20):
        return await way.send(envelope, envelope.recipients, content, size)


# --- every stage, every fault -----------------------------------------------------------------------------------

FAULTS: dict[str, Step] = {
    "4xx": "450 4.7.9 not now",
    "5xx": "550 5.7.9 never",
    "421": Say("421 4.3.9 going down", close=True),
    "disconnect": Close(),
    "reset": Close(reset=True),
    "hang": Hang(),
    "garbage": Raw(b"\x00\xffwhat?\r\n"),
    "absurd code": "999 what",
    "wrong class": "199 hm",
    "half line": Raw(b"250 2.0.0 O", close=True),
    "half line and silence": Raw(b"250 2.0.0 O", hang=True),
    "endless line": Raw(b"2" * 70_000),
    "two replies": Raw(b"250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n"),
    "two replies to DATA": Raw(b"354 go\r\n250 2.0.0 Ok\r\n"),
}
NOT_NOW = Reply(450, "4.7.9", "not now")
NEVER = Reply(550, "5.7.9", "never")
GOING_DOWN = Reply(451, "4.3.9", "going down")  # 421 would say that *we* close
LOST, SILENT, CONFUSED = reply.NEXT_HOP_LOST, reply.NEXT_HOP_UNREACHABLE, reply.NEXT_HOP_CONFUSED

OUTCOMES: dict[str, tuple[Reply, bool]] = {
    "4xx": (NOT_NOW, True),
    "5xx": (NEVER, True),
    "421": (GOING_DOWN, False),
    "disconnect": (LOST, False),
    "reset": (LOST, False),
    "hang": (SILENT, False),
    "garbage": (CONFUSED, False),
    "absurd code": (CONFUSED, False),
    "wrong class": (CONFUSED, False),
    "half line": (LOST, False),
    "half line and silence": (SILENT, False),
    "endless line": (CONFUSED, False),
    "two replies": (CONFUSED, False),
}
"""The reply for the recipients concerned, and whether the connection is used again."""

OK, ALL = True, "all"


@dataclass(frozen=True)
class Case:
    """replies: one per recipient, reused: the next message goes over the same connection."""

    stage: str
    fault: str
    replies: tuple[Reply, Reply, Reply]
    reused: bool


def _cases() -> Iterator[Case]:
    for fault, (answer, reused) in OUTCOMES.items():
        everyone = (answer, answer, answer)
        # Who is refused before MAIL is refused as a client: that says nothing about the message.
        early = SILENT if fault in {"4xx", "5xx", "421"} else answer
        yield Case("greeting", fault, (early, early, early), False)
        yield Case("EHLO", fault, (early, early, early), False)
        # A next hop that will not hear of the client still takes the mail.
        refusal = fault in {"4xx", "5xx"}
        yield Case("XFORWARD", fault, (QUEUED, QUEUED, QUEUED) if refusal else everyone, refusal)
        yield Case("MAIL", fault, everyone, reused)
        for_b = (QUEUED, answer, QUEUED) if refusal else everyone
        yield Case("RCPT:<b@example.org>", fault, for_b, reused)
        yield Case("DATA", fault, everyone, reused)
        yield Case("dot", fault, (QUEUED.saying("Ok"),) * 3 if fault == "two replies" else everyone, reused)
    two = "two replies to DATA"
    yield Case("DATA", two, (CONFUSED, CONFUSED, CONFUSED), False)
    for stage in ("MAIL", "RCPT:<b@example.org>", "dot"):
        yield Case(stage, two, (CONFUSED, CONFUSED, CONFUSED), False)


CASES = list(_cases())


ALONE = tuple(keyword for keyword in EVERYTHING if keyword != "PIPELINING")
"""What a next hop offers that wants one command at a time."""


@both_loops
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.stage}-{case.fault}".replace(" ", "_"))
def test_fault_at_stage(case: Case, run: Run) -> None:
    run(_fault_at_stage(case, EVERYTHING))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.stage}-{case.fault}".replace(" ", "_"))
async def test_fault_at_stage_of_one_command_at_a_time(case: Case) -> None:
    await _fault_at_stage(case, ALONE)


async def _fault_at_stage(case: Case, keywords: tuple[str, ...]) -> None:
    async with FakeNextHop({case.stage: [FAULTS[case.fault]]}, keywords=keywords) as hop:
        silent = case.fault in {"hang", "half line and silence"}
        way = way_to(hop, command_timeout=0.05 if silent else 30, data_timeout=0.05 if silent else 30)
        assert await send(way) == case.replies
        # With so little patience even a good answer may come too late.
        again = way_to(hop) if silent else way
        assert await send(again) == (QUEUED, QUEUED, QUEUED)
        assert hop.delivered[-1].connection == (1 if case.reused else 2)
        await way.close()
        await again.close()


async def test_hanging_connection_is_dropped_and_not_kept(connect: Connect) -> None:
    async with FakeNextHop({"MAIL": Hang()}) as hop:
        way = connect(hop, command_timeout=0.05)
        assert await send(way) == (SILENT, SILENT, SILENT)
        await send(way)
        assert hop.connections == 2


# --- faults in the middle of the message -------------------------------------------------------------------------

BIG = b"Subject: big\r\n\r\n" + b"x" * 78 + b"\r\n"
MEGABYTES = 16


def big() -> Iterator[bytes]:
    """More than any socket buffer holds."""
    yield BIG
    for _ in range(MEGABYTES):
        yield (b"y" * 62 + b"\r\n") * 16_384


MID_BODY: dict[str, tuple[Step, Reply]] = {
    "4xx": (Say("452 4.3.1 disk full", close=True), Reply(452, "4.3.1", "disk full")),
    "5xx": (Say("552 5.3.4 too big", close=True), Reply(552, "5.3.4", "too big")),
    "421": (Say("421 4.3.9 going down", close=True), GOING_DOWN),
    "disconnect": (Close(), LOST),
    "reset": (Close(reset=True), LOST),
    "hang": (Hang(), SILENT),
    "garbage": (Raw(b"\x00\xff?\r\n", close=True), CONFUSED),
    "half line": (Raw(b"250 2.0", close=True), LOST),
    "accepted before its end": (Raw(b"250 2.0.0 Ok\r\n", close=True), CONFUSED),
}


@both_loops
@pytest.mark.parametrize("fault", MID_BODY)
def test_fault_in_the_middle_of_the_message(fault: str, run: Run) -> None:
    run(_fault_in_the_middle(*MID_BODY[fault]))


async def _fault_in_the_middle(step: Step, expected: Reply) -> None:
    async with FakeNextHop({"body": [step]}) as hop:
        way = way_to(hop, data_timeout=0.3 if isinstance(step, Hang) else 30)
        answers = await send(way, content=big)
        assert len(set(answers)) == 1
        # A reset may overtake what was said before it; the words are lost then, the mail is not.
        assert answers[0] in ({expected, LOST} if isinstance(step, (Say, Raw)) else {expected})
        again = way_to(hop)
        assert await send(again) == (QUEUED, QUEUED, QUEUED)
        assert [one.connection for one in hop.delivered] == [2]
        await way.close()
        await again.close()


async def test_early_refusal_is_heard_and_the_rest_never_read_as_commands(connect: Connect) -> None:
    async with FakeNextHop({"body": ["552 5.3.4 too big"]}) as hop:
        way = connect(hop)
        assert set(await send(way, content=big)) == {Reply(552, "5.3.4", "too big")}
        await hop.all_left()
        assert not hop.delivered
        assert b"RSET" not in hop.commands


async def test_content_that_breaks_off_is_not_delivered(connect: Connect) -> None:
    def broken() -> Iterator[bytes]:
        yield TEXT
        raise RuntimeError("no more")

    async with FakeNextHop() as hop:
        way = connect(hop)
        with pytest.raises(RuntimeError, match="no more"):
            await send(way, content=broken)
        await hop.all_left()
        assert not hop.delivered


# --- recipients ---------------------------------------------------------------------------------------------------

REFUSED_A = Reply(550, "5.1.1", "no such user")
REFUSED_B = Reply(452, "4.5.3", "too many recipients")
RECIPIENTS: dict[str, tuple[Script, tuple[Reply, ...]]] = {
    "one refused, one postponed": (
        {"RCPT:<a@example.org>": "550 5.1.1 no such user", "RCPT:<b@example.org>": "452 4.5.3 too many recipients"},
        (REFUSED_A, REFUSED_B, QUEUED),
    ),
    "refused, then the message postponed": (
        {"RCPT:<a@example.org>": "550 5.1.1 no such user", "dot": "451 4.3.0 later"},
        (REFUSED_A, Reply(451, "4.3.0", "later"), Reply(451, "4.3.0", "later")),
    ),
    "refused, then lost": (
        {"RCPT:<a@example.org>": "550 5.1.1 no such user", "RCPT:<c@example.org>": Close()},
        (REFUSED_A, LOST, LOST),
    ),
    "refused, then closing down": (
        {"RCPT:<a@example.org>": "550 5.1.1 no such user", "RCPT:<b@example.org>": "421 4.3.9 going down"},
        (REFUSED_A, GOING_DOWN, GOING_DOWN),
    ),
    "accepted elsewhere": ({"RCPT:<a@example.org>": "251 2.1.5 forwarded"}, (QUEUED, QUEUED, QUEUED)),
}


@pytest.mark.parametrize("name", RECIPIENTS)
async def test_each_recipient_gets_its_own_reply(connect: Connect, name: str) -> None:
    script, expected = RECIPIENTS[name]
    async with FakeNextHop(script) as hop:
        assert await send(connect(hop)) == expected
        for transaction in hop.delivered:
            accepted = [one.address for one, answer in zip((A, B, C), expected, strict=True) if answer.positive]
            assert transaction.rcpt_tos == accepted


@pytest.mark.parametrize("keywords", [EVERYTHING, ALONE])
async def test_all_recipients_refused_sends_no_message_and_keeps_the_connection(
    connect: Connect, keywords: tuple[str, ...]
) -> None:
    async with FakeNextHop({"RCPT": ["550 5.1.1 no"] * 3}, keywords=keywords) as hop:
        way = connect(hop)
        assert await send(way) == (Reply(550, "5.1.1", "no"),) * 3
        assert (b"DATA" in hop.commands) is (keywords is EVERYTHING)  # it went along with the rest, and was refused
        assert hop.commands[-1] == b"RSET"
        assert await send(way) == (QUEUED, QUEUED, QUEUED)
        assert hop.connections == 1


@pytest.mark.parametrize("extra", ["MAIL", "RCPT:<a@example.org>"])
async def test_a_reply_too_many_refuses_nobody(connect: Connect, extra: str) -> None:
    """It shifts the others: the refusal of one would be taken for another's, who would bounce."""
    script: Script = {extra: Raw(b"250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n"), "RCPT:<b@example.org>": "550 5.1.1 no"}
    async with FakeNextHop(script) as hop:
        assert await send(connect(hop)) == (CONFUSED, CONFUSED, CONFUSED)
        await hop.all_left()
        assert not hop.delivered


async def test_an_invitation_without_a_recipient_is_not_followed(connect: Connect) -> None:
    async with FakeNextHop({"RCPT": "550 5.1.1 no", "DATA without recipients": "354 go on"}) as hop:
        assert [answer.code for answer in await send(connect(hop))] == [550] * 3
        await hop.all_left()
        assert not hop.delivered


@pytest.mark.parametrize("step", ["500 5.5.2 what?", Close(), Raw(b"?\r\n")])
async def test_refused_reset_costs_the_connection_not_the_replies(connect: Connect, step: Step) -> None:
    async with FakeNextHop({"MAIL": ["550 5.1.8 bad sender"], "RSET": [step]}) as hop:
        way = connect(hop)
        assert await send(way) == (Reply(550, "5.1.8", "bad sender"),) * 3
        assert await send(way) == (QUEUED, QUEUED, QUEUED)
        assert hop.connections == 2


async def test_no_recipients_no_connection(connect: Connect) -> None:
    async with FakeNextHop() as hop:
        assert await connect(hop).send(ENVELOPE, (), content_of(TEXT), len(TEXT)) == ()
        assert hop.connections == 0


async def test_a_thousand_recipients_in_order(connect: Connect) -> None:
    many = tuple(Recipient(f"r{number}@example.org") for number in range(1000))
    script: Script = {f"RCPT:<r{number}@example.org>": f"550 5.1.1 no {number}" for number in range(0, 1000, 7)}
    async with FakeNextHop(script) as hop:
        answers = await send(connect(hop), replace(ENVELOPE, recipients=many))
        expected = [Reply(550, "5.1.1", f"no {n}") if n % 7 == 0 else QUEUED for n in range(1000)]
        assert list(answers) == expected


# --- what is said -------------------------------------------------------------------------------------------------

FULL = Envelope(
    "Sender+x@Example.COM",
    (
        Recipient("Bob@Example.ORG", ("SUCCESS", "FAILURE"), "rfc822;Bob+2Bx@Example.ORG"),
        Recipient('"a b>\\"<"@example.org', ("NEVER",)),
        Recipient("postmaster"),
    ),
    body="8BITMIME",
    smtputf8=True,
    ret="HDRS",
    envid="QQ+2B314",
)


async def test_parameters_go_on_as_they_came(connect: Connect) -> None:
    async with FakeNextHop() as hop:
        await send(connect(hop), FULL)
        assert hop.delivered[0].mail == (
            b"MAIL FROM:<Sender+x@Example.COM> SIZE=21 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B314"
        )
        assert hop.delivered[0].rcpts == [
            b"RCPT TO:<Bob@Example.ORG> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob+2Bx@Example.ORG",
            b'RCPT TO:<"a b>\\"<"@example.org> NOTIFY=NEVER',
            b"RCPT TO:<postmaster>",
        ]


async def test_nothing_is_used_that_is_not_offered(connect: Connect) -> None:
    client = Client(name="mx.example.com", addr="192.0.2.1")
    async with FakeNextHop(keywords=()) as hop:
        assert await send(connect(hop), replace(FULL, client=client)) == (QUEUED, QUEUED, QUEUED)
        assert hop.commands[1] == b"MAIL FROM:<Sender+x@Example.COM>"
        assert hop.commands[2] == b"RCPT TO:<Bob@Example.ORG>"


async def test_keywords_are_read_without_regard_to_case(connect: Connect) -> None:
    async with FakeNextHop(keywords=("size", "dsn", "xforward addr")) as hop:
        await send(connect(hop), replace(ENVELOPE, ret="FULL"))
        assert hop.delivered[0].mail_parameters == ["SIZE=21", "RET=FULL"]
        assert hop.delivered[0].xforward == {"ADDR": "192.0.2.1"}


@pytest.mark.parametrize(
    "sender", ["", "jörg@exämple.org", '"quoted \\@ part"@example.org', "no-domain", "byte\udcff@example.org"]
)
async def test_sender_goes_out_byte_for_byte(connect: Connect, sender: str) -> None:
    async with FakeNextHop() as hop:
        assert await send(connect(hop), replace(ENVELOPE, mail_from=sender)) == (QUEUED, QUEUED, QUEUED)
        raw = sender.encode("utf-8", "surrogateescape")
        assert hop.delivered[0].mail.startswith(b"MAIL FROM:<" + raw + b">")


@pytest.mark.parametrize("bad", ["x\r\nDATA", "x\0y", "x\x7f", "\ud800"])
async def test_what_cannot_be_a_command_is_refused_and_never_sent(connect: Connect, bad: str) -> None:
    async with FakeNextHop() as hop:
        way = connect(hop)
        mixed = replace(ENVELOPE, recipients=(A, Recipient(bad), C))
        assert await send(way, mixed) == (QUEUED, reply.BAD_RECIPIENT, QUEUED)
        assert await send(way, replace(ENVELOPE, mail_from=bad)) == (reply.BAD_SENDER,) * 3
        assert hop.delivered[0].rcpt_tos == [A.address, C.address]
        assert len(hop.transactions) == 1


UTF8 = replace(ENVELOPE, smtputf8=True)
UTF8_HEADER = content_of("Subject: grüß\r\n\r\nbody\r\n".encode())
UTF8_BODY = content_of(b"Subject: gr", b"uss\r\n\r", b"\n", "größer\r\n".encode())
EIGHT_BIT = replace(ENVELOPE, body="8BITMIME")
EXTENSIONS: dict[str, tuple[str, Envelope, Content, Reply]] = {
    "UTF-8 asked for, not needed": ("SMTPUTF8", UTF8, content_of(TEXT), QUEUED),
    "UTF-8 in the body only": ("SMTPUTF8", UTF8, UTF8_BODY, QUEUED),
    "UTF-8 in the body, no header": ("SMTPUTF8", UTF8, content_of("\r\nö\r\n\r\n".encode()), QUEUED),
    "UTF-8 in the header": ("SMTPUTF8", UTF8, UTF8_HEADER, reply.NEXT_HOP_NO_SMTPUTF8),
    "UTF-8 in a header without end": ("SMTPUTF8", UTF8, content_of("X: ö".encode()), reply.NEXT_HOP_NO_SMTPUTF8),
    "UTF-8 sender": ("SMTPUTF8", replace(UTF8, mail_from="ö@x"), content_of(TEXT), reply.NEXT_HOP_NO_SMTPUTF8),
    "UTF-8 recipient": (
        "SMTPUTF8",
        replace(UTF8, recipients=(A, B, Recipient("ö@x"))),
        content_of(TEXT),
        reply.NEXT_HOP_NO_SMTPUTF8,
    ),
    "UTF-8 nobody asked for": ("SMTPUTF8", ENVELOPE, UTF8_HEADER, QUEUED),
    "8-bit declared, 7-bit in truth": ("8BITMIME", EIGHT_BIT, content_of(TEXT), QUEUED),
    "8-bit": ("8BITMIME", EIGHT_BIT, UTF8_BODY, reply.NEXT_HOP_NO_8BITMIME),
    "8-bit nobody declared": ("8BITMIME", ENVELOPE, UTF8_BODY, QUEUED),
}


@pytest.mark.parametrize("name", EXTENSIONS)
async def test_missing_extension_matters_only_where_it_is_needed(connect: Connect, name: str) -> None:
    missing, envelope, content, expected = EXTENSIONS[name]
    async with FakeNextHop(keywords=[word for word in EVERYTHING if word != missing]) as hop:
        way = connect(hop)
        assert await send(way, envelope, content) == (expected,) * 3
        assert await send(way) == (QUEUED, QUEUED, QUEUED)
        assert hop.connections == 1
    async with FakeNextHop() as complete:
        assert await send(connect(complete), envelope, content) == (QUEUED, QUEUED, QUEUED)


async def test_client_is_told_before_each_message_and_only_if_known(connect: Connect) -> None:
    async with FakeNextHop() as hop:
        way = connect(hop)
        await send(way)
        await send(way, replace(ENVELOPE, client=Client()))
        await send(way, replace(ENVELOPE, client=Client(addr="2001:db8::1", helo="a b")))
        first, second, third = hop.delivered
        assert first.xforward["NAME"] == "mx.example.com"
        assert first.xforward["HELO"] == "[UNAVAILABLE]"
        assert second.xforward == {}
        assert (third.xforward["ADDR"], third.xforward["HELO"]) == ("IPV6:2001:db8::1", "a+20b")


async def test_client_of_a_refused_message_does_not_stick_to_the_next(connect: Connect) -> None:
    async with FakeNextHop({"MAIL": ["550 5.1.8 no"]}) as hop:
        way = connect(hop)
        await send(way)
        await send(way, replace(ENVELOPE, client=Client()))
        assert hop.delivered[0].xforward == {}
        assert hop.delivered[0].connection == 1


async def test_refused_xforward_is_logged_once(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    async with FakeNextHop({"XFORWARD": "550 5.7.0 Error: insufficient authorization"}) as hop:
        way = connect(hop)
        with caplog.at_level(logging.WARNING):
            await send(way)
            await send(way)
    assert [record.getMessage().count("insufficient authorization") for record in caplog.records] == [1]


# --- replies are made harmless ------------------------------------------------------------------------------------


async def test_reply_of_the_peer_is_cut_and_made_printable(connect: Connect) -> None:
    rude = b"550-5.1.1 \xff\x1b[31m\xc3\xb6 " + b"x" * 600 + b"\r\n" + b"550-5.1.1 more\r\n" * 50 + b"550 5.1.1 end\r\n"
    async with FakeNextHop({"RCPT:<a@example.org>": [Raw(rude)]}) as hop:
        answer, *others = await send(connect(hop))
    assert others == [QUEUED, QUEUED]
    assert (answer.code, answer.enhanced) == (550, "5.1.1")
    assert answer.text.isascii()
    assert answer.text.replace("\n", "").isprintable()
    assert "xf6" in answer.text
    assert len(answer.text) <= 500


async def test_several_lines_stay_several_lines(connect: Connect) -> None:
    async with FakeNextHop({"MAIL": "550 5.7.1 first\n550 5.7.1 second"}) as hop:
        assert (await send(connect(hop)))[0] == Reply(550, "5.7.1", "first\nsecond")


async def test_reply_that_comes_a_byte_at_a_time(connect: Connect) -> None:
    async with FakeNextHop({stage: Trickle("250 2.0.0 first\n250 2.0.0 last") for stage in ("MAIL", "dot")}) as hop:
        assert await send(connect(hop)) == (Reply(250, "2.0.0", "first\nlast"),) * 3


# --- connections --------------------------------------------------------------------------------------------------


async def test_connection_is_used_again_until_max_uses(connect: Connect) -> None:
    async with FakeNextHop() as hop:
        way = connect(hop, max_uses=2)
        for _ in range(5):
            await send(way)
        assert [one.connection for one in hop.delivered] == [1, 1, 2, 2, 3]
        assert hop.commands.count(b"QUIT") == 2
        assert b"RSET" not in hop.commands  # a finished transaction leaves nothing behind
        await way.close()
        await hop.all_left()
        assert hop.commands.count(b"QUIT") == 3


async def test_sends_at_the_same_time_use_several_connections_and_the_pool_keeps_some(connect: Connect) -> None:
    holds = [Hold("250 2.0.0 Ok: queued as FAKE") for _ in range(4)]
    async with FakeNextHop({"dot": holds}) as hop:
        way = connect(hop, pool_size=2)
        sending = [asyncio.create_task(send(way)) for _ in holds]
        for hold in holds:
            await hold.reached.wait()
        assert hop.connections == 4
        for hold in holds:
            hold.go.set()
        assert await asyncio.gather(*sending) == [(QUEUED, QUEUED, QUEUED)] * 4
        while hop.open_connections > 2:
            await asyncio.sleep(0)
        await asyncio.gather(send(way), send(way))
        assert hop.connections == 4
        await way.close()
        await hop.all_left()


@pytest.mark.parametrize("unasked", [b"", b"421 4.4.2 timeout exceeded\r\n", b"250 2.0.0 Ok\r\n"])
async def test_idle_connection_that_the_peer_closed_is_not_used(connect: Connect, unasked: bytes) -> None:
    async with FakeNextHop() as hop:
        way = connect(hop)
        await send(way)
        hop.interrupt(unasked)
        await hop.all_left()
        assert await send(way) == (QUEUED, QUEUED, QUEUED)
        assert len(hop.delivered) == 2


async def test_idle_connection_on_which_something_was_said_is_not_used(connect: Connect) -> None:
    async with FakeNextHop({"dot": [Raw(b"250 2.0.0 Ok: queued as FAKE\r\n550 5.0.0 surprise\r\n")]}) as hop:
        way = connect(hop)
        assert await send(way) == (QUEUED, QUEUED, QUEUED)
        await hop.all_left()
        assert await send(way) == (QUEUED, QUEUED, QUEUED)
        assert [one.connection for one in hop.delivered] == [1, 2]


RACES: list[Step] = [Close(), Close(reset=True), Say("421 4.4.2 timeout exceeded", close=True), Raw(b"?\r\n")]


@pytest.mark.parametrize("step", RACES, ids=["close", "reset", "421", "garbage"])
@pytest.mark.parametrize("stage", ["XFORWARD", "MAIL", "RCPT", "DATA"])
async def test_reused_connection_that_dies_early_costs_one_more_try(connect: Connect, stage: str, step: Step) -> None:
    async with FakeNextHop() as hop:
        way = connect(hop)
        await send(way)
        hop.script[stage] = [step]
        assert await send(way) == (QUEUED, QUEUED, QUEUED)
        assert [one.connection for one in hop.delivered] == [1, 2]


async def test_reused_connection_that_dies_later_is_not_tried_again(connect: Connect) -> None:
    async with FakeNextHop() as hop:
        way = connect(hop)
        await send(way)
        hop.script["dot"] = [Close()]
        assert await send(way) == (LOST, LOST, LOST)
        assert hop.connections == 1


async def test_second_try_is_the_last(connect: Connect) -> None:
    async with FakeNextHop() as hop:
        way = connect(hop)
        await send(way)
        hop.script["MAIL"] = Close()
        assert await send(way) == (LOST, LOST, LOST)
        assert hop.connections == 2


async def test_silence_on_a_reused_connection_is_not_waited_for_twice(connect: Connect) -> None:
    async with FakeNextHop() as hop:
        way = connect(hop, command_timeout=0.2)
        await send(way)
        hop.script["MAIL"] = Hang()
        assert await send(way) == (SILENT, SILENT, SILENT)
        assert hop.connections == 1


async def test_idle_connection_is_closed_in_time(connect: Connect) -> None:
    async with FakeNextHop() as hop:
        way = connect(hop, idle_timeout=0.01)
        await send(way)
        async with asyncio.timeout(20):
            await hop.all_left()
        assert hop.commands[-1] == b"QUIT"
        await send(way)
        assert hop.connections == 2


LARGE_TEXT = TEXT + b"x" * LARGE + b"\r\n"


def send_large(way: NextHop) -> Coroutine[None, None, tuple[Reply, ...]]:
    return send(way, content=content_of(LARGE_TEXT), size=len(LARGE_TEXT))


async def test_large_messages_go_one_after_the_other_and_small_ones_do_not_wait_for_them(connect: Connect) -> None:
    hold = Hold("250 2.0.0 Ok: queued as FAKE")
    async with FakeNextHop({"dot": [hold]}) as hop:
        way = connect(hop)
        first = asyncio.create_task(send_large(way))
        await hold.reached.wait()
        second = asyncio.create_task(send_large(way))
        await send(way)
        assert [one.content == TEXT for one in hop.transactions] == [False, True]
        hold.go.set()
        assert await asyncio.gather(first, second) == [(QUEUED, QUEUED, QUEUED)] * 2
        assert [one.content for one in hop.delivered].count(LARGE_TEXT) == 2


async def test_a_large_message_does_not_wait_for_ever_for_one_that_hangs(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(next_hop, "COURTESY", 0.01)
    hold = Hold("250 2.0.0 Ok: queued as FAKE")
    async with FakeNextHop({"dot": [hold]}) as hop:
        way = connect(hop)
        first = asyncio.create_task(send_large(way))
        await hold.reached.wait()
        assert await send_large(way) == (QUEUED, QUEUED, QUEUED)
        assert await send_large(way) == (QUEUED, QUEUED, QUEUED)
        hold.go.set()
        assert await first == (QUEUED, QUEUED, QUEUED)


async def test_a_large_message_that_failed_lets_the_next_one_go(connect: Connect) -> None:
    hold = Hold("250 2.0.0 Ok")
    async with FakeNextHop({"dot": [Close(), hold]}) as hop:
        way = connect(hop)
        assert [one.temporary for one in await send_large(way)] == [True] * 3
        cancelled = asyncio.create_task(send_large(way))
        await hold.reached.wait()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        hold.go.set()
        assert await send_large(way) == (QUEUED, QUEUED, QUEUED)


async def test_cancelled_send_drops_the_connection(connect: Connect) -> None:
    hold = Hold("250 2.0.0 Ok")
    async with FakeNextHop({"dot": [hold]}) as hop:
        way = connect(hop)
        sending = asyncio.create_task(send(way))
        await hold.reached.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        hold.go.set()
        await hop.all_left()
        await send(way)
        assert hop.connections == 2


async def test_connection_in_use_while_closing_is_not_kept(connect: Connect) -> None:
    hold = Hold("250 2.0.0 Ok: queued as FAKE")
    async with FakeNextHop({"dot": [hold]}) as hop:
        way = connect(hop)
        sending = asyncio.create_task(send(way))
        await hold.reached.wait()
        await way.close()
        hold.go.set()
        assert await sending == (QUEUED, QUEUED, QUEUED)
        await hop.all_left()


# --- addresses ----------------------------------------------------------------------------------------------------


async def test_unix_socket(connect: Connect, tmp_path: Path) -> None:
    async with FakeNextHop(path=tmp_path / "hop") as hop:
        assert await send(connect(hop)) == (QUEUED, QUEUED, QUEUED)


UNREACHABLE: dict[str, Callable[[Path], str]] = {
    "nobody listens": lambda _: "127.0.0.1:1",
    "no such socket": lambda path: f"unix:{path}/none",
    "no such name": lambda _: "no-such-host.invalid:25",
    "no IPv6 listener": lambda _: "[::1]:1",
}


@pytest.mark.parametrize("name", UNREACHABLE)
async def test_unreachable(name: str, tmp_path: Path) -> None:
    way = NextHop(NextHopSettings(UNREACHABLE[name](tmp_path), "filter.example.org", connect_timeout=5))
    assert await send(way) == (reply.NEXT_HOP_UNREACHABLE,) * 3
    with pytest.raises(NextHopError):
        await way.capabilities()


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1:", "127.0.0.1:smtp", "", f"{'x' * 70}.invalid:25"])
def test_address_that_is_none(address: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        NextHop(NextHopSettings(address, "filter.example.org"))


async def test_capabilities(connect: Connect) -> None:
    async with FakeNextHop() as hop:
        offered = await connect(hop).capabilities()
        assert offered["XFORWARD"] == "NAME ADDR PORT PROTO HELO IDENT SOURCE"
        assert {"DSN", "SMTPUTF8", "SIZE"} <= offered.keys()
        await hop.all_left()


# --- messages from a file -----------------------------------------------------------------------------------------


def mapped(data: bytes) -> Message:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return Message(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))


EDITS = HeaderEdits(prepend=b"X-Top: yes\r\n")
MAPPED = b"Subject: big\r\n\r\n" + b".y" * 4_000_000 + b"\r\n.\r\r\n.\r\n"


@both_loops
def test_mapped_message_goes_out_whole_and_can_be_closed(run: Run) -> None:
    run(_mapped_message())


async def _mapped_message() -> None:
    message = mapped(MAPPED)
    async with FakeNextHop() as hop:
        way = way_to(hop)
        assert await send(way, content=lambda: message.edited(EDITS)) == (QUEUED, QUEUED, QUEUED)
        message.close()
        assert hop.delivered[0].content == EDITS.prepend + MAPPED
        await way.close()


@both_loops
@pytest.mark.parametrize("step", [Close(), Close(reset=True), Hang(), Say("552 5.3.4 no")])
def test_mapped_message_can_be_closed_after_a_fault(step: Step, run: Run) -> None:
    run(_mapped_message_after(step))


async def _mapped_message_after(step: Step) -> None:
    message = mapped(MAPPED)
    async with FakeNextHop({"body": [step]}) as hop:
        await send(way_to(hop, data_timeout=0.2), content=lambda: message.edited(EDITS))
        message.close()


@both_loops
def test_mapped_message_can_be_closed_after_cancelling(run: Run) -> None:
    run(_mapped_message_cancelled())


async def _mapped_message_cancelled() -> None:
    message = mapped(MAPPED)
    hold = Hold("250 2.0.0 Ok")
    async with FakeNextHop({"body": [hold]}) as hop:
        sending = asyncio.create_task(send(way_to(hop), content=lambda: message.edited(EDITS)))
        await hold.reached.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await sending
        message.close()  # while the traceback still holds every frame
        assert caught.tb is not None
