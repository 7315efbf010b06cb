"""The way out into a real Postfix: what its own log says of the client, what is in the mailbox, what it reports."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from dataclasses import replace
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest

from contentfilter import reply
from contentfilter.delivery_report import failure_report
from contentfilter.envelope import Client, Envelope, Recipient
from contentfilter.message import Message
from contentfilter.next_hop import NextHop, NextHopSettings
from contentfilter.reply import Reply
from demo.neighbours.postfix import Postfix

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Start = Callable[..., Postfix]

HEADER = b"From: alice@example.net\r\nSubject: hi\r\nMessage-ID: <1@example.net>\r\n\r\n"
BOB = Recipient("bob@example.org")
CLIENT = Client("relay.example.net", "192.0.2.7", "4711", "ESMTP", "laptop.example.net", "4ABCdef", "REMOTE")
ENVELOPE = Envelope("alice@example.net", (BOB,), body="8BITMIME", client=CLIENT)


def way_to(port: int) -> NextHop:
    return NextHop(NextHopSettings(f"127.0.0.1:{port}", "filter.example.org"))


async def send(way: NextHop, envelope: Envelope, content: bytes) -> tuple[Reply, ...]:
    async with asyncio.timeout(60):
        return await way.send(envelope, envelope.recipients, lambda: iter((content,)), len(content))


async def send_all(port: int, *messages: tuple[Envelope, bytes]) -> list[tuple[Reply, ...]]:
    """Send them one after the other, over one connection."""
    way = way_to(port)
    answers = [await send(way, envelope, content) for envelope, content in messages]
    await way.close()
    return answers


CLIENTS = {
    r"orig_queue_id=4ABCdef, orig_client=relay\.example\.net\[192\.0\.2\.7\]$": CLIENT,
    r"orig_client=unknown\[2001:db8::7\]$": Client(addr="2001:db8::7"),
    r"orig_client=relay\.example\.net$": Client(name="relay.example.net"),
    r"orig_client=relay\.example\.net\[192\.0\.2\.8\]$": replace(CLIENT, addr="192.0.2.8", source="LOCAL"),
    r"orig_client=relay\.example\.net\[192\.0\.2\.9\]$": replace(CLIENT, addr="192.0.2.9", helo="a b+c=é"),
    # The same connection, and yet nothing of the client before sticks to a message that has none.
    r"client=unknown\[127\.0\.0\.1\]$": Client(),
}
"""The client, and how Postfix's log names it."""


def test_postfix_names_the_client_in_its_log(start_postfix: Start, run: Run) -> None:
    # Without "all" Postfix refuses to hear of IPv6 clients, and of everything else in the same command.
    postfix = start_postfix(settings={"inet_protocols": "all"})
    answers = run(
        send_all(postfix.reinject_port, *[(replace(ENVELOPE, client=client), HEADER) for client in CLIENTS.values()])
    )
    for (answer,) in answers:
        assert answer.code == 250
        assert answer.text.startswith("Ok: queued as ")
    arrivals = postfix.wait_for_log(r"smtpd\[\d+\]: \w+: client=", len(CLIENTS))
    for line, pattern in zip(arrivals, CLIENTS, strict=True):
        assert re.search(pattern, line)
    assert not [line for line in postfix.log_lines() if "warning" in line or "lost connection" in line]


SMUGGLED = b"MAIL FROM:<evil@example.net>\r\nRCPT TO:<carol@example.org>\r\nDATA\r\nSubject: evil\r\n\r\nevil\r\n"
BODIES = {
    "dots": b".\r\n..\r\n.a\r\n\r\n.\r\n",
    "CRs around a dot": b"a\r\n.\r\r\n" + SMUGGLED + b".\r\r\r\n",
    "CR dot CR": b"a\r.\r" + SMUGGLED,
    "8-bit and long lines": b"caf\xe9 \x80\xff\r\n" + b"x" * 10_000 + b"\r\n",
    "large": (b"." * 70 + b"\r\n") * 30_000,
}


def test_the_body_arrives_as_it_is_and_holds_no_second_message(start_postfix: Start, run: Run) -> None:
    postfix = start_postfix()
    run(send_all(postfix.reinject_port, *[(ENVELOPE, HEADER + body) for body in BODIES.values()]))
    arrived = postfix.wait_for_mail("bob@example.org", len(BODIES))
    postfix.wait_until_idle()
    assert len(postfix.mail()) == len(BODIES)
    bodies = {mail.content.partition(b"\n\n")[2] for mail in arrived}
    # Postfix takes every CR before an LF for part of the line end and makes a space of others; its doing, not ours.
    assert bodies == {_as_postfix_reads(body) for body in BODIES.values()}


def _as_postfix_reads(body: bytes) -> bytes:
    return b"\n".join(line.rstrip(b"\r").replace(b"\r", b" ") for line in body.split(b"\n"))


def test_delivery_status_parameters_reach_postfix(start_postfix: Start, run: Run) -> None:
    postfix = start_postfix()
    asked = Recipient("bob@example.org", ("SUCCESS",), "rfc822;Robert+2Bx@example.com")
    silent = Recipient("carol@example.org", ("NEVER",))
    envelope = Envelope("alice@example.org", (asked, silent), ret="HDRS", envid="QQ+2B314")
    (answers,) = run(send_all(postfix.reinject_port, (envelope, HEADER + b"body\r\n")))
    assert all(answer.positive for answer in answers)
    (notice,) = postfix.wait_for_mail("alice@example.org")
    for field in (b"Original-Envelope-Id: QQ+314", b"Original-Recipient: rfc822;Robert+x@example.com"):
        assert field in notice.raw
    assert b"carol" not in notice.raw
    assert b"\nbody\n" not in notice.raw


def test_what_postfix_refuses_for_one_recipient_is_for_that_one(start_postfix: Start, run: Run) -> None:
    postfix = start_postfix()
    envelope = replace(ENVELOPE, recipients=(BOB, Recipient("bob@two..dots"), Recipient('"q u"@example.org')))
    ((good, bad, quoted),) = run(send_all(postfix.reinject_port, (envelope, HEADER)))
    assert (good.code, bad.code, quoted.code) == (250, 501, 250)
    assert bad.enhanced == "5.1.3"
    postfix.wait_for_mail("bob@example.org")


async def _over_an_idle_timeout(postfix: Postfix) -> None:
    way = way_to(postfix.reinject_port)
    assert (await send(way, ENVELOPE, HEADER))[0].positive
    await asyncio.to_thread(postfix.wait_for_log, r"timeout after")
    assert (await send(way, ENVELOPE, HEADER))[0].positive
    await way.close()


def test_a_connection_that_postfix_closed_in_the_meantime_costs_no_deferral(start_postfix: Start, run: Run) -> None:
    postfix = start_postfix(settings={"smtpd_timeout": "1s"})
    run(_over_an_idle_timeout(postfix))
    assert len(postfix.wait_for_mail("bob@example.org", 2)) == 2


def test_not_being_allowed_to_xforward_costs_no_mail(start_postfix: Start, run: Run) -> None:
    postfix = start_postfix()
    # The smtpd in front of the filter takes no XFORWARD from anybody.
    ((answer,),) = run(send_all(postfix.smtp_port, (ENVELOPE, HEADER)))
    assert answer.positive
    postfix.wait_for_mail("bob@example.org")


@pytest.mark.parametrize("sender", ["alice@example.org", "älice@example.org"])
def test_our_delivery_report_arrives(start_postfix: Start, run: Run, sender: str) -> None:
    postfix = start_postfix()
    envelope = replace(ENVELOPE, mail_from=sender, ret="FULL", envid="QQ+2B314", smtputf8=not sender.isascii())
    report = failure_report(
        envelope,
        [(BOB, reply.REJECTED_BANNED)],
        Message(HEADER + b"caf\xe9\r\n"),
        hostname="filter.example.org",
        mail_id="8Zq1",
        with_body=True,
    )
    null_sender = Envelope("", (Recipient(sender),), body="8BITMIME", smtputf8=envelope.smtputf8)
    ((answer,),) = run(send_all(postfix.reinject_port, (null_sender, report)))
    assert answer.positive
    (arrived,) = postfix.wait_for_mail("")
    assert f"\nTo: <{sender}>\n".encode() in arrived.content
    message = message_from_bytes(arrived.content, policy=default)
    assert message.get_content_type() == "multipart/report"
    assert len(list(message.iter_parts())) == 3
    assert b"Final-Recipient: rfc822; bob@example.org\n" in arrived.raw
    assert b"caf\xe9\n" in arrived.raw
