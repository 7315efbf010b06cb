"""What we give to postmasters beside the configuration file: units of systemd and settings of Postfix."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import textwrap
import tomllib
from pathlib import Path

import pytest

from contentfilter import config
from contentfilter.guard import CUT_SECONDS, LOOK_SECONDS
from contentfilter.slot import LONGEST_PAUSE

CONF = Path(__file__).parents[2] / "conf"
UNITS = ("contentfilter.service", "quarantine-expire.service", "quarantine-expire.timer")


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # the way that its documentation names
    parser.read_string((CONF / name).read_text())
    return parser


def test_systemd_waits_longer_than_the_workers_may_take() -> None:
    patience = unit("contentfilter.service")["Service"]["TimeoutStopSec"]
    assert float(patience.removesuffix("s")) > config.parse("", "empty").drain_timeout + CUT_SECONDS


def test_systemd_does_not_take_a_pause_between_workers_for_the_end() -> None:
    """Of a third of this time a sign of life may be late, and of a pause before a worker that keeps dying."""
    service = unit("contentfilter.service")["Service"]
    patience = float(service["WatchdogSec"].removesuffix("s"))
    assert patience * 2 / 3 > LONGEST_PAUSE + LOOK_SECONDS
    assert service["NotifyAccess"] == "main"


def test_a_wrong_configuration_does_not_restart_for_ever() -> None:
    service = unit("contentfilter.service")["Service"]
    assert service["RestartPreventExitStatus"] == "78"
    # For what runs before the main process systemd does not look at that status.
    assert not {key for key in service if key.startswith("Exec")} - {"ExecStart", "ExecReload"}


def test_the_timer_has_its_service() -> None:
    assert "quarantine expire" in unit("quarantine-expire.service")["Service"]["ExecStart"]
    assert unit("quarantine-expire.timer")["Timer"]["OnCalendar"] == "daily"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for name in UNITS:
        text = (CONF / name).read_text().replace("/opt/contentfilter/bin/", "/bin/true ")
        (tmp_path / name).write_text(text.replace("User=contentfilter", "User=root").replace("Group=contentfilter", ""))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(tmp_path / name for name in UNITS)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if any(name in line for name in UNITS)]
    assert ours == []


def test_the_snippet_leaves_alone_what_the_site_has_decided() -> None:
    settings = {
        line.partition("=")[0].strip()
        for line in (CONF / "main.cf.snippet").read_text().splitlines()
        if line and not line.startswith(("#", " "))
    }
    assert settings == {
        "content_filter",
        "receive_override_options",
        "scan_destination_recipient_limit",
        "scan_destination_concurrency_limit",
    }


def uncommented(text: str) -> str:
    return "\n".join(line if re.match(r"#( |$)", line) else line.removeprefix("#") for line in text.splitlines())


def test_the_example_of_a_policy_file_is_switched_off_and_right_when_it_is_switched_on(tmp_path: Path) -> None:
    example = (CONF / "policy.toml").read_text()
    assert all(line.startswith("#") for line in example.splitlines() if line)
    main, file = tmp_path / "contentfilter.toml", tmp_path / "policy.toml"
    main.write_text('[policies]\nfile = "policy.toml"\n')
    file.write_text(example)
    config.load(main)
    file.write_text(uncommented(example))
    got = config.load(main)
    assert {key.partition(".")[0] for key in tomllib.loads(uncommented(example))} == {"policy", "list", "bank"}
    assert dict(got.default_policy.settings)["virus_admin"] == "virusalert@example.org"
    assert {one.key for one in got.entries} == {
        "postmaster", "abuse", "@.example.org", "bob@example.org", "@sales.example.org",
    }  # fmt: skip
    assert {one.subject for one in got.listed} == {"@partner.example", "192.0.2.0/24", "@news.example", "@shop.example"}
    assert [bank.name for bank in got.banks] == ["outgoing", "ourselves"]


def test_the_tables_and_rules_that_the_readme_shows_are_right(tmp_path: Path) -> None:
    blocks = re.findall(r"(?:^    .*\n|^\n)+", (CONF.parent / "README.md").read_text(), re.MULTILINE)
    (tables,) = [textwrap.dedent(block) for block in blocks if '[list."@."]' in block]
    (rules,) = [textwrap.dedent(block) for block in blocks if "IGNORE" in block]
    (tmp_path / "policy.toml").write_text(tables)
    (tmp_path / "header_checks").write_text(rules.lstrip())
    main = tmp_path / "contentfilter.toml"
    main.write_text(
        'policies.file = "policy.toml"\nrules.header_checks = "header_checks"\n'
        '[banned.set.engineers]\nrules = [{ action = "allow", extensions = ["exe"] }]\n'
    )
    got = config.load(main)
    assert [(one.key, len(one.settings)) for one in got.entries] == [("@.lab.example.org", 2)]
    assert len(list(got.listed)) == 3
    assert [bank.name for bank in got.banks] == ["outgoing"]
    assert got.rule_set
