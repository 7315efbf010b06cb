"""`contentfilter policy import` and `export`: the whole database as a file that people edit."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from contentfilter.command import config_option, json_option, json_text, load, print_json
from contentfilter.commands import place, view
from contentfilter.output import complain, fail
from contentfilter.policy.exchange.content import Problem, Step, changes, steps
from contentfilter.policy.exchange.csv_table import read_csv, write_csv
from contentfilter.policy.exchange.reading import Reading
from contentfilter.policy.exchange.toml_table import read_toml, write_toml

_WRITERS = {"toml": write_toml, "csv": write_csv}
_READERS = {"toml": read_toml, "csv": read_csv}
_MOST_PROBLEMS = 20

format_option = click.option(
    "--format", "form", type=click.Choice(["toml", "csv"]), help="Else by the ending of the file's name."
)


@click.command("export")
@config_option
@json_option
@format_option
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True), default="-")
def export_all(path: Path | None, as_json: bool, form: str | None, file: str) -> None:
    """Write the database as TOML or CSV.

    All entries and lists, to FILE or standard output. The TOML can be used as [policies] file as well.
    """
    if as_json and form:
        raise click.UsageError("--json and --format exclude each other")
    with place.opened(load(path)) as database:
        _, now = place.content_of(database)
    if as_json:
        moment = time.time()
        entries = [view.entry_values(one, moment) for one in now.entries.values()]
        listed = [view.listed_values(one, moment) for one in now.listed.values()]
        text = json_text({"entries": entries, "listed": listed})
    else:
        text = _WRITERS[form or _ending(file) or "toml"](now)
    if file == "-":
        click.echo(text, nl=False)
        return
    try:
        _write(Path(file).resolve(), text)
    except OSError as error:
        fail(f"{file}: cannot be written: {error.strerror}", os.EX_CANTCREAT)


def _write(file: Path, text: str) -> None:
    """All of it or nothing: what is there stays until the new text is complete."""
    if file.exists() and not file.is_file():  # such as /dev/stderr
        file.write_text(text, encoding="utf-8")
        return
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with temporary.open("x", encoding="utf-8", newline="") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _ending(name: str) -> str | None:
    ending = Path(name).suffix.removeprefix(".").lower()
    return ending if ending in _READERS else None


@click.command("import")
@config_option
@json_option
@format_option
@click.option("--dry-run", "-n", is_flag=True, help="Only show what would change.")
@click.option("--replace", is_flag=True, help="Also remove entries and list entries that FILE does not have.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
def import_all(
    *, path: Path | None, as_json: bool, form: str | None, dry_run: bool, replace: bool, yes: bool, file: str
) -> None:
    """Put the entries and lists of FILE into the database.

    All of them or none. Shows what changes and asks. An entry of FILE takes the place of the one with its key; what
    FILE has no entry for stays, unless you say --replace. If anything in FILE is wrong, nothing is written, and
    exit code 65.
    """
    form = form or _ending(file)
    if form is None:
        raise click.UsageError("FILE has no ending .toml or .csv: say --format")
    if not (yes or dry_run) and (file == "-" or not sys.stdin.isatty()):
        raise click.UsageError("nobody can be asked here: say --yes to write, or --dry-run")
    config = load(path)
    reading = Reading(case_sensitive=config.domains.case_sensitive, objection=config.objection)
    _READERS[form](_text(file), reading)
    if reading.problems:
        _refuse(file, reading.problems)
    with place.opened(config) as database:
        generation, now = place.content_of(database)
        wanted = steps(now, reading.content, replace=replace)
        _show(wanted, as_json=as_json, dry_run=dry_run)
        if not wanted or dry_run:
            return
        if not yes:
            click.confirm("Write this to the database?", abort=True, err=True)
        database.apply(changes(wanted), generation)
    if not as_json:
        view.say("written")


def _text(file: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        fail(f"{file}: cannot be read: {error.strerror}", os.EX_NOINPUT)
    except UnicodeDecodeError as error:
        fail(f"{file}: is not UTF-8 (byte {error.start}); nothing was written", os.EX_DATAERR)
    if text and not text.endswith(("\n", "\r")):
        # A file that was cut off in its last value can look like a whole one.
        fail(f"{file}: its last line has no end: is it complete? Nothing was written", os.EX_DATAERR)
    return text


def _refuse(file: str, problems: Sequence[Problem]) -> None:
    for one in problems[:_MOST_PROBLEMS]:
        complain(f"{file}: {one}")
    if len(problems) > _MOST_PROBLEMS:
        complain(f"{file}: and {len(problems) - _MOST_PROBLEMS} more")
    count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
    fail(f"{file}: {count}; nothing was written", os.EX_DATAERR)


def _show(wanted: Sequence[Step], *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        print_json({"changes": [view.step_values(one) for one in wanted], "dry_run": dry_run})
        return
    for one in wanted:
        view.say(view.step_line(one))
    counts = Counter(str(view.step_values(one)["change"]) for one in wanted)
    view.say(", ".join(f"{counts[what]} {what}" for what in ("added", "changed", "removed")))
