"""What we give to postmasters, in a real Postfix, with a filter that only passes on what it gets."""

from __future__ import annotations

import smtplib
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller, UnixSocketController
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session, syntax

from demo.neighbours.daemon import free_port
from demo.neighbours.postfix import Postfix, Transport

MESSAGE = b"From: alice@example.net\r\nSubject: hi\r\nMessage-ID: <1@example.net>\r\n\r\n"
LONG_LINE = b"x" * 3000

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:aiosmtpd")


@dataclass
class PassOn:
    """A filter that says 250 once the next hop did; answers: what it says instead, one for each message."""

    reinject_port: int = 0
    adds: bytes = b"X-Seen: yes\r\n"
    answers: list[str] = field(default_factory=list)
    seen: list[tuple[list[str], list[str]]] = field(default_factory=list)

    async def handle_EHLO(
        self, server: Any, session: Session, envelope: Envelope, name: str, replies: list[str]
    ) -> Any:
        session.host_name = name
        session.xforward = []  # type: ignore[attr-defined]  # stock aiosmtpd has no place for it
        return [*replies[:-1], "250-XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE", replies[-1]]

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        self.seen.append((session.xforward, envelope.rcpt_tos))
        if self.answers:
            return self.answers.pop(0)
        with smtplib.SMTP("127.0.0.1", self.reinject_port) as next_hop:
            next_hop.ehlo()
            assert next_hop.has_extn("xforward")
            for attributes in session.xforward:
                assert next_hop.docmd("XFORWARD", attributes)[0] == 250
            assert isinstance(envelope.content, bytes)
            content = self.adds + envelope.content
            next_hop.sendmail(envelope.mail_from or "", envelope.rcpt_tos, content, ["BODY=8BITMIME"])
        return "250 2.0.0 passed on"


class _XForward(SMTP):
    line_length_limit = 100_000

    @syntax("XFORWARD attributes")
    async def smtp_XFORWARD(self, arguments: str) -> None:
        assert self.session is not None
        self.session.xforward.append(arguments)  # type: ignore[attr-defined]  # see handle_EHLO
        await self.push("250 2.0.0 Ok")


class _SmtpDoor(_XForward):
    pass


class _LmtpDoor(_XForward, LMTP):
    pass


def _door(kind: type[_XForward], handler: PassOn) -> Callable[[], _XForward]:
    return lambda: kind(handler, hostname="filter.example.org", data_size_limit=0, decode_data=False)


@dataclass
class Filter:
    port: int
    handler: PassOn


@pytest.fixture(params=list(Transport), ids=lambda transport: transport.value)
def transport(request: pytest.FixtureRequest) -> Transport:
    chosen = request.param
    assert isinstance(chosen, Transport)
    return chosen


@pytest.fixture
def passing_filter(transport: Transport) -> Iterator[Filter]:
    handler = PassOn()
    controller = Controller(handler, hostname="127.0.0.1", port=free_port())
    controller.factory = _door(_LmtpDoor if transport is Transport.LMTP else _SmtpDoor, handler)  # type: ignore[method-assign]
    controller.start()
    yield Filter(controller.port, handler)
    controller.stop()


def send(postfix: Postfix, recipients: list[str], content: bytes, client: str = "192.0.2.7") -> None:
    with smtplib.SMTP("127.0.0.1", postfix.smtp_port) as session:
        session.ehlo("laptop.example.net")
        assert session.docmd("XCLIENT", f"NAME=relay.example.net ADDR={client} PORT=4711")[0] == 220
        session.ehlo("laptop.example.net")
        session.sendmail("alice@example.net", recipients, content, ["BODY=8BITMIME"])


def test_a_message_goes_through_the_filter_and_back(
    start_postfix: Callable[..., Postfix], passing_filter: Filter, transport: Transport
) -> None:
    postfix = start_postfix(filter_port=passing_filter.port, transport=transport)
    passing_filter.handler.reinject_port = postfix.reinject_port
    body = b"caf\xe9 \x80\r\n" + LONG_LINE + b"\r\n..\r\n"
    send(postfix, ["bob@example.org", "carol@example.org"], MESSAGE + body)
    (for_bob,) = postfix.wait_for_mail("bob@example.org")
    postfix.wait_for_mail("carol@example.org")
    assert for_bob.header["X-Seen"] == "yes"
    assert for_bob.content.endswith(b"\n\n" + body.replace(b"\r\n", b"\n"))
    ((xforward, recipients),) = passing_filter.handler.seen
    assert recipients == ["bob@example.org", "carol@example.org"]
    assert "ADDR=192.0.2.7" in " ".join(xforward)
    arrivals = postfix.wait_for_log(r"smtpd\[\d+\]: \w+: client=", 2)
    assert all(
        "client=relay.example.net[192.0.2.7]:4711" in line or "relay.example.net[192.0.2.7]" in line
        for line in arrivals
    )
    assert len(arrivals) == 2


def test_aliases_are_expanded_once_and_after_the_filter(
    start_postfix: Callable[..., Postfix], passing_filter: Filter, transport: Transport
) -> None:
    postfix = start_postfix(
        filter_port=passing_filter.port,
        transport=transport,
        settings={"virtual_alias_maps": "inline:{ {team@example.org=bob@example.org, carol@example.org} }"},
    )
    passing_filter.handler.reinject_port = postfix.reinject_port
    send(postfix, ["team@example.org"], MESSAGE + b"to all\r\n")
    postfix.wait_until_idle()
    assert [recipients for _, recipients in passing_filter.handler.seen] == [["team@example.org"]]
    assert len(postfix.mail()) == 2


def test_a_message_at_the_size_limit_is_not_too_large_with_the_fields_of_the_filter(
    start_postfix: Callable[..., Postfix], passing_filter: Filter, transport: Transport
) -> None:
    limit = 100_000
    postfix = start_postfix(
        filter_port=passing_filter.port, transport=transport, settings={"message_size_limit": str(limit)}
    )
    passing_filter.handler.reinject_port = postfix.reinject_port
    passing_filter.handler.adds = 10 * (b"X-Long: " + b"x" * 900 + b"\r\n")
    line = b"0123456789" * 7 + b"\r\n"
    content = MESSAGE + line * ((limit - 1500) // len(line))
    send(postfix, ["bob@example.org"], content)
    (arrived,) = postfix.wait_for_mail("bob@example.org")
    assert len(arrived.content) > limit


def test_what_the_filter_defers_is_tried_again(
    start_postfix: Callable[..., Postfix], passing_filter: Filter, transport: Transport
) -> None:
    postfix = start_postfix(filter_port=passing_filter.port, transport=transport)
    passing_filter.handler.reinject_port = postfix.reinject_port
    passing_filter.handler.answers = ["451 4.3.5 not now"]
    send(postfix, ["bob@example.org"], MESSAGE + b"later\r\n")
    postfix.wait_for_mail("bob@example.org")
    assert len(postfix.wait_for_log(r"status=deferred .*451 4\.3\.5 not now")) == 1
    assert len(passing_filter.handler.seen) == 2


def test_mail_waits_while_the_filter_is_away(start_postfix: Callable[..., Postfix], transport: Transport) -> None:
    postfix = start_postfix(
        filter_port=free_port(),
        transport=transport,
        settings={f"{transport.value}_fallback_relay": "127.0.0.1:9", "fallback_relay": "127.0.0.1:9"},
    )
    send(postfix, ["bob@example.org"], MESSAGE + b"patience\r\n")
    (line, *_) = postfix.wait_for_log("status=deferred")
    assert "Connection refused" in line
    assert "127.0.0.1:9" not in "\n".join(postfix.log_lines())
    assert [entry["queue_name"] for entry in postfix.queue()] == ["deferred"]
    assert postfix.mail() == []


def test_a_unix_socket_serves_as_well(start_postfix: Callable[..., Postfix], open_directory: Path) -> None:
    handler = PassOn()
    controller = UnixSocketController(handler, unix_socket=str(open_directory / "filter.sock"))
    controller.factory = _door(_LmtpDoor, handler)  # type: ignore[method-assign]
    controller.start()
    (open_directory / "filter.sock").chmod(0o666)
    try:
        postfix = start_postfix(filter_socket=open_directory / "filter.sock")
        handler.reinject_port = postfix.reinject_port
        send(postfix, ["bob@example.org"], MESSAGE + b"local\r\n")
        postfix.wait_for_mail("bob@example.org")
    finally:
        controller.stop()


def test_only_this_host_may_come_in_behind_the_filter(start_postfix: Callable[..., Postfix]) -> None:
    postfix = start_postfix(settings={"smtpd_authorized_xclient_hosts": "127.0.0.0/8"})
    with smtplib.SMTP("127.0.0.1", postfix.reinject_port) as session:
        session.ehlo()
        assert session.docmd("XCLIENT", "ADDR=192.0.2.7")[0] == 220
        session.ehlo()
        session.mail("alice@example.net")
        assert session.rcpt("bob@example.org")[0] == 554


def test_postfix_knows_every_option_that_we_give(start_postfix: Callable[..., Postfix], transport: Transport) -> None:
    postfix = start_postfix(filter_port=free_port(), transport=transport)
    for listing in ("-n", "-M", "-P"):
        command = ["postconf", "-c", str(postfix.directory / "etc"), listing]
        assert subprocess.run(command, check=True, capture_output=True, text=True).stderr == ""
