"""The whole journey on loopback: a real door, the pipeline, a real quarantine, and a next hop that does as it is told.

Who gets which verdict is told by the address: the policies below make "reject@x.example" reject the one finding that
the scripted inspector reports, "discard@" discard it, and so on.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from contentfilter.board import Board, Place
from contentfilter.domains import LocalDomains
from contentfilter.errors import InspectorError
from contentfilter.failure import OnFailure
from contentfilter.finding import Finding, Kind
from contentfilter.history import History
from contentfilter.inspectors import Inspector, Subject
from contentfilter.judging import Site
from contentfilter.ledger import Ledger
from contentfilter.mime import Limits, Tree
from contentfilter.next_hop import NextHop, NextHopSettings
from contentfilter.pipeline import Opening, Pipeline
from contentfilter.policy.lookup import Policies
from contentfilter.policy.settings import Policy
from contentfilter.retries import Retries
from contentfilter.routes import Routes
from contentfilter.turns import Turns
from contentfilter.unpack.unpacked import NOTHING, Unpacked
from contentfilter.verdict import Action
from quarantine.index import Query
from quarantine.store import Quarantine
from tests.door import Client, Door, open_door
from tests.fakes.next_hop import FakeNextHop, Script
from tests.policies import policies_of

HOST = "filter.example"
SENDER = "sender@y.example"
MESSAGE = b"From: a@b.example\r\nTo: c@d.example\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nSubject: hi\r\n\r\nbody\r\n"
NOTICE = b"\r\nAuto-Submitted: auto-generated\r\n"
"""What the notices have that we write ourselves."""
VIRUS = Finding(Kind.VIRUS, "clamd", "Test-Virus")

POLICIES = {
    "pass": Policy(virus_action=Action.PASS, virus_quarantine=False),
    "copy": Policy(virus_action=Action.PASS, virus_quarantine=True),
    "discard": Policy(virus_action=Action.DISCARD, virus_quarantine=True),
    "drop": Policy(virus_action=Action.DISCARD, virus_quarantine=False),
    "reject": Policy(virus_action=Action.REJECT, virus_quarantine=False),
    "keep": Policy(virus_action=Action.REJECT, virus_quarantine=True),
    "defer": Policy(virus_action=Action.DEFER),
    # These pass us; the next hop has another opinion (see SCRIPT). other@ goes in a group of its own.
    "no": Policy(virus_action=Action.PASS, virus_quarantine=False),
    "copy-no": Policy(virus_action=Action.PASS, virus_quarantine=True),
    "later": Policy(virus_action=Action.PASS, virus_quarantine=False),
    "other": Policy(bypass_virus_checks=True),
    "other-later": Policy(bypass_virus_checks=True),
}

SCRIPT: Script = {
    "RCPT:<no@x.example>": "550 5.1.1 no such user",
    "RCPT:<copy-no@x.example>": "550 5.1.1 no such user",
    "RCPT:<later@x.example>": "451 4.3.0 not now",
    "RCPT:<other-later@x.example>": "451 4.3.0 not now",
}


@dataclass
class Scripted:
    """An inspector that reports what it is told, or fails."""

    name: str = "clamd"
    findings: tuple[Finding, ...] = ()
    failure: Exception | None = None
    asked: list[Subject] = field(default_factory=list)

    async def inspect(self, subject: Subject) -> tuple[Finding, ...]:
        """What a real one would have found."""
        self.asked.append(subject)
        if self.failure is not None:
            raise self.failure
        return self.findings

    async def close(self) -> None:
        """Nothing is held open."""


class Unopened:
    """A box that opens nothing."""

    async def open(self, tree: Tree, size: int) -> Unpacked:
        """Nothing is in anything."""
        return NOTHING


def silent(name: str = "clamd") -> Scripted:
    """A scanner that cannot answer."""
    return Scripted(name, failure=InspectorError(f"{name} is gone"))


@dataclass
class Journey:
    """Everything a test looks at."""

    door: Door
    hop: FakeNextHop
    quarantine: Quarantine
    next_hop: NextHop
    ledger: Ledger
    turns: Turns
    place: Place
    ident: str = "ABC123"
    """The queue id that XFORWARD tells, "" for none: what tells a retry from a new message."""

    async def lmtp(self, *rcpts: str, mail_from: str = SENDER, content: bytes = MESSAGE) -> list[str]:
        """Send as LMTP; one reply per recipient."""
        return await self._transact("LHLO", rcpts, mail_from, content, len(rcpts))

    async def smtp(self, *rcpts: str, mail_from: str = SENDER, content: bytes = MESSAGE) -> str:
        """Send as SMTP; the one reply."""
        return (await self._transact("EHLO", rcpts, mail_from, content, 1))[0]

    async def _transact(
        self, hello: str, rcpts: Sequence[str], mail_from: str, content: bytes, answers: int
    ) -> list[str]:
        client = await self.begin(hello, rcpts, mail_from, content)
        async with client:
            replies = await client.replies(answers)
            await client.say("QUIT")  # so that the door knows that the replies were heard
            return replies

    async def begin(
        self, hello: str, rcpts: Sequence[str], mail_from: str = SENDER, content: bytes = MESSAGE
    ) -> Client:
        """A client that has sent a message to its end, and reads what comes next."""
        client = await self.door.greeted()
        xforward = f"XFORWARD NAME=mail.y.example ADDR=192.0.2.7{f' IDENT={self.ident}' if self.ident else ''}"
        early = await client.say(
            f"{hello} mx.example",
            xforward,
            f"MAIL FROM:<{mail_from}>",
            *(f"RCPT TO:{_path(rcpt)}" for rcpt in rcpts),
            "DATA",
        )
        assert [answer[0] for answer in early] == ["2"] * (3 + len(rcpts)) + ["3"], early
        await client.send(content + b".\r\n")
        return client

    def delivered(self) -> set[str]:
        """Local parts of those who got the message, each as often as once; a second copy fails the test."""
        messages = [one for one in self.hop.delivered if one.rcpt_tos != [SENDER] and NOTICE not in one.content]
        got = [rcpt.partition("@")[0] for one in messages for rcpt in one.rcpt_tos]
        assert len(got) == len(set(got)), f"delivered twice: {got}"
        return set(got)

    def reports(self) -> list[bytes]:
        """Reports that we sent to the sender."""
        return [one.content for one in self.hop.delivered if one.rcpt_tos == [SENDER]]

    def kept(self) -> set[str]:
        """Local parts of those for whom the message is in quarantine."""
        got: list[str] = []
        for summary in self.quarantine.find(Query()):
            record = self.quarantine.read(summary.id)
            with self.quarantine.open_message(record) as message:
                assert message.buffer[:] == MESSAGE
            got.extend(one.recipient.address.partition("@")[0] for one in record.withheld)
        assert len(got) == len(set(got)), f"kept twice: {got}"
        return set(got)


def _path(rcpt: str) -> str:
    """ "bob" or "bob NOTIFY=NEVER" as the argument of RCPT TO."""
    local, _, parameters = rcpt.partition(" ")
    return f"<{local}@x.example> {parameters}".rstrip()


@contextlib.asynccontextmanager
async def journey(
    directory: Path,
    script: Script = SCRIPT,
    inspectors: Sequence[Inspector] = (Scripted(findings=(VIRUS,)),),
    on_failure: dict[str, OnFailure] | None = None,
    patience: float = 10.0,
    keeper: Quarantine | None = None,
    box: Opening | None = None,
    policies: Policies | None = None,
    history: History | None = None,
    own: Mapping[str, Policy] = MappingProxyType({}),
    **intake: Any,
) -> AsyncIterator[Journey]:
    """A journey for the time of the block.

    patience: seconds for each wait on the next hop; own: further policies; intake: settings of the door.
    """
    quarantine = keeper or Quarantine(directory / "quarantine", f"sqlite:///{directory / 'index.sqlite'}")
    own_and_usual = {f"{name}@x.example": policy for name, policy in {**POLICIES, **own}.items()}
    policies = policies or policies_of(Policy(), own_and_usual)
    site = Site(
        hostname=HOST,
        local=LocalDomains(["x.example"]),
        inspect_timeout=10.0,
        send_timeout=20.0,
        max_hops=100,
        max_passes=3,
        mime_limits=Limits(),
        on_failure=on_failure or {},
    )
    async with FakeNextHop(script) as hop:
        settings = NextHopSettings(
            hop.address, HOST, connect_timeout=5.0, command_timeout=patience, data_timeout=patience
        )
        next_hop = NextHop(settings)
        routes = Routes(next_hop, lambda address: NextHop(replace(settings, address=address)))
        ledger = Ledger(directory / "ledger.sqlite")
        turns = Turns(directory / "in-work.lock", 20.0)
        place = Board(1).place(0)
        retries = Retries(ledger, turns, place)
        pipeline = Pipeline(
            site, policies, inspectors, routes, quarantine, box=box or Unopened(), history=history, memory=retries
        )
        service = {"admit": pipeline.admit, "turn": retries.turn, "unheard": retries.unheard}
        async with open_door(directory, pipeline.handle, service=service, patience=5.0, **intake) as door:
            yield Journey(door, hop, quarantine, next_hop, ledger, turns, place)
        await pipeline.close()
        await routes.close()
        retries.close()
    quarantine.close()
