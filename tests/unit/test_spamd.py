from __future__ import annotations

import asyncio
import contextlib
import mmap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contentfilter.envelope import Envelope, Recipient
from contentfilter.errors import InspectorError, NotInspectedError
from contentfilter.finding import Finding, Kind, Test
from contentfilter.inspectors.backends import Resting
from contentfilter.inspectors.per_user import MOST_USERS
from contentfilter.inspectors.spam_status import SpamStatus, parse_spam_status
from contentfilter.inspectors.spamd import SpamdInspector
from contentfilter.inspectors.spamd_input import scanner_input
from contentfilter.inspectors.spamd_protocol import is_whole, parse
from contentfilter.message import Message
from tests.fakes.scanner import Script, answering, closing_at_once, never_answering, never_reading, scripted_peer
from tests.fakes.subject import subject_of

RAW = b"Subject: hi\r\n\r\nhello\r\n"
STATUS = b"X-Spam-Status: No, score=2.5 required=5.0 tests=A=1.5,B_2=1 autolearn=ham autolearn_force=no\r\n"
ENVELOPE = Envelope("from@example.org", (Recipient("to@example.com"), Recipient('"odd one"@example.com')))
ENVELOPE_FIELDS = (
    b"Return-Path: <from@example.org>\r\nX-Envelope-From: <from@example.org>\r\n"
    b'X-Envelope-To: <to@example.com>,\r\n <"odd one"@example.com>\r\n'
)


def reply(
    spam: bytes = b"Spam: False ; 2.5 / 5.0\r\n", body: bytes = STATUS, first: bytes = b"SPAMD/1.1 0 EX_OK"
) -> bytes:
    return b"%b\r\nContent-length: %d\r\n%b\r\n%b" % (first, len(body), spam, body)


async def inspect(path: Path, script: Script, timeout: float = 5.0) -> tuple[Finding, ...]:
    async with scripted_peer(path / "spamd.sock", script) as address:
        return await SpamdInspector(address, timeout=timeout).inspect(subject_of(RAW, envelope=ENVELOPE))


async def test_score_tests_and_autolearn(tmp_path: Path) -> None:
    (finding,) = await inspect(tmp_path, answering(reply()))
    assert finding == Finding(
        Kind.SPAM, "spamd", "spam score", score=2.5, tests=(Test("A", 1.5), Test("B_2", 1.0)), autolearn="ham"
    )


async def test_a_score_is_enough(tmp_path: Path) -> None:
    (finding,) = await inspect(tmp_path, answering(reply(body=b"Subject: hi\r\n\r\n")))
    assert (finding.score, finding.tests, finding.autolearn) == (2.5, (), "no")


async def test_a_status_with_another_score_is_not_of_this_scan(tmp_path: Path) -> None:
    (finding,) = await inspect(tmp_path, answering(reply(spam=b"Spam: True ; 7.5 / 5.0\r\n")))
    assert (finding.score, finding.tests, finding.autolearn) == (7.5, (), "no")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(reply()[:-1], id="a byte short"),
        pytest.param(reply() + b"x", id="a byte too many"),
        pytest.param(reply()[:20], id="cut in the header"),
        pytest.param(b"SPAMD/1.1 0 EX_OK\r\n\r\n", id="status only"),
        pytest.param(reply(spam=b""), id="no Spam header"),
        pytest.param(reply(spam=b"Spam: False\r\n"), id="no score"),
        pytest.param(reply(spam=b"Spam: Maybe ; 1.0 / 5.0\r\n"), id="neither true nor false"),
        pytest.param(reply(spam=b"Spam: False ; nan / 5.0\r\n"), id="score not a number"),
        pytest.param(reply(spam=b"Spam: False ; inf / 5.0\r\n"), id="infinite score"),
        pytest.param(reply(spam=b"Spam: False ; 1.0 / nan\r\n"), id="threshold not a number"),
        pytest.param(reply(spam=b"Spam: False ; x / y\r\n"), id="words for numbers"),
        pytest.param(reply(spam=b"Sp\xe4m: False ; 1.0 / 5.0\r\n"), id="8-bit header name"),
        pytest.param(reply(spam=b"Spam: False ; \xff / 5.0\r\n"), id="8-bit score"),
        pytest.param(reply(first=b"SPAMD/1.1 75 EX_TEMPFAIL"), id="temporary failure"),
        pytest.param(reply(first=b"SPAMD/1.1 79 EX_TIMEOUT"), id="timeout of spamd"),
        pytest.param(reply(first=b"SPAMD/1.1 67 EX_NOUSER"), id="no such user"),
        pytest.param(reply(first=b"SPAMD/1.1 999 EX_UNKNOWN"), id="unknown error"),
        pytest.param(reply(first=b"HTTP/1.1 200 OK"), id="another protocol"),
        pytest.param(reply(first=b"SPAMD/1.1 zero EX_OK"), id="status in words"),
        pytest.param(bytes(range(256)) * 10, id="garbage"),
        pytest.param(b"A" * 10_000_000, id="10 MB without an end"),
    ],
)
async def test_anything_but_a_whole_answer_is_a_failure(tmp_path: Path, answer: bytes) -> None:
    with pytest.raises(InspectorError):
        await inspect(tmp_path, answering(answer))


async def test_an_endless_reply_is_given_up(tmp_path: Path) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SPAMD/1.1 0 EX_OK\r\n")
        while True:
            writer.write(b"a: b\r\n" * 10_000)
            await writer.drain()

    with pytest.raises(InspectorError, match="too long"):
        await inspect(tmp_path, endless)


async def test_a_long_protocol_header_is_not_parsed(tmp_path: Path) -> None:
    with pytest.raises(InspectorError, match="header is too long"):
        await inspect(tmp_path, answering(b"SPAMD/1.1 0 EX_OK\r\n" + b"a: b\r\n" * 10_000))


async def test_a_whole_reply_is_taken_though_the_connection_stays(tmp_path: Path) -> None:
    """As spamd keeps it: until it has tidied up."""

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in (reply()[:30], reply()[30:90], reply()[90:]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        await asyncio.Event().wait()

    (finding,) = await inspect(tmp_path, keep)
    assert (finding.score, finding.autolearn) == (2.5, "ham")


def test_a_reply_is_whole_at_its_last_byte_and_not_before() -> None:
    assert [is_whole(reply()[:length]) for length in range(len(reply()))] == [False] * len(reply())
    assert is_whole(reply())
    assert not is_whole(b"SPAMD/1.5 0 PONG\r\n\r\n"), "who gives no length ends with the connection"


@given(st.binary())
def test_any_reply_is_parsed_or_refused(received: bytes) -> None:
    for answer in (received, b"SPAMD/1.1 0 EX_OK\r\n" + received, reply(spam=b"Spam: " + received + b"\r\n")):
        with contextlib.suppress(InspectorError):
            is_whole(answer)
        with contextlib.suppress(InspectorError):
            parse(answer)


async def test_closed_at_once_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(InspectorError):
        await inspect(tmp_path, closing_at_once)


@pytest.mark.parametrize("script", [never_reading, never_answering])
async def test_silence_is_a_failure(tmp_path: Path, script: Script) -> None:
    with pytest.raises(InspectorError, match="in time"):
        await inspect(tmp_path, script, timeout=0.1)


async def test_dying_in_the_middle_is_a_failure(tmp_path: Path) -> None:
    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(reply()[:30])
        await writer.drain()
        writer.transport.abort()

    with pytest.raises(InspectorError):
        await inspect(tmp_path, die)


async def test_nobody_listening_is_a_failure(tmp_path: Path) -> None:
    inspector = SpamdInspector(f"unix:{tmp_path}/none")
    with pytest.raises(InspectorError):
        await inspector.inspect(subject_of(RAW))
    with pytest.raises(InspectorError):
        await inspector.ping()


async def test_ping(tmp_path: Path) -> None:
    async with scripted_peer(tmp_path / "spamd.sock", answering(b"SPAMD/1.5 0 PONG\r\n")) as address:
        await SpamdInspector(address, timeout=5).ping()


@pytest.mark.parametrize("answer", [b"", b"SPAMD/1.5 0 PING\r\n", b"SPAMD/1.5 75 PONG\r\n", b"PONG\r\n"])
async def test_ping_wants_pong(tmp_path: Path, answer: bytes) -> None:
    async with scripted_peer(tmp_path / "spamd.sock", answering(answer)) as address:
        with pytest.raises(InspectorError):
            await SpamdInspector(address, timeout=5).ping()


class RecordingSpamd:
    """Answers every request and keeps it."""

    def __init__(self, failing_user: bytes = b"nobody fails") -> None:
        self.requests: list[bytes] = []
        self._failing_user = failing_user
        self.at_once = self.most_at_once = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        request = await reader.read()
        self.requests.append(request)
        writer.write(b"" if self._failing_user in request else reply())
        await writer.drain()
        self.at_once -= 1


async def test_one_scan_for_each_user_in_order(tmp_path: Path) -> None:
    spamd = RecordingSpamd()
    async with scripted_peer(tmp_path / "spamd.sock", spamd) as address:
        inspector = SpamdInspector(address, user="filter", concurrency=2)
        findings = await inspector.inspect(subject_of(RAW, spam_users=("alice", "", "bob", "alice")))
    assert [finding.user for finding in findings] == ["alice", "", "bob"]
    users = sorted(request.partition(b"User: ")[2].partition(b"\r\n")[0] for request in spamd.requests)
    assert users == [b"alice", b"bob", b"filter"]
    assert spamd.most_at_once <= 2


async def test_no_user_is_sent_where_none_is_configured(tmp_path: Path) -> None:
    spamd = RecordingSpamd()
    async with scripted_peer(tmp_path / "spamd.sock", spamd) as address:
        await SpamdInspector(address).inspect(subject_of(RAW))
    assert b"User:" not in spamd.requests[0]


def outcomes(findings: tuple[Finding, ...]) -> list[tuple[str, Kind, float]]:
    return [(finding.user, finding.kind, finding.score) for finding in findings]


async def test_the_failure_of_one_user_is_that_users_alone(tmp_path: Path) -> None:
    async with scripted_peer(tmp_path / "spamd.sock", RecordingSpamd(b"User: bob")) as address:
        findings = await SpamdInspector(address).inspect(
            subject_of(RAW, spam_users=("alice", "bob", "al ice", "carol"))
        )
    assert outcomes(findings) == [
        ("alice", Kind.SPAM, 2.5),
        ("bob", Kind.FAILURE, 0.0),
        ("al ice", Kind.FAILURE, 0.0),
        ("carol", Kind.SPAM, 2.5),
    ]
    assert all(finding.inspector == "spamd" for finding in findings)
    assert "cannot be the name" in findings[2].name


async def test_scores_that_came_in_time_are_kept(tmp_path: Path) -> None:
    """One at a time: the first is answered, the second never is, the third never gets its turn."""

    async def answer_alice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"User: alice" not in await reader.read():
            await asyncio.Event().wait()
        writer.write(reply())
        await writer.drain()

    async with scripted_peer(tmp_path / "spamd.sock", answer_alice) as address:
        inspector = SpamdInspector(address, timeout=1.0, concurrency=1)
        findings = await inspector.inspect(subject_of(RAW, spam_users=("alice", "bob", "carol")))
    assert outcomes(findings) == [
        ("alice", Kind.SPAM, 2.5),
        ("bob", Kind.FAILURE, 0.0),
        ("carol", Kind.FAILURE, 0.0),
    ]
    assert all(finding.name.endswith("did not answer in time") for finding in findings[1:])


async def test_when_no_user_has_a_score_the_inspector_failed(tmp_path: Path) -> None:
    users = ("alice", "bob", *(f"user{number}" for number in range(MOST_USERS)))
    with pytest.raises(InspectorError, match="without a score"):
        async with scripted_peer(tmp_path / "spamd.sock", answering(reply(spam=b""))) as address:
            await SpamdInspector(address).inspect(subject_of(RAW, spam_users=users))


async def test_users_beyond_the_limit_are_not_scanned_but_the_configured_one_always_is(tmp_path: Path) -> None:
    users = (*(f"user{number}" for number in range(MOST_USERS + 1)), "")
    spamd = RecordingSpamd()
    async with scripted_peer(tmp_path / "spamd.sock", spamd) as address:
        findings = await SpamdInspector(address).inspect(subject_of(RAW, spam_users=users))
    assert len(spamd.requests) == MOST_USERS
    assert [finding.user for finding in findings] == list(users)
    unscanned = [finding for finding in findings if finding.kind is Kind.FAILURE]
    assert [finding.user for finding in unscanned] == [f"user{MOST_USERS - 1}", f"user{MOST_USERS}"]
    assert all("too many users" in finding.name for finding in unscanned)


async def test_a_second_spamd_gives_the_scores_that_the_first_did_not(tmp_path: Path) -> None:
    first, second = RecordingSpamd(b"User: bob"), RecordingSpamd()
    async with scripted_peer(tmp_path / "1.sock", first) as one, scripted_peer(tmp_path / "2.sock", second) as two:
        inspector = SpamdInspector([one, two], resting=Resting(failures=1))
        for _ in range(2):
            findings = await inspector.inspect(subject_of(RAW, spam_users=("alice", "bob", "al ice")))
    assert [kind for _, kind, _ in outcomes(findings)] == [Kind.SPAM, Kind.SPAM, Kind.FAILURE]
    assert len(first.requests) == 4, "it does answer, for alice: no reason to let it rest"
    assert [b"User: bob" in request for request in second.requests] == [True, True]


async def test_a_second_spamd_is_asked_where_the_first_hangs(tmp_path: Path) -> None:
    spamd = RecordingSpamd()
    async with (
        scripted_peer(tmp_path / "1.sock", never_answering) as one,
        scripted_peer(tmp_path / "2.sock", spamd) as two,
    ):
        inspector = SpamdInspector([one, two], timeout=0.2, resting=Resting(failures=1, probe=0.01))
        findings = await inspector.inspect(subject_of(RAW, spam_users=("alice", "bob")))
        assert [kind for _, kind, _ in outcomes(findings)] == [Kind.SPAM, Kind.SPAM]
        assert not await SpamdInspector(one, resting=Resting(probe=0.01)).answers()
    assert len(spamd.requests) == 2


@pytest.mark.parametrize("users", [("alice",), tuple(f"user{number}" for number in range(20))])
async def test_a_message_is_one_failure_however_many_its_users(tmp_path: Path, users: tuple[str, ...]) -> None:
    """Or a single message, that is too much for spamd, would take it away from all others."""
    subject = subject_of(RAW, spam_users=users)
    async with scripted_peer(tmp_path / "spamd.sock", answering(b"")) as address:
        inspector = SpamdInspector(address, resting=Resting(failures=3))
        for _ in range(3):
            with pytest.raises(InspectorError) as caught:
                await inspector.inspect(subject)
            assert "rests" not in str(caught.value)
        with pytest.raises(InspectorError, match="rests after 3 failures in a row"):
            await inspector.inspect(subject)


async def test_an_error_code_is_an_answer(tmp_path: Path) -> None:
    script = answering(reply(first=b"SPAMD/1.1 67 EX_NOUSER"))
    async with scripted_peer(tmp_path / "spamd.sock", script) as address:
        inspector = SpamdInspector(address, resting=Resting(failures=1))
        for _ in range(3):
            with pytest.raises(NotInspectedError, match=r"spamd at unix:.*67 EX_NOUSER"):
                await inspector.inspect(subject_of(RAW))


async def test_a_timeout_is_told_from_other_failures(tmp_path: Path) -> None:
    for script, timed_out in ((never_answering, True), (closing_at_once, False)):
        with pytest.raises(InspectorError) as caught:
            await inspect(tmp_path, script, timeout=0.1)
        assert caught.value.timed_out is timed_out


@pytest.mark.parametrize("user", ["al\r\nice", "al ice", "al\0ice", "älice"])
async def test_a_user_cannot_become_another_header(tmp_path: Path, user: str) -> None:
    async with scripted_peer(tmp_path / "spamd.sock", answering(reply())) as address:
        with pytest.raises(InspectorError, match="cannot be the name"):
            await SpamdInspector(address).inspect(subject_of(RAW, spam_users=(user,)))


def test_the_envelope_goes_before_the_message() -> None:
    assert scanner_input(Message(RAW), ENVELOPE, 1000) == ENVELOPE_FIELDS + RAW
    null_sender = scanner_input(Message(RAW), Envelope("", (Recipient("to@example.com"),)), 1000)
    assert null_sender.startswith(
        b"Return-Path: <>\r\nX-Envelope-From: <>\r\nX-Envelope-To: <to@example.com>\r\nSubject"
    )


def test_an_address_cannot_become_another_field() -> None:
    sent = scanner_input(Message(RAW), Envelope("a\r\nX-Spam: b\x7f\0", ()), 1000)
    assert sent.startswith(b"Return-Path: <a??X-Spam: b??>\r\nX-Envelope-From: <a??X-Spam: b??>\r\n")


@pytest.mark.parametrize(
    ("header", "left"),
    [
        (b"Return-Path: <evil@example.net>\r\nSubject: a\r\n", b"Subject: a\r\n"),
        (b"Subject: a\r\nX-Envelope-From: evil\r\n\tfolded\r\n more\r\nTo: b\r\n", b"Subject: a\r\nTo: b\r\n"),
        (b"Subject: a\r\nENVELOPE-sender : evil\r\nX-Envelope-To: evil\r\nTo: b\r\n", b"Subject: a\r\nTo: b\r\n"),
        (b"X-My-Return-Path: a\r\nSubject: Return-Path: b\r\n", b"X-My-Return-Path: a\r\nSubject: Return-Path: b\r\n"),
        (b"Subject: a\r\n Return-Path: folded, no field\r\n", b"Subject: a\r\n Return-Path: folded, no field\r\n"),
    ],
)
def test_foreign_copies_of_envelope_fields_are_left_out(header: bytes, left: bytes) -> None:
    body = b"\r\nReturn-Path: in the body\r\n"
    assert scanner_input(Message(header + body), ENVELOPE, 1000) == ENVELOPE_FIELDS + left + body


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        (1000, b"A: b\r\n\r\none\r\ntwo\r\n"),
        (18, b"A: b\r\n\r\none\r\ntwo\r\n"),
        (17, b"A: b\r\n\r\none\r\n"),
        (13, b"A: b\r\n\r\none\r\n"),
        (12, b"A: b\r\n\r\n"),
        (7, b"A: b\r\n"),
        (3, b"A: "),
    ],
)
def test_the_tail_is_cut_at_a_line(limit: int, kept: bytes) -> None:
    raw = b"A: b\r\n\r\none\r\ntwo\r\n"
    assert scanner_input(Message(raw), ENVELOPE, limit) == ENVELOPE_FIELDS + kept


def test_a_mapped_message_can_be_closed_afterwards() -> None:
    buffer = mmap.mmap(-1, len(RAW))
    buffer[:] = RAW
    with Message(buffer) as message:
        assert scanner_input(message, ENVELOPE, 1000).endswith(RAW)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"", SpamStatus()),
        (b"Subject: X-Spam-Status: No, score=1\r\n", SpamStatus()),
        (b"X-Spam-Status: No, score=-1.2 tests=none autolearn=unavailable\n", SpamStatus(-1.2, (), "unavailable")),
        (b"X-Spam-Status: Yes, score=3 tests=A,B\r\n", SpamStatus(3.0, (Test("A"), Test("B")))),
        (
            b"X-Spam-Status: Yes, score=3 tests=[A=1, B=2] autolearn=spam",
            SpamStatus(3.0, (Test("A", 1), Test("B", 2)), "spam"),
        ),
        (
            b"X-Spam-Status: Yes, score=3 tests=A=1,\r\n\tB=-2.5,\r\n\tC=0.001 autolearn=disabled\r\n\tx=y\r\n",
            SpamStatus(3.0, (Test("A", 1), Test("B", -2.5), Test("C", 0.001)), "disabled"),
        ),
        (b"X-Spam-Status: No, score=1 tests= autolearn=ham", SpamStatus(1.0, (), "ham")),
        (b"X-Spam-Status: No, score=nan tests=A=nan,B=x autolearn=no", SpamStatus(None, (Test("A"), Test("B")))),
        (b"Subject: a\nX-Spam-Status: No, score=1\nX-Spam-Status: Yes, score=2 tests=EVIL\n", SpamStatus(1.0)),
    ],
)
def test_spam_status(header: bytes, status: SpamStatus) -> None:
    assert parse_spam_status(header) == status


@given(st.binary())
def test_any_spam_status_parses(value: bytes) -> None:
    parse_spam_status(b"X-Spam-Status: " + value)


@given(st.lists(st.tuples(st.from_regex(r"[A-Z_0-9]{1,20}", fullmatch=True), st.integers(-9999, 9999))))
def test_every_test_comes_back_however_it_is_folded(hits: list[tuple[str, int]]) -> None:
    tests = [Test(name, score / 1000) for name, score in hits]
    text = ",\n\t".join(f"{test.name}={test.score}" for test in tests) or "none"
    status = parse_spam_status(f"X-Spam-Status: No, score=1.0\n\ttests={text} autolearn=no\n".encode())
    assert status.tests == tuple(tests)
