"""A message full of what drives terminals, in every place for strangers: logs and commands stay harmless."""

from __future__ import annotations

import asyncio
import errno
import logging
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.exc import StatementError

from contentfilter import maillog
from contentfilter.errors import QuarantineError
from contentfilter.printable import told
from demo.neighbours.filter import Filter
from tests.door import Client
from tests.fakes.next_hop import FakeNextHop

HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\x85\u202e\u2066\u200b\u200d\u2028\u2029\ufeff\U000e0041\x7f\x08\x00end"
"""Escape sequences, C1 controls, bidirectional overrides, invisible characters, line ends of Unicode, NUL."""
ENVELOPE = "".join(c for c in HOSTILE if c > "\x9f")
"""What an address of SMTPUTF8 may hold."""
SECRET = "the-secret-of-the-body"


def unsafe(output: bytes) -> list[str]:
    """What is no printable character in an output, and no line end or tab."""
    text = output.decode("utf-8", "surrogateescape")
    bad = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    return [f"U+{ord(c):04X}" for c in text if c not in "\n\t" and unicodedata.category(c) in bad]


def message() -> bytes:
    text = HOSTILE.replace("\x00", "")
    name = f"{text}.exe"
    return (
        f"From: {HOSTILE} <a@y.example>\r\nTo: {HOSTILE}\r\nSubject: {HOSTILE}\r\nMessage-ID: <{HOSTILE}@y>\r\n"
        f"{text}: odd\r\nDate: {HOSTILE}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        f"--b\r\nContent-Type: text/plain; charset={text}\r\n\r\n{SECRET} {HOSTILE}\r\n"
        f'--b\r\nContent-Type: application/octet-stream; name="{name}"\r\nContent-Transfer-Encoding: {text}\r\n'
        f'Content-Disposition: attachment; filename="{name}"\r\n\r\nMZ{SECRET}\r\n--b--\r\n'
    ).encode()


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[tuple[Filter, FakeNextHop]]:
    script = {f"RCPT:<fine{ENVELOPE}@fine.example>": f"550 5.1.1 {HOSTILE}"}
    async with FakeNextHop(script) as hop:
        settings = {
            "workers": 1,
            "clamav": {"enabled": False},
            "spamassassin": {"enabled": False},
            "policy": {
                "default": {"banned_action": "discard", "banned_quarantine": True},
                "@fine.example": {"banned_action": "pass", "banned_quarantine": False},
            },
        }
        service = Filter(tmp_path / "filter", next_hop_port=int(hop.address.rpartition(":")[2]), settings=settings)
        await asyncio.to_thread(service.start)
        yield service, hop
        await asyncio.to_thread(service.stop)


async def test_nothing_from_a_message_drives_a_terminal_or_a_log(running: tuple[Filter, FakeNextHop]) -> None:
    service, _hop = running
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    async with Client(reader, writer) as client:
        await client.reply()
        await client.say(f"LHLO {HOSTILE}".replace("\x00", ""), "LHLO mx.example")
        helo = "".join(f"+{byte:02X}" for byte in HOSTILE.encode())
        answers = await client.say(
            f"XFORWARD NAME={helo} ADDR=192.0.2.7 HELO={helo} IDENT={helo}",
            f"MAIL FROM:<a{HOSTILE}@y.example> SMTPUTF8",
            f"VRFY {HOSTILE}",
            f"MAIL FROM:<a{ENVELOPE}@y.example> SMTPUTF8",
            f"RCPT TO:<bob{ENVELOPE}@example.org>",
            f"RCPT TO:<fine{ENVELOPE}@fine.example>",
            "DATA",
        )
        assert [answer[0] for answer in answers[3:]] == ["2", "2", "2", "3"], answers
        await client.send(message() + b"\r\n.\r\n")
        kept, _passed = await client.replies(2)
        assert kept.startswith("250"), kept
    (item,) = await asyncio.to_thread(service.quarantined)
    assert ENVELOPE in item["mail_from"]
    saved = service.directory / "message.eml"
    saved.write_bytes(message())
    for module, *arguments in (
        ("quarantine", "list"),
        ("quarantine", "list", "--json"),
        ("quarantine", "show", item["id"]),
        ("quarantine", "show", "--text", item["id"]),
        ("contentfilter", "explain", item["id"]),
        ("contentfilter", "replay"),
        ("contentfilter", "check", str(saved), "--mail-from", f"a{ENVELOPE}@y.example"),
        ("contentfilter", "policy", "get", f"fine{ENVELOPE}@fine.example", "--explain"),
        ("quarantine", "release", item["id"]),
        ("quarantine", "delete", "--yes", item["id"]),
    ):
        done = await asyncio.to_thread(service.command, module, *arguments)
        assert "Traceback" not in done.stderr, (arguments, done.stderr)
        assert done.returncode in (0, 69, 75), (arguments, done.returncode, done.stderr)
        assert unsafe(done.stdout.encode("utf-8", "surrogateescape")) == [], arguments
        assert unsafe(done.stderr.encode("utf-8", "surrogateescape")) == [], arguments
    assert await asyncio.to_thread(service.stop) == 0
    log = service.log.read_bytes()
    assert item["id"].encode() in log
    assert b"fine" in log
    assert unsafe(log) == []
    assert SECRET.encode() not in log


@pytest.mark.parametrize("what", ["plain", "argument", "error"])
def test_every_line_of_the_log_is_made_harmless(what: str, capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("contentfilter")
    before = logger.handlers[:], logger.propagate, logger.level, logging.lastResort, logging.raiseExceptions
    try:
        maillog.set_up("stderr", "info")
        if what == "plain":
            logger.info(HOSTILE + "\nE 1 (forged) Passed CLEAN")
        elif what == "argument":
            logger.getChild("unpack").warning("%s", HOSTILE)
        else:
            try:
                int(f"{SECRET} {HOSTILE}")
            except ValueError:
                maillog.unforeseen("k7hw2mzqv9tq4c8xn", "parsing")
    finally:
        logger.handlers[:], logger.propagate = before[0], before[1]
        logger.setLevel(before[2])
        logging.lastResort, logging.raiseExceptions = before[3], before[4]
    shown = capfd.readouterr().err
    assert shown.count("\n") == 1
    assert unsafe(shown.encode()) == []
    if what == "error":
        assert SECRET not in shown
        assert "ValueError" in shown
        assert "test_hostile_text.py:" in shown


@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"bad {SECRET!r}"),
        KeyError(SECRET),
        ValueError(f"in {SECRET.encode()!r}"),
        ValueError(f'cut off "{SECRET}'),
        UnicodeDecodeError("utf-8", f"\xff{SECRET}".encode("latin-1"), 0, 1, "invalid start byte"),
        LookupError(f"unknown encoding: {SECRET}"),
        OSError(f"cannot read {SECRET}"),
        OSError(errno.ENOENT, "No such file or directory", SECRET),
        StatementError("bad", f"INSERT {SECRET}", (SECRET,), ValueError(SECRET)),
        TypeError(f"not {SECRET!r}"),
        Exception(SECRET),
        ExceptionGroup(SECRET, [ValueError(SECRET)]),
    ],
    ids=repr,
)
def test_what_an_exception_quotes_is_not_told(error: Exception) -> None:
    try:
        try:
            raise error  # noqa: TRY301
        except Exception as first:
            raise RuntimeError("second") from first
    except RuntimeError as second:
        line = told(second)
    assert SECRET not in line
    assert type(error).__name__ in line
    assert line.count("test_hostile_text.py:") == 2


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (AttributeError("'NoneType' object has no attribute 'x'"), "object has no attribute"),
        (QuarantineError("cannot store item"), "cannot store item"),
        (StatementError("bad", "INSERT", (), ValueError()), "sqlalchemy.exc.StatementError at "),
    ],
    ids=repr,
)
def test_what_the_system_the_interpreter_and_we_say_is_told(error: Exception, text: str) -> None:
    assert text in told(error)


def test_an_exception_is_a_line_of_bounded_length_however_much_it_says() -> None:
    error: Exception = QuarantineError("x" * 100_000)
    for _ in range(50):
        after = TypeError("y" * 100_000)
        after.__cause__ = error
        error = after
    assert len(told(error)) < 2000
