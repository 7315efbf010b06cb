"""contentfilter ledger: what it shows and forgets, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from contentfilter.cli import cli
from contentfilter.identity import Identity
from contentfilter.ledger import Ledger
from contentfilter.reply import Reply

ONE = Identity("a" * 64, "alice@y.example", "4A1B")
TWO = Identity("b" * 64, "\x1b[31m@y.example", "4A1C")
OK = Reply(250, "2.0.0", "Ok: queued as 77")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "contentfilter.toml"
    file.write_text(f'state_directory = "{tmp_path}"\n')
    return file


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.remember(ONE, {"bob@x.example": OK, "carol@x.example": OK})
    ledger.remember(TWO, {"dave@x.example": OK})
    ledger.strike([ONE.name], "worker died by SIGSEGV")
    return ledger


def run(config: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["ledger", words[0], "--config", str(config), *words[1:]])


def test_show(config: Path, ledger: Ledger) -> None:
    lines = run(config, "show").stdout.splitlines()
    assert len(lines) == 4
    assert any(
        f"{ONE.name.hex()}  " in line and "1 failures, at last: worker died by SIGSEGV" in line for line in lines
    )
    assert any(
        line.endswith("4A1B  <alice@y.example> -> <bob@x.example>  250 2.0.0 Ok: queued as 77") for line in lines
    )
    assert "\x1b" not in "".join(lines)


def test_show_as_json(config: Path, ledger: Ledger) -> None:
    values = json.loads(run(config, "show", "--json").stdout)
    assert {one["address"]: one["reply"] for one in values if one["reply"]} == {
        "bob@x.example": str(OK),
        "carol@x.example": str(OK),
        "dave@x.example": str(OK),
    }
    assert [one["harm"] for one in values if one["strikes"]] == ["worker died by SIGSEGV"]


def test_an_empty_ledger(config: Path) -> None:
    result = run(config, "show")
    assert (result.stdout, result.stderr, result.exit_code) == ("", "the ledger is empty\n", 0)
    assert json.loads(run(config, "show", "--json").stdout) == []
    assert not (config.parent / "ledger.sqlite").exists()


@pytest.mark.parametrize("name", ["4A1B", ONE.name.hex()])
def test_forget_one(config: Path, ledger: Ledger, name: str) -> None:
    result = run(config, "forget", name)
    assert (result.stdout, result.exit_code) == ("3 forgotten\n", 0)
    assert {entry.ident for entry in ledger.entries()} == {"4A1C"}


def test_forget_all(config: Path, ledger: Ledger) -> None:
    assert run(config, "forget", "--all").stdout == "4 forgotten\n"
    assert ledger.entries() == []


def test_forget_what_is_not_there(config: Path, ledger: Ledger) -> None:
    result = run(config, "forget", "4A1C", "NONE")
    assert result.stdout == "1 forgotten\n"
    assert result.stderr == "contentfilter: the ledger knows no message NONE\n"
    assert result.exit_code == 66


@pytest.mark.parametrize("words", [("forget",), ("forget", "--all", "4A1B")])
def test_forget_needs_to_know_what(config: Path, words: tuple[str, ...]) -> None:
    assert run(config, *words).exit_code == 2  # main() makes it 64


def test_a_ledger_that_cannot_be_read(config: Path) -> None:
    (config.parent / "ledger.sqlite").mkdir()
    result = run(config, "show")
    assert "cannot be read" in result.stderr
    assert result.exit_code == 75
