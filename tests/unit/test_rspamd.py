"""What Rspamd is told, and what becomes of answers that are none. The real one is in tests/integration."""

from __future__ import annotations

import asyncio
import json
import mmap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter.envelope import Client, Envelope, Recipient
from contentfilter.errors import InspectorError, NotInspectedError
from contentfilter.finding import Finding, Kind, Test
from contentfilter.inspectors.backends import Resting
from contentfilter.inspectors.rspamd import LONGEST_ANSWER, RspamdInspector
from contentfilter.inspectors.rspamd_answer import Scale
from contentfilter.inspectors.rspamd_request import LONGEST_VALUE, MOST_RECIPIENTS, request_fields
from contentfilter.message import Message
from tests.fakes.scanner import Script, answering, closing_at_once, never_answering, never_reading, scripted_peer
from tests.fakes.subject import subject_of

RAW = b"Subject: hi\r\n\r\nhello\r\n"
BODY = json.dumps({"score": 2.5, "action": "no action", "symbols": {"A": {"score": 2.5}}}).encode()
CLIENT = Client(name="relay.example.net", addr="192.0.2.7", port="4711", helo="laptop", ident="4FzQ")
ENVELOPE = Envelope(
    "from@example.org", (Recipient("to@example.com"), Recipient('"odd one"@example.com')), client=CLIENT
)


def reply(body: bytes = BODY, first: bytes = b"HTTP/1.1 200 OK", length: int | None = None, more: bytes = b"") -> bytes:
    size = len(body) if length is None else length
    return b"%b\r\nConnection: close\r\nContent-Length: %d\r\n%b\r\n%b" % (first, size, more, body)


async def inspect(path: Path, script: Script, timeout: float = 5.0) -> tuple[Finding, ...]:
    async with scripted_peer(path / "rspamd.sock", script) as address:
        return await RspamdInspector(address, timeout=timeout).inspect(subject_of(RAW, envelope=ENVELOPE))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(), id="plain"),
        pytest.param(reply(more=b"X: y\r\n"), id="more fields"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + reply(), id="100 first"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\n" + BODY, id="ends with the connection"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
            id="chunked",
        ),
    ],
)
async def test_score_and_tests(tmp_path: Path, answer: bytes) -> None:
    (finding,) = await inspect(tmp_path, answering(answer))
    assert finding == Finding(Kind.SPAM, "rspamd", "spam score", score=2.5, tests=(Test("A", 2.5),))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(reply(length=len(BODY) + 1), id="a byte short"),
        pytest.param(reply(length=len(BODY) - 1), id="a length that cuts"),
        pytest.param(reply()[:20], id="cut in the header"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\n" + BODY[:-1], id="cut, ends with the connection"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}", id="cut in a chunk"),
        pytest.param(reply(b""), id="no body"),
        pytest.param(reply(b"{}"), id="no score"),
        pytest.param(reply(b'{"error": "timeout"}'), id="an error as an answer"),
        pytest.param(reply(first=b"HTTP/1.1 404 Not Found"), id="not found, and a score"),
        pytest.param(reply(first=b"HTTP/1.1 500 Oops"), id="server error, and a score"),
        pytest.param(reply(first=b"HTTP/1.1 204 No Content"), id="another 2xx"),
        pytest.param(
            reply(first=b"HTTP/1.1 302 Found", more=b"Location: http://evil.example/\r\n"), id="a redirection"
        ),
        pytest.param(reply(first=b"HTTP/1.1 101 Switching Protocols"), id="another protocol to be spoken"),
        pytest.param(reply(first=b"SPAMD/1.1 0 EX_OK"), id="another protocol"),
        pytest.param(reply(first=b"HTTP/1.1 zero OK"), id="status in words"),
        pytest.param(reply(more=b"Content-Length: 3\r\n"), id="two lengths"),
        pytest.param(reply(length=10**30), id="endless length"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 50_000 + b"\r\n" + BODY, id="a long header"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000, id="continue for ever"),
        pytest.param(reply(b" " * LONGEST_ANSWER * 2 + BODY), id="a long body"),
        pytest.param(bytes(range(256)) * 10, id="garbage"),
        pytest.param(b"A" * 10_000_000, id="10 MB without an end"),
    ],
)
async def test_anything_but_a_whole_answer_is_a_failure(tmp_path: Path, answer: bytes) -> None:
    with pytest.raises(InspectorError, match=r"rspamd at unix:"):
        await inspect(tmp_path, answering(answer))


@pytest.mark.parametrize(("status", "in_order"), [(b"413 Too Large", True), (b"503 Unavailable", False)])
async def test_an_error_says_why_and_whether_rspamd_is_in_order(tmp_path: Path, status: bytes, in_order: bool) -> None:
    script = answering(reply(b'{"error": "no, because"}', b"HTTP/1.1 " + status))
    with pytest.raises(InspectorError, match=r"answered with status ... no, because") as caught:
        await inspect(tmp_path, script)
    assert isinstance(caught.value, NotInspectedError) is in_order


async def test_closed_at_once_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(InspectorError):
        await inspect(tmp_path, closing_at_once)


@pytest.mark.parametrize("script", [never_reading, never_answering])
async def test_silence_is_a_failure(tmp_path: Path, script: Script) -> None:
    with pytest.raises(InspectorError, match="in time") as caught:
        await inspect(tmp_path, script, timeout=0.1)
    assert caught.value.timed_out


async def test_dripping_is_a_failure(tmp_path: Path) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(length=10_000)[:-1])
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    with pytest.raises(InspectorError, match="in time"):
        await inspect(tmp_path, drip, timeout=0.2)


async def test_nobody_listening_is_a_failure(tmp_path: Path) -> None:
    inspector = RspamdInspector(f"unix:{tmp_path}/none")
    with pytest.raises(InspectorError):
        await inspector.inspect(subject_of(RAW))
    with pytest.raises(InspectorError):
        await inspector.probe()
    assert not await inspector.answers()


@pytest.mark.parametrize(
    ("answer", "there"),
    [
        (reply(b"pong\r\n"), True),
        (reply(b"pong"), True),
        (reply(b"ping"), False),
        (reply(b"pong\r\n", b"HTTP/1.1 500 Oops"), False),
        (b"pong\r\n", False),
        (b"", False),
    ],
)
async def test_ping_wants_pong(tmp_path: Path, answer: bytes, there: bool) -> None:
    async with scripted_peer(tmp_path / "rspamd.sock", answering(answer)) as address:
        assert await RspamdInspector(address, timeout=5).answers() is there


class Recording:
    """Answers every request and keeps it: its lines, and its body."""

    def __init__(self, failing_user: bytes = b"nobody fails") -> None:
        self.requests: list[tuple[list[bytes], bytes]] = []
        self._failing_user = failing_user
        self.at_once = self.most_at_once = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head[:-4].split(b"\r\n")
        length = next(int(line.partition(b": ")[2]) for line in lines if line.lower().startswith(b"content-length:"))
        self.requests.append((lines, await reader.readexactly(length)))
        writer.write(b"" if self._failing_user in head else reply())
        await writer.drain()
        self.at_once -= 1


async def requests_for(
    path: Path, raw: bytes | mmap.mmap, envelope: Envelope = ENVELOPE, **arguments: object
) -> Recording:
    rspamd = Recording()
    async with scripted_peer(path / "rspamd.sock", rspamd) as address:
        inspector = RspamdInspector(address, hostname="mx.example.com", **arguments)  # type: ignore[arg-type]
        subject = subject_of(b"", envelope=envelope)
        with Message(raw) as message:
            await inspector.inspect(type(subject)("id", envelope, message, subject.tree))
    return rspamd


async def test_what_rspamd_is_told(tmp_path: Path) -> None:
    ((lines, body),) = (await requests_for(tmp_path, RAW)).requests
    assert body == RAW
    assert lines == [
        b"POST /checkv2 HTTP/1.1", b"Host: localhost", b"Connection: close", b"Content-Length: 22",
        b"From: <from@example.org>", b"Rcpt: <to@example.com>", b'Rcpt: <"odd one"@example.com>',
        b"IP: 192.0.2.7", b"Helo: laptop", b"Hostname: relay.example.net", b"Queue-Id: 4FzQ",
        b"MTA-Name: mx.example.com", b"User-Agent: contentfilter",
    ]  # fmt: skip


async def test_a_large_mapped_message_arrives_whole_and_can_be_closed(tmp_path: Path) -> None:
    raw = b"Subject: a\r\n\r\n" + b"0123456789abcdef\r\n" * 100_000
    buffer = mmap.mmap(-1, len(raw))
    buffer[:] = raw
    ((_, body),) = (await requests_for(tmp_path, buffer)).requests
    assert body == raw


@pytest.mark.parametrize(("limit", "size"), [(22, 22), (21, 15), (15, 15), (14, 13), (3, 3)])
async def test_the_tail_is_cut_at_a_line(tmp_path: Path, limit: int, size: int) -> None:
    ((_, body),) = (await requests_for(tmp_path, RAW, size_limit=limit)).requests
    assert body == RAW[:size]


async def test_one_scan_for_each_user_in_order(tmp_path: Path) -> None:
    rspamd = Recording()
    async with scripted_peer(tmp_path / "rspamd.sock", rspamd) as address:
        inspector = RspamdInspector(address, concurrency=2, scale=Scale(adds=True))
        findings = await inspector.inspect(subject_of(RAW, spam_users=("alice", "", "bob", "alice")))
    assert [(finding.user, finding.adds) for finding in findings] == [("alice", True), ("", True), ("bob", True)]
    told = sorted(line for lines, _ in rspamd.requests for line in lines if line.startswith((b"Deliver-To", b"User:")))
    assert told == [b"Deliver-To: alice", b"Deliver-To: bob"]
    assert rspamd.most_at_once <= 2


async def test_the_failure_of_one_user_is_that_users_alone(tmp_path: Path) -> None:
    async with scripted_peer(tmp_path / "rspamd.sock", Recording(b"alice")) as address:
        findings = await RspamdInspector(address).inspect(subject_of(RAW, spam_users=("alice", "")))
    assert [(finding.user, finding.kind) for finding in findings] == [("alice", Kind.FAILURE), ("", Kind.SPAM)]


async def test_the_next_address_is_asked_and_the_first_rests(tmp_path: Path) -> None:
    good = Recording()
    broken = answering(reply(b"{}"))
    async with scripted_peer(tmp_path / "a.sock", broken) as first, scripted_peer(tmp_path / "b.sock", good) as second:
        inspector = RspamdInspector([first, second], resting=Resting(failures=2, rest=1000))
        alone = RspamdInspector(first, resting=Resting(failures=2, rest=1000))
        for _ in range(3):
            (finding,) = await inspector.inspect(subject_of(RAW))
            assert finding.score == 2.5
            with pytest.raises(InspectorError):
                await alone.inspect(subject_of(RAW))
        with pytest.raises(InspectorError, match="rests after 2 failures in a row"):
            await alone.inspect(subject_of(RAW))
    assert len(good.requests) == 3


TEXT = st.text(st.characters(exclude_categories=())).map(lambda text: text.encode("utf-8", "replace").decode())


@given(TEXT, st.lists(TEXT, min_size=1), TEXT, TEXT, TEXT, TEXT, TEXT)
def test_no_value_ends_its_line(
    sender: str, rcpts: list[str], name: str, addr: str, helo: str, ident: str, user: str
) -> None:
    client = Client(name=name, addr=addr, helo=helo, ident=ident)
    fields = request_fields(Envelope(sender, tuple(map(Recipient, rcpts)), client=client), "mx", user)
    for _, value in fields:
        assert 0 < len(value) <= LONGEST_VALUE
        assert value == value.strip()
        assert not set(value) & {*range(0x20), 0x7F}


@pytest.mark.parametrize("evil", ["a@b>\r\nUser: root", "a\nUser: root", "a\rUser: root", "a\0b", "a\x0bUser: root"])
async def test_a_value_from_mail_is_never_another_line(tmp_path: Path, evil: str) -> None:
    client = Client(name=evil, addr=evil, helo=evil, ident=evil)
    envelope = Envelope(evil, (Recipient(evil),), client=client)
    ((lines, _),) = (await requests_for(tmp_path, RAW, envelope)).requests
    names = [line.partition(b":")[0] for line in lines[1:]]
    assert names == [
        b"Host", b"Connection", b"Content-Length", b"From", b"Rcpt", b"Helo", b"Hostname", b"Queue-Id", b"MTA-Name",
        b"User-Agent",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("addr", "told"),
    [
        ("192.0.2.7", b"192.0.2.7"), ("IPv6:2001:db8::1", b"2001:db8::1"), ("2001:DB8::1", b"2001:db8::1"),
        ("localhost", None), ("192.0.2.7/24", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_only_an_address_is_told_as_one(addr: str | None, told: bytes | None) -> None:
    assert dict(request_fields(Envelope("", (), client=Client(addr=addr)), "", "")).get(b"IP") == told


def test_the_null_sender_is_told() -> None:
    assert request_fields(Envelope("", ()), "", "") == [(b"From", b"<>"), (b"User-Agent", b"contentfilter")]


def test_eight_bit_addresses_arrive_as_they_came() -> None:
    odd = b"\xff\xfe@example.org".decode("utf-8", "surrogateescape")
    fields = request_fields(Envelope(odd, (Recipient("jörg@example.org"),)), "", "")
    assert fields[:2] == [(b"From", b"<\xff\xfe@example.org>"), (b"Rcpt", "<jörg@example.org>".encode())]


def test_however_many_recipients_there_are_the_header_stays_below_what_rspamd_reads() -> None:
    envelope = Envelope("s" * 300, tuple(Recipient("r" * 300 + str(number)) for number in range(5000)))
    fields = request_fields(envelope, "h" * 255, "u" * 1000)
    assert sum(name == b"Rcpt" for name, _ in fields) == MOST_RECIPIENTS
    assert sum(len(name) + len(value) + 4 for name, value in fields) < 60_000
    assert MOST_RECIPIENTS * (LONGEST_VALUE + 8) + 10 * LONGEST_VALUE < 80 * 1024
