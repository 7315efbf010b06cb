"""From the door to the explanation: what the daemon notes is what `contentfilter explain` tells, and replay judges."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from contentfilter import assembly
from contentfilter.cli import cli
from contentfilter.config import Config, parse
from contentfilter.finding import Finding, Kind, Test
from contentfilter.history import History
from contentfilter.inspectors import Inspector
from contentfilter.policy.settings import Policy
from contentfilter.verdict import Action
from tests.journey import MESSAGE, Scripted, journey

SCORE = Finding(Kind.SPAM, "spamd", "spam score", score=6.5, tests=(Test("BAYES_99", 4.0), Test("URIBL", 2.5)))
POLICIES = {
    "strict": Policy(kill_level=5.0, tag2_level=4.0),
    "mild": Policy(kill_level=20.0, tag2_level=15.0),
    "pass": Policy(banned_action=Action.PASS),
}
EXE = MESSAGE.replace(b"\r\n\r\n", b"\r\nContent-Type: application/octet-stream; name=tool.exe\r\n\r\n", 1)


@pytest.fixture(autouse=True)
def log() -> Iterator[None]:
    """Commands set up the log of their process, which here is that of all tests."""
    logger = logging.getLogger("contentfilter")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


def settings(directory: Path, more: str = "") -> str:
    return (
        f'state_directory = "{directory}"\n[quarantine]\ndatabase = "sqlite:///{directory / "index.sqlite"}"\n'
        f"[clamav]\nenabled = false\n[spamassassin]\nenabled = false\n{more}"
    )


def sent(directory: Path, door: str, *rcpts: str, inspectors: Sequence[Inspector], content: bytes = MESSAGE) -> None:
    """One message through the door, with a history."""

    async def send() -> None:
        history = History(directory / "history")
        async with journey(directory, inspectors=inspectors, history=history, own=POLICIES) as it:
            if door == "lmtp":
                await it.lmtp(*rcpts, content=content)
            else:
                await it.smtp(*rcpts, content=content)
        history.close()

    asyncio.run(send())


def asked(directory: Path, *arguments: str, more: str = "") -> Any:
    config = directory / "contentfilter.toml"
    config.write_text(settings(directory, more))
    result = CliRunner().invoke(cli, (*arguments[:1], "--config", str(config), "--json", *arguments[1:]))
    assert result.exit_code == 0, (result.stderr, result.exception)
    return json.loads(result.stdout)


@pytest.mark.parametrize("door", ["lmtp", "smtp"])
def test_why_for_the_strict_one_and_not_for_the_mild_one(
    door: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "contentfilter"):
        sent(tmp_path, door, "strict", "mild", inspectors=[Scripted("spamd", findings=(SCORE,))])
    mail_id = next(line for line in caplog.messages if "Blocked SPAM" in line)[1:18]
    (by_id,), (by_queue_id,) = asked(tmp_path, "explain", mail_id), asked(tmp_path, "explain", "ABC123")
    assert by_id == by_queue_id
    strict, mild = by_id["groups"]
    assert (strict["recipients"], strict["action"]) == (["strict@x.example"], "discard")
    assert strict["states"] == {"strict@x.example": "pending"}
    assert strict["explanation"]["threshold"]["origin"] == {"source": "test", "key": "strict@x.example"}
    assert strict["explanation"]["again"] is None
    assert ["kill_level above 6.5 (now 5, of strict@x.example in test)"] in [
        change["steps"] for change in strict["explanation"]["changes"]
    ]
    assert (mild["action"], mild["category"], mild["reply"][:3]) == ("pass", "clean", "250")
    (only,) = asked(tmp_path, "explain", mail_id, "--rcpt", "mild@x.example")
    assert only["groups"] == [mild]


def test_who_is_told_to_come_again_is_explained_too(tmp_path: Path) -> None:
    sent(tmp_path, "smtp", "strict", "later", inspectors=[Scripted("spamd", findings=(SCORE,))])
    (found,) = asked(tmp_path, "explain", "ABC123")
    assert {tuple(group["recipients"]): group["reply"][:3] for group in found["groups"]} == {
        ("strict@x.example",): "250",
        ("later@x.example",): "451",
    }


def test_without_its_history_the_record_explains(tmp_path: Path) -> None:
    sent(tmp_path, "lmtp", "strict", "mild", inspectors=[Scripted("spamd", findings=(SCORE,))])
    (with_history,) = asked(tmp_path, "explain", "ABC123")
    for path in (tmp_path / "history").glob("*.jsonl"):
        path.unlink()
    (from_record,) = asked(tmp_path, "explain", with_history["id"])
    assert [group["recipients"] for group in from_record["groups"]] == [["strict@x.example"]]
    assert from_record["groups"][0]["explanation"] == with_history["groups"][0]["explanation"]


def test_replay_flips_exactly_those_whom_the_change_is_about(tmp_path: Path) -> None:
    banned = [one for one in assembly.inspectors_for(config()) if one.name == "banned"]
    sent(tmp_path, "lmtp", "strict", "mild", inspectors=banned, content=EXE)
    assert asked(tmp_path, "replay")["summary"]["changed"] == 0
    more = '[policy."mild@x.example"]\nbanned_action = "reject"\n'
    shown = asked(tmp_path, "replay", more=more)
    (item,) = shown["items"]
    assert {one["address"]: (one["before"]["action"], one["now"]["action"]) for one in item["recipients"]} == {
        "strict@x.example": ("discard", "discard"),
        "mild@x.example": ("discard", "reject"),
    }
    assert (shown["summary"]["changed"], shown["summary"]["unjudged"]) == (1, 0)


def config() -> Config:
    return parse("[clamav]\nenabled = false\n[spamassassin]\nenabled = false\n", "test")


async def test_a_history_that_cannot_be_written_stops_no_mail(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    history = History(tmp_path / "no" / "such")
    async with journey(tmp_path, inspectors=[], history=history) as it:
        assert [answer[:3] for answer in await it.lmtp("strict", "mild")] == ["250", "250"]
        assert [answer[:3] for answer in await it.lmtp("strict")] == ["250"]
    history.close()
    assert len([line for line in caplog.messages if "missing from the history" in line]) == 1


def test_check_and_replay_write_no_history(tmp_path: Path) -> None:
    sent(tmp_path, "lmtp", "strict", inspectors=[Scripted("spamd", findings=(SCORE,))])
    (file,) = (tmp_path / "history").glob("*.jsonl")
    before = file.read_bytes()
    (tmp_path / "message.eml").write_bytes(EXE)
    asked(tmp_path, "check", str(tmp_path / "message.eml"))
    asked(tmp_path, "replay")
    assert [path.read_bytes() for path in (tmp_path / "history").glob("*.jsonl")] == [before]
