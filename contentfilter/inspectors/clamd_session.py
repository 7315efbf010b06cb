"""clamd's protocol: one numbered session of scans (clamd(8), IDSESSION).

Over a Unix socket content goes as a file descriptor (FILDES, nothing is copied), over TCP as a stream (INSTREAM).
Both work inside a session with many scans in flight, tried with clamd 1.4: clamd answers each by its number, in any
order. It then answers the outstanding ones after END too and closes, so END need not wait for the answers, and the
end of the connection shows that there is nothing more to come.

A scan counts as answered only by a whole answer of its own. What is short, unknown, given twice or numbered wrongly
means that we and clamd no longer understand each other: the session raises, and is over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from contentfilter.errors import InspectorError
from contentfilter.inspectors.channel import Channel
from contentfilter.message import Buffer

Content = Buffer | memoryview

_ANSWER = re.compile(rb"([1-9]\d{0,8}): (?:fd\[\d+\]|stream): (?:OK|(.+) FOUND)", re.DOTALL)
_ERROR = re.compile(rb"(?:([1-9]\d{0,8}): )?(.*ERROR)", re.DOTALL)
_LONGEST_ANSWER: Final = 8192
_STREAM_CHUNK: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Answer:
    """What clamd says of one scan: its number and label, and a signature, or an error, or neither (OK)."""

    number: int
    label: str
    signature: str = ""
    error: str = ""


class Session:
    """Scans over one channel. Raises InspectorError for what clamd should not have said, OSError for the socket."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._submitted = 0
        self._pending: dict[int, str] = {}
        self._received = bytearray()
        self._unsent = b"zIDSESSION\0"

    @property
    def pending(self) -> int:
        """How many scans clamd has not answered yet."""
        return len(self._pending)

    async def submit_descriptor(self, label: str, descriptor: int) -> None:
        """Have an open file scanned. It may be closed on return: what was passed is a copy."""
        # The byte after the command is what the protocol wants the descriptor to come with.
        command = self._command(b"zFILDES\0x", label)
        await self._channel.send_descriptor(command, descriptor)

    async def submit_stream(self, label: str, content: Content) -> None:
        """Have bytes scanned, sent in chunks with their length before them and an empty one at the end."""
        head = self._command(b"zINSTREAM\0", label)
        for chunk in _chunks(content):
            await self._channel.send(b"".join((head, len(chunk).to_bytes(4, "big"), chunk)))
            head = b""
        await self._channel.send(head + bytes(4))

    def _command(self, command: bytes, label: str) -> bytes:
        self._submitted += 1
        self._pending[self._submitted] = label
        command, self._unsent = self._unsent + command, b""
        return command

    async def end(self) -> None:
        """Nothing more will be submitted."""
        await self._channel.send(b"zEND\0")

    async def answer(self) -> Answer:
        """The next answer, for whichever scan it is."""
        line = await self._line()
        match = _ANSWER.fullmatch(line)
        if match:
            return Answer(*self._take(match[1]), signature=printable(match[2] or b""))
        match = _ERROR.fullmatch(line)
        if match is None:
            raise InspectorError(f"clamd gave an answer that makes no sense: {printable(line)}")
        if match[1] is None:
            raise InspectorError(f"clamd refused: {printable(match[2])}")
        return Answer(*self._take(match[1]), error=printable(match[2]))

    def _take(self, number: bytes) -> tuple[int, str]:
        try:
            return int(number), self._pending.pop(int(number))
        except KeyError as error:
            raise InspectorError(f"clamd answered for number {int(number)}, which is not outstanding") from error

    async def _line(self) -> bytes:
        while (end := self._received.find(0)) < 0:
            if len(self._received) > _LONGEST_ANSWER:
                raise InspectorError(f"clamd gave an answer without an end: {printable(bytes(self._received))}")
            data = await self._channel.receive(_LONGEST_ANSWER)
            if not data:
                raise InspectorError(f"clamd closed the connection with {self.pending} scans not answered")
            self._received += data
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line

    async def expect_close(self) -> None:
        """All is answered: clamd has nothing more to say and closes."""
        extra = self._received or await self._channel.receive(_LONGEST_ANSWER)
        if extra:
            raise InspectorError(f"clamd said more than it was asked: {printable(bytes(extra))}")


def _chunks(content: Content) -> Iterator[bytes]:
    """The content in copied pieces: a view that a cancelled send still held would keep a message from closing."""
    for start in range(0, len(content), _STREAM_CHUNK):
        yield bytes(content[start : start + _STREAM_CHUNK])


def printable(text: bytes, longest: int = 128) -> str:
    """For logs and header fields: printable ASCII only, cut."""
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in text[:longest])
