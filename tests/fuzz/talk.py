"""A client that says anything in any order on several connections, held against the model of each.

The daemon is the real one, in its own processes; the next hop records. The model is kept by what RFC 5321, RFC 2033 and
our list of replies say, and knows nothing of how the daemon comes to them.
"""

from __future__ import annotations

import socket
import struct
from typing import Any, Final

from hypothesis import assume, event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.end_of_data import one_message
from tests.fakes.next_hop import Close
from tests.fuzz.commands import COMMANDS, ENVELOPES, LATER, MESSAGES, REFUSED, Command, mail, rcpt
from tests.fuzz.ground import Ground, await_true, connections
from tests.fuzz.line import MAX_ERRORS, Line

WARM: Final = 3
"""Examples after which the daemon has started whatever it starts."""


class Talk(RuleBasedStateMachine):
    """Up to three connections at a time, on which anything is said."""

    ground: Ground

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[Line] = []
        self._dot = ""

    @initialize()
    def begin(self) -> None:
        self.ground.hop.script.pop("dot", None)
        self._lines = [self.ground.dial()]

    def _line(self, which: int) -> Line:
        self._lines = [line for line in self._lines if line.open] or [self.ground.dial()]
        return self._lines[which % len(self._lines)]

    @precondition(lambda self: len(self._lines) < 3)
    @rule()
    def another_connection(self) -> None:
        self._lines.append(self.ground.dial())

    @rule(
        which=st.integers(0, 2),
        commands=st.lists(COMMANDS, min_size=1, max_size=6),
        cuts=st.lists(st.integers(0, 400), max_size=2),
    )
    def say(self, which: int, commands: list[Command], cuts: list[int]) -> None:
        """A group of commands at once; each has exactly one reply."""
        line = self._line(which)
        # Where it may hang up in the middle, what was sent behind the last reply could take the reply with it.
        together = line.errors + len(commands) < MAX_ERRORS
        if together:
            line.say(b"".join(command.line + b"\r\n" for command in commands), cuts)
        for command in commands:
            self.ground.sums["commands"] += 1
            if not together:
                line.say(command.line + b"\r\n")
            wanted, code = line.expected(command), line.code()
            assert code in wanted, (command, code, wanted)
            if line.note(command, code):
                assert line.code() == 421
                line.ended()
                return

    def envelope(self, which: int, hello: str, rcpts: list[str], null: bool) -> None:
        """What comes before DATA, at once."""
        commands = [Command("RSET", b"RSET"), mail(0, "", null), *(rcpt(one, "") for one in rcpts)]
        if not self._line(which).hello:
            commands.insert(0, Command(hello, f"{hello} mx.example".encode()))
        self.say(which, commands, [])

    @rule(which=st.integers(0, 2), envelope=ENVELOPES, message=MESSAGES)
    def transaction(self, which: int, envelope: dict[str, Any], message: dict[str, Any]) -> None:
        """All of it, most of the time undisturbed."""
        self.envelope(which, **envelope)
        self.data(which, **message)

    @rule(
        which=st.integers(0, 2), first=st.integers(5, 15), envelope=ENVELOPES, message=MESSAGES, then=st.integers(5, 15)
    )
    def errors_around_a_message(
        self, which: int, first: int, envelope: dict[str, Any], message: dict[str, Any], then: int
    ) -> None:
        """A message that gets through makes up for what came before."""
        wrong = Command("", b"FOO", good=False)
        self.say(which, [wrong] * first, [])
        self.envelope(which, **envelope)
        self.data(which, **message)
        self.say(which, [wrong] * then, [])

    @rule(which=st.integers(0, 2))
    def too_large(self, which: int) -> None:
        line = self._line(which)
        line.say(b"MAIL FROM:<a@y.example> SIZE=99999999999\r\n")
        wanted = {503} if not line.hello or line.sender is not None else {552}
        code = line.code()
        assert code in wanted
        if line.note(Command("MAIL", b"MAIL"), code):
            assert line.code() == 421
            line.ended()

    @rule(which=st.integers(0, 2), before=st.booleans())
    def a_bare_newline(self, which: int, before: bool) -> None:
        """Nothing behind it is to be trusted."""
        line = self._line(which)
        line.say((b"NOOP\r\n" if before else b"") + b"NOOP\nDATA\r\nQUIT\r\n")
        if before:
            assert line.code() == 250
        assert line.code() == 521
        line.ended()

    @rule(step=st.sampled_from(["451 4.3.0 full", "554 5.6.0 ugly", "close"]))
    def the_next_hop_will_refuse(self, step: str) -> None:
        self._dot = step
        self.ground.hop.script["dot"] = [Close() if step == "close" else step]

    @rule(which=st.integers(0, 2), message=MESSAGES)
    def data_now(self, which: int, message: dict[str, Any]) -> None:
        """As things stand."""
        self.data(which, **message)

    def data(self, which: int, body: bytes | tuple[str, int], header: bool, cuts: list[int], leave: str) -> None:
        # Before anything is said: an example that is given up in here must not leave the line in the middle of DATA.
        token = self.ground.token()
        wire, content = _wire(body, header, token)
        line = self._line(which)
        line.say(b"DATA\r\n")
        code = line.code()
        if not line.recipients:
            assert code == 503
            if line.note(Command("DATA", b"DATA"), code):
                assert line.code() == 421
                line.ended()
            return
        assert code == 354
        if leave == "body":
            self.ground.promised[token] = None
            line.say(wire[: len(wire) // 2])
            line.close()
            return
        able = set(line.recipients) - {REFUSED, LATER}
        self.ground.promised[token] = able
        line.say(wire, cuts)
        event("message")
        self.ground.sums["messages"] += 1
        if leave == "dot":
            # Whether it is delivered is not for us to say; the next hop's mood is used up or it is not.
            line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line.close()
            self._wait_for_quiet()
            return
        if leave == "half-close":
            line.socket.shutdown(socket.SHUT_WR)
        self._check_answers(line, token, content)
        if leave == "half-close":
            line.ended()

    def _wait_for_quiet(self) -> None:
        await_true(lambda: connections(self.ground.service.port) <= sum(line.open for line in self._lines))
        self._dot = ""
        self.ground.hop.script.pop("dot", None)

    def _check_answers(self, line: Line, token: bytes, content: bytes) -> None:
        each = self._each(line)
        taken = {one for one, code in each.items() if code == 250}
        if line.hello == "LHLO":
            codes = [line.code() for _ in line.recipients]
            assert codes == [each[one] for one in line.recipients], (line.recipients, codes)
        else:
            values = set(each.values())
            # One 4xx makes it 4xx, only 5xx makes it 5xx, and of a mixture we report the failed ones ourselves.
            wanted = 451 if 451 in values else 250 if 250 in values else each[line.recipients[0]]
            code = line.code()
            assert code == wanted, (each, code)
            if code // 100 == 4:
                self.ground.sums["deferred"] += 1
                # Whoever was served before the 4xx is in the ledger; the order of groups decides.
                taken = set()
        line.forget()
        line.errors = 0
        if taken:
            await_true(lambda: self.ground.deliveries(token))
            (one,) = self.ground.deliveries(token)
            assert set(one.rcpt_tos) == taken
            assert one.content.endswith(content), (one.content[-300:], content[-300:])

    def _each(self, line: Line) -> dict[str, int]:
        """What each recipient gets, by the next hop's mood."""
        each = {one: {REFUSED: 550, LATER: 451}.get(one, 250) for one in line.recipients}
        if self._dot and 250 in each.values():
            said = {"close": 451}.get(self._dot) or int(self._dot[:3])
            each = {one: said if code == 250 else code for one, code in each.items()}
            self._dot = ""
        return each

    @rule(which=st.integers(0, 2), manner=st.sampled_from(["QUIT", "close", "reset", "half-close"]))
    def leave(self, which: int, manner: str) -> None:
        line = self._line(which)
        if manner == "QUIT":
            line.say(b"QUIT\r\nNOOP\r\n"[:6])
            assert line.code() == 221
            line.ended()
        elif manner == "half-close":
            line.say(b"NOOP\r\nRCPT")
            line.socket.shutdown(socket.SHUT_WR)
            assert line.code() == 250
            line.ended()
        else:
            if manner == "reset":
                line.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line.close()

    def teardown(self) -> None:
        """Nothing was said that nobody asked for; then all promises are looked at."""
        for line in self._lines:
            if line.open:
                line.say(b"QUIT\r\n")
                assert line.code() == 221
                line.ended()
        await_true(lambda: not connections(self.ground.service.port))
        self.ground.sums["examples"] += 1
        self.ground.check_quiet()
        self.ground.check_promises()
        if self.ground.sums["examples"] == WARM:
            self.ground.look()


def _wire(body: bytes | tuple[str, int], header: bool, token: bytes) -> tuple[bytes, bytes]:
    """What goes over the wire, and the content from the body on that must come of it."""
    if isinstance(body, tuple):
        text, times = body
        body = text.encode() * times
    head = b"From: a@y.example\r\nSubject: fuzz\r\n\r\n" if header else b""
    wire = (head + body).replace(b"\r\n.", b"\r\n..") + b"\r\n" + token + b".\r\n"
    taken = one_message(wire)
    assume(taken is not None and taken[1] == b"")
    assert taken is not None
    return wire, taken[0][len(head) :]
