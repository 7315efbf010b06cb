"""The bytes after DATA: where they end, what they were before dots were stuffed, and keeping them (RFC 5321 4.5.2).

Only CRLF.CRLF ends a message. A dot between other line ends is content, otherwise a sender could smuggle a second
message past whoever reads line ends more strictly than we do.
"""

from __future__ import annotations

from pathlib import Path

from contentfilter import reply
from contentfilter.errors import FilterError
from contentfilter.intake.holdings import Holding
from contentfilter.large_work import in_thread
from contentfilter.message import Message, Spool
from contentfilter.search import find

_END = b"\r\n.\r\n"
_DOTTED = b"\r\n."
# The longest first: of the ends of a chunk that could begin the end of the message, all must be held back.
_BEGINNINGS = tuple(_END[:length] for length in range(len(_END) - 1, 0, -1))


class EndOfData:
    """Finds the end of the message in chunks cut anywhere, and takes the stuffed dots out.

    It works on whole chunks: what a line is hardly matters, only the three bytes CRLF dot do.
    """

    def __init__(self) -> None:
        # The line end after DATA opens the first line: a dot there is at the start of a line like any other.
        self._held = b"\r\n"
        self._at_start = True
        self.found = False
        self.rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """Content that is certain by now. Once found is set, rest holds what came behind the end."""
        data = self._held + chunk
        dot = find(data, _DOTTED)
        end = find(data, _END, dot) if dot >= 0 else -1
        if end >= 0:
            self.found = True
            self.rest = data[end + len(_END) :]
            data, self._held = data[: end + 2], b""
        else:
            self._held = next((beginning for beginning in _BEGINNINGS if data.endswith(beginning)), b"")
            data = data[: len(data) - len(self._held)]
        # Most often the first dot is that of the end, and is not in data any more.
        content = data.replace(_DOTTED, b"\r\n") if 0 <= dot < len(data) - 2 else data
        if self._at_start and content:
            self._at_start = False
            return content[2:]
        return content


class Receiver:
    """Keeps the content of one message while it comes in; whatever is wrong with it is told at its end.

    A client can hear no reply before it has sent its last dot, so a message that is too large, or that we cannot keep,
    is read to its end and dropped as it comes. max_size and memory_threshold in bytes; holding: what the message takes
    of the worker's room.
    """

    def __init__(self, directory: Path, memory_threshold: int, max_size: int, holding: Holding) -> None:
        self._scanner = EndOfData()
        self._spool = Spool(directory, memory_threshold, holding)
        self._holding = holding
        self._max_size = max_size
        self._failure: FilterError | None = None

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes; True once the end of the message was among them."""
        content = self._scanner.feed(chunk)
        if self._failure is None and content:
            try:
                self._keep(content)
            except FilterError as error:
                self._fail(error)
        return self._scanner.found

    def _fail(self, error: FilterError) -> None:
        self._failure = error
        self._spool.abandon()
        self._holding.release()

    def _keep(self, content: bytes) -> None:
        self._spool.write(content)
        if self._spool.size > self._max_size:
            raise FilterError(f"message of more than {self._max_size} bytes", reply.MESSAGE_TOO_LARGE)

    async def settle(self) -> None:
        """Have written to disk what is to go there, once it is much or all there is. In a thread: disks can be slow."""
        if self._failure is None and (self._spool.behind or (self._spool.in_file and self._scanner.found)):
            try:
                await in_thread(self._spool.flush)
            except FilterError as error:
                self._fail(error)

    @property
    def rest(self) -> bytes:
        """What the client sent behind the end of the message: its next commands."""
        return self._scanner.rest

    def finish(self) -> Message:
        """The message, for the caller to close. Raises FilterError when it was too large or could not be kept."""
        if self._failure is not None:
            raise self._failure
        return self._spool.finish()

    def abandon(self) -> None:
        """Drop what came so far: the client went away before the end."""
        self._spool.abandon()
