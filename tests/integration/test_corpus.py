"""Every message of the corpus, judged as `contentfilter check` does it and as the daemon does it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import smtplib
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from contentfilter import assembly, config
from contentfilter.config import Config
from contentfilter.envelope import Envelope, Protocol, Recipient
from contentfilter.finding import Kind
from contentfilter.mail_id import new_id
from contentfilter.message import Spool
from contentfilter.pipeline import Case as Judged
from contentfilter.verdict import Category
from demo.neighbours.clamd import Clamd
from demo.neighbours.filter import Filter
from tests.corpus import HOSTILE
from tests.corpus.case import Case, Innocent
from tests.corpus.innocent import INNOCENT
from tests.fakes.next_hop import FakeNextHop

BOB = "bob@example.org"
GRAVE = frozenset({Kind.VIRUS, Kind.BANNED, Kind.UNCHECKED})
SETTINGS: Mapping[str, Any] = {"workers": 1, "spamassassin": {"enabled": False}}


def test_the_corpus_is_as_large_as_it_has_to_be_and_each_case_explains_itself() -> None:
    assert len(HOSTILE) >= 150
    assert len(INNOCENT) >= 60
    for cases in (HOSTILE, INNOCENT):
        names = [str(case) for case in cases]
        assert len(set(names)) == len(names)
    assert all(case.why and case.client for case in HOSTILE)


class Court:
    """Judges as `contentfilter check` does, but keeps its helpers from one message to the next."""

    def __init__(self, runner: asyncio.Runner, settings: Config) -> None:
        self._runner = runner
        self._settings = settings
        self._routes, self._box = assembly.routes_for(settings), assembly.box_for(settings)
        self._pipeline = assembly.pipeline_for(settings, self._routes, self._box)

    def judge(self, raw: bytes) -> Judged:
        """What check would show."""
        spool = Spool(self._settings.state_directory, len(raw) + 1)
        spool.write(raw)
        envelope = Envelope("alice@example.net", (Recipient(BOB),), protocol=Protocol.LMTP)
        with spool.finish() as message:
            case = self._runner.run(self._pipeline.judge(new_id(), envelope, message))
            case.opened.close()
            return case

    def close(self) -> None:
        """Let go of helpers and connections."""
        self._runner.run(self._pipeline.close())
        self._runner.run(self._box.close())
        self._runner.run(self._routes.close())


@pytest.fixture(scope="module")
def court(clamd: Clamd, open_directory: Path) -> Iterator[Court]:
    directory = Path(tempfile.mkdtemp(prefix="check-", dir=open_directory))
    path = directory / "contentfilter.toml"
    tables = {**SETTINGS, "state_directory": str(directory), "hostname": "filter.example.org"}
    path.write_text(tomli_w.dumps({**tables, "clamav": {"socket": clamd.address}}))
    with asyncio.Runner() as runner:
        it = Court(runner, config.load(path))
        yield it
        it.close()


def told(case: Judged) -> str:
    """Everything that the verdict rests on, for the reader of a failure."""
    lines = [f"{each.kind.value} {each.inspector}: {each.name} at {each.part}" for each in case.evidence.findings]
    lines += [f"part {part.path} {part.declared_type} {part.names} {part.readings}" for part in case.tree.parts]
    return "\n".join(lines)


@pytest.mark.parametrize("case", HOSTILE, ids=str)
def test_hostile_message_in_check(case: Case, court: Court) -> None:
    result = court.judge(case.build())
    kinds = {finding.kind for finding in result.evidence.findings}
    assert Kind.FAILURE not in kinds, told(result)
    assert case.expect.kinds <= kinds, told(result)
    assert not case.expect.either or case.expect.either & kinds, told(result)
    if case.expect.kinds:
        gravest = max(Category[kind.name] for kind in case.expect.kinds)
        assert result.verdicts[0].category == gravest, told(result)
    for name in (*case.expect.names, case.expect.sign):
        assert name in told(result)


@pytest.mark.parametrize("innocent", INNOCENT, ids=str)
def test_innocent_message_in_check(innocent: Innocent, court: Court) -> None:
    result = court.judge(innocent.build())
    kinds = {finding.kind for finding in result.evidence.findings}
    assert not kinds & GRAVE, told(result)
    assert Kind.FAILURE not in kinds
    if not innocent.bad_header:
        assert result.verdicts[0].category is Category.CLEAN, told(result)


@dataclass
class Live:
    """The daemon, and what became of the messages that it got. The sender's address tells which is which."""

    replies: dict[str, str] = field(default_factory=dict)
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)
    delivered: dict[str, list[bytes]] = field(default_factory=dict)


class Sink:
    """A next hop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.hop = FakeNextHop({})

    def __enter__(self) -> FakeNextHop:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.hop.__aenter__(), self._loop).result(10)
        return self.hop

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.hop.__aexit__(None, None, None), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


def sender(name: str) -> str:
    """The address under which a case is sent."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()) + "@corpus.example"


def deliver(port: int, mail_from: str, raw: bytes) -> str:
    """Send by LMTP; the reply for the one recipient."""
    with smtplib.LMTP("127.0.0.1", port, timeout=120) as client:
        client.ehlo()
        assert client.docmd("MAIL", f"FROM:<{mail_from}> BODY=8BITMIME")[0] == 250
        assert client.docmd("RCPT", f"TO:<{BOB}>")[0] == 250
        code, text = client.data(raw)
        return f"{code} {text.decode()}"


@pytest.fixture(scope="module")
def live(request: pytest.FixtureRequest, clamd: Clamd, open_directory: Path) -> Live:
    """The daemon has had all the messages that the selected tests want."""
    wanted = {
        str(value): value.build
        for item in request.session.items
        if isinstance(item, pytest.Function) and "live" in item.fixturenames and hasattr(item, "callspec")
        for value in item.callspec.params.values()
        if isinstance(value, Case | Innocent)
    }
    directory = Path(tempfile.mkdtemp(prefix="live-", dir=open_directory))
    result = Live()
    with Sink() as hop:
        port = int(hop.address.rpartition(":")[2])
        settings = {**SETTINGS, "clamav": {"socket": clamd.address}}
        with Filter(directory, next_hop_port=port, settings=settings) as running:
            for name, build in wanted.items():
                result.replies[sender(name)] = deliver(running.port, sender(name), build())
            for item in running.quarantined():
                result.kept[item["mail_from"]] = item
        for message in hop.delivered:
            result.delivered.setdefault(message.mail_from, []).append(message.content)
    return result


@pytest.mark.parametrize("case", HOSTILE, ids=str)
def test_hostile_message_through_the_daemon(case: Case, live: Live) -> None:
    address = sender(str(case))
    assert live.replies[address].startswith("250 ")
    if not case.expect.kinds | case.expect.either:
        return  # a sign is no reason to withhold, unless a rule says so
    grave = case.expect.kinds or case.expect.either
    words = {Category[kind.name].word for kind in grave}
    if case.expect.kinds:
        words = {max(Category[kind.name] for kind in case.expect.kinds).word}
    assert address in live.kept, f"delivered: {live.delivered.get(address)}"
    assert live.kept[address]["category"] in words, json.dumps(live.kept[address])
    assert address not in live.delivered


@pytest.mark.parametrize("innocent", INNOCENT, ids=str)
def test_innocent_message_through_the_daemon(innocent: Innocent, live: Live) -> None:
    address = sender(str(innocent))
    assert live.replies[address].startswith("250 ")
    assert address not in live.kept, json.dumps(live.kept[address])
    (content,) = live.delivered[address]
    fields, _, body = content.partition(b"\r\n\r\n")
    assert innocent.bad_header or b"X-Contentfilter-Alert:" not in fields
    sent = innocent.build()
    sent = sent if sent.endswith(b"\r\n") else sent + b"\r\n"  # as the client of the test sends it
    assert body == re.sub(rb"(?<!\r)\n", b"\r\n", sent).partition(b"\r\n\r\n")[2]


def test_the_expectation_says_what_it_needs() -> None:
    for case in HOSTILE:
        assert dataclasses.astuple(case.expect) != (frozenset(), frozenset(), (), "")
