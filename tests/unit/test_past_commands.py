"""contentfilter explain and contentfilter replay, as people call them."""

from __future__ import annotations

import json
import logging
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from contentfilter import config as configuration
from contentfilter.cli import cli
from contentfilter.decision import decide
from contentfilter.envelope import Client, Envelope, Recipient
from contentfilter.evidence import Evidence
from contentfilter.explain.hindsight import of_record
from contentfilter.finding import Finding, Kind, Test
from contentfilter.handled import Group, Handled
from contentfilter.history import History
from contentfilter.mail_id import new_id
from contentfilter.message import Message
from contentfilter.policy.entry import Effective, Entry, merged
from contentfilter.policy.lists import Effect, ListEntry
from contentfilter.reply import QUARANTINED
from contentfilter.verdict import Action, Category, Verdict
from quarantine.record import Record, State, Withheld
from quarantine.store import Quarantine
from tests.unit.quarantine_items import keep, open_quarantine, withheld
from tests.unit.users import locked_out, open_place

HOSTILE = "pay\x1b]0;owned\x07 \x1b[2J\r\n\x9b31m \u202egpj.exe \x00\udcff [bold]now[/bold]"
SITE = Entry("contentfilter.toml", "default", (("kill_level", 6.9),))
BOBS = Entry("sql", "bob@example.org", (("kill_level", 5.0),))
SCORE = Finding(Kind.SPAM, "spamd", "spam score", score=6.0, tests=(Test("BAYES_99", 3.5), Test("URIBL", 2.5)))
EXE = (
    b"From: a@y.example\r\nTo: b@example.org\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nSubject: tools\r\n"
    b"Content-Type: application/octet-stream; name=tool.exe\r\nContent-Disposition: attachment\r\n\r\nx\r\n"
)
NO_SCANNERS = "[clamav]\nenabled = false\n[spamassassin]\nenabled = false\n"


@pytest.fixture(autouse=True)
def log() -> Iterator[None]:
    """Commands set up the log of their process, which here is that of all tests."""
    logger = logging.getLogger("contentfilter")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


@pytest.fixture
def quarantine(tmp_path: Path) -> Iterator[Quarantine]:
    opened = open_quarantine(tmp_path)
    yield opened
    opened.close()


def write_config(directory: Path, more: str = NO_SCANNERS, name: str = "contentfilter.toml") -> Path:
    path = directory / name
    path.write_text(f'state_directory = "{directory}"\nhostname = "filter.example.org"\n{more}')
    return path


def run(config: Path, *arguments: str) -> Result:
    result = CliRunner().invoke(cli, (*arguments[:1], "--config", str(config), *arguments[1:]))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def said(config: Path, *arguments: str) -> str:
    result = run(config, *arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def values(config: Path, *arguments: str) -> Any:
    return json.loads(said(config, *arguments, "--json"))


def is_harmless(output: str) -> bool:
    return all(unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in output.replace("\n", ""))


def effective(*entries: Entry, listing: ListEntry | None = None) -> Effective:
    return Effective(merged(entries), entries, listing)


def message(*findings: Finding, mail_from: str = "eve@y.example", **more: Any) -> Handled:
    """To bob, who is strict, and to alice, who is not."""
    evidence = Evidence(findings or (SCORE,), 3400)
    bobs, alices = effective(BOBS, SITE), effective(SITE)
    return replace(
        Handled(
            id=new_id(),
            time=1_795_262_400.0,
            mail_from=mail_from,
            groups=(
                Group(("bob@example.org",), decide(evidence, bobs, local=True), bobs, str(QUARANTINED)),
                Group(
                    ("alice@example.org",), decide(evidence, alices, local=True), alices, "250 2.0.0 Ok: queued as Q2"
                ),
            ),
            size=3400,
            findings=evidence.findings,
            client=Client(name="mx.y.example", addr="192.0.2.7", ident="4XyZ1"),
            message_id="<1@y.example>",
            subject="cheap pills",
        ),
        **more,
    )


def noted(directory: Path, *messages: Handled) -> None:
    history = History(directory / "history")
    for one in messages:
        history.add(one)
    history.close()


def kept_exe(quarantine: Quarantine, *rcpts: str, mail_from: str = "a@y.example", raw: bytes = EXE) -> Record:
    """A message with a program in it, as the filter keeps it."""
    evidence = Evidence((Finding(Kind.BANNED, "banned", ".exe: tool.exe", "1"),), len(raw))
    verdict = decide(evidence, effective(SITE), local=True)
    settled = tuple(
        Withheld(Recipient(rcpt), verdict.category, verdict.action, verdict.reasons, effective=effective(SITE))
        for rcpt in rcpts
    )
    content = Message(raw)
    envelope = Envelope(mail_from, tuple(Recipient(rcpt) for rcpt in rcpts), client=Client(ident="4XyZ9"))
    record = Record.of(new_id(), envelope, content, settled, findings=evidence.findings, subject="tools")
    quarantine.keep(record, content)
    return record


# explain


def test_why_for_bob_and_not_for_alice(config: Path, tmp_path: Path) -> None:
    one = message()
    noted(tmp_path, one)
    text = said(config, "explain", one.id)
    for line in (
        "From:        <eve@y.example>",
        "Queue-ID:    4XyZ1",
        "<bob@example.org>: spam, discard, kept in quarantine",
        "spam: score 6 >= kill_level 5 of bob@example.org in sql",
        "6, which reaches kill_level = 5 (bob@example.org in sql)",
        "6 from spamd [BAYES_99=3.5, URIBL=2.5]",
        "kill_level above 6 (now 5, of bob@example.org in sql)  ->  clean, pass",
        "an allow entry for eve@y.example  ->  clean, pass",
        "<alice@example.org>: clean, pass",
        "6, which is below tag2_level = 6.2 (built-in default)",
        "250 2.0.0 Ok: queued as Q2",
    ):
        assert line in text
    _, alice = text.split("<alice@example.org>")
    assert "BAYES_99" in alice
    assert "bob@example.org in sql" not in alice


def test_only_for_one_recipient_whatever_the_case(config: Path, tmp_path: Path) -> None:
    one = message()
    noted(tmp_path, one)
    text = said(config, "explain", one.id, "--rcpt", "BOB@Example.org")
    assert "<bob@example.org>" in text
    assert "alice" not in text


def test_as_json(config: Path, tmp_path: Path) -> None:
    one = message()
    noted(tmp_path, one)
    (found,) = values(config, "explain", one.id, "--rcpt", "bob@example.org")
    assert (found["id"], found["queue_id"], found["left_out"]) == (one.id, "4XyZ1", 0)
    (group,) = found["groups"]
    assert (group["recipients"], group["action"], group["quarantine"]) == (["bob@example.org"], "discard", True)
    told = group["explanation"]
    assert told["threshold"] == {
        "key": "kill_level",
        "value": 5.0,
        "origin": {"source": "sql", "key": "bob@example.org"},
    }
    assert told["score"] == [{"what": "spamd", "points": 6.0, "tests": ["BAYES_99=3.5", "URIBL=2.5"]}]
    assert {"steps": ["a score below 5 (it is 6)"], "category": "clean", "action": "pass", "quarantine": False} in told[
        "changes"
    ]


def test_by_the_queue_ids_of_postfix(config: Path, tmp_path: Path) -> None:
    one = message()
    noted(tmp_path, one, message(client=Client(ident="other")))
    for name in ("4XyZ1", "Q2"):
        assert [found["id"] for found in values(config, "explain", name)][:1] == [one.id]


def test_messages_of_one_queue_id_are_listed(config: Path, tmp_path: Path) -> None:
    first, second = message(), message()
    noted(tmp_path, first, second)
    result = run(config, "explain", "4XyZ1")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == [first.id, second.id]
    assert "2 messages have this queue id" in result.stderr
    assert [found["id"] for found in values(config, "explain", "4XyZ1")] == [first.id, second.id]


def test_the_quarantine_tells_what_became_of_the_copy(config: Path, tmp_path: Path, quarantine: Quarantine) -> None:
    record = kept_exe(quarantine, "bob@example.org")
    noted(tmp_path, message(id=record.id))
    bob, alice = values(config, "explain", record.id)[0]["groups"]
    assert bob["states"] == {"bob@example.org": "pending"}
    assert alice["states"] == {}


def test_what_is_only_in_quarantine_is_explained_from_its_record(config: Path, quarantine: Quarantine) -> None:
    record = kept_exe(quarantine, "bob@example.org", "alice@example.org")
    text = said(config, "explain", record.id)
    assert "<bob@example.org>, <alice@example.org>: banned, discard, kept in quarantine" in text
    assert "banned: .exe: tool.exe in part 1" in text
    assert "banned_lover = true (now false)  ->  banned, pass, kept in quarantine" in text
    assert "pending" in text


def test_a_record_of_an_older_version_still_tells_its_reasons(
    config: Path, tmp_path: Path, quarantine: Quarantine
) -> None:
    record = keep(quarantine)
    (path,) = tmp_path.glob(f"quarantine/*/{record.id}.json")
    older = json.loads(path.read_text())
    for key in ("entries", "on_failure", "listener"):
        del older[key]
    for one in older["withheld"]:
        for key in ("effective", "quarantine", "score", "local"):
            del one[key]
    path.write_text(json.dumps(older))
    text = said(config, "explain", record.id)
    assert "spam: 12.3" in text
    assert "written by an older version" in text
    assert values(config, "explain", record.id)[0]["groups"][0]["explanation"] is None


@pytest.mark.parametrize(
    ("more", "kept"),
    [("", "kept for 7 days"), ("[history]\nkeep_days = 0\n", "which is off ([history] keep_days = 0)")],
)
def test_nobody_knows_the_message(more: str, kept: str, tmp_path: Path) -> None:
    config = write_config(tmp_path, more)
    result = run(config, "explain", "k7hw2mzqv9tq4c8xn")
    assert result.exit_code == os.EX_NOINPUT
    assert 'no message "k7hw2mzqv9tq4c8xn" in the history' in result.stderr
    assert kept in result.stderr
    assert not (tmp_path / "history").exists(), "to look makes nothing"


def test_a_recipient_whom_the_message_did_not_have(config: Path, tmp_path: Path) -> None:
    one = message()
    noted(tmp_path, one)
    result = run(config, "explain", one.id, "--rcpt", "carol@example.org")
    assert result.exit_code == os.EX_NOINPUT
    assert "nothing is known of carol@example.org" in result.stderr
    assert "its recipients: bob@example.org, alice@example.org" in result.stderr


@pytest.mark.parametrize("name", ["../../etc/passwd\n", "", "x" * 200, "a b", "\x1b[2J"])
def test_what_is_no_id(name: str, config: Path) -> None:
    result = run(config, "explain", name)
    assert result.exit_code == os.EX_DATAERR
    assert is_harmless(result.stderr)


@pytest.mark.parametrize("name", ["../../etc/passwd", "*", "%", "k7hw2mzqv9tq4c8x/"])
def test_a_name_is_never_a_path(name: str, config: Path) -> None:
    assert run(config, "explain", name).exit_code == os.EX_NOINPUT


def test_nothing_that_strangers_wrote_drives_the_terminal(config: Path, tmp_path: Path) -> None:
    evil = HOSTILE + "@x"
    listing = ListEntry(HOSTILE, HOSTILE, HOSTILE, Effect.SCORE, 1.0)
    one = message(
        replace(SCORE, name=HOSTILE, tests=(Test(HOSTILE, 6.0),)),
        Finding(Kind.BANNED, "banned", HOSTILE, HOSTILE),
        mail_from=evil,
        subject=HOSTILE,
        message_id=HOSTILE,
        client=Client(name=HOSTILE, addr=HOSTILE, ident=HOSTILE),
    )
    hostile = effective(Entry(HOSTILE, HOSTILE, (("kill_level", 1.0), ("spam_user", ""))), listing=listing)
    group = replace(one.groups[0], recipients=(evil,), effective=hostile, reply=HOSTILE)
    noted(tmp_path, replace(one, groups=(group, *one.groups)))
    text = said(config, "explain", one.id)
    assert is_harmless(text)
    assert "\\x1b]0;owned" in text
    assert "[bold]now[/bold]" in text
    assert said(config, "explain", one.id, "--json").replace("\n", "").isprintable()
    assert is_harmless(run(config, "explain", one.id, "--rcpt", HOSTILE).stderr)


def test_recipients_who_were_too_many_are_counted(config: Path, tmp_path: Path) -> None:
    one = message(left_out=17)
    noted(tmp_path, one)
    assert "17 more recipients" in said(config, "explain", one.id)
    assert "and 14 more" in run(config, "explain", one.id, "--rcpt", "carol@x").stderr


def test_shadow_mode_is_told(config: Path, tmp_path: Path) -> None:
    evidence = Evidence((SCORE,), 3400)
    trying = effective(Entry("sql", "@example.org", (("kill_level", 5.0), ("shadow", True))))
    one = message(groups=(Group(("bob@example.org",), decide(evidence, trying, local=True), trying, ""),))
    noted(tmp_path, one)
    text = said(config, "explain", one.id)
    assert "spam, pass (shadow: would have been spam, discard, kept in quarantine)" in text
    assert "shadow = false (now true, of @example.org in sql)  ->  spam, discard, kept in quarantine" in text


def test_who_may_not_read_the_history_hears_so() -> None:
    with open_place() as place:
        config = write_config(place)
        (place / "history").mkdir()
        with locked_out(place / "history"):
            result = run(config, "explain", "k7hw2mzqv9tq4c8xn")
    assert result.exit_code == os.EX_NOPERM
    assert "only the filter's user and root may" in result.stderr


def test_thousands_for_whom_an_item_is_kept_are_few_groups() -> None:
    raw = Message(EXE)
    record = Record.of(new_id(), Envelope("a@y", ()), raw, tuple(withheld(f"u{number}@x") for number in range(3000)))
    (group,) = of_record(record).groups
    assert len(group.recipients) == 3000


def test_a_record_comes_back_with_what_mattered() -> None:
    listing = ListEntry("sql", "bob@example.org", "@y.example", Effect.SCORE, 1.5)
    raw = Message(EXE)
    one = Withheld(
        Recipient("bob@example.org"), Category.SPAM, Action.DISCARD, ("spam: …",), State.PENDING,
        quarantine=True, score=7.5, local=False, effective=effective(BOBS, SITE, listing=listing),
    )  # fmt: skip
    envelope = Envelope("a@y", (), listener="127.0.0.1:10027")
    record = Record.of(new_id(), envelope, raw, (one, replace(one, recipient=Recipient("b@x"))))
    assert Record.from_json(record.to_json()) == record
    assert len(json.loads(record.to_json())["entries"]) == 2
    assert record.envelope(()).listener == "127.0.0.1:10027"


# replay


def test_a_changed_configuration_flips_those_whom_it_is_about_and_nobody_else(
    config: Path, tmp_path: Path, quarantine: Quarantine
) -> None:
    record = kept_exe(quarantine, "bob@example.org", "alice@example.org")
    new = write_config(tmp_path, NO_SCANNERS + '[policy."alice@example.org"]\nbanned_lover = true\n', "new.toml")
    now = values(new, "replay")
    (item,) = now["items"]
    assert (item["id"], item["changed"], item["judged"]) == (record.id, True, True)
    assert [(one["address"], one["changed"], one["now"]["action"]) for one in item["recipients"]] == [
        ("bob@example.org", False, "discard"),
        ("alice@example.org", True, "pass"),
    ]
    assert now["summary"] == {
        "messages": 1,
        "recipients": 2,
        "changed": 1,
        "unjudged": 0,
        "unreadable": [],
        "changes": [{"before": "banned, discard, kept", "now": "banned, pass, kept", "recipients": 1}],
    }
    text = said(new, "replay")
    assert "<bob@example.org>: as before, banned, discard, kept" in text
    assert "<alice@example.org>: banned, discard, kept  ->  banned, pass, kept" in text
    assert "banned_lover: false -> true (alice@example.org in contentfilter.toml)" in text
    assert "1 messages, 2 recipients: 1 would fare otherwise, 1 as before" in text
    assert values(config, "replay")["summary"]["changed"] == 0


def test_a_copy_that_would_not_be_kept_is_a_difference(tmp_path: Path, quarantine: Quarantine) -> None:
    kept_exe(quarantine, "bob@example.org")
    new = write_config(tmp_path, NO_SCANNERS + "[policy.default]\nbanned_quarantine = false\n")
    assert values(new, "replay")["summary"]["changes"] == [
        {"before": "banned, discard, kept", "now": "banned, discard", "recipients": 1}
    ]


def test_only_changed(tmp_path: Path, config: Path, quarantine: Quarantine) -> None:
    kept_exe(quarantine, "bob@example.org")
    other = kept_exe(quarantine, "alice@example.org")
    new = write_config(tmp_path, NO_SCANNERS + '[policy."alice@example.org"]\nbanned_lover = true\n', "new.toml")
    shown = values(new, "replay", "--changed")
    assert [item["id"] for item in shown["items"]] == [other.id]
    assert shown["summary"]["recipients"] == 2


def test_which_items(config: Path, quarantine: Quarantine) -> None:
    exe = kept_exe(quarantine, "bob@example.org")
    old = keep(quarantine, time=exe.time - 9 * 86_400)

    def chosen(*arguments: str) -> set[str]:
        return {item["id"] for item in values(config, "replay", *arguments)["items"]}

    assert chosen() == {exe.id, old.id}
    assert chosen("--since", "7d") == {exe.id}
    assert chosen("--category", "spam") == {old.id}
    assert chosen("--category", "spam", "--category", "banned", "--limit", "1") == {exe.id}


@pytest.mark.parametrize(
    "scanners",
    [
        '[clamav]\nsocket = "unix:{}/none"\n[spamassassin]\nenabled = false\n',
        '[clamav]\nsocket = "unix:{}/none"\non_failure = "pass"\n[spamassassin]\nenabled = false\n',
        '[clamav]\nenabled = false\n[spamassassin]\naddress = "unix:{}/none"\n',
    ],
    ids=["clamd", "clamd that may fail", "spamd"],
)
def test_a_message_that_a_scanner_did_not_see_is_not_judged(
    scanners: str, tmp_path: Path, quarantine: Quarantine
) -> None:
    kept_exe(quarantine, "bob@example.org")
    new = write_config(tmp_path, scanners.format(tmp_path))
    result = run(new, "replay", "--json", "--changed")
    assert result.exit_code == os.EX_TEMPFAIL
    shown = json.loads(result.stdout)
    (one,) = shown["items"][0]["recipients"]
    assert (one["now"], one["changed"]) == (None, False)
    assert "could not answer" in one["problem"]
    assert (shown["summary"]["unjudged"], shown["summary"]["changed"]) == (1, 0)
    assert "1 could not be judged" in run(new, "replay").stdout


def test_who_does_without_the_silent_scanner_is_judged(tmp_path: Path, quarantine: Quarantine) -> None:
    kept_exe(quarantine, "bob@example.org", "alice@example.org")
    new = write_config(
        tmp_path,
        f'[clamav]\nsocket = "unix:{tmp_path}/none"\n[spamassassin]\nenabled = false\n'
        '[policy."bob@example.org"]\nbypass_virus_checks = true\n',
    )
    shown = json.loads(run(new, "replay", "--json").stdout)
    assert [one["now"] is not None for one in shown["items"][0]["recipients"]] == [True, False]


def test_a_damaged_item_is_counted_and_the_others_are_judged(
    config: Path, tmp_path: Path, quarantine: Quarantine
) -> None:
    damaged, sound = kept_exe(quarantine, "bob@example.org"), kept_exe(quarantine, "bob@example.org")
    (path,) = tmp_path.glob(f"quarantine/*/{damaged.id}.eml.zst")
    path.write_bytes(path.read_bytes()[:40])
    result = run(config, "replay", "--json")
    assert result.exit_code == os.EX_TEMPFAIL
    shown = json.loads(result.stdout)
    assert {item["id"]: item["judged"] for item in shown["items"]} == {damaged.id: False, sound.id: True}
    assert shown["summary"]["unreadable"] == [damaged.id]
    assert "NOT JUDGED" in run(config, "replay").stdout


def test_replay_changes_nothing(config: Path, tmp_path: Path, quarantine: Quarantine) -> None:
    kept_exe(quarantine, "bob@example.org")
    config_files = {config}

    def state() -> dict[Path, bytes]:
        paths = [path for path in tmp_path.rglob("*") if path.is_file() and "index.sqlite" not in path.name]
        return {path: path.read_bytes() for path in paths if path not in config_files}

    before = state()
    assert run(config, "replay").exit_code == 0
    assert state() == before
    assert not (tmp_path / "history").exists()


def test_replay_shows_nothing_that_drives_the_terminal(config: Path, quarantine: Quarantine) -> None:
    keep(quarantine, subject=HOSTILE, mail_from=HOSTILE, to=(withheld(HOSTILE + "@x"),))
    assert is_harmless(said(config, "replay"))
    assert said(config, "replay", "--json").replace("\n", "").isprintable()


def test_an_empty_quarantine(config: Path) -> None:
    assert "0 messages, 0 recipients" in said(config, "replay")
    assert values(config, "replay")["items"] == []


@pytest.mark.parametrize("arguments", [["--since", "soon"], ["--category", "worms"], ["--limit", "0"]])
def test_wrong_options_of_replay(arguments: list[str], config: Path) -> None:
    result = run(config, "replay", *arguments)
    assert result.exit_code == 2  # main() makes 64 of it
    assert arguments[0] in result.stderr


def test_a_verdict_that_an_older_program_made_is_not_explained_away(config: Path, tmp_path: Path) -> None:
    one = message()
    other = Verdict(Category.VIRUS, Action.REJECT, reasons=("virus: gone",))
    noted(tmp_path, replace(one, groups=(replace(one.groups[1], verdict=other),)))
    assert "this program would decide otherwise today: clean, pass" in said(config, "explain", one.id)


def test_the_history_is_a_table_of_the_configuration() -> None:
    assert configuration.parse("", "empty").history.keep_days == 7
    assert configuration.parse("[history]\nkeep_days = 30\n", "test").history.keep_days == 30
