"""Puts the whole set-up on its feet: Postfix, clamd, spamd and the filter between them."""

from __future__ import annotations

import contextlib
import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from demo.messages import BOB, CAROL, OFFER_RULE, SENDER, SUBJECT_TAG, Scene
from demo.neighbours.clamd import Clamd
from demo.neighbours.daemon import free_port
from demo.neighbours.filter import Filter
from demo.neighbours.postfix import Postfix
from demo.neighbours.spamd import Spamd


@dataclass(frozen=True, slots=True)
class Stage:
    """What is running."""

    postfix: Postfix
    filter: Filter

    def send(self, scene: Scene) -> None:
        """Give the message to Postfix's smtpd, as a host of the internet would."""
        with smtplib.SMTP("127.0.0.1", self.postfix.smtp_port) as client:
            client.ehlo("mail.example.net")
            # Else it would come from this host, and there would be no client for the filter to tell of.
            client.docmd("XCLIENT", "NAME=mail.example.net ADDR=192.0.2.7")
            client.ehlo("mail.example.net")
            client.send_message(scene.message, SENDER, list(scene.expected))


@contextlib.contextmanager
def stage(directory: Path) -> Iterator[Stage]:
    """Start everything below the directory; stop everything at the end, however it comes. Raises StartError."""
    with contextlib.ExitStack() as stack:
        filter_port = free_port()
        postfix = stack.enter_context(Postfix(_subdirectory(directory, "postfix"), filter_port=filter_port))
        clamd = stack.enter_context(Clamd(_subdirectory(directory, "clamd")))
        spamd = stack.enter_context(Spamd(_subdirectory(directory, "spamd"), options=OFFER_RULE))
        content_filter = Filter(
            _subdirectory(directory, "filter"),
            port=filter_port,
            next_hop_port=postfix.reinject_port,
            settings={
                "clamav": {"socket": clamd.address},
                "spamassassin": {"address": spamd.address},
                "policy": {
                    # X-Spam fields on every message, so that there is something to see.
                    "default": {"tag_level": float("-inf")},
                    BOB: {"tag2_level": 6.2},
                    CAROL: {"tag2_level": 3.0, "kill_level": 20.0, "spam_subject_tag2": SUBJECT_TAG},
                },
            },
        )
        yield Stage(postfix, stack.enter_context(content_filter))


def still_running(directory: Path) -> list[str]:
    """The commands of processes that still work in the directory or were told of it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            place = str((process / "cwd").readlink())
            if str(directory) in command or place.startswith(str(directory)):
                found.append(f"{process.name} {command}")
    return found


def _subdirectory(directory: Path, name: str) -> Path:
    made = directory / name
    made.mkdir()
    return made
