"""The messages to measure with: the same in every run, since chance has a fixed seed.

Words are drawn from a vocabulary whose frequencies fall like those of a language, so that compression, hashing and
pattern matching meet something like text. Lines end in LF, as smtp-source wants its file.
"""

from __future__ import annotations

import base64
import io
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

from demo.messages import pdf

SENDER: Final = "alice@example.net"
RECIPIENT: Final = "bob@example.org"
STRICT: Final = tuple(f"{number}{RECIPIENT}" for number in range(1, 11))
EAGER: Final = tuple(f"{number}{RECIPIENT}" for number in range(11, 21))
"""Of the thirty recipients of one profile ten see spam fields in every message, and ten a subject tag as well."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One message and how many receive it. RECIPIENT alone, or with numbers in front as smtp-source makes them."""

    content: bytes
    recipients: int = 1


@dataclass(frozen=True, slots=True)
class Profile:
    """A kind of traffic. letters: sent in turn; sessions: how many at once where the throughput is measured."""

    name: str
    title: str
    letters: tuple[Letter, ...]
    sessions: int = 10

    @property
    def size(self) -> float:
        """Bytes of a message, on the average."""
        return sum(len(letter.content) for letter in self.letters) / len(self.letters)


_SYLLABLES: Final = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "is", "or")]


class Writer:
    """Makes texts and attachments."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self._words = ["".join(self.chance.choices(_SYLLABLES, k=self.chance.randint(1, 4))) for _ in range(3000)]
        self._weights = [1 / (rank + 1) for rank in range(len(self._words))]

    def text(self, size: int) -> str:
        """About so many characters in lines of a letter's width."""
        lines, length = [], 0
        while length < size:
            line = " ".join(self.chance.choices(self._words, self._weights, k=11)).capitalize() + "."
            lines.append(line)
            length += len(line) + 1
        return "\n".join(lines)[:size]

    def html(self, size: int) -> str:
        """A page of about so many characters."""
        body = "\n".join(f'<p style="color:#333">{line}</p>' for line in self.text(int(size / 1.5)).splitlines())
        return f"<html><head><title>{self.text(30)}</title></head><body>\n{body[:size]}\n</body></html>"

    def header(self) -> str:
        """Fields such as a message has when it comes to a filter."""
        number = self.chance.getrandbits(48)
        return (
            f"Received: from mail.example.net (mail.example.net [192.0.2.7])\n\tby mx.example.org (Postfix) with ESMTPS"
            f" id {number:X}\n\tfor <{RECIPIENT}>; Sat, 21 Nov 2026 10:00:00 +0000 (UTC)\n"
            f"From: Alice <{SENDER}>\nTo: Bob <{RECIPIENT}>\nSubject: {self.text(40)}\n"
            f"Date: Sat, 21 Nov 2026 10:00:00 +0000\nMessage-ID: <{number:x}@example.net>\nMIME-Version: 1.0\n"
        )

    def plain(self, size: int) -> bytes:
        """A text message of so many bytes in all."""
        fields = self.header() + "Content-Type: text/plain; charset=utf-8\n\n"
        return (fields + self.text(size - len(fields) - 1) + "\n").encode()

    def mixed(self, *parts: str) -> bytes:
        """A multipart message."""
        bodies = "".join(f"--next\n{part}\n" for part in parts)
        return f'{self.header()}Content-Type: multipart/mixed; boundary="next"\n\n{bodies}--next--\n'.encode()

    def page(self, size: int) -> str:
        """A part of HTML."""
        return f"Content-Type: text/html; charset=utf-8\n\n{self.html(size)}"

    def alternative(self, size: int) -> str:
        """The same as text and as HTML."""
        return (
            'Content-Type: multipart/alternative; boundary="inner"\n\n'
            f"--inner\nContent-Type: text/plain; charset=utf-8\n\n{self.text(size // 3)}\n"
            f"--inner\n{self.page(2 * size // 3)}\n--inner--\n"
        )

    def attachment(self, name: str, kind: str, content: bytes) -> str:
        """A part with a file in base64."""
        return (
            f"Content-Type: {kind}; name={name}\nContent-Transfer-Encoding: base64\n"
            f"Content-Disposition: attachment; filename={name}\n\n{base64.encodebytes(content).decode()}"
        )

    def minutes(self, size: int) -> str:
        """A PDF of about so many bytes, once it is decoded."""
        return self.attachment("minutes.pdf", "application/pdf", pdf("Minutes", self.chance.randbytes(size)))

    def picture(self, size: int) -> str:
        """A JPEG, as far as its header goes."""
        return self.attachment("photo.jpg", "image/jpeg", b"\xff\xd8\xff\xe0\0\x10JFIF\0" + self.chance.randbytes(size))

    def archive(self, size: int) -> str:
        """A zip of three texts, of about so many bytes in all before they are compressed."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
            for number in range(3):
                # ZipInfo has a date of its own that never changes.
                name = zipfile.ZipInfo(f"report{number}.txt")
                packed.writestr(name, self.text(size // 3), zipfile.ZIP_DEFLATED)
        return self.attachment("reports.zip", "application/zip", file.getvalue())

    def blob(self, size: int) -> bytes:
        """A message of about so many bytes in all, nearly all of it one attachment."""
        content = self.chance.randbytes((size - 1000) * 57 // 77)
        return self.mixed(
            "Content-Type: text/plain\n\nSee the attachment.\n",
            self.attachment("data.bin", "application/octet-stream", content),
        )


MIX: Final = (
    (40, "text, 2 to 5 kB"),
    (30, "text and HTML alternative, 10 to 40 kB"),
    (12, "HTML with a PDF, 40 to 120 kB"),
    (8, "HTML with a picture, 100 to 400 kB"),
    (5, "text with a zip of texts, 20 to 60 kB"),
    (4, "text to five recipients, 4 kB"),
    (1, "attachment, 3 MB"),
)
"""How many of a hundred messages are of which kind."""


def _mix() -> tuple[Letter, ...]:
    writer = Writer(3)
    draw = writer.chance.randint
    makers: tuple[Callable[[], Letter], ...] = (
        lambda: Letter(writer.plain(draw(2_000, 5_000))),
        lambda: Letter(writer.mixed(writer.alternative(draw(10_000, 40_000)))),
        lambda: Letter(writer.mixed(writer.page(draw(5_000, 20_000)), writer.minutes(draw(26_000, 72_000)))),
        lambda: Letter(writer.mixed(writer.page(draw(5_000, 20_000)), writer.picture(draw(70_000, 280_000)))),
        lambda: Letter(
            writer.mixed(f"Content-Type: text/plain\n\n{writer.text(1_000)}", writer.archive(draw(30_000, 90_000)))
        ),
        lambda: Letter(writer.plain(4_000), 5),
        lambda: Letter(writer.blob(3_000_000)),
    )
    letters = [maker() for maker, (count, _) in zip(makers, MIX, strict=True) for _ in range(count)]
    writer.chance.shuffle(letters)
    return tuple(letters)


def _text() -> tuple[Letter, ...]:
    return (Letter(Writer(1).plain(3_000)),)


def _document() -> tuple[Letter, ...]:
    writer = Writer(1)
    return (Letter(writer.mixed(writer.page(9_000), writer.minutes(37_000))),)


PROFILES: Final[dict[str, Callable[[], Profile]]] = {
    "text": lambda: Profile("text", "text, 3 kB", _text()),
    "document": lambda: Profile("document", "HTML and PDF, 60 kB", _document()),
    "many": lambda: Profile("many", "text, 3 kB, 30 recipients, 3 policies", (Letter(_text()[0].content, 30),)),
    "mix": lambda: Profile("mix", "a mix like real traffic", _mix()),
    # Last, since whatever has had it in hand keeps some of the memory.
    "large": lambda: Profile("large", "attachment, 10 MB", (Letter(Writer(1).blob(10_000_000)),), 4),
}


@cache
def profile(name: str) -> Profile:
    """One of PROFILES, made once."""
    return PROFILES[name]()
