"""The body of `contentfilter check`: the journey of one message, at whose end nothing is sent and nothing is stored."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console

from contentfilter import assembly, presentation
from contentfilter.case import Case
from contentfilter.command import print_json, working_in
from contentfilter.config import Config
from contentfilter.envelope import Envelope
from contentfilter.errors import FilterError
from contentfilter.mail_id import new_id
from contentfilter.message import Message, Spool
from contentfilter.output import fail

_READ = 1 << 20


def check_message(config: Config, envelope: Envelope, file: str, dump_directory: Path | None, *, as_json: bool) -> None:
    """Judge the message in this file, "-": from standard input, and show what was found. Ends if it cannot be judged.

    dump_directory: where to write its parts and members, None: nowhere.
    """
    with tempfile.TemporaryDirectory(prefix="contentfilter-check-") as scratch, _spooled(file, scratch) as message:
        try:
            case = asyncio.run(_judge(working_in(scratch, config), envelope, message))
        except FilterError as error:
            if isinstance(error.__cause__, PermissionError):
                fail(f"{error}; only the filter's user and root may", os.EX_NOPERM)
            fail(f"{error} ({error.reply})", os.EX_TEMPFAIL if error.reply.temporary else os.EX_DATAERR)
        if dump_directory is not None:
            _dump(case, dump_directory)
        if as_json:
            print_json(presentation.case_values(case))
        else:
            Console().print(presentation.case_text(case))


def _spooled(file: str, scratch: str) -> Message:
    spool = Spool(Path(scratch), sys.maxsize)
    try:
        with click.open_file(file, "rb") as message:
            while chunk := message.read(_READ):
                spool.write(chunk)
    except OSError as error:
        fail(f"{file}: cannot be read: {error.strerror}", os.EX_NOINPUT)
    return spool.finish()


async def _judge(config: Config, envelope: Envelope, message: Message) -> Case:
    async with assembly.onlooker_for(config) as pipeline:
        return await pipeline.judge(new_id(), envelope, message)


def _dump(case: Case, directory: Path) -> None:
    from contentfilter.dump import dump  # noqa: PLC0415 - rarely wanted

    try:
        dump(case, directory)
    except OSError as error:
        fail(f"--dump {directory}: {error.strerror or error}", os.EX_CANTCREAT)
