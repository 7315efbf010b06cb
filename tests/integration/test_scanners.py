"""Several clamds and spamds, some of them killed, frozen and restarted: who answers, and who is used again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from contentfilter.envelope import Envelope, Recipient
from contentfilter.errors import InspectorError
from contentfilter.finding import Finding, Kind
from contentfilter.inspectors.backends import Resting
from contentfilter.inspectors.clamd import EICAR, ClamdInspector
from contentfilter.inspectors.clamd_server import VERSION_HOLDS
from contentfilter.inspectors.spamd import SpamdInspector
from demo.neighbours.clamd import EICAR_NAME, Clamd
from demo.neighbours.spamd import Spamd
from tests.fakes.subject import subject_of
from tests.integration.conftest import Run

# A failure is enough, and the rest is over at once: each message finds out how the address is.
AT_ONCE = Resting(failures=1, rest=0.0, probe=5.0)
FROZEN = Resting(failures=1, rest=0.0, probe=0.2)
ENVELOPE = Envelope("ada@example.org", (Recipient("bob@example.com"),))


@pytest.fixture
def two_clamds(open_directory: Path) -> Iterator[tuple[Clamd, Clamd]]:
    """A clamd on a Unix socket, and one on TCP, of a test's own."""
    for name in ("clamd-first", "clamd-second"):
        (open_directory / name).mkdir(exist_ok=True)
    with Clamd(open_directory / "clamd-first") as first, Clamd(open_directory / "clamd-second", tcp=True) as second:
        yield first, second


def addresses(clamds: tuple[Clamd, Clamd]) -> list[str]:
    return [clamds[0].address, clamds[1].tcp_address]


class Counter:
    """Messages none of which is like another, each with EICAR in it."""

    def __init__(self) -> None:
        self.number = 0

    async def found(self, inspector: ClamdInspector) -> bool:
        """Whether the virus in the next message is found."""
        self.number += 1
        with (subject := subject_of(b"message %d" % self.number, [b"%d " % self.number + EICAR])).message:
            findings = await inspector.inspect(subject)
        assert findings in ((), (Finding(Kind.VIRUS, "clamd", EICAR_NAME, "1"),))
        return bool(findings)


def changes(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Who went to rest and came back since the last look, in order."""
    lines = [record.getMessage() for record in caplog.records if record.name == "contentfilter.inspectors"]
    caplog.clear()
    return [f"{line.split()[2].partition(':')[0]} {'rests' if ' rests for ' in line else 'is back'}" for line in lines]


@pytest.mark.parametrize("cache", [0, 8192])
def test_a_clamd_that_is_killed_and_comes_back(
    run: Run, two_clamds: tuple[Clamd, Clamd], caplog: pytest.LogCaptureFixture, cache: int
) -> None:
    first, second = two_clamds
    caplog.set_level(logging.INFO)

    async def live() -> None:
        messages = Counter()
        inspector = ClamdInspector(addresses(two_clamds), resting=AT_ONCE, cache=cache)
        assert await messages.found(inspector)
        await asyncio.to_thread(first.stop)
        assert [await messages.found(inspector) for _ in range(3)] == [True] * 3
        assert changes(caplog) == ["unix rests"]
        await asyncio.to_thread(first.start)
        assert await messages.found(inspector)
        assert changes(caplog) == ["unix is back"]
        # Now it is the first again that answers: the second may go.
        await asyncio.to_thread(second.stop)
        assert [await messages.found(inspector) for _ in range(3)] == [True] * 3
        assert changes(caplog) == []
        await asyncio.to_thread(first.stop)
        for _ in range(3):
            with pytest.raises(InspectorError, match=r"clamd at unix:.*; clamd at tcp:"):
                await messages.found(inspector)
        assert not await inspector.answers()
        assert changes(caplog) == ["unix rests", "tcp rests"]

    run(live())


@pytest.mark.parametrize("cache", [0, 8192])
def test_a_frozen_clamd_holds_up_one_message_and_no_more(
    run: Run, two_clamds: tuple[Clamd, Clamd], caplog: pytest.LogCaptureFixture, cache: int
) -> None:
    first, second = two_clamds

    async def live() -> None:
        messages = Counter()
        patient = ClamdInspector(addresses(two_clamds), timeout=1.0, resting=FROZEN, cache=cache)
        first.freeze()
        assert [await messages.found(patient) for _ in range(3)] == [True] * 3
        assert changes(caplog) == ["unix rests"]
        assert await patient.answers()
        second.freeze()
        with pytest.raises(InspectorError) as caught:
            await messages.found(patient)
        assert caught.value.timed_out
        assert not await patient.answers()
        first.thaw()
        second.thaw()
        caplog.clear()
        while not await patient.answers():
            pass
        assert await messages.found(patient)
        assert changes(caplog)[0] == "unix is back"

    run(live())


def test_known_results_are_those_of_a_scan_as_long_as_somebody_vouches_for_them(
    run: Run, two_clamds: tuple[Clamd, Clamd]
) -> None:
    now = 1000.0

    async def live() -> None:
        nonlocal now
        inspector = ClamdInspector(addresses(two_clamds), clock=lambda: now)
        leaves = [b"harmless", EICAR, b"%PDF-1.4 harmless too"]
        with (subject := subject_of(b"the message", leaves)).message:
            scanned, known = await inspector.inspect(subject), await inspector.inspect(subject)
            assert scanned == known == (Finding(Kind.VIRUS, "clamd", EICAR_NAME, "2"),)
            for clamd in two_clamds:
                await asyncio.to_thread(clamd.stop)
            now += VERSION_HOLDS
            with pytest.raises(InspectorError):
                await inspector.inspect(subject)

    run(live())


def test_a_frozen_spamd(run: Run, spamd: Spamd, open_directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = open_directory / "spamd-frozen"
    directory.mkdir(exist_ok=True)
    users = ("", "strict")

    async def live(first: Spamd) -> None:
        inspector = SpamdInspector([first.address, spamd.address], timeout=20.0, resting=AT_ONCE)
        alone = SpamdInspector(first.address, timeout=0.5, resting=FROZEN)
        subject = subject_of(b"Subject: hi\r\n\r\nhello\r\n", envelope=ENVELOPE, spam_users=users)
        assert await alone.answers()
        first.freeze()
        with pytest.raises(InspectorError) as caught:
            await alone.inspect(subject)
        assert caught.value.timed_out
        assert not await alone.answers()
        with pytest.raises(InspectorError, match="rests after a failure"):
            await alone.inspect(subject)
        first.stop()
        findings = await inspector.inspect(subject)
        assert [(finding.kind, finding.user) for finding in findings] == [(Kind.SPAM, user) for user in users]
        await asyncio.to_thread(first.start)
        caplog.clear()
        assert [finding.kind for finding in await inspector.inspect(subject)] == [Kind.SPAM] * 2
        assert changes(caplog) == ["unix is back"]

    with Spamd(directory) as first:
        run(live(first))
