"""A client that says anything in any order, and a model that knows what each must be answered.

The daemon is the real one, in its own processes; the next hop records. The model is kept by what RFC 5321, RFC 2033 and
our list of replies say, and knows nothing of how the daemon comes to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hypothesis import assume, event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from demo.neighbours.filter import Filter
from tests.end_of_data import one_message
from tests.fakes.next_hop import Close, FakeNextHop, Transaction
from tests.workers import workers_of

PATIENCE: Final = 20.0
MAX_ERRORS: Final = 20
"""Errors after which the daemon hangs up, until a message gets through."""
MAX_LINE: Final = 8192
WARM: Final = 3
"""Examples after which the daemon has started whatever it starts."""

SEQUENCE = frozenset({503})
SYNTAX = frozenset({500, 501, 502, 555})
COUNTED = frozenset({500, 501, 502, 503, 504, 555})

REFUSED, LATER = "no@x.example", "later@x.example"
HOP_SCRIPT: Final = {
    f"RCPT:<{REFUSED}>": "550 5.1.1 no such user",
    f"RCPT:<{LATER}>": "451 4.3.0 not now",
}


@dataclass(frozen=True)
class Command:
    """A line without its CRLF. verb: what it is to the model; good: whether it is well formed."""

    verb: str
    line: bytes
    good: bool = True
    address: str = ""


def _commands(verb: str, good: Sequence[str], bad: Sequence[str] = ()) -> list[Command]:
    return [Command(verb, one.encode()) for one in good] + [Command(verb, one.encode(), good=False) for one in bad]


FIXED: Final = [
    *_commands("EHLO", ["EHLO mx.example", "ehlo [192.0.2.1]"], ["EHLO", "EHLO two words", "EHLO \u00fc"]),
    *_commands("HELO", ["HELO mx.example"], ["HELO"]),
    *_commands("LHLO", ["LHLO mx.example", "lhlo x"], ["LHLO", "LHLO \x01"]),
    *_commands(
        "XFORWARD",
        ["XFORWARD NAME=c.example ADDR=192.0.2.7", "XFORWARD HELO=a+0D+0A.+0D+0AQUIT IDENT=4A1B", "xforward PORT=1"],
        ["XFORWARD", "XFORWARD FOO=1", "XFORWARD NAME", "XFORWARD NAME=+zz"],
    ),
    *_commands("RSET", ["RSET", "rset", "RSET "], ["RSET now"]),
    *_commands("NOOP", ["NOOP", "NOOP and more", "noop \u00fc"]),
    *_commands("HELP", ["HELP", "HELP me"]),
    *_commands("VRFY", ["VRFY bob"], ["VRFY"]),
    *_commands(
        "", [], ["EXPN list", "STARTTLS", "AUTH PLAIN x", "BDAT 5 LAST", "TURN", "FOO", "", " ", "MAILFROM:<a@b>"]
    ),
    *_commands("DATA bad", [], ["DATA now"]),
    *_commands("QUIT bad", [], ["QUIT now"]),
]

MAIL_TAILS: Final = [
    "",
    " SIZE=100",
    " BODY=8BITMIME",
    " RET=HDRS ENVID=x+2B",
    " SMTPUTF8",
    " BODY=7BIT SIZE=0",
    " AUTH=<>",
]
BAD_MAIL: Final = [
    "MAIL",
    "MAIL FROM:",
    "MAIL FROM:a@b",
    "MAIL FROM:<a@b",
    "MAIL FROM:<a@b> FOO=1",
    "MAIL FROM:<a@b> SIZE=x",
    "MAIL FROM:<a@b> BODY=9BIT",
    "MAIL FROM:<a b@c>",
    "MAIL FROM:<a@b> RET=FULL RET=FULL",
    "MAIL FROM:<" + "a" * 600 + "@b>",
]
RCPT_TAILS: Final = ["", " NOTIFY=NEVER", " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x+2Bb@c"]
BAD_RCPT: Final = [
    "RCPT",
    "RCPT TO:<>",
    "RCPT TO:b",
    "RCPT TO:<b@c> NOTIFY=NEVER,DELAY",
    "RCPT TO:<b@c> FOO",
    "RCPT FROM:<b>",
]


def _mail(number: int, tail: str, null: bool) -> Command:
    address = "" if null else f"s{number}@y.example"
    return Command("MAIL", f"MAIL FROM:<{address}>{tail}".encode(), address=address)


def _rcpt(address: str, tail: str) -> Command:
    return Command("RCPT", f"RCPT TO:<{address}>{tail}".encode(), address=address)


no_line_end = st.binary(max_size=60).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b""))

COMMANDS = st.one_of(
    st.sampled_from(FIXED),
    st.builds(_mail, st.integers(0, 9), st.sampled_from(MAIL_TAILS), st.booleans()),
    st.sampled_from([Command("MAIL", one.encode(), good=False) for one in BAD_MAIL]),
    st.builds(
        _rcpt,
        st.sampled_from(["a@x.example", "b@x.example", '"c d"@x.example', REFUSED, LATER]),
        st.sampled_from(RCPT_TAILS),
    ),
    st.sampled_from([Command("RCPT", one.encode(), good=False) for one in BAD_RCPT]),
    # Binary that begins like no command; and control characters in what would be one.
    no_line_end.map(lambda raw: Command("", b"\xff" + raw, good=False)),
    st.sampled_from([b"NOOP \0", b"RSET\0", b"MAIL FROM:<a\r@b>", b"\rQUIT", b"DATA\r"]).map(
        lambda line: Command("", line, good=False)
    ),
    st.sampled_from([MAX_LINE - 1, MAX_LINE, 100_000]).map(
        lambda size: Command("", b"NOOP " + b"x" * size, good=False)
    ),
)

PIECES = (
    b"\r",
    b"\n",
    b".",
    b"\0",
    b"\r\n",
    b"\r\n.",
    b"\r\n..\r\n",
    b"\n.\n",
    b"\r.\r",
    b"text",
    b"\xff\xfe",
    b"MAIL FROM:<x@y>\r\n",
)
BODIES = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join),
    st.binary(max_size=200),
    # Many lines, and one long one.
    st.sampled_from([("line\r\n", 2000), ("line\r\n", 40_000), ("x", 70_000)]),
)
ENVELOPES = st.fixed_dictionaries(
    {
        "hello": st.sampled_from(["EHLO", "HELO", "LHLO"]),
        "rcpts": st.lists(
            st.sampled_from(["a@x.example", "b@x.example", REFUSED, LATER]), min_size=1, max_size=4, unique=True
        ),
        "null": st.booleans(),
    }
)
MESSAGES = st.fixed_dictionaries(
    {
        "body": BODIES,
        "header": st.booleans(),
        "cuts": st.lists(st.integers(0, 2_000_000), max_size=3),
        "leave": st.sampled_from(["", "", "", "", "", "", "body", "dot", "half-close"]),
    }
)


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


class Ground:
    """The daemon and its next hop, for many examples. Use it as a context manager."""

    def __init__(self, directory: Path) -> None:
        self.hop = FakeNextHop(HOP_SCRIPT)
        self.promised: dict[bytes, set[str] | None] = {}
        self.sums: Counter[str] = Counter()
        self.count = 0
        self._directory = directory
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._log_seen = 0
        self._workers: Counter[int] = Counter()

    def __enter__(self) -> Ground:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.hop.__aenter__(), self._loop).result(PATIENCE)
        settings = {
            "workers": 2,
            "clamav": {"enabled": False},
            "spamassassin": {"enabled": False},
            "next_hop": {"pool_size": 2},
            "limits": {"memory_threshold": 100_000},
            # What is in the messages is not the question here.
            "policy": {"default": {"unchecked_lover": True, "banned_lover": True, "bad_header_lover": True}},
        }
        self.service = Filter(
            self._directory, next_hop_port=int(self.hop.address.rpartition(":")[2]), settings=settings
        )
        self.service.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.service.stop()
        asyncio.run_coroutine_threadsafe(self.hop.__aexit__(None, None, None), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def dial(self) -> Line:
        connection = socket.create_connection(("127.0.0.1", self.service.port), PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is sent apart arrives apart
        line = Line(connection, connection.makefile("rb"))
        assert line.code() == 220
        self.sums["connections"] += 1
        return line

    def token(self) -> bytes:
        self.count += 1
        return b"token-%d-\r\n" % self.count

    def deliveries(self, token: bytes) -> list[Transaction]:
        """The transactions of this message, reports of its failure not counted."""
        return [one for one in self.hop.delivered if one.raw.endswith(token)]

    def check_quiet(self) -> None:
        """No exception in the log since we last looked."""
        with self.service.log.open("rb") as log:
            log.seek(self._log_seen)
            fresh = log.read()
        self._log_seen += len(fresh)
        assert b"Traceback" not in fresh, fresh.decode(errors="replace")
        assert b"\nE " not in b"\n" + fresh, fresh.decode(errors="replace")

    def check_promises(self) -> None:
        """What was acknowledged arrived, once; what was not did not."""
        for one in self.hop.transactions:
            found = re.search(rb"token-\d+-\r\n\Z", one.raw[-40:]) if one.delivered else None
            if found is None:
                continue
            allowed = self.promised[found[0]]
            assert allowed is not None, f"delivered, but never sent to its end: {one}"
            assert len(one.rcpt_tos) == len(set(one.rcpt_tos))
            assert set(one.rcpt_tos) <= allowed, one
            self.promised[found[0]] = allowed - set(one.rcpt_tos)  # a second copy would not be allowed
        self.hop.transactions.clear()
        self.hop.commands.clear()

    def check_nothing_held(self) -> None:
        """The workers hold no more than at the end of the first examples, however many connections came since."""
        await_true(lambda: not _connections(self.service.port))
        after = Counter({one: _descriptors(one) for one in _children(self.service.pid)})
        assert after.keys() == self._workers.keys(), "a worker has died"
        for worker, count in after.items():
            # Helpers may have been started since, each with a few descriptors of ours, and threads.
            assert count <= self._workers[worker] + 16, (self._workers, after)

    def look(self) -> None:
        """Note what the workers hold now that they are warm."""
        if not self._workers:
            await_true(lambda: not _connections(self.service.port))
            self._workers.update({one: _descriptors(one) for one in _children(self.service.pid)})


def _children(pid: int) -> list[int]:
    return sorted(workers_of(pid))


def _descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def await_true(condition: Any) -> None:
    """Another process's doing, of which no event tells us."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def _connections(port: int) -> int:
    """Connections that the daemon still has open on its port: established, or closed by the client alone."""
    count = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        count += int(local.rpartition(":")[2], 16) == port and state in ("01", "08")
    return count


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
        commands = [Command("RSET", b"RSET"), _mail(0, "", null), *(_rcpt(one, "") for one in rcpts)]
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
        token = self.ground.token()
        wire, content = _wire(body, header, token)
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
        await_true(lambda: _connections(self.ground.service.port) <= sum(line.open for line in self._lines))
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
        await_true(lambda: not _connections(self.ground.service.port))
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
