"""`make faults-amavis`: the cells that any SMTP or LMTP filter can be put through, for amavisd-new and for us.

Both run as daemons among the same scripted peers, with the same recipients' settings, and are counted alike. Left out
are faults that end with the filter's patience: amavisd-new's cannot be made short enough.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from demo.neighbours.daemon import MissingProgramError, StartError
from tests.bench.amavis import PROGRAM, USER, Amavis
from tests.fakes.next_hop import FakeNextHop, Hold
from tests.faults.accounting import Finding, Holdings, Reason, Tally, copies_of, judge, reports_on
from tests.faults.cells import MAKERS, MIX, NORMAL, Cell, normal_answer
from tests.faults.mail import Mail, Mix, mail_for
from tests.faults.scanners import Pause, Scanner
from tests.faults.sender import Attempt, Delivery, connecting
from tests.faults.service import service

# What the tables leave out: one refused by policy with 5xx, one with a report of the filter's own.
BOUNCE: Final = Mix("reject, bounce", ("reject", "bounce"), 0)
MIXES: Final = (MIX["one"], MIX["two groups"], MIX["pass, discard"], MIX["pass, reject"], BOUNCE,
                MIX["pass, reject, null sender"], MIX["three groups, second refused"])  # fmt: skip
SAMPLE: Final = int(os.environ.get("FAULTS_SAMPLE", "5"))
"""One of so many cells is run."""
MOST_ATTEMPTS: Final = 12
SETTLED: Final = 0.3
"""Seconds without anything new at the next hop after which a filter is taken to have finished."""

SETTINGS: Final = r"""
$final_destiny_maps_by_ccat{+CC_VIRUS} = [
    {'reject@x.example' => D_REJECT, 'discard@x.example' => D_DISCARD, 'bounce@x.example' => D_BOUNCE}, D_PASS];
@virus_quarantine_to_maps = ({'discard@x.example' => 'virus-quarantine', '.' => undef});
$virus_quarantine_method = 'local:virus-%m';
@bypass_virus_checks_maps = ({'other@x.example' => 1, '.' => 0});
# Otherwise it sends no report about a virus at all, for its sender is probably forged.
@viruses_that_fake_sender_maps = (0);
$warnvirussender = 0;
$virus_admin = undef;
$smtp_connection_cache_enable = 0;
"""


class Place(Protocol):
    """A filter and its neighbours, as far as the cells need them."""

    hop: FakeNextHop
    clamd: Scanner

    @property
    def port(self) -> int:
        """Where it listens."""
        ...

    def holdings(self, mail: Mail, taking: list[object] | None = None) -> Holdings:
        """Where the message is."""
        ...


class AmavisClamd(Scanner):
    """clamd as amavisd-new asks it: one command with a path, one line in answer."""

    error = b"/: lstat() failed: No such file or directory. ERROR\n"

    async def question(self, reader: asyncio.StreamReader) -> bytes:
        """Find a virus wherever it is told to look."""
        asked = await reader.readuntil(b"\n")
        return asked.partition(b" ")[2].strip() + b"/p001: Test-Virus FOUND\n"


@dataclass
class AmavisPlace:
    """amavisd-new among the peers."""

    amavis: Amavis
    hop: FakeNextHop
    clamd: Scanner
    quarantine: Path
    seen: dict[Path, bytes] = field(default_factory=dict)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.amavis.port

    def holdings(self, mail: Mail, taking: list[object] | None = None) -> Holdings:
        """From the next hop and from the quarantine's files."""
        kept: Counter[str] = Counter()
        for file in self.quarantine.rglob("virus-*"):
            if file not in self.seen:
                self.seen[file] = file.read_bytes()
            if mail.mark in self.seen[file]:
                kept.update(rcpt for rcpt in mail.rcpts if rcpt.startswith("discard"))
        transactions = self.hop.transactions
        return Holdings(copies_of(mail, transactions, taking or ()), kept, reports_on(mail, transactions, taking or ()))


@contextlib.asynccontextmanager
async def amavis() -> AsyncIterator[Place]:
    """amavisd-new for the time of the block."""
    with tempfile.TemporaryDirectory(prefix="fault-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        async with FakeNextHop() as hop, AmavisClamd(directory / "clamd") as clamd:
            clamd.path.chmod(0o666)
            running = Amavis(
                directory / "amavis",
                next_hop_port=int(hop.address.rpartition(":")[2]),
                clamd_socket=str(clamd.path),
                settings=SETTINGS,
            )
            await asyncio.to_thread(running.__enter__)
            try:
                yield AmavisPlace(running, hop, clamd, directory / "amavis" / "quarantine")
            finally:
                running.__exit__(None, None, None)


@contextlib.asynccontextmanager
async def ours() -> AsyncIterator[Place]:
    """contentfilter for the time of the block. "bounce" is refused: an own report where there is one reply only."""
    async with service(spamassassin={"enabled": False}) as place:
        yield place


def cells() -> Iterator[Cell]:
    """Of every table what can be scripted against any filter."""
    for maker in MAKERS.values():
        for mix in MIXES:
            for lmtp in (True, False):
                yield from (cell for cell in maker(lmtp, mix) if _fits_any_filter(cell))


def _fits_any_filter(cell: Cell) -> bool:
    if cell.timed or cell.idle or cell.warm or cell.hold == "spamd":
        return False
    if cell.hop is not None and cell.hop[0] == "RSET":
        return False
    if cell.scanner is not None:
        # The one that everybody has, and what both do about it by default.
        return cell.scanner[0] == "clamd" and cell.on_failure == "defer"
    return True


async def run(place: Place, cell: Cell) -> tuple[Delivery, list[Finding], int]:
    """One cell. The last figure: copies that claim a scan while clamd was broken."""
    place.hop.script.clear()
    place.hop.transactions.clear()
    place.clamd.script.clear()
    place.hop.interrupt()
    taking = _arrange(place, cell)
    delivery = Delivery(mail_for(cell.mix, large=cell.large), cell.lmtp)
    if cell.hold:
        await _leave_while_held(place, cell, delivery)
    else:
        await _attempt(place, delivery, delivery.attempt(cell.misdeed))
    claims = 0
    if cell.scanner is not None:
        claims = sum(b"\r\nX-Virus-Scanned: " in b"\r\n" + one.content for one in place.hop.delivered)
        place.clamd.come_back()
        place.clamd.script.clear()
    if cell.misdeed is not None:
        await _settled(place)
    while delivery.open and len(delivery.attempts) < MOST_ATTEMPTS:
        await _attempt(place, delivery, delivery.attempt())
    if cell.misdeed is not None:
        await _settled(place)
    excuses: dict[Reason, Counter[str]] = {}
    if cell.hop is not None and cell.hop[2].lost:
        lost = [one for one in place.hop.transactions if one.dot is cell.hop[2].step]
        excuses[Reason.ANSWER_LOST] = copies_of(delivery.mail, lost, taking) + reports_on(delivery.mail, lost, taking)
    if cell.misdeed is not None and cell.misdeed.stage in ("answer", "between answers"):
        heard = delivery.attempts[0].replies
        excuses[Reason.UNHEARD] = Counter(rcpt for rcpt in delivery.mail.rcpts if rcpt not in heard)
    return delivery, judge(cell.name, delivery, place.holdings(delivery.mail, taking), excuses), claims


def _arrange(place: Place, cell: Cell) -> list[object]:
    if cell.mix.refused:
        place.hop.script[f"RCPT:<{cell.mix.refused}@x.example>"] = ["451 4.3.0 not now"]
    if cell.scanner is not None:
        if cell.scanner[1] in ("refused", "missing"):
            place.clamd.leave(cell.scanner[1])
        else:
            # It is asked again at once, up to three times.
            place.clamd.script += [cell.scanner[1]] * 8
    if cell.hop is None:
        return []
    stage, visit, fault = cell.hop
    place.hop.script[stage] = [*([normal_answer(stage, place.hop.keywords)] * (visit - 1)), fault.step]
    return [fault.step] if fault.taken else []


async def _attempt(place: Place, delivery: Delivery, attempt: Attempt) -> None:
    await attempt.run(connecting(place.port))
    delivery.note(attempt)


async def _leave_while_held(place: Place, cell: Cell, delivery: Delivery) -> None:
    reached, go = asyncio.Event(), asyncio.Event()
    if cell.hold == "clamd":
        place.clamd.script.append(Pause(reached, go))
    else:
        place.hop.script[cell.hold] = [Hold(NORMAL[cell.hold], reached, go)]
    attempt = delivery.attempt(cell.misdeed)
    leaving = asyncio.create_task(_attempt(place, delivery, attempt))
    await asyncio.wait_for(reached.wait(), 15)
    attempt.leave.set()
    if cell.early:
        await leaving
        again = delivery.attempt()
        retrying = asyncio.create_task(_attempt(place, delivery, again))
        await asyncio.wait_for(again.handed_over.wait(), 15)
        await asyncio.sleep(0.05)
        go.set()
        await retrying
        return
    await asyncio.sleep(0.05)  # for the filter to see that we are gone, if it looks
    go.set()
    await leaving


async def _settled(place: Place) -> None:
    """No event tells that a filter has finished with a message whose sender is gone."""
    before = -1
    while before != (now := len(place.hop.commands)):
        before = now
        await asyncio.sleep(SETTLED)


async def measure(title: str, place: Place) -> Tally:
    """All the cells in one filter."""
    tally = Tally()
    wrong: list[str] = []
    unfinished: list[str] = []
    for cell in list(cells())[::SAMPLE]:
        try:
            async with asyncio.timeout(90):
                delivery, findings, claims = await run(place, cell)
        except TimeoutError:
            tally.notes["cells in which it did not come to the point, or to an end"] += 1
            unfinished.append(cell.name)
            continue
        wrong += tally.add(cell.dimension, [delivery], findings)
        tally.notes["copies that claim a virus scan while clamd was broken"] += claims
    print(f"\n{title}\n{'-' * len(title)}")
    print("\n".join(tally.lines()))
    # By transport, mix and problem; FAULTS_DETAILS=FILE has every case.
    kinds = Counter((" | ".join(one[1:].split(" | ")[:2]), one.split("] ", 1)[1].split(": ")[1]) for one in wrong)
    for (where, problem), count in kinds.most_common():
        print(f"{count:8} {problem} | {where}")
    print("\n".join(f"    not counted: {name}" for name in unfinished))
    if file := os.environ.get("FAULTS_DETAILS"):
        with Path(file).open("a") as details:
            details.writelines(f"{title} {line}\n" for line in wrong)
    return tally


async def main() -> int:
    """Run and print. The exit status."""
    if not Path(PROGRAM).exists():
        print(f"faults: {PROGRAM} ({USER}) is not installed; on Debian: apt-get install amavisd-new", file=sys.stderr)
        return os.EX_UNAVAILABLE
    try:
        async with amavis() as place:
            await measure("amavisd-new", place)
        async with ours() as place:
            counted = await measure("contentfilter", place)
    except (MissingProgramError, StartError) as error:
        print(f"faults: {error}", file=sys.stderr)
        return os.EX_UNAVAILABLE
    return int(bool(counted.lost or counted.unexplained or counted.stuck))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
