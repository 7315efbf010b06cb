"""What a stream of bytes means, from RFC 5321 and the rule that we document; and the streams that are tried.

Written as plainly as can be, a line and a byte at a time, so that it can be read beside the RFC.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

ALPHABET = (b"\r", b"\n", b".", b"\0", b"a")
LINE_ENDS = (b"\r", b"\n", b".")

BEGIN = b"MAIL FROM:<alice@example.net>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n"
SMUGGLED = b"MAIL FROM:<mallory@example.net>\r\nRCPT TO:<smuggled@example.org>\r\nDATA\r\nSubject: smuggled\r\n"
"""What stands behind a fragment. Whoever takes the fragment for an end of data takes this for a second message."""
END = b"\r\n.\r\n"


def fragments(longest: int, alphabet: tuple[bytes, ...] = ALPHABET, shortest: int = 1) -> Iterator[bytes]:
    """Every sequence of so many bytes."""
    for length in range(shortest, longest + 1):
        for letters in itertools.product(alphabet, repeat=length):
            yield b"".join(letters)


def one_message(stream: bytes) -> tuple[bytes, bytes] | None:
    """The content that follows 354, and what stands behind its end; None if it has none.

    RFC 5321 section 2.3.8: lines end in CR LF, and nothing else is a line end. Section 4.5.2: a line of one dot ends
    the message, of any other that begins with a dot that dot is dropped. Our rule: a bare LF becomes CR LF.
    """
    content, at = bytearray(), 0
    while (end := stream.find(b"\r\n", at)) >= 0:
        line, at = stream[at:end], end + 2
        if line == b".":
            return with_full_line_ends(content), stream[at:]
        content += (line[1:] if line[:1] == b"." else line) + b"\r\n"
    return None


def with_full_line_ends(content: bytes | bytearray) -> bytes:
    """A bare LF becomes CR LF."""
    result = bytearray()
    for byte in content:
        if byte == 0x0A and result[-1:] != b"\r":
            result += b"\r"
        result.append(byte)
    return bytes(result)


def lenient_message(stream: bytes) -> tuple[bytes, bytes] | None:
    """The same as whoever takes LF alone, or any number of CR before LF, for a line end; Postfix 3.7 does."""
    content, at = b"", 0
    while (end := stream.find(b"\n", at)) >= 0:
        line, at = stream[at:end].rstrip(b"\r"), end + 1
        if line == b".":
            return content, stream[at:]
        content += (line[1:] if line[:1] == b"." else line) + b"\n"
    return None


@dataclass
class Session:
    """What must come of the bytes that a client sends after EHLO. codes: of the replies, in order.

    messages: sender and content of each; closed: we hang up, what follows is not read.
    """

    codes: list[int] = field(default_factory=list)
    messages: list[tuple[bytes, bytes]] = field(default_factory=list)
    closed: bool = False
    sender: bytes | None = None
    recipients: int = 0


_MAIL = re.compile(rb"MAIL FROM:<([a-z.]+@[a-z.]+)>(?: ENVID=[a-z.]+)?")
_RCPT = re.compile(rb"RCPT TO:<[a-z.]+@[a-z.]+>(?: ORCPT=rfc822;[a-z.]+)?")
_XFORWARD = re.compile(rb"XFORWARD HELO=[a-z.]+")


def session(stream: bytes) -> Session:
    """The replies and messages of a whole session; for the commands of these tests only."""
    seen = Session()
    while stream and not seen.closed:
        end = stream.index(b"\n")
        line, stream = stream[: end + 1], stream[end + 1 :]
        if line == b"DATA\r\n" and seen.recipients:
            taken = one_message(stream)
            assert taken is not None, "every stream of these tests ends its last message"
            content, stream = taken
            seen.messages.append((seen.sender or b"", content))
            seen.codes += [354, 250]
            seen.sender, seen.recipients = None, 0
        else:
            seen.codes.append(_command(seen, line))
    return seen


def _command(seen: Session, line: bytes) -> int:
    if line[-2:] != b"\r\n":
        seen.closed = True
        return 521
    line = line[:-2]
    if b"\r" in line or b"\0" in line:
        return 500
    verb = line.split(b" ")[0]
    if verb == b"MAIL":
        return _mail(seen, line)
    if verb == b"RCPT":
        return _rcpt(seen, line)
    if line == b"RSET":
        seen.sender, seen.recipients = None, 0
        return 250
    if verb == b"XFORWARD":
        if seen.sender is not None:
            return 503
        return 250 if _XFORWARD.fullmatch(line) else 501
    return 503 if line == b"DATA" else 500


def _mail(seen: Session, line: bytes) -> int:
    if seen.sender is not None:
        return 503
    match = _MAIL.fullmatch(line)
    if match is None:
        return 501
    seen.sender = match[1]
    return 250


def _rcpt(seen: Session, line: bytes) -> int:
    if seen.sender is None:
        return 503
    if _RCPT.fullmatch(line) is None:
        return 501
    seen.recipients += 1
    return 250
