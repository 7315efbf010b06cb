"""Which reply goes to whom, for whom the message is delivered, reported or kept: the whole table, over both doors.

Rows marked (a) to (e) are what was seen going wrong in amavisd-new 2.13.
"""

from __future__ import annotations

import email
import logging
from dataclasses import dataclass
from pathlib import Path

import pytest

from contentfilter.decision import OnFailure
from contentfilter.errors import InspectorError, QuarantineError
from contentfilter.finding import Finding, Kind
from contentfilter.message import Message
from quarantine.index import Query
from quarantine.record import Record, State
from quarantine.store import Quarantine
from tests.fakes.next_hop import Close, Hang, Raw, Step
from tests.journey import MESSAGE, SCRIPT, Scripted, journey, silent


@dataclass(frozen=True)
class Row:
    """lmtp: a code per recipient, smtp: the one code; delivered, reported, kept: recipients, where the doors differ
    as "over lmtp | over smtp".
    """

    rcpts: str
    lmtp: str
    smtp: str
    delivered: str = ""
    reported: str = ""
    kept: str = ""
    mail_from: str = "sender@y.example"

    def of(self, column: str, door: str) -> set[str]:
        left, _, right = getattr(self, column).partition("|")
        both = "|" not in getattr(self, column)
        return set((left if both or door == "lmtp" else right).split())


ROWS = [
    # One outcome for all.
    Row("pass", "250", "250", delivered="pass"),
    Row("discard", "250", "250", kept="discard"),
    Row("drop", "250", "250"),
    Row("reject", "554", "554"),
    Row("keep", "554", "554", kept="keep"),
    Row("defer", "451", "451"),
    Row("copy", "250", "250", delivered="copy", kept="copy"),
    Row("no", "550", "550"),
    Row("later", "451", "451"),
    Row("reject keep", "554 554", "554", kept="keep"),
    Row("no reject", "550 554", "550"),
    # Pass beside something else.
    Row("pass other", "250 250", "250", delivered="pass other"),
    Row("pass discard", "250 250", "250", delivered="pass", kept="discard"),
    Row("pass reject", "250 554", "250", delivered="pass", reported="|reject"),
    Row("pass no", "250 550", "250", delivered="pass", reported="|no"),
    Row("pass reject no drop", "250 554 550 250", "250", delivered="pass", reported="|reject no"),
    Row("copy reject", "250 554", "250", delivered="copy", kept="copy", reported="|reject"),
    # (a) LMTP: rejected beside withheld: each is told its own truth.
    Row("reject discard", "554 250", "250", kept="discard", reported="|reject"),
    Row("discard reject", "250 554", "250", kept="discard", reported="|reject"),
    # (b) SMTP: no 5xx in addition to a report of ours, and the report names the rejected ones only.
    Row("reject drop", "554 250", "250", reported="|reject"),
    Row("keep drop", "554 250", "250", reported="|keep", kept="keep"),
    # (c) SMTP, two groups, the second 4xx: everybody comes again, and the ledger knows who is served.
    Row("pass other-later", "250 451", "451", delivered="pass"),
    Row("later other", "451 250", "451", delivered="other"),
    Row("pass later", "250 451", "451", delivered="pass"),
    Row("discard later", "250 451", "451", kept="discard"),
    Row("reject later", "554 451", "451"),
    Row("keep later", "554 451", "451", kept="keep|"),
    Row("discard keep later", "250 554 451", "451", kept="discard keep|discard"),
    Row("pass defer", "250 451", "451", delivered="pass"),
    Row("discard defer", "250 451", "451", kept="discard"),
    Row("reject defer", "554 451", "451"),
    Row("pass discard reject no later", "250 250 554 550 451", "451", delivered="pass", kept="discard"),
    # (e) The null sender gets no report; the rejected one is kept instead, never silently gone.
    Row("reject", "554", "554", mail_from=""),
    Row("pass reject", "250 554", "250", delivered="pass", kept="|reject", mail_from=""),
    Row("pass keep", "250 554", "250", delivered="pass", kept="keep", mail_from=""),
    Row("pass no", "250 550", "250", delivered="pass", kept="|no", mail_from=""),
    Row("discard reject", "250 554", "250", kept="discard|discard reject", mail_from=""),
    Row("pass reject:NEVER", "250 554", "250", delivered="pass", kept="|reject", mail_from=""),
    # RFC 3461: who wants no report of failures gets none.
    Row("pass reject:NEVER", "250 554", "250", delivered="pass"),
    Row("pass reject:SUCCESS no:FAILURE", "250 554 550", "250", delivered="pass", reported="|no"),
]


def _rcpts(row: Row) -> list[str]:
    pairs = [word.partition(":") for word in row.rcpts.split()]
    return [f"{name} NOTIFY={notify}" if notify else name for name, _, notify in pairs]


def _reported(reports: list[bytes]) -> set[str]:
    assert len(reports) <= 1, "one report for one message"
    got: set[str] = set()
    for report in reports:
        parsed = email.message_from_bytes(report)
        assert parsed.get_content_type() == "multipart/report"
        for block in parsed.get_payload()[1].get_payload()[1:]:
            got.add(block["Final-Recipient"].partition(";")[2].strip().partition("@")[0])
            assert block["Action"] == "failed"
    return got


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.rcpts}{' from null' if not row.mail_from else ''}")
@pytest.mark.parametrize("door", ["lmtp", "smtp"])
async def test_row(row: Row, door: str, tmp_path: Path) -> None:
    async with journey(tmp_path) as way:
        if door == "lmtp":
            replies = await way.lmtp(*_rcpts(row), mail_from=row.mail_from)
            assert [answer[:3] for answer in replies] == row.lmtp.split()
        else:
            assert (await way.smtp(*_rcpts(row), mail_from=row.mail_from))[:3] == row.smtp
        assert way.delivered() == row.of("delivered", door)
        assert _reported(way.reports()) == row.of("reported", door)
        assert way.kept() == row.of("kept", door)


async def test_a_copy_of_what_was_to_pass_waits_once_the_next_hop_has_refused(tmp_path: Path) -> None:
    async with journey(tmp_path) as way:
        assert (await way.smtp("copy", "copy-no", mail_from=""))[:3] == "250"
        states = {
            (one.recipient.address.partition("@")[0], one.state)
            for summary in way.quarantine.find(Query())
            for one in way.quarantine.read(summary.id).withheld
        }
        assert ("copy-no", State.PENDING) in states
        assert ("copy", State.PENDING) not in states


async def test_the_next_hops_own_reply_is_passed_on(tmp_path: Path) -> None:
    async with journey(tmp_path) as way:
        assert await way.lmtp("pass", "no", "later") == [
            "250 2.0.0 Ok: queued as FAKE",
            "550 5.1.1 no such user",
            "451 4.3.0 not now",
        ]
        assert await way.smtp("pass", "discard") == "250 2.0.0 Ok: queued as FAKE"


async def test_equal_markings_share_a_reinjection(tmp_path: Path) -> None:
    async with journey(tmp_path) as way:
        await way.lmtp("pass", "other", "no", "pass")
        assert [one.rcpt_tos for one in way.hop.transactions] == [
            ["pass@x.example", "pass@x.example"],
            ["other@x.example"],
        ]
        marked, unmarked = (one.content for one in way.hop.transactions)
        assert b"X-Contentfilter-Alert: INFECTED" in marked
        assert b"X-Virus-Scanned: contentfilter at filter.example\r\n" in marked
        # Who has bypassed the virus checks is not told that they were made.
        assert b"X-Virus-Scanned" not in unmarked
        assert b"X-Contentfilter-Alert" not in unmarked


async def test_what_the_next_hop_gets(tmp_path: Path) -> None:
    async with journey(tmp_path, inspectors=[Scripted()]) as way:
        await way.lmtp("pass NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Bob+2Bx@Old.example")
        (one,) = way.hop.delivered
        unknown = dict.fromkeys(("PORT", "PROTO", "HELO", "SOURCE"), "[UNAVAILABLE]")
        assert one.xforward == {"NAME": "mail.y.example", "ADDR": "192.0.2.7", "IDENT": "ABC123"} | unknown
        assert one.rcpt_parameters == [["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;Bob+2Bx@Old.example"]]
        head, _, tail = one.content.partition(b"From: ")
        assert b"From: " + tail == MESSAGE
        lines = head.split(b"\r\n")
        assert lines[0] == b"X-Virus-Scanned: contentfilter at filter.example"
        assert lines[1] == b"Received: from mx.example ([127.0.0.1])"
        assert lines[2].startswith(b"\tby filter.example (contentfilter) with LMTP id ")
        assert lines[3].startswith(b"\tfor <pass@x.example>; ")


@pytest.mark.parametrize("door", ["lmtp", "smtp"])
@pytest.mark.parametrize(
    ("failure", "on_failure", "code", "delivered"),
    [
        (InspectorError("clamd is gone"), OnFailure.DEFER, "451", set()),
        (InspectorError("clamd is gone"), OnFailure.PASS, "250", {"pass"}),
        (RuntimeError("a mistake of ours"), OnFailure.DEFER, "451", set()),
    ],
)
async def test_a_dead_clamd_defers_and_claims_nothing(
    tmp_path: Path, door: str, failure: Exception, on_failure: OnFailure, code: str, delivered: set[str]
) -> None:
    """(d) Never delivered with X-Virus-Scanned."""
    scanner = Scripted(failure=failure)
    async with journey(tmp_path, inspectors=[scanner], on_failure={"clamd": on_failure}) as way:
        answer = (await way.lmtp("pass"))[0] if door == "lmtp" else await way.smtp("pass")
        assert answer[:3] == code
        assert way.delivered() == delivered
        assert all(b"X-Virus-Scanned" not in one.content for one in way.hop.delivered)
        assert scanner.asked


async def test_who_bypasses_the_silent_scanner_is_served(tmp_path: Path) -> None:
    async with journey(tmp_path, inspectors=[silent()]) as way:
        assert [answer[:3] for answer in await way.lmtp("pass", "other")] == ["451", "250"]
        assert way.delivered() == {"other"}


async def test_nobody_asks_a_scanner_that_nobody_wants(tmp_path: Path) -> None:
    scanner = silent()
    async with journey(tmp_path, inspectors=[scanner]) as way:
        assert [answer[:3] for answer in await way.lmtp("other")] == ["250"]
        assert not scanner.asked


STAGES: list[tuple[str, Step, str]] = [
    ("greeting", "421 4.3.2 closing", "4"),
    ("greeting", "554 5.7.1 go away", "4"),
    ("greeting", Close(), "4"),
    ("greeting", Hang(), "4"),
    ("greeting", Raw(b"\x00\xff\r\n"), "4"),
    ("EHLO", Close(), "4"),
    ("EHLO", Hang(), "4"),
    ("MAIL", "451 4.3.0 later", "4"),
    ("MAIL", "550 5.7.1 not you", "5"),
    ("MAIL", Close(), "4"),
    ("MAIL", Hang(), "4"),
    ("RCPT", "452 4.2.2 full", "4"),
    ("RCPT", "550 5.1.1 unknown", "5"),
    ("RCPT", Close(), "4"),
    ("RCPT", Hang(), "4"),
    ("DATA", "451 4.3.0 later", "4"),
    ("DATA", "554 5.7.1 no", "5"),
    ("DATA", Close(), "4"),
    ("DATA", Hang(), "4"),
    ("body", Close(), "4"),
    ("body", Close(reset=True), "4"),
    ("dot", "451 4.3.0 later", "4"),
    ("dot", "554 5.7.1 content refused", "5"),
    ("dot", Close(), "4"),
    ("dot", Hang(), "4"),
    ("dot", Raw(b"what?\r\n"), "4"),
    ("dot", Raw(b"25"), "4"),
]


@pytest.mark.parametrize(("stage", "step", "code"), STAGES)
@pytest.mark.parametrize("door", ["lmtp", "smtp"])
async def test_every_fault_of_the_next_hop(tmp_path: Path, stage: str, step: Step, code: str, door: str) -> None:
    """The withheld one is kept once and for all; in SMTP its 250 has to wait for the others."""
    async with journey(tmp_path, {stage: step}, patience=0.3) as way:
        if door == "lmtp":
            replies = await way.lmtp("pass", "discard")
            assert [answer[0] for answer in replies] == [code, "2"]
            assert way.kept() == {"discard"}
        else:
            answer = await way.smtp("pass", "discard")
            # 5xx for one beside a quarantined one: 250, and a report, which this next hop does not take either.
            assert answer[0] == ("2" if code == "5" else "4")
            assert way.kept() == ({"discard", "pass"} if code == "5" else {"discard"})


async def test_a_report_that_cannot_be_sent_leaves_the_message_in_quarantine(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script = {**SCRIPT, "RCPT:<sender@y.example>": "550 5.1.1 no such user"}
    with caplog.at_level(logging.WARNING, "contentfilter"):
        async with journey(tmp_path, script) as way:
            assert (await way.smtp("pass", "reject"))[:3] == "250"
            assert (way.delivered(), way.kept(), way.reports()) == ({"pass"}, {"reject"}, [])
    assert "without a report" in caplog.text


class FullDisk(Quarantine):
    """A quarantine that cannot keep anything."""

    def keep(self, record: Record, message: Message) -> None:
        raise QuarantineError("No space left on device")


@pytest.mark.parametrize("door", ["lmtp", "smtp"])
async def test_no_250_without_the_copy(tmp_path: Path, door: str) -> None:
    keeper = FullDisk(tmp_path / "q", f"sqlite:///{tmp_path}/i")
    async with journey(tmp_path, keeper=keeper) as way:
        if door == "lmtp":
            replies = await way.lmtp("discard", "pass", "copy", "keep", "drop")
            assert [answer[:3] for answer in replies] == ["452", "250", "452", "452", "250"]
            assert way.delivered() == {"pass"}
        else:
            assert (await way.smtp("discard", "pass", "copy"))[:3] == "451"
            assert way.delivered() == {"pass"}


async def test_no_250_when_a_refusal_can_be_neither_reported_nor_kept(tmp_path: Path) -> None:
    keeper = FullDisk(tmp_path / "q", f"sqlite:///{tmp_path}/i")
    async with journey(tmp_path, keeper=keeper) as way:
        assert (await way.smtp("pass", "reject", mail_from=""))[:3] == "451"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"Received: from a by b; x\r\n" * 100 + MESSAGE, "250"),
        (b"Received: from a by b; x\r\n" * 101 + MESSAGE, "554"),
        (b"Received: from a\r\n\tby filter.example (contentfilter) with LMTP id x; y\r\n" * 2 + MESSAGE, "250"),
        (b"Received: from a\r\n\tby filter.example (contentfilter) with LMTP id x; y\r\n" * 3 + MESSAGE, "554"),
        (b"Received: from a\r\n\tby other.example (contentfilter) with LMTP id x; y\r\n" * 9 + MESSAGE, "250"),
    ],
)
async def test_loops_end(tmp_path: Path, content: bytes, code: str) -> None:
    async with journey(tmp_path, inspectors=[]) as way:
        (answer,) = await way.lmtp("pass", content=content)
        assert answer[:3] == code
        assert (await way.smtp("pass", content=content))[:3] == code


@pytest.mark.parametrize("door", ["lmtp", "smtp"])
async def test_the_log_line(tmp_path: Path, caplog: pytest.LogCaptureFixture, door: str) -> None:
    score = Finding(Kind.SPAM, "spamd", "spam score", score=1.25)
    content = MESSAGE.replace(b"Subject", b"Message-ID: <1@y>\r\nSubject")
    with caplog.at_level(logging.INFO, "contentfilter"):
        async with journey(tmp_path, inspectors=[Scripted("spamd", (score,))]) as way:
            await (way.lmtp if door == "lmtp" else way.smtp)("pass", "other", content=content)
    (line,) = [record.getMessage() for record in caplog.records if " Passed " in record.getMessage()]
    mail_id, _, rest = line.partition(" ")
    assert mail_id[0] + mail_id[-1] == "()"
    rest, _, duration = rest.rpartition(", ")
    assert rest == (
        "Passed CLEAN, [192.0.2.7] <sender@y.example> -> <pass@x.example>,<other@x.example>, Queue-ID: ABC123,"
        f" Message-ID: <1@y>, Hits: 1.25, size: {len(content)}, queued_as: FAKE"
    )
    assert duration.endswith(" ms")
