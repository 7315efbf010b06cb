"""RspamdInspector against a real Rspamd, under asyncio's loop and under uvloop, and all the way through Postfix."""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from contentfilter.envelope import Client, Envelope, Recipient
from contentfilter.errors import InspectorError
from contentfilter.finding import Finding, Kind
from contentfilter.inspectors.backends import Resting
from contentfilter.inspectors.gtube import GTUBE
from contentfilter.inspectors.rspamd import RspamdInspector
from contentfilter.inspectors.rspamd_answer import Scale
from demo.neighbours.clamd import Clamd
from demo.neighbours.daemon import find_program
from demo.neighbours.postfix import DeliveredMail, Postfix, Transport
from demo.neighbours.rspamd import Rspamd
from demo.neighbours.spamd import Spamd
from tests.fakes.subject import subject_of
from tests.house import BOB, CAROL, DAVE, built, text
from tests.integration.conftest import Run

SNIPPETS = Path(__file__).parents[2] / "conf" / "rspamd"
AT_ONCE = Resting(failures=1, rest=0.0, probe=5.0)
FROZEN = Resting(failures=1, rest=0.0, probe=0.2)

HEADER = (
    b"Received: from c.example.org (c.example.org [192.0.2.7]) by mx.example.com (Postfix) with ESMTP id 4;\r\n"
    b"\tMon, 16 Nov 2026 10:00:00 +0000 (UTC)\r\n"
    b"From: Ada <ada@example.org>\r\nTo: Bob <bob@example.com>\r\nSubject: Minutes of the meeting\r\n"
    b"Date: Mon, 16 Nov 2026 10:00:00 +0000\r\nMessage-ID: <20261116100000.12345@client.example.org>\r\n"
)
TEXT = b"\r\nDear Bob,\r\n\r\nhere are the minutes of our meeting, as you asked.\r\n\r\nBest wishes, Ada\r\n"
CLEAN = HEADER + TEXT
SPAM = CLEAN + GTUBE + b"\r\n"
CLIENT = Client(name="c.example.org", addr="192.0.2.7", helo="laptop.example.org", ident="4FzQ")
ENVELOPE = Envelope("ada@example.org", (Recipient("bob@example.com"), Recipient("eve@example.com")), client=CLIENT)

RULES = """
lua = "{told}";
regexp {{
    SAW_OFFER {{ re = "/gold from the attic/{{body}}"; score = 5.0; }}
    SAW_WAIT {{ re = "/please wait a little/{{body}}"; score = 1.0; }}
    SAW_FORCED {{ re = "/to be refused whatever the score/{{body}}"; score = 1.0; }}
}}
force_actions {{
    rules {{
        WAIT {{ action = "soft reject"; expression = "SAW_WAIT"; message = "not now"; }}
        REFUSE {{ action = "reject"; expression = "SAW_FORCED"; message = "no"; }}
    }}
}}
"""
TOLD = """
rspamd_config:register_symbol({
  name = 'TOLD', score = 0.0, type = 'normal',
  callback = function(task)
    local from, user = task:get_from('smtp'), task:get_user()
    local told = {
      'from=' .. (from and from[1] and from[1].addr or 'none'), 'user=' .. (user or 'none'),
      'ip=' .. tostring(task:get_ip()), 'helo=' .. (task:get_helo() or 'none'),
      'host=' .. (task:get_hostname() or 'none'), 'id=' .. (task:get_queue_id() or 'none'),
      'rcpts=' .. tostring(#(task:get_recipients('smtp') or {})),
      'for=' .. (task:get_request_header('Deliver-To') and tostring(task:get_request_header('Deliver-To')) or 'none'),
    }
    for _, one in ipairs(told) do
      task:insert_result('SAW_' .. one:gsub('[^%w]', '_'):upper(), 0.0)
    end
  end
})
"""
"""A rule of Rspamd's that shows what it was told of the envelope."""


@pytest.fixture(scope="module")
def rspamd(open_directory: Path) -> Iterator[Rspamd]:
    """A real Rspamd, on TCP. The user "strict" has a score of his own."""
    directory = open_directory / "rspamd"
    directory.mkdir()
    (directory / "told.lua").write_text(TOLD)
    rules = RULES.format(told=directory / "told.lua")
    with Rspamd(directory, tcp=True, preferences={"strict": {"SAW_OFFER": 8.0}}, options=rules) as running:
        yield running


def scan(
    run: Run,
    rspamd: Rspamd,
    raw: bytes,
    users: tuple[str, ...] = ("",),
    *,
    envelope: Envelope = ENVELOPE,
    limit: int = 100_000,
) -> tuple[Finding, ...]:
    scale = Scale(1.0, {"reject": 15.0, "soft reject": "defer"})
    inspector = RspamdInspector(rspamd.address, scale=scale, hostname="mx.example.com", timeout=30, size_limit=limit)
    findings = run(inspector.inspect(subject_of(raw, envelope=envelope, spam_users=users)))
    assert isinstance(findings, tuple)
    return findings


def names(finding: Finding) -> set[str]:
    return {test.name for test in finding.tests}


def test_a_clean_message(run: Run, rspamd: Rspamd) -> None:
    (finding,) = scan(run, rspamd, CLEAN)
    assert finding.score < 2
    assert "GTUBE" not in names(finding)
    assert len(finding.tests) > 3
    assert finding.score == pytest.approx(sum(test.score or 0 for test in finding.tests), abs=0.01)


def test_gtube(run: Run, rspamd: Rspamd) -> None:
    (finding,) = scan(run, rspamd, SPAM)
    assert finding.score == 15
    assert "GTUBE" in names(finding)


def test_a_forced_action_counts_though_the_score_is_low(run: Run, rspamd: Rspamd) -> None:
    (finding,) = scan(run, rspamd, CLEAN + b"to be refused whatever the score\r\n")
    assert finding.score >= 15
    assert "SAW_FORCED" in names(finding)


def test_a_soft_reject_is_known_as_one(run: Run, rspamd: Rspamd) -> None:
    spam, rule = scan(run, rspamd, CLEAN + b"please wait a little\r\n")
    assert (spam.kind, rule.kind, rule.name) == (Kind.SPAM, Kind.RULE, "soft reject")


def test_each_users_preferences(run: Run, rspamd: Rspamd) -> None:
    usual, strict, unknown = scan(run, rspamd, CLEAN + b"gold from the attic\r\n", ("", "strict", "nobody-knows"))
    assert [usual.user, strict.user, unknown.user] == ["", "strict", "nobody-knows"]
    assert strict.score - usual.score == pytest.approx(3)
    assert unknown.score == usual.score


def told(finding: Finding) -> set[str]:
    return {name.removeprefix("SAW_") for name in names(finding) if name.startswith("SAW_")}


def test_rspamd_knows_envelope_and_client_and_of_no_login(run: Run, rspamd: Rspamd) -> None:
    (finding,) = scan(run, rspamd, b"Return-Path: <evil@forged.example>\r\n" + CLEAN)
    assert told(finding) == {
        "FROM_ADA_EXAMPLE_ORG", "USER_NONE", "IP_192_0_2_7", "HELO_LAPTOP_EXAMPLE_ORG", "HOST_C_EXAMPLE_ORG",
        "ID_4FZQ", "RCPTS_2", "FOR_NONE",
    }  # fmt: skip
    (of_strict,) = scan(run, rspamd, CLEAN, ("strict",))
    assert {"USER_NONE", "FOR_STRICT"} <= told(of_strict)


@pytest.mark.parametrize("evil", ["a@b.example>\r\nUser: root", "a@b.example\nUser: root", "x\x00\x0b\x7f@b.example"])
def test_an_envelope_cannot_say_who_has_logged_in(run: Run, rspamd: Rspamd, evil: str) -> None:
    client = Client(name=evil, addr=evil, helo=evil, ident=evil)
    (finding,) = scan(run, rspamd, CLEAN, envelope=Envelope(evil, (Recipient(evil),), client=client))
    assert "USER_NONE" in told(finding)


def test_the_null_sender_and_thousands_of_recipients(run: Run, rspamd: Rspamd) -> None:
    many = tuple(Recipient(f"{'r' * 60}{number}@{'d' * 60}.example.org") for number in range(2000))
    (finding,) = scan(run, rspamd, b"Return-Path: <evil@forged.example>\r\n" + CLEAN, envelope=Envelope("", many))
    assert {"FROM_", "FROM_NONE"} & told(finding)
    assert "RCPTS_100" in told(finding)


def test_what_lies_beyond_the_size_limit_is_not_seen(run: Run, rspamd: Rspamd) -> None:
    filler = b"A harmless line of text.\r\n" * 1000
    (seen,) = scan(run, rspamd, CLEAN + filler + b"gold from the attic\r\n")
    (unseen,) = scan(run, rspamd, CLEAN + filler + b"gold from the attic\r\n", limit=10_000)
    assert seen.score - unseen.score == 5
    assert "SAW_OFFER" not in names(unseen)


def test_odd_messages_have_a_score(run: Run, rspamd: Rspamd) -> None:
    for raw in (b"\r\n", b"no header at all", b"Subject: header only\r\n", b"Subject: \xff\0\r\n\r\n\0\r\xff"):
        (finding,) = scan(run, rspamd, raw)
        assert finding.tests, raw


def test_probes(run: Run, rspamd: Rspamd) -> None:
    inspector = RspamdInspector(rspamd.address)
    assert run(inspector.answers())
    assert run(inspector.probe()).action == "reject"


def of_its_own(open_directory: Path) -> Path:
    directory = Path(tempfile.mkdtemp(prefix="rspamd-", dir=open_directory))
    directory.chmod(0o755)
    return directory


def test_our_snippets_are_what_rspamd_understands(tmp_path: Path) -> None:
    sections = {"worker-normal.inc": 'worker "normal"', "greylist.conf": "greylist"}
    assert {one.name for one in SNIPPETS.iterdir()} == set(sections)
    lines = [f'{section} {{\n.include "{SNIPPETS / name}"\n}}\n' for name, section in sections.items()]
    (tmp_path / "rspamd.conf").write_text("".join(lines))
    command = [find_program("rspamadm", "rspamd"), "configdump", "--json", "-c", str(tmp_path / "rspamd.conf")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    dumped = json.loads(done.stdout[done.stdout.index("{") :])
    assert dumped == {"worker": {"normal": {"bind_socket": "localhost:11333"}}, "greylist": {"enabled": False}}


def test_killed_in_the_middle(open_directory: Path) -> None:
    async def kill_meanwhile(rspamd: Rspamd) -> None:
        inspector = RspamdInspector(rspamd.address, timeout=30)
        subject = subject_of(CLEAN, envelope=ENVELOPE)
        rspamd.freeze()  # so that it has the request and cannot be done with it
        scanning = asyncio.create_task(inspector.inspect(subject))
        await asyncio.wait([scanning], timeout=0.2)
        assert not scanning.done()
        await asyncio.to_thread(rspamd.stop)
        with pytest.raises(InspectorError):
            await scanning
        with pytest.raises(InspectorError):
            await inspector.inspect(subject)

    with Rspamd(of_its_own(open_directory)) as rspamd:
        asyncio.run(kill_meanwhile(rspamd))


def test_frozen_and_restarted(run: Run, rspamd: Rspamd, open_directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    users = ("", "strict")

    async def live(first: Rspamd) -> None:
        both = RspamdInspector([first.address, rspamd.address], timeout=20.0, resting=AT_ONCE)
        alone = RspamdInspector(first.address, timeout=0.5, resting=FROZEN)
        subject = subject_of(CLEAN, envelope=ENVELOPE, spam_users=users)
        assert await alone.answers()
        first.freeze()
        with pytest.raises(InspectorError) as caught:
            await alone.inspect(subject)
        assert caught.value.timed_out
        assert not await alone.answers()
        with pytest.raises(InspectorError, match="rests after a failure"):
            await alone.inspect(subject)
        first.stop()
        findings = await both.inspect(subject)
        assert [(finding.kind, finding.user) for finding in findings] == [(Kind.SPAM, user) for user in users]
        await asyncio.to_thread(first.start)
        caplog.clear()
        assert [finding.kind for finding in await both.inspect(subject)] == [Kind.SPAM] * 2
        assert "rspamd at unix:" in caplog.text
        assert "is back" in caplog.text

    with Rspamd(of_its_own(open_directory)) as first:
        run(live(first))


POLICY: Mapping[str, Mapping[str, object]] = {
    "default": {"tag_level": float("-inf")},
    CAROL: {"spam_user": "strict", "spam_action": "reject", "spam_quarantine": False},
    DAVE: {"bypass_spam_checks": True},
}


def status(mail: DeliveredMail) -> str:
    return " ".join((mail.header["X-Spam-Status"] or "").split())


def test_a_journey_with_rspamd_in_the_place_of_spamd(
    start_postfix: Callable[..., Postfix], clamd: Clamd, rspamd: Rspamd, open_directory: Path
) -> None:
    settings = {
        "spamassassin": {"enabled": False},
        "rspamd": {"enabled": True, "address": rspamd.address, "scale": 1.0, "on_failure": "defer"},
        "policy": POLICY,
    }
    with built(start_postfix, clamd.address, "unix:/none", open_directory, Transport.LMTP, settings) as house:
        house.send(text("ham"), BOB)
        ham = house.receive(BOB)
        assert ham.header["X-Spam-Flag"] == "NO"
        assert "DATE_IN_PAST=1," in status(ham)
        # Too much for carol, whose preferences are stricter, not for bob; for dave nobody is asked.
        house.send(text("offer", "gold from the attic\n"), BOB, CAROL, DAVE)
        assert "SAW_OFFER=5" in status(house.receive(BOB, 2))
        assert house.receive(DAVE).header["X-Spam-Status"] is None
        (refused,) = house.postfix.wait_for_log(r"to=<carol@example.org>.*status=bounced")
        assert "554" in refused
        house.send(text("gtube", GTUBE.decode() + "\n"), BOB)
        house.send(text("later", "please wait a little\n"), BOB)
        (deferred,) = house.postfix.wait_for_log(r"to=<bob@example.org>.*status=deferred")
        assert "451 4.7.1" in deferred
        house.postfix.wait_for_log("Ok, quarantined")
        assert house.quarantined("gtube") == [BOB]
        assert not house.postfix.mail(CAROL)
        (item,) = [one for one in house.filter.quarantined() if one["subject"] == "gtube"]
        assert item["score"] >= 15
        explained = house.filter.command("contentfilter", "explain", item["id"], "--rcpt", BOB).stdout
        assert "15 from rspamd [" in explained
        checked = house.filter.command("contentfilter", "doctor").stdout
        assert 'GTUBE gets the action "reject" and scores 15' in checked


def test_a_journey_with_both_and_one_of_them_gone(
    start_postfix: Callable[..., Postfix], clamd: Clamd, spamd: Spamd, open_directory: Path
) -> None:
    default = {"default": {"tag_level": float("-inf")}}
    with Rspamd(of_its_own(open_directory)) as own:
        settings = {"rspamd": {"enabled": True, "address": own.address, "on_failure": "defer"}, "policy": default}
        with built(start_postfix, clamd.address, spamd.address, open_directory, Transport.LMTP, settings) as house:
            house.send(text("both"), BOB)
            both = status(house.receive(BOB))
            assert "DATE_IN_PAST=0.9," in both  # of Rspamd
            assert "DATE_IN_PAST_96_XX=" in both  # of SpamAssassin
            own.stop()
            house.send(text("one of them is gone"), BOB)
            (deferred,) = house.postfix.wait_for_log(r"to=<bob@example.org>.*status=deferred")
            assert "451 4.3.5" in deferred
            own.start()
            house.postfix.flush()
            assert "DATE_IN_PAST=0.9" in status(house.receive(BOB, 2))
