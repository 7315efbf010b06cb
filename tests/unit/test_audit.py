"""The audit says what it looked up, and never takes silence for "nothing known"."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "audit"


@pytest.fixture
def audit(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = importlib.machinery.SourceFileLoader("audit", str(SCRIPT))
    spec = importlib.util.spec_from_loader("audit", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def _package(name: str, *advisories: str) -> dict[str, object]:
    return {"name": name, "version": "1.0", "vulns": [{"id": one} for one in advisories]}


@pytest.mark.parametrize(
    ("report", "found", "looked"),
    [
        ("", [], 0),
        ("ERROR: no route to host", [], 0),
        ("{}", [], 0),
        (json.dumps({"dependencies": [{"name": "click", "skip_reason": "not found"}]}), [], 0),
        (json.dumps({"dependencies": [_package("click")]}), [], 1),
        (
            json.dumps({"dependencies": [_package("a", "PYSEC-1", "PYSEC-2"), _package("b"), {"skip_reason": "?"}]}),
            ["a 1.0: PYSEC-1", "a 1.0: PYSEC-2"],
            2,
        ),
    ],
)
def test_only_what_a_service_knows_counts_as_looked_up(
    audit: ModuleType, report: str, found: list[str], looked: int
) -> None:
    assert audit.summed(report) == (found, looked)


@pytest.fixture(params=["closed", "silent"])
def nobody(request: pytest.FixtureRequest) -> Iterator[str]:
    """A proxy in the way of every service: nothing listens there, or somebody who says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        if request.param == "closed":
            server.close()
            yield "http://127.0.0.1:9"
        else:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(("options", "status"), [((), 0), (("--require-advisories",), 69)], ids=["usual", "required"])
def test_without_a_service_it_says_that_nothing_was_looked_up(
    nobody: str, options: tuple[str, ...], status: int
) -> None:
    environment = {**os.environ, "https_proxy": nobody, "HTTPS_PROXY": nobody, "no_proxy": "", "NO_PROXY": ""}
    command = [sys.executable, SCRIPT, "--within", "0.5", *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, "")
    assert done.stdout.startswith("audit: NOT DONE: none of ")
    assert "pypi: " in done.stdout
    assert "osv: " in done.stdout


def test_what_is_found_is_told_and_fails(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["audit"])
    monkeypatch.setattr(audit, "advisories", lambda _within: (["a 1.0: PYSEC-1"], 40, ""))
    assert audit.main() == 1
    said = capsys.readouterr().out
    assert "VULNERABLE: a 1.0: PYSEC-1" in said
    assert "40 of " in said


def test_the_command_for_tests_runs_the_audit_and_fails_with_it() -> None:
    told = subprocess.run(["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    last = told.splitlines()[-1].replace(".venv/bin/pytest", "true")
    assert "scripts/audit" in last
    done = subprocess.run(["bash", "-c", last.replace("scripts/audit", "(exit 1)")], cwd=ROOT, check=False)
    assert done.returncode == 1
    done = subprocess.run(["bash", "-c", last.replace("scripts/audit", "true")], cwd=ROOT, check=False)
    assert done.returncode == 0
