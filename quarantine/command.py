"""What all commands of the command line share: options, exit codes, the way to the configuration.

Exit codes are those of sysexits.h, as Postfix's own tools use them. Where several items are named and some fail, the
others are served all the same and the greatest code counts.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from contentfilter import config as configuration
from contentfilter.config import Config
from contentfilter.errors import ConfigError, FilterError, QuarantineError
from contentfilter.mail_id import is_id
from contentfilter.printable import printable, told
from quarantine import stamp, store
from quarantine.errors import ItemBusyError, ItemDamagedError, UnknownIdError
from quarantine.moments import bytes_of_size, moment, seconds_of_age
from quarantine.store import Quarantine

_Command = TypeVar("_Command", bound=Callable[..., Any])


class CommandError(Exception):
    """The command ends with this text and exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class SysexitsGroup(click.Group):
    """A group of commands whose exit codes are those of sysexits.h: a wrong command line is 64."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run; who reads us may have seen enough, as with "| head", of which click would make an error."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return os.EX_OK

    def main(self, *arguments: Any, **more: Any) -> Any:
        """Run and exit."""
        more["standalone_mode"] = False
        try:
            result = super().main(*arguments, **more)
            if sys.stdout is not None:
                sys.stdout.flush()
        except click.UsageError as error:
            error.show()
            sys.exit(os.EX_USAGE)
        except CommandError as error:
            complain(str(error))
            sys.exit(error.code)
        except (click.Abort, KeyboardInterrupt):
            complain("interrupted")
            sys.exit(130)
        except OSError as error:
            # What is left in the buffer goes nowhere: writing it at exit would fail once more.
            with contextlib.suppress(OSError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if isinstance(error, BrokenPipeError):
                sys.exit(0)  # who reads us has seen enough, as with "| head"
            complain(error.strerror or str(error))
            sys.exit(os.EX_NOPERM if isinstance(error, PermissionError) else os.EX_IOERR)
        except Exception as error:
            complain(f"unforeseen error: {told(error)}")
            sys.exit(os.EX_SOFTWARE)
        sys.exit(result if isinstance(result, int) else 0)


def common_options(command: _Command) -> _Command:
    """--config and --json, which every command has."""
    config = click.option(
        "--config",
        "path",
        type=click.Path(path_type=Path),
        help="Configuration file; else $CONTENTFILTER_CONFIG, else /etc/contentfilter/contentfilter.toml.",
    )
    as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
    return config(as_json(command))


def load(path: Path | None) -> Config:
    """The configuration. Raises CommandError."""
    try:
        return configuration.load(configuration.path_in_use(path))
    except ConfigError as error:
        raise CommandError(str(error), os.EX_CONFIG) from error


@contextlib.contextmanager
def opened(config: Config) -> Iterator[Quarantine]:
    """The quarantine; its errors end the command with their text."""
    quarantine = Quarantine(config.quarantine.directory, config.quarantine.database)
    try:
        yield quarantine
    except FilterError as error:
        advice = "; only the filter's user and root may" if exit_code(error) == os.EX_NOPERM else ""
        raise CommandError(f"{error}{advice}", exit_code(error)) from error
    finally:
        quarantine.close()


def check_clock(config: Config, now: float, *, only_tell: bool) -> None:
    """Before a deletion by age. Raises CommandError where the clock has leapt since the last one, or only tells so.

    Raises QuarantineError where that cannot be looked at.
    """
    directory = config.quarantine.directory
    try:
        leap = stamp.leap(directory, now)
    except OSError as error:
        raise QuarantineError(f"cannot read {directory / stamp.NAME}: {error}") from error
    if leap is None:
        return
    if not only_tell:
        raise CommandError(f"nothing deleted: {leap}; if the clock is right: --clock-is-right", os.EX_TEMPFAIL)
    complain(f"{leap}")


def note_expiry(config: Config, now: float) -> None:
    """After a deletion by age. It has taken place, so that what goes wrong here is only told."""
    try:
        stamp.leave(config.quarantine.directory, now)
    except OSError as error:
        complain(f"{config.quarantine.directory / stamp.NAME} cannot be written: {error.strerror}")


def exit_code(error: FilterError) -> int:
    """The code for this error."""
    if isinstance(error, UnknownIdError):
        return os.EX_NOINPUT
    if isinstance(error, ItemBusyError):
        return os.EX_TEMPFAIL
    if isinstance(error.__cause__, PermissionError):
        return os.EX_NOPERM
    return os.EX_DATAERR if isinstance(error, ItemDamagedError) else os.EX_IOERR


def complain(message: str) -> None:
    """Say on stderr what is wrong."""
    click.echo(f"quarantine: {printable(message)}", err=True)


def ids_of(arguments: Iterable[str]) -> list[str]:
    """The ids on the command line, each once; "-" stands for those on standard input. Raises CommandError."""
    ids: list[str] = []
    for argument in arguments:
        ids.extend(sys.stdin.buffer.read().decode("ascii", "replace").split() if argument == "-" else [argument])
    for mail_id in ids:
        if not is_id(mail_id):
            raise CommandError(f'"{mail_id[:40]}" is not a quarantine id', os.EX_DATAERR)
    return list(dict.fromkeys(ids))


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[store.Progress]:
    """A progress bar on stderr where that is a terminal, else nothing."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, count: bar.update(task, completed=done, total=count)


class Moment(click.ParamType[float]):
    """An age or a date on the command line."""

    name = "age or date"

    def __init__(self, *, end_of_day: bool = False) -> None:
        self._end_of_day = end_of_day

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds since the epoch."""
        try:
            return moment(str(value), time.time(), end_of_day=self._end_of_day)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Age(click.ParamType[float]):
    """An age on the command line."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """In seconds."""
        try:
            return seconds_of_age(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Size(click.ParamType[int]):
    """A size on the command line."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """In bytes."""
        try:
            return bytes_of_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Address(click.ParamType[str]):
    """A mail address on the command line, without angle brackets."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The address as it goes into the envelope."""
        text = str(value).removeprefix("<").removesuffix(">")
        if "@" not in text.strip("@") or any(mark in text for mark in "<> ") or not text.isprintable():
            self.fail(f'"{text}" is no address such as user@example.org', param, ctx)
        return text
