"""Postfix -> contentfilter -> Postfix, for tests that go all the way."""

from __future__ import annotations

import io
import smtplib
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from demo.neighbours.daemon import free_port
from demo.neighbours.filter import Filter
from demo.neighbours.postfix import DeliveredMail, Postfix, Transport

BOB, CAROL, DAVE = "bob@example.org", "carol@example.org", "dave@example.org"


POLICY: Mapping[str, Any] = {
    "policy": {
        "default": {"tag_level": float("-inf"), "kill_level": 900.0},
        CAROL: {"tag2_level": 5.0, "kill_level": 2000.0, "spam_subject_tag2": "***SPAM*** "},
        DAVE: {"spam_action": "reject", "spam_quarantine": False},
    }
}


@dataclass(frozen=True)
class House:
    """Postfix and the filter, connected."""

    postfix: Postfix
    filter: Filter

    def send(self, message: EmailMessage | bytes, *rcpts: str, options: tuple[str, ...] = ()) -> None:
        """As a host of the internet would."""
        raw = message if isinstance(message, bytes) else message.as_bytes(policy=message.policy.clone(linesep="\r\n"))
        with smtplib.SMTP("127.0.0.1", self.postfix.smtp_port) as client:
            client.ehlo("laptop.example.net")
            assert client.docmd("XCLIENT", "NAME=relay.example.net ADDR=192.0.2.7 PORT=4711")[0] == 220
            client.ehlo("laptop.example.net")
            client.sendmail("alice@example.net", list(rcpts), raw, list(options))

    def receive(self, rcpt: str, count: int = 1) -> DeliveredMail:
        return self.postfix.wait_for_mail(rcpt, count)[-1]

    def quarantined(self, message_id: str) -> list[str]:
        """Recipients for whom a message with this subject is kept."""
        return [
            rcpt for item in self.filter.quarantined() if message_id in item["subject"] for rcpt in item["rcpt_tos"]
        ]


def text(subject: str, body: str = "Hello.\n") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Alice <alice@example.net>"
    message["To"] = BOB
    message["Date"] = "Mon, 01 Jan 2024 12:00:00 +0000"
    message["Message-ID"] = f"<{subject.replace(' ', '-')}@example.net>"
    message["Subject"] = subject
    message.set_content(body)
    return message


def zipped(name: str, content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, content)
    return packed.getvalue()


class built:  # noqa: N801 - reads as what it is: with built(...) as house
    """A house with these scanners. settings: tables of the filter's configuration, in place of POLICY."""

    def __init__(
        self,
        start: Callable[..., Postfix],
        clamd: str,
        spamd: str,
        directory: Path,
        transport: Transport,
        settings: Mapping[str, Any] = POLICY,
    ) -> None:
        port = free_port()
        self._postfix = start(filter_port=port, transport=transport)
        self._filter = Filter(
            Path(tempfile.mkdtemp(dir=directory)),
            port=port,
            next_hop_port=self._postfix.reinject_port,
            settings={
                "workers": 2,
                "clamav": {"socket": clamd},
                "spamassassin": {"address": spamd},
                **settings,
            },
        )

    def __enter__(self) -> House:
        self._filter.start()
        return House(self._postfix, self._filter)

    def __exit__(self, *_: object) -> None:
        self._filter.stop()
