from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from contentfilter.errors import InspectorError, NotInspectedError
from contentfilter.finding import Finding, Kind
from contentfilter.inspectors import clamd as clamd_module
from contentfilter.inspectors.channel import Address
from contentfilter.inspectors.clamd import ClamdInspector
from contentfilter.inspectors.clamd_session import printable
from contentfilter.message import memory_file
from contentfilter.unpack.unpacked import Member, Unpacked
from tests.fakes.scanner import Script, answering, closing_at_once, never_answering, never_reading, scripted_peer
from tests.fakes.subject import subject_of

# With RAW that makes two scans: the message, and its one leaf.
RAW = b"Subject: hi\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8gd29ybGQ=\r\n"
LEAF = b"hello world"


async def inspect(
    path: Path, script: Script, timeout: float = 5.0, leaves: tuple[bytes, ...] = (LEAF,)
) -> tuple[Finding, ...]:
    async with scripted_peer(path / "clamd.ctl", script) as address:
        inspector = ClamdInspector(address, timeout=timeout, cache=0)
        with (subject := subject_of(RAW, leaves)).message:
            return await inspector.inspect(subject)


async def test_two_whole_answers_in_any_order_and_the_end_are_clean(tmp_path: Path) -> None:
    assert await inspect(tmp_path, answering(b"2: fd[9]: OK\x001: fd[8]: OK\0")) == ()


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"1: fd[8]: OK\0", id="only one of two"),
        pytest.param(b"2: fd[9]: OK\0", id="only the other"),
        pytest.param(b"1: fd[8]: OK\x002: fd[9]: OK", id="no NUL at the end"),
        pytest.param(b"1: fd[8]: OK\n2: fd[9]: OK\n", id="newline for NUL"),
        pytest.param(b"1: fd[8]: OK\x001: fd[8]: OK\0", id="one number twice"),
        pytest.param(b"1: fd[8]: OK\x003: fd[9]: OK\0", id="a number never given"),
        pytest.param(b"0: fd[8]: OK\x001: fd[9]: OK\0", id="number zero"),
        pytest.param(b"-1: fd[8]: OK\x002: fd[9]: OK\0", id="a negative number"),
        pytest.param(b"fd[8]: OK\0fd[9]: OK\0", id="no numbers"),
        pytest.param(b"1: fd[8]: OK\x002: fd[9]: OK\x003: fd[9]: OK\0", id="one too many"),
        pytest.param(b"1: fd[8]: OK\x002: fd[9]: OK\0x", id="a byte too many"),
        pytest.param(b"1: fd[8]: ok\x002: fd[9]: OK\0", id="lower case"),
        pytest.param(b"1: fd[8]: OKAY\x002: fd[9]: OK\0", id="longer word"),
        pytest.param(b"1: fd[8]: \x002: fd[9]: OK\0", id="no word"),
        pytest.param(b"1: fd[8]: FOUND\x002: fd[9]: OK\0", id="found without a name"),
        pytest.param(b"1: fd[8]:  FOUND\x002: fd[9]: OK\0", id="found with an empty name"),
        pytest.param(b"1: fd[8]: Can't allocate memory ERROR\x002: fd[9]: OK\0", id="error for one"),
        pytest.param(b"COMMAND READ TIMED OUT\0", id="refusal without number"),
        pytest.param(b"UNKNOWN COMMAND. ERROR\0", id="error without number"),
        pytest.param(b"1: INSTREAM size limit exceeded. ERROR\0", id="size limit"),
        pytest.param(b"220 mail.example.org ESMTP\r\n", id="another protocol"),
        pytest.param(b"\0\0\0\0", id="empty answers"),
        pytest.param(bytes(range(256)) * 100, id="garbage"),
        pytest.param(b"A" * 10_000_000, id="10 MB without an end"),
        pytest.param(b"1: fd[8]: " + b"A" * 10_000_000 + b" FOUND\0", id="10 MB name"),
    ],
)
async def test_anything_but_whole_answers_is_a_failure(tmp_path: Path, reply: bytes) -> None:
    with pytest.raises(InspectorError):
        await inspect(tmp_path, answering(reply))


async def test_closed_at_once_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(InspectorError):
        await inspect(tmp_path, closing_at_once)


@pytest.mark.parametrize("script", [never_reading, never_answering])
async def test_silence_is_a_failure(tmp_path: Path, script: Script) -> None:
    with pytest.raises(InspectorError, match="in time") as caught:
        await inspect(tmp_path, script, timeout=0.1)
    assert caught.value.timed_out


async def test_dying_in_the_middle_is_a_failure(tmp_path: Path) -> None:
    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(b"zIDSESSION\0zFILDES\0x"))
        writer.write(b"1: fd[8]: O")
        await writer.drain()
        writer.transport.abort()

    with pytest.raises(InspectorError):
        await inspect(tmp_path, die)


async def test_hanging_after_all_answers_is_a_failure(tmp_path: Path) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"1: fd[8]: OK\x002: fd[9]: OK\0")
        await asyncio.Event().wait()

    with pytest.raises(InspectorError, match="in time"):
        await inspect(tmp_path, hang, timeout=0.1)


async def test_nobody_listening_is_a_failure(tmp_path: Path) -> None:
    inspector = ClamdInspector(f"unix:{tmp_path}/none")
    with pytest.raises(InspectorError):
        await inspector.inspect(subject_of(RAW))
    with pytest.raises(InspectorError):
        await inspector.ping()


@pytest.mark.parametrize("end", [b"", b"2: fd[9]: lstat() failed ERROR\0", b"garbage\0"])
async def test_a_virus_found_stands_though_another_scan_failed(tmp_path: Path, end: bytes) -> None:
    findings = await inspect(tmp_path, answering(b"1: fd[8]: Win.Test.EICAR_HDB-1 FOUND\0" + end))
    assert findings[:-1] == (Finding(Kind.VIRUS, "clamd", "Win.Test.EICAR_HDB-1", ""),)
    # And nobody may say that all was scanned.
    assert findings[-1].kind is Kind.FAILURE


@pytest.mark.parametrize(
    ("answer", "in_order"),
    [
        # An answer about the message, also where clamd closes on us after it.
        (b"1: INSTREAM size limit exceeded. ERROR\0", True),
        (b"1: fd[8]: lstat() failed ERROR\x002: fd[9]: OK\0", True),
        (b"1: fd[8]: OK\0", False),
        (b"COMMAND READ TIMED OUT ERROR\0", False),
        (b"garbage\0", False),
    ],
)
async def test_a_refusal_is_told_from_a_broken_dialog(tmp_path: Path, answer: bytes, in_order: bool) -> None:
    with pytest.raises(InspectorError) as caught:
        await inspect(tmp_path, answering(answer))
    assert isinstance(caught.value, NotInspectedError) is in_order
    assert not caught.value.timed_out


async def test_unchecked_does_not_hide_that_another_scan_failed(tmp_path: Path) -> None:
    with pytest.raises(InspectorError):
        await inspect(tmp_path, answering(b"1: fd[8]: Heuristics.Encrypted.Zip FOUND\0"))


@pytest.mark.parametrize(
    ("signature", "kind"),
    [
        ("Heuristics.Encrypted.Zip", Kind.UNCHECKED),
        ("Heuristics.Encrypted.PDF", Kind.UNCHECKED),
        ("Heuristics.Limits.Exceeded.MaxFileSize", Kind.UNCHECKED),
        ("Heuristics.Limits.Exceeded", Kind.UNCHECKED),
        ("Heuristics.Phishing.Email.SpoofedDomain", Kind.VIRUS),
        ("Heuristics.EncryptedBySomeone", Kind.VIRUS),
        ("Win.Trojan.Heuristics.Encrypted.Zip", Kind.VIRUS),
    ],
)
async def test_what_clamd_could_not_look_into_is_unchecked(tmp_path: Path, signature: str, kind: Kind) -> None:
    reply = b"1: fd[8]: OK\x002: fd[9]: %b FOUND\0" % signature.encode()
    assert await inspect(tmp_path, answering(reply)) == (Finding(kind, "clamd", signature, "1"),)


async def test_signature_names_are_made_harmless(tmp_path: Path) -> None:
    reply = b"1: fd[8]: Bad\r\nX-Evil: \x1b[31m\xff FOUND\x002: fd[9]: OK\0"
    (finding,) = await inspect(tmp_path, answering(reply))
    assert finding.name == "Bad??X-Evil: ?[31m?"
    assert len(printable(b"A" * 1000)) == 128


async def test_equal_contents_and_next_to_empty_ones_are_not_scanned_again(tmp_path: Path) -> None:
    leaves = (b"", b"12345", LEAF, b"hello_world", LEAF, RAW, b"another")
    reply = b"".join(b"%d: fd[1]: No-%d FOUND\0" % (number, number) for number in range(1, 5))
    findings = await inspect(tmp_path, answering(reply), leaves=leaves)
    assert [(finding.name, finding.part) for finding in findings] == [
        ("No-1", ""),
        ("No-2", "3"),
        ("No-3", "4"),
        ("No-4", "7"),
    ]


async def test_only_eight_scans_are_outstanding(tmp_path: Path) -> None:
    outstanding: list[int] = []

    async def answer_when_full(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received, answered = 0, 0
        await reader.readexactly(len(b"zIDSESSION\0"))
        while await reader.readexactly(1) and (rest := await reader.readuntil(b"\0")) != b"END\0":
            assert rest == b"FILDES\0"
            await reader.readexactly(1)
            received += 1
            outstanding.append(received - answered)
            if received - answered == 8:
                answered += 1
                writer.write(b"%d: fd[1]: OK\0" % answered)
        writer.write(b"".join(b"%d: fd[1]: OK\0" % number for number in range(answered + 1, received + 1)))

    assert await inspect(tmp_path, answer_when_full, leaves=tuple(b"part %d" % number for number in range(20))) == ()
    assert len(outstanding) == 21
    assert max(outstanding) == 8


@pytest.mark.parametrize("reply", [b"", b"PONG", b"PONG\0PONG\0", b"1: PONG\0", b"UNKNOWN COMMAND\0", b"A" * 100_000])
async def test_ping_wants_pong(tmp_path: Path, reply: bytes) -> None:
    async with scripted_peer(tmp_path / "clamd.ctl", answering(reply)) as address:
        with pytest.raises(InspectorError):
            await ClamdInspector(address, timeout=5).ping()


@pytest.mark.parametrize("reply", [b"", b"ClamAV 1.4", b"PONG\0"])
async def test_version_wants_a_version(tmp_path: Path, reply: bytes) -> None:
    async with scripted_peer(tmp_path / "clamd.ctl", answering(reply)) as address:
        with pytest.raises(InspectorError):
            await ClamdInspector(address, timeout=5).version()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/clamav/clamd.ctl", Address(path="/run/clamav/clamd.ctl")),
        ("tcp:127.0.0.1:3310", Address(host="127.0.0.1", port=3310)),
        ("tcp:localhost:783", Address(host="localhost", port=783)),
        ("tcp:[::1]:783", Address(host="::1", port=783)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text", ["", "unix:", "unix:run/x", "/run/x", "tcp:host", "tcp:host:0", "tcp:h:65536", "tcp::1"]
)
def test_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        ClamdInspector(text)


def test_a_large_member_is_digested_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clamd_module, "_PIECE", 7)
    content = b"a content of thirty-one letters"
    file = memory_file(content)
    member = Member("1/1", "1", (), "", "", (), "", len(content), file, file, 0)
    with Unpacked((member,), files=(file,)) as opened:
        monkeypatch.setattr(Member, "content", lambda _: pytest.fail("it is not taken into memory"))
        *_, item = clamd_module._items(replace(subject_of(b"raw message"), opened=opened), all_digests=True)
    assert item.digest == hashlib.sha256(content).digest()


@pytest.mark.parametrize("all_digests", [False, True])
def test_members_are_scanned_once_each_by_descriptor_where_they_have_one(all_digests: bool) -> None:
    file = memory_file(b"large content, small content, large content")

    def member(path: str, offset: int, size: int, *, own: bool = False) -> Member:
        return Member(path, "1", (), "", "", (), "", size, file if own else None, file, offset)

    members = (member("1/1", 0, 43, own=True), member("1/2", 15, 13), member("1/3", 30, 13), member("1/4", 15, 13))
    listed = Member("1/5", "1", ("x",), "", "", (), "encrypted", 0)
    with Unpacked((*members, listed), files=(file,)) as opened:
        subject = replace(subject_of(b"raw message", [b"a leaf, decoded"]), opened=opened)
        items = list(clamd_module._items(subject, all_digests=all_digests))
        digests = [hashlib.sha256(item.content()).digest() for item in items]
        if all_digests:
            assert [item.digest for item in items] == digests
        else:
            # Only what may equal another.
            assert [item.digest for item in items] == [b"", b"", b"", *digests[3:]]
        assert [item.path for item in items] == ["", "1", "1/1", "1/2", "1/3"]
        assert [bytes(item.content()) for item in items[2:]] == [
            b"large content, small content, large content",
            b"small content",
            b"large content",
        ]
        assert [item.descriptor() for item in items[1:]] == [None, file, None, None]
