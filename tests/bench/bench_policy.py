"""How long a lookup takes in a policy database of 100,000 entries, and what it costs in memory.

Run it from the top of the repository: `python -m tests.bench.bench_policy`. One lookup is that of one message to 50
recipients: everything between their addresses and their policies. Cold: nothing is remembered, and the database is
opened by the first lookup. Give the URL of an empty PostgreSQL database to measure one as well.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from contentfilter.envelope import Client, Envelope, Recipient
from contentfilter.policy.change import Change, PutEntry, PutListed
from contentfilter.policy.database import PolicyDatabase
from contentfilter.policy.entry import Entry, settings_of
from contentfilter.policy.lists import Effect, ListEntry
from contentfilter.policy.lookup import Policies
from contentfilter.policy.settings import Policy
from contentfilter.policy.sql import CACHE_SIZE, SqlSource
from contentfilter.verdict import Action

ENTRIES = 100_000
DOMAINS = 1_000
RECIPIENTS = 50
ROUNDS = 40
WARM_LIMIT = 5.0
COLD_LIMIT = 20.0
"""Milliseconds."""


def changes() -> Iterator[Change]:
    """A thousand domains with a hundred users each; some of both have lists."""
    for number in range(ENTRIES - DOMAINS):
        policy = Policy(kill_level=float(number % 9), spam_action=Action.REJECT, spam_subject_tag2=f"[{number % 50}] ")
        yield PutEntry(f"user{number}@d{number % DOMAINS}.example", settings_of(policy))
    for number in range(DOMAINS):
        yield PutEntry(f"@d{number}.example", settings_of(Policy(tag2_level=5.0, next_hop="127.0.0.1:10027")))
        yield PutListed(ListEntry("", f"@d{number}.example", f"@sender{number % 7}.example", Effect.SCORE, -1.0))


def messages(number: int) -> list[Envelope]:
    """Messages to 50 recipients each, who have an entry, an extension, or nothing but their domain's."""
    chance = random.Random(number)
    return [
        Envelope(
            f"x@sender{chance.randrange(9)}.example",
            tuple(
                Recipient(f"User{user}{chance.choice(['', '+ext', 'x'])}@d{user % DOMAINS}.example")
                for user in chance.sample(range(ENTRIES), RECIPIENTS)
            ),
            client=Client(addr=f"192.0.2.{chance.randrange(256)}"),
        )
        for _ in range(ROUNDS)
    ]


def policies(source: SqlSource) -> Policies:
    """A lookup in this source alone."""
    return Policies(Entry("bench", "default", ()), [source])


async def cold(url: str, envelopes: Sequence[Envelope], *, opened: bool) -> list[float]:
    """Milliseconds of lookups of which nothing is remembered. opened: without the time for opening the database."""
    took = []
    for envelope in envelopes:
        with closing(SqlSource(PolicyDatabase(url, timeout=10), timeout=10)) as source:
            if opened:
                await source.find([["nobody"]], [])
            took.append(await _lookup(policies(source), envelope))
    return took


async def warm(url: str, envelopes: Sequence[Envelope]) -> list[float]:
    """Milliseconds of lookups of recipients who were looked up before, the check of the generation included."""
    with closing(SqlSource(PolicyDatabase(url, timeout=10), timeout=10)) as source:
        lookup = policies(source)
        took = []
        for envelope in envelopes:
            await _lookup(lookup, envelope)
            source._checked -= 1.0
            took.append(await _lookup(lookup, envelope))
    return took


async def memory(url: str) -> tuple[float, int]:
    """MB that the process grew by until the memory is full, and the keys in it then."""
    with closing(SqlSource(PolicyDatabase(url, timeout=10), timeout=10)) as source:
        await source.find([["nobody"]], [])
        gc.collect()
        before = _resident()
        for start in range(0, 2 * CACHE_SIZE, 500):
            keys = [[f"user{number}@d{number % DOMAINS}.example"] for number in range(start, start + 500)]
            await source.find(keys, [])
        gc.collect()
        return (_resident() - before) / 1e6, len(source._cache)


def in_new_process(url: str) -> tuple[float, int]:
    """The same."""
    return asyncio.run(memory(url))


async def _lookup(lookup: Policies, envelope: Envelope) -> float:
    began = time.perf_counter()
    found = await lookup.of_all(envelope)
    took = (time.perf_counter() - began) * 1000
    assert len(found) == RECIPIENTS
    return took


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096


def measure(name: str, url: str) -> bool:
    """Fill, measure, print. Whether the limits hold."""
    began = time.perf_counter()
    with closing(PolicyDatabase(url, timeout=60)) as database:
        database.apply(changes())
    print(f"{name}: {ENTRIES:,} entries written in {time.perf_counter() - began:.1f} s")
    envelopes = messages(1)
    good = True
    for what, took, limit in (
        ("cold, opening included", asyncio.run(cold(url, envelopes, opened=False)), None),
        ("cold", asyncio.run(cold(url, envelopes, opened=True)), COLD_LIMIT),
        ("warm", asyncio.run(warm(url, envelopes)), WARM_LIMIT),
    ):
        median = statistics.median(took)
        ok = limit is None or median < limit
        good = good and ok
        aim = "" if limit is None else f" (limit {limit:g} ms{'' if ok else ': EXCEEDED'})"
        print(f"  {what}: median {median:.2f} ms, worst {max(took):.2f} ms{aim}")
    # In a new process, which has no memory yet that only looks used.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        grown, keys = pool.apply(in_new_process, (url,))
    print(f"  memory: {grown:+.1f} MB with {keys:,} keys remembered, which is the most")
    return good


def main() -> int:
    """Measure SQLite, and the database whose URL is given."""
    with tempfile.TemporaryDirectory() as directory:
        good = measure("SQLite", f"sqlite:///{directory}/policy.sqlite")
    for url in sys.argv[1:]:
        good = measure("PostgreSQL", url) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
