"""`python -m demo`: real mail through a real Postfix, clamd, spamd and the filter; shows what became of it.

It is a check as well: the exit status is 1 if anything did not end as it had to. Nothing is left running; the directory
with the logs is kept only if something went wrong.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from email.parser import BytesParser
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from demo.messages import BOB, scenes, stricter
from demo.neighbours.daemon import MissingProgramError, StartError
from demo.outcome import Outcome, outcome
from demo.stage import Stage, stage, still_running

_INTERRUPTED = 130
SETTINGS_COUNT_WITHIN = 1.2
"""Seconds: workers ask at most once a second whether settings have changed."""


class DemoError(Exception):
    """A step did not work. The text says which."""


def main() -> int:
    """Run it all. The exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # One width in a terminal and in a log file.
    console = Console(highlight=False, width=max(Console().width, 120))
    directory = Path(tempfile.mkdtemp(prefix="contentfilter-demo-"))
    directory.chmod(0o755)
    try:
        run(console, directory)
    except KeyboardInterrupt:
        console.print("Interrupted; everything is stopped.")
        _remove(directory)
        return _INTERRUPTED
    except (MissingProgramError, StartError) as error:
        return failed(console, directory, str(error), os.EX_UNAVAILABLE)
    except (DemoError, OSError, subprocess.SubprocessError) as error:
        return failed(console, directory, str(error), 1)
    left = still_running(directory)
    if left:
        return failed(console, directory, f"still running: {', '.join(left)}", 1)
    _remove(directory)
    console.print("Everything is stopped and removed.")
    return 0


def run(console: Console, directory: Path) -> None:
    """The whole show, in this directory. Raises DemoError, StartError."""
    started = time.monotonic()
    console.print("Starting a private Postfix, clamd, spamd and the filter ...")
    with stage(directory) as running:
        console.print(f"Started after {time.monotonic() - started:.1f} s. Sending {len(scenes())} messages ...")
        outcomes = _send(running)
        console.print(_table(outcomes))
        wrong = [f"{one.title}, {one.recipient}: {one.problem}" for one in outcomes if one.problem]
        if wrong:
            raise DemoError("not as it had to be: " + "; ".join(wrong))
        _release(console, running, outcomes)
        _set_threshold(console, running)
        console.print("Each is as it had to be. Shutting down ...")


def _send(running: Stage) -> list[Outcome]:
    played = scenes()
    for scene in played:
        running.send(scene)
    running.postfix.wait_until_idle()
    withheld = running.filter.quarantined()
    return [outcome(running, scene, recipient, withheld) for scene in played for recipient in scene.expected]


def _release(console: Console, running: Stage, outcomes: Sequence[Outcome]) -> None:
    """Get the program back out of quarantine, as a postmaster does, and see it arrive."""
    held = next(one for one in outcomes if one.quarantine_id and "BANNED" in one.verdict)
    before = len(running.postfix.mail(held.recipient))
    _command(console, running, "quarantine", "release", held.quarantine_id)
    mail = running.postfix.wait_for_mail(held.recipient, before + 1)[-1]
    names = [part.get_filename() for part in BytesParser().parsebytes(mail.raw).walk() if part.get_filename()]
    if names != ["setup.exe"]:
        raise DemoError(f"what arrived after the release has the attachments {names}")
    console.print(f"It has arrived: {mail.header['Subject']!r} for {mail.recipient}, with {names[0]} in it.")


def _set_threshold(console: Console, running: Stage) -> None:
    """Make bob stricter while everything runs; the half spam that he was sent before is now withheld from him alone."""
    _command(console, running, "contentfilter", "policy", "set", BOB, "kill_level=3.0")
    time.sleep(SETTINGS_COUNT_WITHIN)
    scene = stricter()
    running.send(scene)
    running.postfix.wait_until_idle()
    outcomes = [outcome(running, scene, recipient, running.filter.quarantined()) for recipient in scene.expected]
    console.print(_table(outcomes))
    wrong = [f"{one.title}, {one.recipient}: {one.problem}" for one in outcomes if one.problem]
    if wrong:
        raise DemoError("not as it had to be: " + "; ".join(wrong))
    held = next(one.quarantine_id for one in outcomes if one.quarantine_id)
    _command(console, running, "contentfilter", "explain", held, "--rcpt", BOB)


def _command(console: Console, running: Stage, module: str, *arguments: str) -> None:
    console.print(Text(f"$ {module} {' '.join(arguments)}", style="bold"))
    done = running.filter.command(module, *arguments)
    console.print(Text(done.stdout.rstrip()))
    if done.returncode != 0:
        raise DemoError(f"{module} {arguments[0]} ended with status {done.returncode}: {done.stderr.strip()}")


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table(title="What became of each message", show_lines=True, expand=True)
    table.add_column("Message", ratio=3)
    table.add_column("Recipient", no_wrap=True)
    table.add_column("Verdict", ratio=4, overflow="fold")
    table.add_column("Arrived, with these fields", ratio=7)
    table.add_column("Quarantine id", no_wrap=True)
    for one in outcomes:
        verdict = Text(one.verdict, style="red" if one.problem else "green")
        if one.problem:
            verdict.append(f"\nwrong: {one.problem}", style="bold")
        table.add_row(one.title, one.recipient, verdict, Text("\n".join(one.arrived) or "-"), one.quarantine_id or "-")
    return table


def failed(console: Console, directory: Path, problem: str, status: int) -> int:
    """Say what went wrong and where the logs are. The status again."""
    console.print(Text(f"The demo failed: {problem}", style="bold red"))
    logs = [str(file) for file in sorted(directory.rglob("*")) if file.suffix == ".log" or file.name == "maillog"]
    if logs:
        console.print("Everything is stopped. The logs are kept:")
        console.print("\n".join(f"  {log}" for log in logs))
    else:
        _remove(directory)
    return status


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
