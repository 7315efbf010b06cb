"""`python -m tests.soak --minutes 10`: exit status 0 if nothing was lost or doubled for no reason, and nothing grew."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import uvloop

from demo.neighbours.clamd import Clamd
from demo.neighbours.filter import Filter
from tests.soak.account import NO_LEDGER, Account, bounced, settle
from tests.soak.hop import Hop, Taken
from tests.soak.letters import POLICY, Author, Letter
from tests.soak.sender import Sender
from tests.soak.trouble import Trouble
from tests.soak.watch import Sample, growth, watch

LINES: Final = 15
"""Of the table over time."""
SHORTEST_JUDGED: Final = 120
"""Samples from which on growth is judged: a shorter run has no quarters to speak of."""
SHOWN: Final = 10


def settings(clamd: str) -> dict[str, Any]:
    """The daemon's. It is patient for seconds, so that a hanging neighbour costs no minutes of the run."""
    return {
        "workers": 2,
        "drain_timeout": 40.0,
        "clamav": {"socket": clamd, "timeout": 8.0},
        "spamassassin": {"enabled": False},
        "limits": {"inspect_timeout": 10.0},
        "next_hop": {"connect_timeout": 5.0, "command_timeout": 4.0, "data_timeout": 8.0},
        "domains": {"local": ["plain.example", "reject.example", "lover.example", "gone.example"]},
        "policy": POLICY,
    }


class Soak:
    """One run. Everything lives below the directory."""

    def __init__(self, directory: Path, minutes: float, seed: int, connections: int, rate: float) -> None:
        chance = random.Random(seed)
        self._directory = directory
        self._seconds = minutes * 60
        self._connections = connections
        self._hop = Hop(random.Random(chance.random()), rate)
        self._author = Author(random.Random(chance.random()))
        self._chance = chance
        self._samples: list[Sample] = []

    async def run(self) -> int:
        """The exit status."""
        for name in ("clamd", "filter"):
            (self._directory / name).mkdir()
        await self._hop.start()
        clamd = Clamd(self._directory / "clamd")
        await asyncio.to_thread(clamd.start)
        try:
            service = Filter(self._directory / "filter", next_hop_port=self._hop.port, settings=settings(clamd.address))
            await asyncio.to_thread(service.start)
            try:
                return await self._soak(service, clamd)
            finally:
                await asyncio.to_thread(service.stop)
        finally:
            clamd.stop()
            self._hop.stop()

    async def _soak(self, service: Filter, clamd: Clamd) -> int:
        trouble = Trouble(service, clamd, random.Random(self._chance.random()))
        sender = Sender(self._author, service.port, random.Random(self._chance.random()), self._announce)
        watching = asyncio.create_task(watch(service.pid, self._samples))
        sending = [asyncio.create_task(sender.run()) for _ in range(self._connections)]
        trouble.start()
        began = time.monotonic()
        print("  time  messages  settled   open  attempts  faults  memory MB  descriptors  processes", flush=True)
        for line in range(1, LINES + 1):
            await asyncio.sleep(max(0.0, began + line * self._seconds / LINES - time.monotonic()))
            self._print_line(sender)
        watching.cancel()
        # From here on all is well, and every message must come to its end.
        self._hop.rate = sender.vanishing = 0.0
        sender.writing = False
        await trouble.calm()
        await asyncio.wait(sending, timeout=180.0)
        took = time.monotonic() - began
        crashed = [task.exception() for task in sending if task.done() and task.exception()]
        for task in sending:
            task.cancel()
        kept = await asyncio.to_thread(self._kept, service, sender.letters)
        account = settle(sender.letters, self._hop.taken, self._hop.reported, kept, trouble.kills)
        asked = await asyncio.to_thread(service.command, "contentfilter", "ledger", "show")
        has_ledger = asked.returncode == 0
        failures = self._failures(service, account, has_ledger=has_ledger)
        failures += [f"the driver itself failed: {error!r}" for error in crashed]
        self._print_summary(sender, trouble, account, took, has_ledger=has_ledger)
        for failure in failures:
            print(f"FAILED: {failure}")
        print("FAILED" if failures else "passed: nothing lost, nothing doubled without a reason, no growth")
        return int(bool(failures))

    def _announce(self, letter: Letter) -> None:
        self._hop.digests[letter.token] = letter.digest

    def _print_line(self, sender: Sender) -> None:
        at = self._samples[-1] if self._samples else Sample(0, 0, 0, 0)
        print(
            f"{at.at:5.0f}s {len(sender.letters):9} {sender.settled:8} {sender.open:6} {sender.attempts:9}"
            f" {sum(self._hop.faults.values()):7} {at.memory:10.1f} {at.descriptors:12} {at.processes:10}",
            flush=True,
        )

    def _kept(self, service: Filter, letters: Sequence[Letter]) -> dict[tuple[str, str], list[Taken]]:
        """What is in quarantine, by message and recipient."""
        tokens = {letter.token for letter in letters}
        items = [(item["subject"].removeprefix("soak "), item) for item in service.quarantined()]
        self._hop.strangers += sum(token not in tokens for token, _ in items)
        keys = {item["id"]: [(token, recipient) for recipient in item["rcpt_tos"]] for token, item in items}
        copies = Counter(key for of_item in keys.values() for key in of_item)
        copies.update([*self._hop.taken, *self._hop.reported, *bounced(letters)])
        kept: dict[tuple[str, str], list[Taken]] = {}
        for mail_id, of_item in keys.items():
            # Only where there is another copy does it matter from which attempt this one is.
            attempt = self._attempt(service, mail_id) if any(copies[key] > 1 for key in of_item) else 1
            for key in of_item:
                kept.setdefault(key, []).append(Taken(attempt, 0.0, answer_lost=False))
        return kept

    @staticmethod
    def _attempt(service: Filter, mail_id: str) -> int:
        """From which attempt an item of the quarantine is: the client's name tells."""
        record = json.loads(service.command("quarantine", "show", "--json", mail_id).stdout)
        return int(record["client"]["helo"].removeprefix("a").partition(".")[0])

    def _failures(self, service: Filter, account: Account, *, has_ledger: bool) -> list[str]:
        failures = [f"lost: {one}" for one in account.lost[:SHOWN]]
        failures += [f"never settled: {one}" for one in account.unsettled[:SHOWN]]
        failures += [f"without a reason: {one}" for one in account.unexplained[:SHOWN]]
        failures += [f"changed on the way: {one}" for one in sorted(self._hop.changed)[:SHOWN]]
        if self._hop.strangers:
            failures.append(f"{self._hop.strangers} messages that nobody sent")
        if has_ledger:
            failures += [
                f"{account.duplicates[one]} times twice: {one}" for one in NO_LEDGER if account.duplicates[one]
            ]
        if len(self._samples) >= SHORTEST_JUDGED:
            failures += [f"growth of {line.strip()}" for line in growth(self._samples) if line.endswith("GROWS")]
        traces = sum("Traceback" in line for line in service.log_lines())
        return failures + ([f"{traces} tracebacks in {service.log}"] if traces else [])

    def _print_summary(
        self, sender: Sender, trouble: Trouble, account: Account, took: float, *, has_ledger: bool
    ) -> None:
        print(f"\n{took / 60:.1f} minutes with the last stragglers")
        print(f"  messages: {len(sender.letters)} to {account.recipients} recipients, {sender.attempts} attempts")
        print(f"  rate: {sender.settled / took:.0f} messages/s settled")
        fates = sorted({one.fate for letter in sender.letters for one in letter.attempts})
        by_fate = {f: sum(one.fate == f for letter in sender.letters for one in letter.attempts) for f in fates}
        print(f"  attempts: {_sums(by_fate)}; {sender.refused_connections} connections refused")
        print(f"  trouble: {_sums(trouble.counts)}")
        print(f"  faults of the next hop: {sum(self._hop.faults.values())}: {_sums(self._hop.faults)}")
        print(f"  where it ended: {_sums(account.ends)}")
        print(f"  lost: {len(account.lost)}; never settled: {len(account.unsettled)}")
        print(f"  twice, with a reason: {sum(account.duplicates.values())}: {_sums(account.duplicates)}")
        if not has_ledger:
            print(f"    of which no ledger yet: {sum(account.duplicates[one] for one in NO_LEDGER)}")
        print(f"  twice, without a reason: {len(account.unexplained)}; changed on the way: {len(self._hop.changed)}")
        if len(self._samples) >= 8:
            print("  medians of the second and the last quarter:")
            for line in growth(self._samples):
                print(f"  {line}")


def _sums(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


def main() -> int:
    """Run it and clean up; what failed stays to be looked at."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument("--connections", type=int, default=12, help="messages sent at the same time")
    parser.add_argument("--faults", type=float, default=0.12, help="share of the next hop's answers that go wrong")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="contentfilter-soak-"))
    directory.chmod(0o755)
    print(f"soak: {arguments.minutes:g} minutes, seed {arguments.seed}, in {directory}", flush=True)
    soak = Soak(directory, arguments.minutes, arguments.seed, arguments.connections, arguments.faults)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        status = runner.run(soak.run())
    if status == 0:
        shutil.rmtree(directory, ignore_errors=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
