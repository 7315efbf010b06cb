"""Who else may change a configuration, and what is said of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from contentfilter import config as configuration
from contentfilter import serving
from contentfilter.cli import cli
from contentfilter.config import ownership
from contentfilter.errors import ConfigError

STRANGER = 54321
FOREIGN = "{path} belongs to {owner}, who is neither root nor the user that runs the filter: chown root {path}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A configuration of three files, whose directory stands below one like /tmp."""
    sticky = tmp_path / "sticky"
    directory = sticky / "above" / "conf"
    (directory / "rules").mkdir(0o755, parents=True)
    sticky.chmod(0o1777)
    (directory / "c.toml").write_text(
        '[policies]\nfile = "policy.toml"\n[rules]\nbody_checks = "rules/body"\n'
        "[clamav]\nenabled = false\n[spamassassin]\nenabled = false\n"
    )
    (directory / "policy.toml").write_text("")
    (directory / "rules" / "body").write_text("")
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return directory


def problem(place: Path) -> str:
    """What is said of the configuration, "" if nothing."""
    file = place / "c.toml"
    try:
        ownership.check(configuration.files(configuration.load(file), file))
    except ConfigError as error:
        return str(error)
    return ""


def chmod(mode: int) -> Callable[[Path], None]:
    return lambda path: path.chmod(mode)


def chown(uid: int, gid: int = -1, mode: int | None = None) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        os.chown(path, uid, gid)
        if mode is not None:
            path.chmod(mode)

    return change


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (".", chmod(0o755), ""),
        (".", chmod(0o700), ""),
        ("c.toml", chmod(0o640), ""),
        ("c.toml", chmod(0o664), ""),  # the group is our own
        ("c.toml", chmod(0o666), "{c}: everybody may write to {path}: chmod o-w {path}"),
        ("c.toml", chmod(0o602), "{c}: everybody may write to {path}: chmod o-w {path}"),
        (".", chmod(0o757), "{c}: everybody may write to {path}: chmod o-w {path}"),
        (".", chmod(0o1777), "{c}: everybody may write to {path}: chmod o-w {path}"),
        ("policy.toml", chmod(0o646), "[policies] file: {path}: everybody may write to {path}: chmod o-w {path}"),
        ("rules/body", chmod(0o646), "[rules] body_checks: {path}: everybody may write to {path}: chmod o-w {path}"),
        ("rules", chmod(0o777), "[rules] body_checks: {path}/body: everybody may write to {path}: chmod o-w {path}"),
        ("..", chmod(0o1777), ""),
        ("..", chmod(0o777), "{c}: everybody may replace what is in {path}: chmod o-w {path}"),
        ("../..", chmod(0o777), "{c}: everybody may replace what is in {path}: chmod o-w {path}"),
    ],
)  # fmt: skip
def test_permissions(place: Path, name: str, change: Callable[[Path], None], said: str) -> None:
    path = (place / name).resolve()
    change(path)
    assert problem(place) == said.format(path=path, c=place / "c.toml")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("c.toml", chown(0, STRANGER), ""),
        ("c.toml", chown(0, STRANGER, 0o640), ""),  # as the manual has it: chgrp, and g+r
        ("c.toml", chown(0, STRANGER, 0o660), "{c}: the group 54321 may write to {path}: chmod g-w {path}"),
        (".", chown(0, STRANGER, 0o775), "{c}: the group 54321 may write to {path}: chmod g-w {path}"),
        (".", chown(0, 0, 0o775), ""),
        ("c.toml", chown(STRANGER), "{c}: " + FOREIGN.replace("{owner}", "the user 54321")),
        (".", chown(STRANGER), "{c}: " + FOREIGN.replace("{owner}", "the user 54321")),
        ("rules", chown(1), "[rules] body_checks: {path}/body: " + FOREIGN.replace("{owner}", "daemon")),
        ("..", chown(STRANGER), ""),
    ],
)  # fmt: skip
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owners(place: Path, name: str, change: Callable[[Path], None], said: str) -> None:
    path = (place / name).resolve()
    change(path)
    assert problem(place) == said.format(path=path, c=place / "c.toml")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_is_our_own_is_well(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (place, *place.rglob("*")):
        os.chown(path, STRANGER, STRANGER)
    assert problem(place)
    monkeypatch.setattr("contentfilter.config.ownership.os.geteuid", lambda: STRANGER)
    assert problem(place) == ""
    (place / "c.toml").chmod(0o664)
    assert problem(place).endswith(f"chmod g-w {place}/c.toml")
    monkeypatch.setattr("contentfilter.config.ownership.os.getegid", lambda: STRANGER)
    assert problem(place) == ""


def test_a_link_is_followed_and_its_own_directory_counts(place: Path, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    real.mkdir(0o755)
    (place / "policy.toml").rename(real / "policy.toml")
    (place / "policy.toml").symlink_to(real / "policy.toml")
    named = place / "policy.toml"
    assert problem(place) == ""
    real.chmod(0o777)
    assert problem(place) == f"[policies] file: {named}: everybody may write to {real}: chmod o-w {real}"
    real.chmod(0o755)
    (real / "policy.toml").chmod(0o666)
    path = real / "policy.toml"
    assert problem(place) == f"[policies] file: {named}: everybody may write to {path}: chmod o-w {path}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("whole_directory", [True, False])
def test_nobody_else_may_own_a_link_on_the_way(place: Path, tmp_path: Path, whole_directory: bool) -> None:
    """Whose link it is leads it elsewhere."""
    file = place / "c.toml"
    files = configuration.files(configuration.load(file), file)[:1]
    middle, named = tmp_path / "middle", tmp_path / "named"
    middle.symlink_to(place if whole_directory else file)
    named.symlink_to(middle)
    way = [replace(files[0], path=named / "c.toml" if whole_directory else named)]
    ownership.check(way)
    os.chown(middle, STRANGER, -1, follow_symlinks=False)
    with pytest.raises(ConfigError, match=f"{middle} belongs to the user 54321"):
        ownership.check(way)


def test_a_file_that_goes_meanwhile(place: Path) -> None:
    file = place / "c.toml"
    files = configuration.files(configuration.load(file), file)
    (place / "rules" / "body").unlink()
    with pytest.raises(ConfigError, match=r"rules/body: cannot be looked at: No such file or directory$"):
        ownership.check(files)


def test_the_commands_say_the_same(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contentfilter.cli.os.umask", lambda _mode: 0)  # that of the tests stays
    file = place / "c.toml"
    serving.loaded(file)
    assert CliRunner().invoke(cli, ["config", "check", "--config", str(file)]).exit_code == 0
    place.chmod(0o777)
    said = f"{file}: everybody may write to {place}: chmod o-w {place}"
    with pytest.raises(ConfigError) as refused:
        serving.loaded(file)
    assert str(refused.value) == said
    for command in (["config", "check"], ["serve"]):
        done = CliRunner().invoke(cli, [*command, "--config", str(file)])
        assert (done.exit_code, done.stderr) == (78, f"contentfilter: {said}\n")
