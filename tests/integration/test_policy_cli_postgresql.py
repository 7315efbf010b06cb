"""The commands for policies and lists on a real PostgreSQL, and on one that died."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgresql import PostgreSQL

PROGRAM = Path(sys.executable).parent / "contentfilter"


def test_settings_travel_from_one_database_to_another(postgresql: PostgreSQL, tmp_path: Path) -> None:
    configs = []
    for name in ("cli_one", "cli_two"):
        configs.append(tmp_path / f"{name}.toml")
        configs[-1].write_text(
            f'state_directory = "{tmp_path}"\nhostname = "filter.example.org"\n'
            f'[policies]\ntimeout = 5.0\ndatabase = "{postgresql.create(name)}"\n'
        )
    one, two = configs

    def run(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "CONTENTFILTER_CONFIG": str(config)}
        return subprocess.run([PROGRAM, *arguments], env=environment, capture_output=True, text=True, check=False)

    assert run(one, "policy", "set", "o'brien@example.org", "kill_level=-inf", "spam_subject_tag=%_'\"").returncode == 0
    assert run(one, "lists", "add", "@.", "@news.example", "-2.5", "--expires", "2130-12-31").returncode == 0
    file = str(tmp_path / "all.csv")
    assert run(one, "policy", "export", file).returncode == 0
    imported = run(two, "policy", "import", "--yes", file)
    assert imported.stdout.splitlines()[-2:] == ["2 added, 0 changed, 0 removed", "written"], imported.stderr
    for command in (["policy", "list", "--json"], ["lists", "show", "--json"]):
        assert json.loads(run(two, *command).stdout) == json.loads(run(one, *command).stdout) != []
    explained = run(two, "policy", "get", "O'Brien@example.org", "kill_level", "--explain")
    assert "* kill_level = -inf\n      from o'brien@example.org in sql\n" in explained.stdout

    postgresql.kill()
    try:
        for command in (["policy", "get", "bob@x.org"], ["policy", "set", "bob@x.org", "kill_level=1"]):
            ran = run(one, *command)
            assert (ran.returncode, ran.stdout) == (69, "")
            assert ran.stderr.startswith("contentfilter: the policy database does not work: ")
            assert "whether the database runs" in ran.stderr
    finally:
        postgresql.start()


@pytest.mark.parametrize("command", [["policy", "list"], ["policy", "get", "bob@x.org"], ["lists", "show"]])
def test_a_password_is_never_shown(tmp_path: Path, command: list[str]) -> None:
    config = tmp_path / "contentfilter.toml"
    config.write_text(
        f'state_directory = "{tmp_path}"\nhostname = "filter.example.org"\n'
        '[policies]\ntimeout = 2.0\ndatabase = "postgresql://filter:SeCrEt@127.0.0.1:1/x"\n'
    )
    ran = subprocess.run([PROGRAM, *command, "--config", config], capture_output=True, text=True, check=False)
    assert ran.returncode == 69
    assert "SeCrEt" not in ran.stdout + ran.stderr
