"""The demo's messages, and what has to become of each.

What scanners look for is put together when it is needed, so that no file here trips one.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from contentfilter.inspectors.clamd import EICAR

SENDER = "alice@example.net"
BOB = "bob@example.org"
CAROL = "carol@example.org"

OFFER = "the one offer that only this demo knows"
OFFER_RULE = f"body CONTENTFILTER_DEMO_OFFER /{OFFER}/\nscore CONTENTFILTER_DEMO_OFFER 4.0"
"""A rule for SpamAssassin: enough for a strict recipient, too little for the others."""
SUBJECT_TAG = "[spam] "
"""What carol gets before the subject of spam."""

_GTUBE = "-".join(("XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE", "STANDARD", "ANTI", "UBE", "TEST", "EMAIL*C.34X"))


@dataclass(frozen=True, slots=True)
class Passes:
    """It arrives; flag: the value of X-Spam-Flag; subject_tag: what the subject begins with."""

    flag: str = "NO"
    subject_tag: str = ""


@dataclass(frozen=True, slots=True)
class Withheld:
    """It waits in quarantine; category: the word for why."""

    category: str


@dataclass(frozen=True, slots=True)
class Scene:
    """One message and what is expected for each recipient."""

    title: str
    message: EmailMessage
    expected: dict[str, Passes | Withheld]

    @property
    def message_id(self) -> str:
        """The Message-ID by which it is recognised when it arrives."""
        return str(self.message["Message-ID"])


def scenes() -> tuple[Scene, ...]:
    """The messages in the order in which they are sent."""
    return (
        Scene("clean text", _text("Lunch on Thursday?", "Shall we try the new place?\n"), {BOB: Passes()}),
        Scene("HTML with a PDF", _with_pdf(), {BOB: Passes()}),
        Scene("spam (GTUBE)", _text("You have won", f"{_GTUBE}\n"), {BOB: Withheld("spam")}),
        Scene("virus (EICAR) in a zip", _with_virus(), {BOB: Withheld("virus")}),
        Scene("a Windows program", _with_program(), {BOB: Withheld("banned")}),
        _half_spam("half spam, to two people", "Just for you", Passes()),
    )


def stricter() -> Scene:
    """The half spam again, for when bob's kill_level was lowered."""
    return _half_spam("half spam again", "Once more, just for you", Withheld("spam"))


def _half_spam(title: str, subject: str, for_bob: Passes | Withheld) -> Scene:
    message = _text(subject, f"This is {OFFER}.\n", BOB, CAROL)
    return Scene(title, message, {BOB: for_bob, CAROL: Passes(flag="YES", subject_tag=SUBJECT_TAG)})


def _text(subject: str, text: str, *recipients: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = f"Alice <{SENDER}>"
    message["To"] = ", ".join(recipients or (BOB,))
    message["Subject"] = subject
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = make_msgid(domain="example.net")
    message.set_content(text)
    return message


def _with_pdf() -> EmailMessage:
    message = _text("The minutes", "The minutes are attached.\n")
    message.add_alternative("<p>The <b>minutes</b> are attached.</p>\n", subtype="html")
    message.add_attachment(pdf("Minutes"), maintype="application", subtype="pdf", filename="minutes.pdf")
    return message


def _with_virus() -> EmailMessage:
    message = _text("Photos", "Have a look.\n")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("photo.txt", EICAR)
    message.add_attachment(archive.getvalue(), maintype="application", subtype="zip", filename="photos.zip")
    return message


def _with_program() -> EmailMessage:
    message = _text("The new version", "Please install it today.\n")
    message.add_attachment(_program(), maintype="application", subtype="octet-stream", filename="setup.exe")
    return message


def pdf(title: str, picture: bytes = b"") -> bytes:
    """A PDF of one page that says the title; picture: bytes of a scan in it, for the sake of its size."""
    resources = b"<< /Font << /F1 5 0 R >> >>"
    drawing = zlib.compress(f"BT /F1 24 Tf 72 720 Td ({title}) Tj ET".encode())
    bodies = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources %s >>" % resources,
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(drawing), drawing),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Subtype /Image /Width %d /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8 /Length %d >>"
        b"\nstream\n%s\nendstream" % (len(picture), len(picture), picture),
    )
    document, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(bodies, 1):
        offsets.append(len(document))
        document += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(bodies) + 1
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(document))
    return document + b"xref\n0 %d\n0000000000 65535 f \n" % size + table + trailer


def _program() -> bytes:
    """The header of a Windows program: MZ, with the offset of PE at 0x3c. It would do nothing if it were run."""
    dos = b"MZ".ljust(0x3C, b"\0") + (0x80).to_bytes(4, "little")
    coff = b"PE\0\0" + (0x8664).to_bytes(2, "little") + (0).to_bytes(2, "little") + bytes(12)
    return (
        dos.ljust(0x80, b"\0")
        + coff
        + (240).to_bytes(2, "little")
        + (0x22).to_bytes(2, "little")
        + b"\x0b\x02"
        + bytes(512)
    )
