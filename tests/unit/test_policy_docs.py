"""docs/policy.md shows what the commands really do, and names all of them."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import click
import pytest

from contentfilter.cli import cli, main

PAGE = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()


def test_the_examples_do_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (configuration,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "contentfilter.toml"
    path.write_text(f'state_directory = "{tmp_path}"\nhostname = "filter.example.org"\n{configuration}')
    monkeypatch.setenv("CONTENTFILTER_CONFIG", str(path))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        shown = ""
        for line in re.findall(r"^\$ (.*)$", block, re.MULTILINE):
            monkeypatch.setattr(sys, "argv", shlex.split(line))
            code: object = 0
            try:
                main()
            except SystemExit as left:
                code = left.code or 0
            captured = capsys.readouterr()
            shown += f"$ {line}\n{captured.out}{captured.err}" + (f"[exit {code}]\n" if code else "")
        assert shown == block


def test_the_page_names_every_command_and_option() -> None:
    for group in ("policy", "lists"):
        for name, command in cli.get_command(click.Context(cli), group).commands.items():  # type: ignore[attr-defined]
            assert re.search(rf"\b{group} {name}\b", PAGE), f"{group} {name}"
            for parameter in command.params:
                for option in (one for one in parameter.opts if one.startswith("--")):
                    assert option in PAGE or option in ("--config", "--format", "--source"), f"{name} {option}"
