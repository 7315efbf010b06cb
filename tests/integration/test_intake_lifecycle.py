"""Coming and going: handlers that fail, clients that leave meanwhile, who may come in, timeouts, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import ipaddress
import logging
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
import uvloop

from contentfilter import reply
from contentfilter.envelope import Envelope
from contentfilter.errors import InspectorError
from contentfilter.intake import Capacity, Handler, IntakeSettings, Listener, Service
from contentfilter.intake.listener import is_allowed, peer_address
from contentfilter.intake.smtp import Connection
from contentfilter.intake.wire import Wire
from contentfilter.message import Message
from contentfilter.reply import Reply
from tests.door import PATIENCE, Client, Gate, Keeper, descriptors, open_door
from tests.integration.conftest import Run

ENVELOPE = ("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "RCPT TO:<e@f>", "DATA")
BODY_DIGEST = hashlib.sha256(b"body\r\n").hexdigest()


async def begin(client: Client, hello: str = "LHLO x") -> None:
    """Up to the point where the door waits for the handler."""
    got = await client.say(hello, "XFORWARD IDENT=4A1B", *ENVELOPE)
    assert got[-1].startswith("354")
    await client.send(b"body\r\n.\r\n")


class Unheard:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, tuple[Reply, ...]]] = []
        self.event = asyncio.Event()

    async def __call__(self, envelope: Envelope, digest: str, replies: Sequence[Reply]) -> None:
        self.told.append((envelope.mail_from, digest, tuple(replies)))
        self.event.set()


def failing(error: BaseException) -> Handler:
    async def handler(envelope: Envelope, message: Message) -> Sequence[Reply]:
        raise error

    return handler


def answering(count: int) -> Handler:
    async def handler(envelope: Envelope, message: Message) -> Sequence[Reply]:
        return [reply.OK] * count

    return handler


@pytest.mark.parametrize(
    ("handler", "want", "logged"),
    [
        (failing(InspectorError("clamd is gone")), reply.SCANNER_FAILED, "clamd is gone"),
        (failing(ZeroDivisionError("oops")), reply.INTERNAL, "Traceback"),
        (failing(asyncio.CancelledError()), reply.INTERNAL, "cancelled"),
        (answering(0), reply.INTERNAL, "0 replies where"),
        (answering(5), reply.INTERNAL, "5 replies where"),
    ],
    ids=["filter error", "any error", "cancelled inside", "no reply", "too many replies"],
)
@pytest.mark.parametrize(("hello", "count"), [("EHLO x", 1), ("LHLO x", 2)])
async def test_a_handler_that_fails(
    handler: Handler, want: Reply, logged: str, hello: str, count: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_door(tmp_path, handler) as door, await door.greeted() as client:
        await begin(client, hello)
        assert await client.replies(count) == [str(want)] * count
        assert await client.say("NOOP") == [str(reply.OK)]
    assert logged in caplog.text


async def test_the_message_is_open_for_the_handler_and_closed_after_it(tmp_path: Path) -> None:
    seen: list[Message] = []

    async def handler(envelope: Envelope, message: Message) -> Sequence[Reply]:
        assert bytes(message.buffer) == b"body\r\n"
        seen.append(message)
        return [reply.OK]

    async with open_door(tmp_path, handler, memory_threshold=1) as door, await door.greeted() as client:
        await begin(client, "EHLO x")
        assert await client.reply() == "250 2.0.0 Ok"
        assert await client.say("NOOP") == ["250 2.0.0 Ok"]
        with pytest.raises(ValueError, match="closed"):
            seen[0].buffer[:1]


async def test_a_peers_reply_cannot_break_out_of_its_line(tmp_path: Path) -> None:
    keeper = Keeper({"c@d": Reply(250, "2.0.0", "first\nsecond\r\x1b\u2028 ü")})
    async with open_door(tmp_path, keeper) as door, await door.greeted() as client:
        await begin(client, "EHLO x")
        assert await client.line() == "250-2.0.0 first"
        assert await client.line() == "250 2.0.0 second??? ?"


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("manner", ["reset", "close", "half-close"])
def test_a_client_that_leaves_cancels_no_delivery(
    manner: str, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, run: Run
) -> None:
    caplog.set_level(logging.INFO, "contentfilter")
    run(leave_while_it_is_handled(manner, kind, tmp_path))
    assert caplog.text.count("client may not have heard 250 2.0.0 Ok") == 1
    assert "session failed" not in caplog.text


async def leave_while_it_is_handled(manner: str, kind: str, tmp_path: Path) -> None:
    gate, unheard = Gate(), Unheard()
    async with open_door(tmp_path, gate, service={"unheard": unheard}, patience=PATIENCE) as door:
        client = await door.greeted(kind)
        await begin(client)
        await gate.entered.wait()
        if manner == "reset":
            client.vanish()
        elif manner == "close":
            await client.close()
        else:
            client.writer.write_eof()
        # Another client's whole session: by its end the door has seen this one leave.
        async with await door.greeted(kind) as other:
            await other.say("NOOP", "QUIT")
        gate.opened.set()
        if manner == "half-close":
            assert await client.rest() == b"250 2.0.0 Ok\r\n" * 2
        await asyncio.wait_for(unheard.event.wait(), PATIENCE)
        await client.close()
    assert gate.outcome == ["finished 6"]
    assert unheard.told == [("a@b", BODY_DIGEST, (reply.OK, reply.OK))]


@pytest.mark.parametrize("last", ["QUIT", "NOOP", "what?"])
async def test_a_client_that_has_another_word_has_heard(last: str, tmp_path: Path) -> None:
    unheard = Unheard()
    async with open_door(tmp_path, Keeper(), service={"unheard": unheard}) as door, await door.greeted() as client:
        await begin(client)
        await client.replies(2)
        await client.say(last)
        await client.close()
    assert unheard.told == []


async def test_a_client_without_another_word_may_not_have_heard(tmp_path: Path) -> None:
    unheard = Unheard()
    async with open_door(tmp_path, Keeper(), service={"unheard": unheard}) as door:
        client = await door.greeted()
        await begin(client)
        await client.replies(2)
        client.vanish()
        await asyncio.wait_for(unheard.event.wait(), PATIENCE)
    assert unheard.told == [("a@b", BODY_DIGEST, (reply.OK, reply.OK))]


async def test_an_unheard_hook_that_fails_does_no_harm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(envelope: Envelope, digest: str, replies: Sequence[Reply]) -> None:
        raise OSError("no ledger")

    gate = Gate()
    async with open_door(tmp_path, gate, service={"unheard": broken}) as door:
        async with await door.greeted() as client:
            await begin(client)
            client.writer.write_eof()
            async with await door.greeted() as other:
                await other.say("NOOP", "QUIT")
            gate.opened.set()
            assert await client.rest() == b"250 2.0.0 Ok\r\n" * 2
        async with await door.greeted() as client:
            assert await client.say("QUIT") == [str(reply.GOODBYE)]
    assert "could not note" in caplog.text


async def test_strangers_are_turned_away_and_a_unix_socket_is_not(tmp_path: Path) -> None:
    allow = (ipaddress.ip_network("192.0.2.0/24"),)
    async with open_door(tmp_path, Keeper(), allow=allow) as door:
        async with await door.connect() as client:
            assert await client.rest() == b"554 5.7.1 Access denied\r\n"
        async with await door.greeted("unix") as client:
            assert await client.say("QUIT") == [str(reply.GOODBYE)]


async def test_connections_past_the_limit_are_put_off(tmp_path: Path) -> None:
    async with open_door(tmp_path, Keeper(), max_connections=1) as door:
        async with await door.greeted() as first:
            async with await door.connect() as second:
                assert (await second.rest()).startswith(b"421 4.3.2 ")
            assert await first.say("QUIT") == [str(reply.GOODBYE)]
            await first.rest()
        await door.empty()
        async with await door.greeted() as third:
            assert await third.say("QUIT") == [str(reply.GOODBYE)]


@pytest.mark.parametrize(
    ("lines", "state"), [((), "START"), (("EHLO x",), "READY"), (("EHLO x", "MAIL FROM:<a@b>"), "MAIL")]
)
async def test_a_silent_client_times_out(
    lines: tuple[str, ...], state: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_door(tmp_path, Keeper(), command_timeout=0.2) as door, await door.greeted() as client:
        await client.say(*lines)
        await client.send(b"NOO")
        assert await client.rest() == b"421 4.4.2 Timeout, closing the connection\r\n"
        await door.empty()
    assert caplog.text.count(f"timeout in state {state}") == 1
    assert "left without QUIT" not in caplog.text


async def test_a_message_that_stops_coming_times_out_and_is_dropped(tmp_path: Path) -> None:
    keeper = Keeper()
    async with (
        open_door(tmp_path, keeper, data_timeout=0.2, memory_threshold=1) as door,
        await door.greeted() as client,
    ):
        files = descriptors()
        await client.say("EHLO x", *ENVELOPE)
        await client.send(b"half a message\r\n")
        assert await client.rest() == b"421 4.4.2 Timeout, closing the connection\r\n"
        await door.empty()
        assert descriptors() < files
    assert keeper.taken == []


async def test_no_timeout_while_the_handler_works(tmp_path: Path) -> None:
    gate = Gate()
    async with (
        open_door(tmp_path, gate, command_timeout=0.1, data_timeout=0.1) as door,
        await door.greeted() as worker,
    ):
        await begin(worker)
        async with await door.greeted() as idle:
            assert (await idle.rest()).startswith(b"421 4.4.2 ")
        gate.opened.set()
        assert await worker.replies(2) == ["250 2.0.0 Ok"] * 2


async def test_drain_closes_who_has_sent_no_message_yet_and_finishes_what_runs(tmp_path: Path) -> None:
    gate = Gate()
    async with open_door(tmp_path, gate) as door:
        fresh, idle, sender, ready = [await door.greeted(kind) for kind in ("tcp", "unix", "tcp", "unix")]
        await idle.say("EHLO x")
        await sender.say("LHLO x", "MAIL FROM:<a@b>")
        await ready.say("LHLO x", "MAIL FROM:<a@b>", "RCPT TO:<c@d>")
        talking, working = await door.greeted(), await door.greeted()
        assert (await talking.say("EHLO x", *ENVELOPE))[-1].startswith("354")
        await begin(working)
        await gate.entered.wait()
        draining = asyncio.create_task(door.listener.drain(PATIENCE))
        shutting_down = f"{reply.SHUTTING_DOWN}\r\n".encode()
        for client in (fresh, idle, sender, ready):
            assert await client.rest() == shutting_down
        await asyncio.wait_for(asyncio.gather(*door.serving), PATIENCE)
        await talking.send(b"late\r\n.\r\n")
        assert not draining.done()
        gate.opened.set()
        assert await working.rest() == b"250 2.0.0 Ok\r\n" * 2 + shutting_down
        assert await talking.rest() == b"250 2.0.0 Ok\r\n" + shutting_down
        await asyncio.wait_for(draining, PATIENCE)
        assert door.listener.connections == 0
        for client in (fresh, idle, sender, ready, talking, working):
            await client.close()
    assert gate.outcome == ["finished 6", "finished 6"]


async def test_where_others_take_over_drain_lets_those_who_have_just_come_bring_their_message(tmp_path: Path) -> None:
    keeper = Keeper()
    async with open_door(tmp_path, keeper) as door:
        fresh, sender, done, again = [await door.greeted(kind) for kind in ("tcp", "unix", "tcp", "unix")]
        talking = await door.greeted()
        assert (await talking.say("LHLO x", *ENVELOPE))[-1].startswith("354")
        await sender.say("LHLO x", "MAIL FROM:<a@b>")
        for client in (done, again):
            await begin(client)
            assert await client.replies(2) == ["250 2.0.0 Ok"] * 2
        await again.say("MAIL FROM:<a@b>")
        draining = asyncio.create_task(door.listener.drain(PATIENCE, PATIENCE))
        shutting_down = f"{reply.SHUTTING_DOWN}\r\n".encode()
        # Whoever has had an answer and asks for nothing has nothing to lose.
        assert await done.rest() == shutting_down
        await talking.send(b"body\r\n.\r\n")
        assert await talking.rest() == b"250 2.0.0 Ok\r\n" * 2 + shutting_down
        await fresh.say("LHLO x")
        for client, envelope in ((fresh, ENVELOPE), (sender, ENVELOPE[1:]), (again, ENVELOPE[1:])):
            assert not draining.done()
            assert (await client.say(*envelope))[-1].startswith("354")
            await client.send(b"body\r\n.\r\n")
            assert await client.rest() == b"250 2.0.0 Ok\r\n" * 2 + shutting_down
        await asyncio.wait_for(draining, PATIENCE)
        assert door.listener.connections == 0
        for client in (fresh, sender, done, again, talking):
            await client.close()
    assert len(keeper.taken) == 6


async def test_those_who_have_just_come_and_bring_nothing_are_not_waited_for_long(tmp_path: Path) -> None:
    async with open_door(tmp_path, Keeper()) as door:
        fresh, sender = await door.greeted(), await door.greeted()
        await sender.say("LHLO x", *ENVELOPE[:-1])
        await asyncio.wait_for(door.listener.drain(600.0, 0.05), PATIENCE)
        for client in (fresh, sender):
            assert await client.rest() == f"{reply.SHUTTING_DOWN}\r\n".encode()
            await client.close()


async def test_a_message_that_comes_as_we_hang_up_is_not_taken(tmp_path: Path) -> None:
    keeper, register = Keeper(), set[Connection]()
    settings, wire = IntakeSettings(hostname="x", spool_directory=tmp_path), Wire(100)

    async def serve() -> None:
        await Connection(wire, Service(keeper), settings, register, Capacity()).serve()

    ours, theirs = socket.socketpair()
    await asyncio.get_running_loop().connect_accepted_socket(lambda: wire, ours)
    session = asyncio.create_task(serve())
    client = Client(*await asyncio.open_connection(sock=theirs))
    async with client:
        await client.reply()
        await client.say("LHLO x", *ENVELOPE[:-1])
        (connection,) = register
        wire.data_received(b"DATA\r\nbody\r\n.\r\n")
        connection.drain()
        assert await client.rest() == f"{reply.SHUTTING_DOWN}\r\n".encode()
        await asyncio.wait_for(session, PATIENCE)
    assert not keeper.taken
    assert not register


async def test_drain_cuts_what_needs_longer(tmp_path: Path) -> None:
    gate, unheard = Gate(), Unheard()
    async with open_door(tmp_path, gate, service={"unheard": unheard}) as door:
        working, talking = await door.greeted(), await door.greeted()
        await talking.say("LHLO x", *ENVELOPE)
        await begin(working)
        await gate.entered.wait()
        await asyncio.wait_for(door.listener.drain(0.05), PATIENCE)
        for client in (working, talking):
            assert await client.rest() == f"{reply.SHUTTING_DOWN}\r\n".encode()
            await client.close()
        assert door.listener.connections == 0
    assert gate.outcome == ["cancelled"]
    assert unheard.told == []


async def test_serve_ends_when_cancelled_and_its_clients_stay(tmp_path: Path) -> None:
    listener = Listener(Service(Keeper()), IntakeSettings(hostname="x", spool_directory=tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        serving = asyncio.create_task(listener.serve(sock))
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        assert (await reader.readline()).startswith(b"220 ")
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        writer.write(b"QUIT\r\n")
        assert (await reader.readline()).startswith(b"221 ")
        writer.close()
        await listener.drain(PATIENCE)


class Exhausted(socket.socket):
    """A listening socket whose first accept finds no descriptors left."""

    failures = 1

    def accept(self) -> tuple[socket.socket, object]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_accepting_goes_on_after_descriptors_ran_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener(Service(Keeper()), IntakeSettings(hostname="x", spool_directory=tmp_path))
    with Exhausted() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        serving = asyncio.create_task(listener.serve(sock))
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        assert (await asyncio.wait_for(reader.readline(), PATIENCE)).startswith(b"220 ")
        writer.close()
        await listener.drain(0)
        await serving
    assert caplog.text.count("cannot accept connections") == 1


async def test_one_connection_a_turn_leaves_the_others_to_other_workers(tmp_path: Path) -> None:
    """Two listeners on one socket share a burst that was there before either looked."""
    settings = IntakeSettings(hostname="x", spool_directory=tmp_path)
    workers = [Listener(Service(Keeper()), settings), Listener(Service(Keeper()), settings)]
    with socket.create_server(("127.0.0.1", 0), backlog=50) as sock, sock.dup() as same:
        clients = [await asyncio.open_connection(*sock.getsockname()) for _ in range(20)]
        serving = [asyncio.create_task(w.serve(s)) for w, s in zip(workers, (sock, same), strict=True)]
        for reader, _ in clients:
            await asyncio.wait_for(reader.readline(), PATIENCE)
        assert sorted(w.connections for w in workers) == [10, 10]
        for worker in workers:
            await worker.drain(0)
        await asyncio.gather(*serving)
        for _, writer in clients:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@pytest.mark.parametrize(
    ("family", "address", "want"),
    [
        (socket.AF_INET, ("192.0.2.1", 25), "192.0.2.1"),
        (socket.AF_INET6, ("2001:db8::1", 25, 0, 0), "2001:db8::1"),
        (socket.AF_INET6, ("::ffff:127.0.0.1", 25, 0, 0), "127.0.0.1"),
        (socket.AF_UNIX, "", ""),
        (socket.AF_UNIX, "/run/x", ""),
    ],
)
def test_peer_address(family: int, address: object, want: str) -> None:
    assert peer_address(family, address) == want


@pytest.mark.parametrize(
    ("peer", "want"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("192.0.2.1", False), ("::2", False)]
)
def test_only_loopback_may_come_in_by_default(peer: str, want: bool, tmp_path: Path) -> None:
    assert is_allowed(peer, IntakeSettings(hostname="x", spool_directory=tmp_path).allow) is want


def test_the_same_under_uvloop(tmp_path: Path) -> None:
    """Production's event loop: a transaction, a client that leaves while the handler works, a drain."""

    async def session() -> list[str]:
        gate, unheard = Gate(), Unheard()
        async with open_door(tmp_path, gate, service={"unheard": unheard}, patience=PATIENCE) as door:
            leaving = await door.greeted()
            await begin(leaving)
            await gate.entered.wait()
            leaving.vanish()
            async with await door.greeted("unix") as other:
                await begin(other)
                gate.opened.set()
                assert await other.replies(2) == ["250 2.0.0 Ok"] * 2
                await door.listener.drain(PATIENCE)
                assert await other.rest() == f"{reply.SHUTTING_DOWN}\r\n".encode()
            # The other had no time to say another word after its replies.
            assert len(unheard.told) == 2
        return gate.outcome

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(session()) == ["finished 6", "finished 6"]
