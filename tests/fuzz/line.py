"""The model: one connection, and what RFC 5321, RFC 2033 and our list of replies have it answered."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.fuzz.commands import Command

MAX_ERRORS: Final = 20
"""Errors after which the daemon hangs up, until a message gets through."""

SEQUENCE = frozenset({503})
SYNTAX = frozenset({500, 501, 502, 555})
COUNTED = frozenset({500, 501, 502, 503, 504, 555})


@dataclass
class Line:
    """One connection: its socket, and where the model thinks it stands."""

    socket: socket.socket
    file: Any
    hello: str = ""
    sender: str | None = None
    recipients: list[str] = field(default_factory=list)
    errors: int = 0
    open: bool = True

    def say(self, data: bytes, cuts: Sequence[int] = ()) -> None:
        """Send it, in pieces that end at these places."""
        edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
        for start, end in itertools.pairwise(edges):
            self.socket.sendall(data[start:end])

    def code(self) -> int:
        """The next reply; it must be one."""
        lines: list[bytes] = []
        while True:
            line = self.file.readline()
            assert re.fullmatch(rb"[2-5]\d\d[ -][ -~]*\r\n", line), (lines, line)
            lines.append(line)
            if line[3:4] == b" ":
                assert len({one[:3] for one in lines}) == 1, lines
                return int(line[:3])

    def ended(self) -> None:
        """The daemon has hung up, and said nothing more."""
        with contextlib.suppress(ConnectionResetError):  # what we sent behind the end was not read
            assert self.file.read() == b""
        self.close()

    def close(self) -> None:
        self.open = False
        self.file.close()
        self.socket.close()

    def forget(self) -> None:
        self.sender, self.recipients = None, []

    # What the model expects of a command, and what it makes of it.

    def expected(self, command: Command) -> frozenset[int]:
        out_of_turn = {
            "XFORWARD": not self.hello or self.sender is not None,
            "MAIL": not self.hello or self.sender is not None,
            "RCPT": self.sender is None,
            "DATA bad": not self.recipients,
            "EHLO": self.hello == "LHLO",
            "HELO": self.hello == "LHLO",
            "LHLO": self.hello in ("EHLO", "HELO"),
        }.get(command.verb, False)
        wrong = (SEQUENCE if out_of_turn else frozenset()) | (SYNTAX if not command.good else frozenset())
        return wrong or frozenset({{"HELP": 214, "VRFY": 252}.get(command.verb, 250)})

    def note(self, command: Command, code: int) -> bool:
        """True: the daemon has had enough of errors."""
        if code == 250:
            if command.verb in ("EHLO", "HELO", "LHLO"):
                self.hello = command.verb
                self.forget()
            elif command.verb == "RSET":
                self.forget()
            elif command.verb == "MAIL":
                self.sender = command.address
            elif command.verb == "RCPT":
                self.recipients.append(command.address)
        elif code in COUNTED and command.line[:5].upper() != b"RCPT ":
            self.errors += 1
        return self.errors >= MAX_ERRORS
