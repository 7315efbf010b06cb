"""The lines that people grep for, whole."""

from __future__ import annotations

import logging
import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from contentfilter import maillog, reply
from contentfilter.envelope import Client, Envelope, Recipient
from contentfilter.errors import FilterError, QuarantineError
from contentfilter.outcome import Outcome
from contentfilter.reply import Reply
from contentfilter.verdict import Action, Category, Verdict

BOB, CAROL = Recipient("bob@example.org"), Recipient("carol@example.org")
ENVELOPE = Envelope("a@y.example", (BOB, CAROL), client=Client(addr="192.0.2.7", ident="4XyZ"))
FACTS = maillog.Facts("mailid", ENVELOPE, "<1@y>", 1234)
OK = Reply(250, "2.0.0", "Ok: queued as ABC")
PASS = Verdict(Category.CLEAN, Action.PASS)
HEAD = "[192.0.2.7] <a@y.example> -> "
REFUSED = "reply: 554 5.7.0 Refused: the message contains a virus"
TAIL = "Queue-ID: 4XyZ, Message-ID: <1@y>, Hits: 7.25, size: 1234"


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (
            [(BOB, PASS, OK), (CAROL, PASS, OK)],
            [f"Passed CLEAN, {HEAD}<bob@example.org>,<carol@example.org>, {TAIL}, queued_as: ABC, 12 ms"],
        ),
        (
            [
                (BOB, Verdict(Category.SPAMMY, Action.PASS, reasons=("spammy: score 7.25",)), OK),
                (CAROL, Verdict(Category.SPAM, Action.DISCARD, quarantine=True), reply.QUARANTINED),
            ],
            [
                f"Passed SPAMMY, {HEAD}<bob@example.org>, {TAIL}, queued_as: ABC, 12 ms",
                f"Blocked SPAM, {HEAD}<carol@example.org>, quarantine: mailid, {TAIL}, 12 ms",
            ],
        ),
        (
            [
                (
                    BOB,
                    Verdict(Category.VIRUS, Action.REJECT, reasons=("virus: Eicar in part 1.2",)),
                    reply.REJECTED_VIRUS,
                )
            ],
            [
                f"Blocked INFECTED (Eicar in part 1.2), {HEAD}<bob@example.org>, {TAIL}, {REFUSED}, 12 ms",
            ],
        ),
        (
            [(BOB, Verdict(Category.BAD_HEADER, Action.PASS, reasons=("bad_header: 8bit",)), OK)],
            [f"Passed BAD-HEADER (8bit), {HEAD}<bob@example.org>, {TAIL}, queued_as: ABC, 12 ms"],
        ),
        (
            [(BOB, PASS, Reply(451, "4.3.0", "not now"))],
            [f"Deferred CLEAN, {HEAD}<bob@example.org>, {TAIL}, reply: 451 4.3.0 not now, 12 ms"],
        ),
        (
            [(BOB, PASS, Reply(550, "5.1.1", "who?"))],
            [f"Rejected by next hop CLEAN, {HEAD}<bob@example.org>, {TAIL}, reply: 550 5.1.1 who?, 12 ms"],
        ),
        # A copy that could not be kept is not spoken of.
        (
            [(BOB, Verdict(Category.SPAM, Action.DISCARD, quarantine=True), reply.STORAGE_FAILED)],
            [f"Deferred SPAM, {HEAD}<bob@example.org>, {TAIL}, reply: {reply.STORAGE_FAILED}, 12 ms"],
        ),
    ],
)
def test_a_line_for_each_outcome(
    given: list[tuple[Recipient, Verdict, Reply]], lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "contentfilter"):
        maillog.judged(
            FACTS, [Outcome(who, replace(verdict, score=7.25), answer) for who, verdict, answer in given], 12
        )
    assert [record.getMessage() for record in caplog.records] == [f"(mailid) {line}" for line in lines]


def test_many_recipients_go_on_several_lines_and_each_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    recipients = tuple(Recipient(f"user{number:04}@example.org") for number in range(120))
    addresses = [recipient.address for recipient in recipients]
    envelope = Envelope("a@y.example", recipients)
    with caplog.at_level(logging.INFO, "contentfilter"):
        maillog.judged(maillog.Facts("mailid", envelope, "", 9), [Outcome(r, PASS, OK) for r in recipients], 1)
        maillog.undecided("mailid", envelope, QuarantineError("full"))
        maillog.reported("mailid", "a@y.example", addresses)
        maillog.unreported("mailid", addresses, "no", "mailid")
    named = [re.findall(r"<(user\d+@example\.org)>", line) for line in caplog.messages]
    assert [len(some) for some in named] == [50, 50, 20] * 4
    assert [address for some in named for address in some] == addresses * 4
    assert [line.endswith("size: 9, queued_as: ABC, 1 ms") for line in caplog.messages[:3]] == [True] * 3


def test_each_score_has_its_line_and_what_is_only_tried_says_so(caplog: pytest.LogCaptureFixture) -> None:
    spam = Verdict(Category.SPAM, Action.DISCARD, quarantine=True, score=9.0)
    tried = Verdict(Category.SPAM, Action.PASS, score=9.0, shadowed=spam)
    with caplog.at_level(logging.INFO, "contentfilter"):
        maillog.judged(FACTS, [Outcome(BOB, tried, OK), Outcome(CAROL, replace(PASS, score=1.5), OK)], 12)
    first, second = caplog.messages
    assert "Passed SPAM [shadow: Blocked], " in first
    assert "Hits: 9, " in first
    assert "Hits: 1.5, " in second


def test_what_is_not_known_is_not_said(caplog: pytest.LogCaptureFixture) -> None:
    facts = maillog.Facts("mailid", Envelope("", (BOB,)), "", 9)
    with caplog.at_level(logging.INFO, "contentfilter"):
        maillog.judged(facts, [Outcome(BOB, PASS, OK)], 1)
    assert caplog.messages == ["(mailid) Passed CLEAN, <> -> <bob@example.org>, Hits: -, size: 9, queued_as: ABC, 1 ms"]


def test_nothing_from_outside_makes_a_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    evil = "x\r\n(id) Passed CLEAN\x1b[2J\u202e\u2028"
    envelope = Envelope(evil, (Recipient(evil),), client=Client(addr=evil, ident=evil))
    facts = maillog.Facts("mailid", envelope, evil, 9)
    refused = Verdict(Category.VIRUS, Action.PASS, reasons=(f"virus: {evil}",))
    with caplog.at_level(logging.INFO, "contentfilter"):
        maillog.judged(facts, [Outcome(Recipient(evil), refused, Reply(550, "5.0.0", evil))], 1)
        maillog.undecided("mailid", envelope, QuarantineError(evil))
        maillog.inspector_failed("mailid", "clamd", evil)
        maillog.step_failed("mailid", "keeping", QuarantineError(evil))
        maillog.reported("mailid", evil, [evil])
        maillog.unreported("mailid", [evil], evil, "mailid")
    assert len(caplog.messages) == 6
    assert all(line.isprintable() and line.startswith("(mailid) ") for line in caplog.messages)


def test_long_words_are_cut(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "contentfilter"):
        maillog.judged(maillog.Facts("mailid", ENVELOPE, "x" * 10_000, 9), [Outcome(BOB, PASS, OK)], 1)
    assert len(caplog.messages[0]) < 600


def test_who_is_undecided_is_told_with_the_queue_id_and_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    error = QuarantineError("cannot store")
    error.__cause__ = OSError(28, "No space left on device")
    maillog.undecided("mailid", ENVELOPE, error)
    (line,) = caplog.messages
    assert line.startswith(
        f"(mailid) Deferred, {HEAD}<bob@example.org>,<carol@example.org>, Queue-ID: 4XyZ, reply: 452"
    )
    assert line.endswith("cannot store: [Errno 28] No space left on device")


def test_a_cause_that_nobody_foresaw_is_named_and_says_nothing_of_the_message(caplog: pytest.LogCaptureFixture) -> None:
    error = FilterError("unforeseen error: LookupError")
    error.__cause__ = LookupError("unknown encoding: my-secret")
    maillog.undecided("mailid", ENVELOPE, error)
    maillog.step_failed("mailid", "keeping", error)
    assert all(line.endswith(": LookupError") for line in caplog.messages)
    assert "secret" not in caplog.text


@pytest.fixture
def own_handlers() -> object:
    logger = logging.getLogger("contentfilter")
    before = logger.handlers[:], logger.level, logger.propagate
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.mark.usefixtures("own_handlers")
def test_syslog(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "log"))
        daemon.settimeout(10)
        maillog.set_up("syslog", "info", str(tmp_path / "log"))
        maillog.judged(FACTS, [Outcome(BOB, PASS, OK)], 1)
        got = daemon.recv(4096)
        assert got.startswith(b"<22>contentfilter: (mailid) Passed CLEAN, ")  # facility mail, severity info
        maillog.set_up("syslog", "error", str(tmp_path / "log"))
        maillog.judged(FACTS, [Outcome(BOB, PASS, OK)], 1)
        maillog.step_failed("mailid", "keeping", QuarantineError("x"))
        assert daemon.recv(4096).startswith(b"<19>contentfilter: (mailid) keeping failed: x")


@pytest.mark.usefixtures("own_handlers")
def test_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    maillog.set_up("stderr", "info")
    maillog.judged(FACTS, [Outcome(BOB, PASS, OK)], 1)
    assert " (mailid) Passed CLEAN, " in capsys.readouterr().err
