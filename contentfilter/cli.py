"""The commands of `contentfilter`. Results go to stdout, problems to stderr, exit codes are those of sysexits.h."""

from __future__ import annotations

import io
import os
import tempfile
import time
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import click

from contentfilter import config as configuration
from contentfilter import maillog, output
from contentfilter.command import check_way, config_option, json_option, load, print_json, usable, working_in
from contentfilter.commands.completion import completion, use_our_bash
from contentfilter.envelope import Client, Envelope, Protocol, Recipient
from contentfilter.output import fail
from contentfilter.printable import printable
from contentfilter.verdict import Category
from quarantine.durable import UMASK

_CATEGORIES = [category.word for category in sorted(Category, reverse=True)]


_LATE = {
    "ledger": ("contentfilter.commands.ledger", "ledger_group"),
    "lists": ("contentfilter.commands.groups", "lists_group"),
    "policy": ("contentfilter.commands.groups", "policy_group"),
}
"""Groups that are loaded when they are wanted: the other commands need neither them nor what they load."""


class _Commands(click.Group):
    """Those that are here, and those of other modules."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All of them."""
        return sorted({*super().list_commands(ctx), *_LATE})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The one of this name."""
        if cmd_name in _LATE:
            module, name = _LATE[cmd_name]
            command: click.Command = getattr(import_module(module), name)
            return command
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("contentfilter"), prog_name="contentfilter")
def cli() -> None:
    """A mail content filter behind Postfix."""


cli.add_command(completion)


@cli.command()
@config_option
def serve(path: Path | None) -> None:
    """Run in the foreground.

    SIGTERM: finish what is in hand, within drain_timeout, and stop. SIGHUP: read the configuration anew, with the
    policy and rules files that it names; where there is a mistake it is refused, the log says why, and the old
    configuration stays in force. What is set by contentfilter policy and lists counts within a second without it.

    Started as root it opens its sockets and then becomes the configuration's user.

    Exit 78: the configuration is wrong, or others may change it. 71: a socket or directory is not to be had now. 70: a
    worker died at the start.
    """
    from contentfilter import serving  # noqa: PLC0415 - the other commands need not wait for all of it

    serving.main(path)


@cli.command()
@config_option
@json_option
@click.option("--mail-from", metavar="ADDRESS", default="", help="Envelope sender; default: the null sender.")
@click.option(
    "--dump",
    "dump_directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write every part and member into this new or empty directory, under numbers, with an index.json.",
)
@click.option(
    "--rcpt",
    "rcpts",
    metavar="ADDRESS",
    multiple=True,
    help="Envelope recipient; repeatable. Default: postmaster.",
)
@click.option("--client", metavar="IP", help="IP address of the client that XFORWARD would tell of.")
@click.option("--listener", metavar="ADDRESS", help="Which of [listen] addresses it comes in at; default: the first.")
@click.argument("file", type=click.Path(allow_dash=True))
def check(
    *,
    path: Path | None,
    as_json: bool,
    mail_from: str,
    client: str | None,
    listener: str | None,
    dump_directory: Path | None,
    rcpts: tuple[str, ...],
    file: str,
) -> None:
    """Judge a message as the daemon would.

    FILE is the message, - is standard input. The whole journey but its end: nothing is sent and nothing is stored.

    Exit 75 if it would be deferred as a whole, 65 if refused unseen, 66 if FILE cannot be read, 77 if settings cannot.
    """
    from contentfilter.commands import check as body  # noqa: PLC0415 - the other commands need not wait for all of it

    config = load(path)
    check_way(config, client, listener)
    maillog.set_up("stderr", "error")
    envelope = Envelope(
        mail_from,
        tuple(Recipient(rcpt) for rcpt in rcpts or ("postmaster",)),
        client=Client(addr=client),
        listener=listener or config.listen.addresses[0],
        protocol=Protocol.LMTP,
    )
    body.check_message(config, envelope, file, dump_directory, as_json=as_json)


@cli.command()
@config_option
@json_option
@click.option("--rcpt", "rcpts", metavar="ADDRESS", multiple=True, help="Only for this one; repeatable. Default: all.")
@click.argument("name", metavar="ID")
def explain(path: Path | None, as_json: bool, name: str, rcpts: tuple[str, ...]) -> None:
    """Say why a message fared as it did.

    ID is the id in the mail log, or the queue id that the message had in Postfix before or after the filter. Shows the
    findings, the score and the threshold, which entry set it, and what would have to change for another verdict.

    Exit 66: neither the history nor the quarantine knows the message.
    """
    from contentfilter.commands import past  # noqa: PLC0415

    config = load(path)
    try:
        past.explain_message(config, name, rcpts, as_json=as_json)
    except past.CommandError as error:
        fail(str(error), error.code)


@cli.command()
@config_option
@json_option
@click.option("--since", metavar="AGE OR DATE", help="7d, 12h, 2026-11-21, 2026-11-21T08:00: nothing older.")
@click.option("--category", "categories", multiple=True, type=click.Choice(_CATEGORIES), help="Only this; repeatable.")
@click.option("--limit", type=click.IntRange(1), help="Only so many, the newest.")
@click.option("--changed", is_flag=True, help="Leave out messages that would fare as before.")
def replay(
    *,
    path: Path | None,
    as_json: bool,
    since: str | None,
    categories: tuple[str, ...],
    limit: int | None,
    changed: bool,
) -> None:
    """Judge quarantined messages again.

    With the configuration that --config names, before it goes live, or with the present one. The quarantine is the one
    that it names. Shows before and now for each recipient; nothing is sent, stored or changed.

    Exit 0, also if there are differences; 75 if some messages could not be judged, as when a scanner is down.
    """
    from contentfilter.commands import past  # noqa: PLC0415
    from quarantine.index import Query  # noqa: PLC0415

    config = load(path)
    maillog.set_up("stderr", "critical")  # what goes wrong stands with the message that it concerns
    query = Query(
        categories=frozenset(Category[word.upper()] for word in categories), since=_moment(since), until=time.time()
    )
    try:
        with tempfile.TemporaryDirectory(prefix="contentfilter-replay-") as scratch:
            status = past.replay_quarantine(working_in(scratch, config), query, limit, changed=changed, as_json=as_json)
    except past.CommandError as error:
        fail(str(error), error.code)
    raise SystemExit(status)


def _moment(since: str | None) -> float | None:
    from quarantine.moments import moment  # noqa: PLC0415

    try:
        return None if since is None else moment(since, time.time())
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--since") from error


@cli.group("config")
def config_group() -> None:
    """Look at the configuration."""


@config_group.command("check")
@config_option
def config_check(path: Path | None) -> None:
    """Say whether the configuration can be used.

    Exit 78 if not. The file is looked at, and the policy and rules files that it names; contentfilter doctor asks the
    databases, scanners and hosts.
    """
    usable(path)
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
    """Examine scanners, databases, Postfix, files, the box.

    Is each there, does it answer as it should, and what to do if not. Nothing is changed, and no mail is sent. Run it
    as the filter's user, or as root, who also sees what the filter's user may not read.

    Exit 1 if something failed; warnings do not count. 78: the configuration is wrong.
    """
    from contentfilter.commands import doctor as body  # noqa: PLC0415 - the other commands need not wait for all of it

    config = usable(path)
    maillog.set_up("stderr", "error")
    files = configuration.files(config, configuration.path_in_use(path))
    raise SystemExit(body.show_neighbours(config, files, postfix_config, as_json=as_json))


def main() -> None:
    """Run the command; no traceback for what a user or the system can put right."""
    use_our_bash()
    os.umask(UMASK)
    output.make_whole()
    with output.clear_end():
        try:
            cli.main(prog_name="contentfilter", standalone_mode=False)
        except click.ClickException as error:
            shown = io.StringIO()
            error.show(shown)
            click.echo(printable(shown.getvalue(), keep="\n"), err=True, nl=False)
            raise SystemExit(os.EX_NOINPUT if isinstance(error, click.FileError) else os.EX_USAGE) from None
        except click.Abort:
            raise SystemExit(130) from None
