"""Files written into text: uuencode, its base64 form, yEnc, BinHex 4; and mailboxes, which are messages in a row."""

from __future__ import annotations

import re
from typing import BinaryIO

from contentfilter.mime.embedded import named_files
from contentfilter.unpack.opener import Kind, NotThisError, Sink
from contentfilter.unpack.openers.common import give, mapped, readable, sliced

MESSAGE_LIMIT = 5_000
"""Messages of a mailbox that are looked for; far above what any budget lets through."""

_MARKS = (b"begin", b"be converted with BinHex")
_FROM = re.compile(rb"^From [^\r\n]{1,512} [0-9:]{4,8}[^\r\n]{0,64}\r?\n(?=[!-9;-~]{1,80}:)", re.MULTILINE)


class Text:
    """uuencode, yEnc and BinHex in text out of containers; those in the message the MIME parser finds."""

    name = "text"
    exclusive = False

    def accepts(self, kind: Kind) -> bool:
        """Whether what a first line holds stands near the beginning or the end."""
        return kind.has(*_MARKS)

    def open(self, file: BinaryIO, kind: Kind, sink: Sink) -> None:
        """Give the files. Raises NotThisError if there is none."""
        found = False
        with mapped(file) as mapping:
            content = mapping[:]
        for embedded in named_files(content, 0, len(content)):
            give(sink, readable(embedded.name, "unnamed"), sliced(embedded.content))
            if embedded.cut:
                sink.trouble("a file in the text has more content than is decoded")
            found = True
        if not found:
            raise NotThisError("nothing written into the text")


class Mailbox:
    """mbox: each message between two "From " lines."""

    name = "mbox"
    exclusive = False

    def accepts(self, kind: Kind) -> bool:
        """Whether it begins as a mailbox: "From ", a sender, a date, then a header field."""
        return kind.head.startswith(b"From ") and _FROM.match(kind.head) is not None

    def open(self, file: BinaryIO, kind: Kind, sink: Sink) -> None:
        """Give the messages."""
        with mapped(file) as content:
            begin = _FROM.match(content)
            for number in range(1, MESSAGE_LIMIT + 1):
                if begin is None:
                    return
                following = _FROM.search(content, begin.end())
                end = following.start() if following else len(content)
                give(sink, f"message-{number}.eml", sliced(content, begin.end(), end))
                begin = following
            sink.trouble(f"a mailbox of more than {MESSAGE_LIMIT} messages")
