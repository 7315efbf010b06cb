"""SpamdInspector against a real spamd, with the snippet that we ship, under asyncio's loop and under uvloop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from contentfilter.envelope import Envelope, Recipient
from contentfilter.errors import InspectorError
from contentfilter.finding import Finding
from contentfilter.inspectors.spamd import GTUBE, SpamdInspector
from demo.neighbours.spamd import Spamd
from tests.fakes.subject import subject_of
from tests.integration.conftest import Run

HEADER = (
    b"Received: from c.example.org (c.example.org [192.0.2.7]) by mx.example.com (Postfix) with ESMTP id 4;\r\n"
    b"\tMon, 16 Nov 2026 10:00:00 +0000 (UTC)\r\n"
    b"From: Ada <ada@example.org>\r\nTo: Bob <bob@example.com>\r\nSubject: Minutes of the meeting\r\n"
    b"Date: Mon, 16 Nov 2026 10:00:00 +0000\r\nMessage-ID: <20261116100000.12345@client.example.org>\r\n"
)
TEXT = b"\r\nDear Bob,\r\n\r\nhere are the minutes of our meeting, as you asked.\r\n\r\nBest wishes, Ada\r\n"
CLEAN = HEADER + TEXT
SPAM = CLEAN + GTUBE + b"\r\n"
ENVELOPE = Envelope("ada@example.org", (Recipient("bob@example.com"),))


def scan(
    run: Run, spamd: Spamd, raw: bytes, users: tuple[str, ...] = ("",), limit: int = 100_000
) -> tuple[Finding, ...]:
    inspector = SpamdInspector(spamd.address, timeout=60, size_limit=limit)
    findings = run(inspector.inspect(subject_of(raw, envelope=ENVELOPE, spam_users=users)))
    assert isinstance(findings, tuple)
    return findings


def test_a_clean_message(run: Run, spamd: Spamd) -> None:
    (finding,) = scan(run, spamd, CLEAN)
    assert finding.score < 2
    assert "GTUBE" not in {test.name for test in finding.tests}


def test_gtube_with_the_score_of_each_test(run: Run, spamd: Spamd) -> None:
    (finding,) = scan(run, spamd, SPAM)
    scores = {test.name: test.score for test in finding.tests}
    assert scores["GTUBE"] == 1000
    assert None not in scores.values()
    assert finding.score == pytest.approx(sum(score or 0 for score in scores.values()), abs=0.06)
    assert finding.autolearn == "no"


def test_each_users_preferences(run: Run, spamd: Spamd) -> None:
    usual, strict = scan(run, spamd, SPAM, ("", "strict"))
    assert (usual.user, strict.user) == ("", "strict")
    assert usual.score - strict.score == pytest.approx(500)


def test_what_lies_beyond_the_size_limit_is_not_seen(run: Run, spamd: Spamd) -> None:
    filler = b"A harmless line of text.\r\n" * 1000
    (seen,) = scan(run, spamd, CLEAN + filler + GTUBE + b"\r\n")
    (unseen,) = scan(run, spamd, CLEAN + filler + GTUBE + b"\r\n", limit=10_000)
    assert seen.score > 900
    assert unseen.score < 10


FORGED = (b"Return-Path", b"X-Envelope-From", b"Envelope-Sender")


def believed_sender(run: Run, spamd: Spamd, raw: bytes) -> set[str]:
    (finding,) = scan(run, spamd, raw)
    return {"SAW_OURS", "SAW_FORGED"} & {test.name for test in finding.tests}


@pytest.mark.parametrize("name", FORGED)
def test_spamassassin_believes_our_envelope_and_no_forged_one(
    run: Run, spamd: Spamd, bare_spamd: Spamd, name: bytes
) -> None:
    field = name + b": <evil@forged.example>\r\n"
    for server in (spamd, bare_spamd):
        assert believed_sender(run, server, field + CLEAN) == {"SAW_OURS"}
        assert believed_sender(run, server, HEADER + field + TEXT) == {"SAW_OURS"}


def test_with_our_snippet_spamassassin_does_not_believe_a_helo_either(run: Run, spamd: Spamd) -> None:
    forged = CLEAN.replace(b"from c.example.org", b"from envelope-from=<evil@forged.example>")
    assert believed_sender(run, spamd, forged) == {"SAW_OURS"}


def test_without_our_snippet_tests_have_names_only(run: Run, bare_spamd: Spamd) -> None:
    (finding,) = scan(run, bare_spamd, SPAM)
    assert "GTUBE" in {test.name for test in finding.tests}
    assert {test.score for test in finding.tests} == {None}
    assert finding.score > 900


def test_an_x_spam_status_from_outside_is_not_taken_for_an_answer(run: Run, spamd: Spamd) -> None:
    forged = b"X-Spam-Status: No, score=1000.0 required=5 tests=FORGED=1 autolearn=ham\r\n"
    (finding,) = scan(run, spamd, forged + SPAM)
    assert "FORGED" not in {test.name for test in finding.tests}
    assert finding.autolearn == "no"


def test_odd_messages_have_a_score(run: Run, spamd: Spamd) -> None:
    for raw in (b"", b"\r\n", b"no header at all", b"Subject: header only\r\n", b"Subject: \xff\0\r\n\r\n\0\r\xff"):
        (finding,) = scan(run, spamd, raw)
        assert finding.tests


def test_probes(run: Run, spamd: Spamd) -> None:
    inspector = SpamdInspector(spamd.address)
    run(inspector.ping())
    assert run(inspector.probe()).score > 900


def test_spamd_killed_in_the_middle(open_directory: Path) -> None:
    directory = open_directory / "spamd-killed"
    directory.mkdir()

    async def kill_meanwhile(spamd: Spamd) -> None:
        inspector = SpamdInspector(spamd.address, timeout=60)
        subject = subject_of(SPAM * 50, envelope=ENVELOPE)
        scanning = asyncio.create_task(inspector.inspect(subject))
        await inspector.ping()
        assert not scanning.done()
        spamd.stop()
        with pytest.raises(InspectorError):
            await scanning
        with pytest.raises(InspectorError):
            await inspector.inspect(subject)

    with Spamd(directory) as spamd:
        asyncio.run(kill_meanwhile(spamd))
