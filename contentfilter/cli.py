"""The command `contentfilter`. Results go to stdout, problems to stderr, exit codes are those of sysexits.h."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import click

from contentfilter import config as configuration
from contentfilter import maillog
from contentfilter.config import Config
from contentfilter.envelope import Envelope, Protocol, Recipient
from contentfilter.errors import ConfigError, FilterError
from contentfilter.message import Message, Spool

_READ = 1 << 20

config_option = click.option(
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Configuration file; else $CONTENTFILTER_CONFIG, else /etc/contentfilter/contentfilter.toml.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def fail(message: str, status: int) -> NoReturn:
    """Say what is wrong and leave."""
    click.echo(f"contentfilter: {message}", err=True)
    raise SystemExit(status)


def load(path: Path | None) -> Config:
    """The configuration, or a clear end."""
    try:
        return configuration.load(configuration.path_in_use(path))
    except ConfigError as error:
        fail(str(error), os.EX_CONFIG)


def print_json(values: Any) -> None:
    """One JSON document on stdout. ASCII only, so that nothing in it drives a terminal."""
    click.echo(json.dumps(values, indent=2, allow_nan=False))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("contentfilter"), prog_name="contentfilter")
def cli() -> None:
    """A mail content filter behind Postfix."""


@cli.command()
@config_option
def serve(path: Path | None) -> None:
    """Run in the foreground.

    SIGTERM: finish what is in hand, within drain_timeout, and stop. SIGHUP: read the configuration file anew; one with
    a mistake in it is refused, the log says why, and the old configuration stays in force.

    Exit 78: the configuration is wrong. 71: a socket or directory is not to be had now. 70: a worker died at the start.
    """
    from contentfilter import worker  # noqa: PLC0415 - the other commands need not wait for all of it
    from contentfilter.daemon import StartError, Supervisor  # noqa: PLC0415

    config = load(path)
    file = configuration.path_in_use(path)
    reload: Callable[[], Config] = partial(configuration.load, file)
    maillog.set_up(config.log.to.value, config.log.level.value, config.log.syslog_address)
    make_state_directory(config, file)
    try:
        raise SystemExit(Supervisor(config, reload, worker.run).run())
    except StartError as error:
        fail(f"{file}: {error}", error.status)


def make_state_directory(config: Config, file: Path) -> None:
    """Make it, or end in a way that a service manager tries again: a file system may be mounted late."""
    try:
        config.state_directory.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        problem = f"{config.state_directory} cannot be made: {error.strerror}"
        fail(f"{file}: state_directory: {problem}", os.EX_OSERR)


@cli.command()
@config_option
@json_option
@click.option("--mail-from", default="", help="Envelope sender; default: the null sender.")
@click.option(
    "--dump",
    "dump_directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write every part and member into this new or empty directory, under numbers, with an index.json.",
)
@click.option("--rcpt", "rcpts", multiple=True, help="Envelope recipient; may be repeated. Default: postmaster.")
@click.argument("file", type=click.File("rb"))
def check(
    *,
    path: Path | None,
    as_json: bool,
    mail_from: str,
    dump_directory: Path | None,
    rcpts: tuple[str, ...],
    file: BinaryIO,
) -> None:
    """Judge a message as the daemon would.

    FILE is the message, - is standard input. The whole journey but its end: nothing is sent and nothing is stored.
    """
    from rich.console import Console  # noqa: PLC0415

    from contentfilter import presentation  # noqa: PLC0415

    config = load(path)
    maillog.set_up("stderr", "error")
    envelope = Envelope(mail_from, tuple(Recipient(rcpt) for rcpt in rcpts or ("postmaster",)), protocol=Protocol.LMTP)
    with tempfile.TemporaryDirectory(prefix="contentfilter-check-") as scratch, _spooled(file, scratch) as message:
        try:
            case = asyncio.run(_judge(_working_in(scratch, config), envelope, message))
        except FilterError as error:
            fail(f"{error} ({error.reply})", os.EX_TEMPFAIL if error.reply.temporary else os.EX_DATAERR)
        if dump_directory is not None:
            _dump(case, dump_directory)
        if as_json:
            print_json(presentation.case_values(case))
        else:
            Console().print(presentation.case_text(case))


def _dump(case: Any, directory: Path) -> None:
    from contentfilter.dump import dump  # noqa: PLC0415 - rarely wanted

    try:
        dump(case, directory)
    except OSError as error:
        fail(f"--dump {directory}: {error.strerror or error}", os.EX_CANTCREAT)


def _working_in(scratch: str, config: Config) -> Config:
    """For those who may not write to the daemon's directory, or have none yet. Helpers of root are somebody else."""
    directory = Path(scratch)
    directory.chmod(0o711)
    return config.model_copy(update={"state_directory": directory})


def _spooled(file: BinaryIO, scratch: str) -> Message:
    spool = Spool(Path(scratch), sys.maxsize)
    while chunk := file.read(_READ):
        spool.write(chunk)
    return spool.finish()


async def _judge(config: Config, envelope: Envelope, message: Message) -> Any:
    from contentfilter import worker  # noqa: PLC0415
    from contentfilter.mail_id import new_id  # noqa: PLC0415

    next_hop, box = worker.next_hop_for(config), worker.box_for(config)
    try:
        return await worker.pipeline_for(config, next_hop, box).judge(new_id(), envelope, message)
    finally:
        await box.close()
        await next_hop.close()


@cli.group("config")
def config_group() -> None:
    """Look at the configuration."""


@config_group.command("check")
@config_option
def config_check(path: Path | None) -> None:
    """Say whether the configuration can be used.

    Exit 78 if not. Only the file is looked at; contentfilter doctor looks at what it names.
    """
    load(path)
    click.echo(f"{configuration.path_in_use(path)}: ok")


@config_group.command("show")
@config_option
@json_option
@click.option("--defaults", is_flag=True, help="Every key with its meaning and default, as a file to start from.")
def config_show(path: Path | None, as_json: bool, defaults: bool) -> None:
    """Show the configuration in effect, every key.

    JSON has no infinity: with --json a level is a number, "inf" or "-inf".
    """
    if defaults:
        click.echo(configuration.reference(), nl=False)
        return
    config = load(path)
    if as_json:
        print_json(configuration.json_values(configuration.plain(config)))
    else:
        click.echo(configuration.show(config), nl=False)


@cli.command()
@config_option
@json_option
@click.option(
    "--postfix-config",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Postfix's configuration directory, if it is not the default one.",
)
def doctor(path: Path | None, as_json: bool, postfix_config: Path | None) -> None:
    """Examine clamd, spamd, next hop, Postfix and the box.

    Is each there, does it answer as it should, and what to do if not. Exit 1 if something failed.
    """
    from rich.console import Console  # noqa: PLC0415

    from contentfilter import presentation, worker  # noqa: PLC0415
    from contentfilter.doctor import Neighbours, PostconfCommand, State, examine  # noqa: PLC0415

    config = load(path)
    maillog.set_up("stderr", "error")
    with tempfile.TemporaryDirectory(prefix="contentfilter-doctor-") as scratch:
        neighbours = Neighbours(
            worker.clamd_for(config),
            worker.spamd_for(config),
            worker.next_hop_for(config),
            PostconfCommand(postfix_config),
            worker.box_for(_working_in(scratch, config)),
        )
        diagnoses = asyncio.run(examine(config, neighbours))
    if as_json:
        print_json(presentation.diagnosis_values(diagnoses))
    else:
        presentation.show_diagnoses(Console(), diagnoses)
    raise SystemExit(any(one.state is State.ILL for one in diagnoses))


def main() -> None:
    """Run the command; no traceback for what a user or the system can put right."""
    try:
        cli.main(prog_name="contentfilter", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        raise SystemExit(os.EX_USAGE) from None
    except click.ClickException as error:
        error.show()
        raise SystemExit(os.EX_NOINPUT if isinstance(error, click.FileError) else os.EX_USAGE) from None
    except (click.Abort, KeyboardInterrupt):
        raise SystemExit(130) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(os.EX_OK) from None
