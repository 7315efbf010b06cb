"""The filter as a real daemon among scripted peers: for what happens to processes and disks.

The peers live in this process, the filter in its own; so its workers can be killed, stopped and traced.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contentfilter.config import load
from demo.neighbours.filter import Filter
from quarantine.store import Quarantine
from tests.fakes.next_hop import FakeNextHop
from tests.faults.accounting import Holdings, copies_of, reports_on
from tests.faults.mail import MEMORY_THRESHOLD, Mail, policies
from tests.faults.scanners import FakeClamd, FakeSpamd, Scanner
from tests.faults.sender import Attempt, Delivery, connecting
from tests.faults.world import in_quarantine
from tests.workers import is_nursery

PATIENCE = 60.0
"""Seconds for the daemon to be there again, and for a sender to be rid of its message."""
PAUSE = 0.1
"""Seconds between a sender's attempts: no event tells that a filter is there again."""


@dataclass
class Service:
    """The daemon and its neighbours. One worker, so that it is known who has the message."""

    filter: Filter
    hop: FakeNextHop
    clamd: Scanner
    spamd: Scanner

    def scanner(self, name: str) -> Scanner:
        """By its name."""
        return self.clamd if name == "clamd" else self.spamd

    @property
    def port(self) -> int:
        """Where the filter listens."""
        return self.filter.port

    @property
    def state(self) -> Path:
        """The state directory."""
        return self.filter.directory / "state"

    def worker(self) -> int:
        """Its process id, 0 if there is none at the moment."""
        return next((pid for pid in children(self.filter.pid) if not is_zombie(pid) and not is_nursery(pid)), 0)

    def nursery(self) -> int:
        """The process that helpers are forked from."""
        return next((pid for pid in children(self.filter.pid) if is_nursery(pid)), 0)

    def helpers(self) -> list[int]:
        """The processes that open containers."""
        return children(self.nursery())

    async def attempt(self, delivery: Delivery, attempt: Attempt) -> None:
        """One try."""
        await attempt.run(connecting(self.filter.port))
        delivery.note(attempt)

    async def retry(self, delivery: Delivery) -> None:
        """Try again until the sender is rid of it."""
        deadline = time.monotonic() + PATIENCE
        while delivery.open and time.monotonic() < deadline:
            await self.attempt(delivery, delivery.attempt())
            if delivery.open:
                await asyncio.sleep(PAUSE)

    async def start(self) -> None:
        """The daemon. Its own log says when it is there: what greets may be another process that has its port."""
        before = self._times_ready()
        await asyncio.to_thread(self.filter.start)
        await until(lambda: self._times_ready() > before)

    def _times_ready(self) -> int:
        return sum(" ready: " in line for line in self.filter.log_lines())

    async def stop(self) -> int:
        """Let the daemon finish: what it has still in hand is delivered then."""
        return await asyncio.to_thread(self.filter.stop)

    def holdings(self, mail: Mail, taking: list[object] | None = None) -> Holdings:
        """Where the message is. The index is made anew: of a crash it may know nothing yet."""
        with self._quarantine() as quarantine:
            quarantine.reindex(lambda _done, _all: None)
            kept = in_quarantine(quarantine, mail)
        transactions = self.hop.transactions
        return Holdings(copies_of(mail, transactions, taking or ()), kept, reports_on(mail, transactions, taking or ()))

    @contextlib.contextmanager
    def _quarantine(self) -> Iterator[Quarantine]:
        config = load(self.filter.configuration)
        quarantine = Quarantine(config.quarantine.directory, config.quarantine.database)
        try:
            yield quarantine
        finally:
            quarantine.close()

    def taken(self, mail: Mail) -> Counter[str]:
        """Who has it by now: from the next hop, with or without its answer, or in quarantine."""
        mails = [one for one in self.hop.transactions if one.complete and mail.mark in one.content]
        everyone = copies_of(mail, mails, [one.dot for one in mails])
        everyone.update(reports_on(mail, mails, [one.dot for one in mails]))
        with self._quarantine() as quarantine:
            everyone.update(in_quarantine(quarantine, mail))
        return everyone


def settings(clamd: str, spamd: str, **tables: Any) -> dict[str, Any]:
    """The configuration of a filter among these neighbours, with these tables over it."""
    own: dict[str, Any] = {
        "workers": 1,
        "hostname": "filter.example",
        "domains": {"local": ["x.example"]},
        "limits": {"memory_threshold": MEMORY_THRESHOLD},
        "unpack": {"helpers": 1},
        "clamav": {"socket": clamd, "cache": 0},
        "spamassassin": {"address": spamd},
        "policy": {f"{who}@x.example": _table(policy) for who, policy in policies().items()},
    }
    return {**own, **tables}


def _table(policy: Any) -> dict[str, Any]:
    return {
        "virus_action": policy.virus_action.value,
        "virus_quarantine": policy.virus_quarantine,
        "bypass_virus_checks": policy.bypass_virus_checks,
        "bypass_spam_checks": policy.bypass_spam_checks,
    }


@contextlib.asynccontextmanager
async def service(
    state_directory: Path | None = None, port: int | None = None, next_hop_port: int | None = None, **tables: Any
) -> AsyncIterator[Service]:
    """For the time of the block. state_directory, port, next_hop_port: others than usual."""
    with tempfile.TemporaryDirectory(prefix="fault-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        async with (
            FakeNextHop() as hop,
            FakeClamd(directory / "clamd") as clamd,
            FakeSpamd(directory / "spamd") as spamd,
        ):
            if state_directory is not None:
                tables["state_directory"] = str(state_directory)
            running = Filter(
                directory / "filter",
                port=port,
                next_hop_port=next_hop_port or int(hop.address.rpartition(":")[2]),
                settings=settings(clamd.address, spamd.address, **tables),
            )
            place = Service(running, hop, clamd, spamd)
            await place.start()
            try:
                yield place
            finally:
                await place.stop()


def children(pid: int) -> list[int]:
    """The child processes, none of a process that is gone."""
    found: list[int] = []
    if pid:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, task.read_text().split())
    return found


def is_zombie(pid: int) -> bool:
    """Whether it only waits to be reaped, or is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


async def until(condition: Callable[[], bool]) -> None:
    """Wait for another process's doing, of which no event tells us."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


async def kill(pid: int) -> None:
    """SIGKILL, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    await until(lambda: is_zombie(pid))
