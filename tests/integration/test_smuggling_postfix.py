"""Through the real daemon into a real Postfix: one message in, one message out, with the content it should have.

Postfix takes LF, and any number of CR before LF, for a line end, so it is where a fragment that got through would
become a second message: one for smuggled@example.org, of which nobody has told.
"""

from __future__ import annotations

import functools
import itertools
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contentfilter import xtext
from demo.neighbours.clamd import Clamd
from demo.neighbours.daemon import find_program
from demo.neighbours.filter import Filter
from demo.neighbours.postfix import DeliveredMail, Postfix
from tests.end_of_data import END, LINE_ENDS, fragments, one_message

BOB = "bob@example.org"
HEADER = b"From: alice@example.net\r\nTo: bob@example.org\r\nSubject: fragments\r\nMIME-Version: 1.0\r\n\r\n"
PATIENCE = 60.0
BARE_NEWLINE = "smtpd_forbid_bare_newline"


def knows(name: str) -> bool:
    """Whether this Postfix has such a parameter."""
    listing = subprocess.run(
        [find_program("postconf", "postfix"), "-d", name], check=True, capture_output=True, text=True
    )
    return name in listing.stdout


@functools.cache
def stray_cr() -> bytes:
    return b" " if knows("cleanup_replace_stray_cr_lf") else b"\r"


def smuggled(number: int) -> bytes:
    return (
        b"MAIL FROM:<mallory@example.net>\r\nRCPT TO:<smuggled-%d@example.org>\r\nDATA\r\nSubject: smuggled\r\n"
        % number
    )


class Sender:
    """A client of the filter that sends bytes. hello: EHLO or LHLO."""

    def __init__(self, port: int, hello: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._file = self._socket.makefile("rb")
        self.expect(220)
        self.say(f"{hello} mail.example.net".encode(), 250)

    def say(self, line: bytes, code: int) -> None:
        self._socket.sendall(line + b"\r\n")
        self.expect(code)

    def send(self, wire: bytes, *, body: str = "", about: bytes = b"") -> None:
        """One message. wire: what follows 354, with its end; about: further words of XFORWARD."""
        self.say(b"XFORWARD NAME=mail.example.net ADDR=192.0.2.7" + about, 250)
        self.say(b"MAIL FROM:<alice@example.net>" + (f" BODY={body}".encode() if body else b""), 250)
        self.say(b"RCPT TO:<bob@example.org>", 250)
        self.say(b"DATA", 354)
        self._socket.sendall(wire)
        self.expect(250)
        self.say(b"NOOP", 250)

    def expect(self, code: int) -> None:
        while (line := self._file.readline())[3:4] == b"-":
            pass
        assert line[:3] == str(code).encode(), line

    def close(self) -> None:
        self._file.close()
        self._socket.close()


class Way:
    """The filter, and the Postfix behind it."""

    def __init__(self, content_filter: Filter, postfix: Postfix) -> None:
        self.filter = content_filter
        self.postfix = postfix

    def arrived(self, count: int) -> list[DeliveredMail]:
        """What is in the mailbox when that much is there for Bob and nothing is on its way any more."""
        self.postfix.wait_for_mail(BOB, count)
        self.postfix.wait_until_idle()
        found = self.postfix.mail()
        assert {mail.recipient for mail in found} == {BOB}
        assert len(found) == count
        return found


@pytest.fixture(params=["as it comes", BARE_NEWLINE])
def way(
    request: pytest.FixtureRequest, start_postfix: Callable[..., Postfix], clamd: Clamd, open_directory: Path
) -> Iterator[Way]:
    """With a scanner, so that fields are put in front and the message that goes on is an edited one."""
    settings = {}
    if request.param == BARE_NEWLINE:
        if not knows(BARE_NEWLINE):
            pytest.skip(f"this Postfix does not know {BARE_NEWLINE}")
        settings = {BARE_NEWLINE: "yes"}
    postfix = start_postfix(settings=settings)
    tables = {"workers": 1, "clamav": {"socket": clamd.address}, "spamassassin": {"enabled": False}}
    directory = Path(tempfile.mkdtemp(dir=open_directory))
    with Filter(directory, next_hop_port=postfix.reinject_port, settings=tables) as running:
        yield Way(running, postfix)


def as_postfix_has_it(content: bytes) -> bytes:
    """Postfix keeps lines without the CRs at their end; of other CRs it makes spaces (cleanup_replace_stray_cr_lf)."""
    lines = [line.rstrip(b"\r") for line in content.removesuffix(b"\r\n").split(b"\r\n")]
    return b"".join(line.replace(b"\r", stray_cr()) + b"\n" for line in lines)


def body(mail: DeliveredMail) -> bytes:
    """Without the header, to which both programs have added fields."""
    assert b"X-Virus-Scanned: contentfilter at " in mail.raw
    return mail.raw.split(b"\n\n", 1)[1]


def test_all_fragments_in_one_message(way: Way) -> None:
    packed = [fragment for fragment in fragments(5) if END not in fragment]
    content = HEADER + b"".join(b"%d " % number + one + smuggled(number) for number, one in enumerate(packed))
    taken = one_message(content + END)
    assert taken is not None
    assert taken[1] == b""
    for hello in ("EHLO", "LHLO"):
        sender = Sender(way.filter.port, hello)
        sender.send(content + END)
        sender.send(content + b"\xe9\xff\0" + END, body="8BITMIME")
        sender.close()
    wanted = as_postfix_has_it(taken[0]).split(b"\n\n", 1)[1]
    assert sorted(map(body, way.arrived(4))) == sorted(2 * [wanted, wanted[:-1] + b"\xe9\xff\0\n"])
    print(f"end of data, Postfix: {len(packed)} fragments in one message, as SMTP and LMTP, plain and 8BITMIME")


def dangerous() -> list[bytes]:
    """A dot with up to two of CR and LF on each side, and the same with NUL, but for what does end DATA."""
    sides = [b"", *fragments(2, (b"\r", b"\n"))]
    dots = [left + b"." + right for left, right in itertools.product(sides, sides)]
    dots += [
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
        b"\r\0\n.\r\0\n",
        b"\n.\r\0\n",
        b"\r\n..\r\n",
        b"\r\n.\r\r\n",
        b"\r\r\n.\r\r\n",
    ]
    return [fragment for fragment in dots if END not in fragment]


def test_the_dangerous_ones_alone(way: Way) -> None:
    tried = dangerous()
    values = list(fragments(3, LINE_ENDS))
    sender = Sender(way.filter.port, "LHLO")
    wanted = []
    for number, fragment in enumerate(tried):
        content = HEADER + b"x" + fragment + smuggled(number)
        taken = one_message(content + END)
        assert taken is not None
        wanted.append(as_postfix_has_it(taken[0]).split(b"\n\n", 1)[1])
        # What the client is said to be called holds line ends as well.
        value = xtext.encode((values[number % len(values)] + smuggled(number)[:60]).decode()).encode()
        sender.send(content + END, body=("", "8BITMIME")[number % 2], about=b" HELO=" + value + b" IDENT=" + value)
    sender.close()
    assert sorted(map(body, way.arrived(len(tried)))) == sorted(wanted)
    print(f"end of data, Postfix: {len(tried)} fragments, each in a message of its own")


def test_a_message_that_begins_with_a_fragment(way: Way) -> None:
    tried = [fragment for fragment in fragments(3, LINE_ENDS) if not fragment.startswith(b".\r\n")]
    sender = Sender(way.filter.port, "EHLO")
    for number, fragment in enumerate(tried):
        sender.send(fragment + smuggled(number) + END)
    sender.close()
    marks = {b"smuggled-%d@" % number for number in range(len(tried))}
    found = way.arrived(len(tried))
    # What stands at the top is header or not as Postfix sees it; whatever it is, it stays in the one message.
    assert all(any(mark in mail.raw for mark in marks) for mail in found)
    assert all(any(mark in mail.raw for mail in found) for mark in marks)
    print(f"end of data, Postfix: {len(tried)} messages that begin with a fragment")
