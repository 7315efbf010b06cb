"""What is sent: bodies of many kinds and sizes, recipients with different policies, and what is known of each."""

from __future__ import annotations

import base64
import hashlib
import io
import random
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from contentfilter.inspectors.clamd import EICAR

DOMAINS: Final = ("plain.example", "reject.example", "lover.example", "gone.example")
"""A virus is discarded and kept, rejected, passed on. At gone.example the next hop knows nobody."""

POLICY: Final[Mapping[str, Any]] = {
    "default": {"tag_level": float("-inf")},
    "@reject.example": {
        "virus_action": "reject",
        "virus_quarantine": False,
        "banned_action": "reject",
        "banned_quarantine": False,
    },
    "@lover.example": {
        "virus_lover": True,
        "virus_quarantine": False,
        "banned_lover": True,
        "banned_quarantine": False,
    },
}


@dataclass(slots=True)
class Attempt:
    """One try to hand a message over. codes: the reply for each recipient that was tried, 0 if none was heard.

    fate: "answered", "vanished" (we went away), "lost" (they did), "timeout" (we were tired of waiting). Times are of
    time.time.
    """

    began: float
    lmtp: bool
    ended: float = 0.0
    fate: str = "answered"
    codes: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Letter:
    """One message. open: recipients without a final answer yet; digest: of the body, SHA-256."""

    token: str
    null_sender: bool
    lmtp: bool
    recipients: tuple[str, ...]
    body: bytes
    digest: bytes
    open: set[str]
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def mail_from(self) -> str:
        """Where reports go: the address tells of which message they are."""
        return "" if self.null_sender else f"{self.token}@sender.example"

    @property
    def wire(self) -> bytes:
        """What goes between 354 and the reply, stuffed and ended."""
        head = (
            "From: sender@sender.example\r\nTo: undisclosed-recipients:;\r\n"
            f"Message-ID: <{self.token}@soak.example>\r\n"
            f"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nSubject: soak {self.token}\r\nMIME-Version: 1.0\r\n"
        ).encode()
        return head + self.body.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def _text(size: int) -> bytes:
    line = b"A line of text as there are many, and a dot behind it.\r\n.\r\n..hidden\r\n"
    return b"Content-Type: text/plain\r\n\r\n" + line * (size // len(line) + 1)


def _html(size: int) -> bytes:
    return (
        b"Content-Type: text/html\r\n\r\n"
        + b"<p>Some <b>words</b> &amp; <a href='http://x.example/'>more</a>\r\n" * (size // 62)
    )


def _attachment(name: str, content: bytes) -> bytes:
    head = (
        b"Content-Type: multipart/mixed; boundary=soak\r\n\r\n--soak\r\nContent-Type: text/plain\r\n\r\nSee there.\r\n"
        b"--soak\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n"
        b"Content-Disposition: attachment; filename=" + name.encode() + b"\r\n\r\n"
    )
    return head + base64.encodebytes(content).replace(b"\n", b"\r\n") + b"--soak--\r\n"


def _zip(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.txt", content)
    return packed.getvalue()


class Author:
    """Writes letters, by a generator of its own."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._run = f"{chance.getrandbits(32):08x}"
        self._count = 0
        noise = chance.randbytes(7_400_000)  # 10 MB in base64
        kinds: list[tuple[float, bytes]] = [
            (40, _text(1000)),
            (10, _text(8000)),
            (16, _html(20_000)),
            (12, _attachment("picture.dat", noise[:45_000])),
            (8, _attachment("papers.zip", _zip(a=noise[:20_000], b=b"text " * 5000))),
            (4, _attachment("large.dat", noise[:800_000])),
            (0.6, _attachment("huge.dat", noise)),
            (4, b"Content-Type: text/plain\r\n\r\n" + EICAR + b"\r\n"),
            (3, _attachment("infected.zip", _zip(a=b"harmless", b=EICAR))),
            (2, _attachment("program.exe", b"MZ" + bytes(2000))),
        ]
        self._weights = [weight for weight, _ in kinds]
        self._bodies = [(body, hashlib.sha256(body.partition(b"\r\n\r\n")[2]).digest()) for _, body in kinds]

    def write(self) -> Letter:
        """The next letter."""
        chance = self._chance
        self._count += 1
        token = f"m{self._run}n{self._count}"
        body, digest = chance.choices(self._bodies, self._weights)[0]
        count = chance.choices((1, chance.randint(2, 4), chance.randint(5, 15), 50), (60, 25, 10, 5))[0]
        domains = chance.choices(DOMAINS, (70, 14, 14, 2), k=count)
        recipients = tuple(f"r{number}@{domain}" for number, domain in enumerate(domains))
        null_sender = chance.random() < 0.03
        return Letter(token, null_sender, chance.random() < 0.6, recipients, body, digest, set(recipients))
