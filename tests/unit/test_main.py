"""The way from the command line to the daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SERVE = """
import sys
from contentfilter import __main__, serving

def serve(path):
    print(path, "click" in sys.modules, "contentfilter.cli" in sys.modules)

serving.main = serve
sys.argv[0] = "contentfilter"
__main__.main()
"""


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["serve"], "None False False\n"),
        (["serve", "--config", "some.toml"], "some.toml False False\n"),
        (["serve", "--config=some.toml"], "some.toml True True\n"),
    ],
)
def test_the_daemon_has_no_commands_in_its_memory(arguments: list[str], printed: str) -> None:
    done = subprocess.run([sys.executable, "-c", SERVE, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout == printed


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["serve", "--config", "{here}/none.toml"], os.EX_CONFIG, "none.toml"),
        (["serve", "--config", "{here}"], os.EX_USAGE, "is a directory"),
        (["serve", "--config"], os.EX_USAGE, "requires an argument"),
        (["serve", "now"], os.EX_USAGE, "unexpected extra argument"),
    ],
)
def test_bad_ways_to_start_it_have_a_clear_end(tmp_path: Path, arguments: list[str], status: int, said: str) -> None:
    arguments = [each.format(here=tmp_path) for each in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "contentfilter", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr
