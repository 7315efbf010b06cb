"""The doctor for where settings come from: databases that are there, away, empty, or of another kind; files."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from contentfilter import config
from contentfilter.config import Config, NamedFile
from contentfilter.diagnosis import Diagnosis, State
from contentfilter.policy.amavis_database import AmavisDatabase
from contentfilter.policy.change import PutEntry, PutListed
from contentfilter.policy.database import PolicyDatabase
from contentfilter.policy.lists import Effect, ListEntry
from contentfilter.policy_doctor import amavis_database, configuration_files, policy_database
from demo.neighbours.daemon import free_port
from tests.amavis_tables import fill, statements
from tests.unit.users import open_place

NOBODY = 65534


def with_keys(directory: Path, **keys: str) -> Config:
    lines = [f'{key} = "{value}"' for key, value in keys.items()]
    return config.parse("\n".join([f'state_directory = "{directory}"', "[policies]", *lines]), "f")


async def of_policies(got: Config) -> Diagnosis:
    return await policy_database(got, PolicyDatabase(got.policies.database, timeout=1))


async def of_amavis(got: Config) -> Diagnosis:
    return await amavis_database(got, AmavisDatabase(got.policies.amavis_database, timeout=1))


async def test_a_database_that_nobody_wrote_to_is_well_and_stays_away(tmp_path: Path) -> None:
    got = await of_policies(with_keys(tmp_path))
    assert (got.state, got.advice) == (State.WELL, "")
    assert "is not there yet" in got.found
    assert not list(tmp_path.iterdir())


async def test_version_and_number_of_entries_are_told(tmp_path: Path) -> None:
    settings = with_keys(tmp_path)
    database = PolicyDatabase(settings.policies.database, timeout=1)
    listed = ListEntry("test", "@.", "a@y.example", Effect.ALLOW)
    database.apply([PutEntry("a@x.org", (("kill_level", 3.0),)), PutEntry("@x.org", ()), PutListed(listed)])
    database.close()
    got = await of_policies(settings)
    assert got == Diagnosis(
        f"policy database at sqlite:///{tmp_path}/policy.sqlite",
        State.WELL,
        "tables of version 1, entries: 2, list entries: 1",
    )


async def test_before_the_first_start_there_is_no_directory(tmp_path: Path) -> None:
    got = await of_policies(with_keys(tmp_path / "state"))
    assert got.state is State.ODD
    assert "start the filter, which makes state_directory" in got.advice


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("CREATE TABLE other (x)", "has no policy tables"),
        (
            "CREATE TABLE policy_state AS SELECT 1 AS id, 99 AS version, 1 AS generation",
            "has version 99, and this program knows versions up to",
        ),
    ],
)
async def test_a_database_of_somebody_else(tmp_path: Path, statement: str, problem: str) -> None:
    with closing(sqlite3.connect(tmp_path / "policy.sqlite")) as connection:
        connection.execute(statement)
    got = await of_policies(with_keys(tmp_path))
    assert got.state is State.ILL
    assert problem in got.found
    assert "all mail is deferred" in got.advice


async def test_what_is_no_database_at_all(tmp_path: Path) -> None:
    (tmp_path / "policy.sqlite").write_bytes(b"no database, but long enough to be looked at" * 100)
    got = await of_policies(with_keys(tmp_path))
    assert got.state is State.ILL
    assert "file is not a database" in got.found


@pytest.mark.parametrize("key", ["database", "amavis_database"])
async def test_a_server_that_is_away_and_a_password_that_is_not_shown(tmp_path: Path, key: str) -> None:
    url = f"postgresql://filter:geheim@127.0.0.1:{free_port()}/mail?password=auch-geheim"
    settings = with_keys(tmp_path, **{key: url})
    got = await (of_policies if key == "database" else of_amavis)(settings)
    assert got.state is State.ILL
    assert "refused" in got.found
    assert f"compare [policies] {key} with its name, user and password" in got.advice
    assert "all mail is deferred" in got.advice
    assert "geheim" not in str(got)
    assert "filter:***@127.0.0.1" in got.about


async def test_an_amavis_database(tmp_path: Path) -> None:
    settings = with_keys(tmp_path, amavis_database=f"sqlite:///{tmp_path}/amavis.sqlite")
    missing = await of_amavis(settings)
    assert missing.state is State.ILL
    assert "No such file" in missing.found
    assert not list(tmp_path.iterdir())
    fill(settings.policies.amavis_database, statements("sqlite"))
    empty = await of_amavis(settings)
    assert empty.state is State.ODD
    assert "has no users" in empty.found
    fill(
        settings.policies.amavis_database,
        (),
        policy=[{"id": 1}],
        users=[{"id": 1, "email": "a@x.org"}, {"id": 2, "email": "@."}],
        mailaddr=[{"id": 1, "email": "b@y.example"}],
        wblist=[{"rid": 1, "sid": 1, "wb": "W"}],
    )
    got = await of_amavis(settings)
    assert (got.state, got.found) == (State.WELL, "users: 2, rows in wblist: 1")


async def test_an_amavis_database_without_lists_and_one_without_users(tmp_path: Path) -> None:
    settings = with_keys(tmp_path, amavis_database=f"sqlite:///{tmp_path}/amavis.sqlite")
    fill(settings.policies.amavis_database, statements("sqlite", lists=False), users=[{"id": 1, "email": "a@x.org"}])
    got = await of_amavis(settings)
    assert (got.state, got.found) == (State.WELL, "users: 1, no tables of lists")
    with closing(sqlite3.connect(tmp_path / "amavis.sqlite")) as connection:
        connection.execute("DROP TABLE users")
    got = await of_amavis(settings)
    assert (got.state, got.found) == (State.ILL, "the amavis database has no table users")


# --- files --------------------------------------------------------------------------------------------------------


def of_files(got: Config, files: Sequence[NamedFile]) -> list[Diagnosis]:
    return list(configuration_files(got, files))


def test_which_files_a_configuration_is_read_from(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "body").write_text("")
    (tmp_path / "p.toml").write_text("")
    main = tmp_path / "c.toml"
    main.write_text('policies.file = "p.toml"\nrules.body_checks = "rules/body"\n')
    files = config.files(config.load(main), main)
    assert files == (
        NamedFile("", main),
        NamedFile("[policies] file", tmp_path / "p.toml"),
        NamedFile("[rules] body_checks", tmp_path / "rules" / "body"),
    )


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("postgresql://u:p@h/d", True),
        ("postgresql://h/d?password=p", True),
        ("postgresql://u@h/d?connect_timeout=3&password=p", True),
        ("postgresql://u@h:5432/d", False),
        ("postgresql:///d?host=/run/postgresql", False),
        ("sqlite:////var/lib/a:b@c", False),
    ],
)
def test_which_configuration_has_a_secret_in_it(tmp_path: Path, url: str, secret: bool) -> None:
    for key in ("policies.database", "policies.amavis_database", "quarantine.database"):
        (first, *_) = config.files(config.parse(f'{key} = "{url}"', "f"), tmp_path)
        assert first.secret is secret


def test_permissions_of_files(tmp_path: Path) -> None:
    file = NamedFile("[policies] file", tmp_path / "p.toml")
    file.path.write_text("")
    settings = with_keys(tmp_path)
    file.path.chmod(0o644)
    (well,) = of_files(settings, [file])
    assert (well.state, well.found) == (State.WELL, f"may be read: {file.path}")
    (ours,) = of_files(settings, [replace(file, secret=True)])
    assert ours.state is State.ODD
    assert "has the password of a database in it" in ours.found
    assert f"chmod 640 {file.path}" in ours.advice
    file.path.chmod(0o640)
    assert of_files(settings, [replace(file, secret=True)])[0].state is State.WELL
    file.path.chmod(0o646)
    (open_to_all,) = of_files(settings, [file])
    assert (open_to_all.state, open_to_all.found) == (State.ILL, "everybody may write to it")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can see for another user")
def test_root_sees_what_the_user_of_the_daemon_may_not_read() -> None:
    with open_place() as place:
        state, file, rules = place / "state", NamedFile("", place / "c.toml"), place / "rules"
        for directory in (state, rules):
            directory.mkdir()
        hidden = NamedFile("[rules] body_checks", rules / "body")
        for one in (file, hidden):
            one.path.write_text("")
            one.path.chmod(0o644)
        settings = with_keys(state)
        assert of_files(settings, [file, hidden])[0].state is State.WELL  # root's own state directory tells of nobody
        os.chown(state, NOBODY, NOBODY)
        PolicyDatabase(settings.policies.database, timeout=1).apply([])
        (well,) = of_files(settings, [file, hidden])
        assert well.state is State.WELL
        assert well.found.startswith("may be read by the user nobody: ")
        rules.chmod(0o700)
        file.path.chmod(0o640)
        first, second = of_files(settings, [file, hidden])
        for one, path in ((first, file.path), (second, hidden.path)):
            assert one.state is State.ILL
            assert str(path) in one.about
            assert "nobody, to whom state_directory belongs, may not read it" in one.found
            assert "chgrp nogroup" in one.advice
        rules.chmod(0o755)
        os.chown(file.path, 0, NOBODY)
        assert of_files(settings, [file, hidden])[0].state is State.WELL
        # As a backup is put back by cp.
        database = state / "policy.sqlite"
        os.chown(database, 0, 0)
        database.chmod(0o644)
        (badly_restored,) = of_files(settings, [file, hidden])
        assert badly_restored.state is State.ILL
        assert str(database) in badly_restored.about
        assert f"chown nobody {database}*" in badly_restored.advice


def test_the_command_tells_of_databases_and_files(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(
        f'state_directory = "{tmp_path}"\n[next_hop]\naddress = "127.0.0.1:1"\n'
        f'[policies]\namavis_database = "sqlite:///{tmp_path}/none.sqlite"\n'
        "[clamav]\nenabled = false\n[spamassassin]\nenabled = false\n"
    )
    command = [sys.executable, "-m", "contentfilter", "doctor", "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"ok policy database at sqlite:///{tmp_path}/policy.sqlite: is not there yet" in done.stdout
    assert f"XX amavis database at sqlite:///{tmp_path}/none.sqlite: the amavis database does not work" in done.stdout
    assert f"ok configuration files: may be read: {file}" in done.stdout
