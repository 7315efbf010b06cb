"""ENOSPC and EIO at each write, sync and change of a name that a worker makes; a file system full for a time."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.accounting import Reason, Tally, judge
from tests.faults.cells import ALL, MIX
from tests.faults.disk import (
    CALLS,
    Trace,
    empty,
    fill_with_bytes,
    fill_with_files,
    small_file_system,
    traced,
)
from tests.faults.mail import mail_for
from tests.faults.sender import Delivery
from tests.faults.service import Service, service
from tests.integration.conftest import require_root

JOURNEYS = (("pass, discard", True, True), ("three groups, second refused", False, False), ("discard", False, False))
"""Mix, over LMTP or not, large or not: with the quarantine, the spool, the history and the ledger in it."""
ERRORS = ("ENOSPC", "EIO")
SAMPLE = 7
"""One of so many cells runs without FAULTS=all."""


@pytest.fixture(autouse=True)
def root() -> None:
    require_root()


async def journey(place: Service, name: str, lmtp: bool, large: bool, log: Path, calls: str, inject: str) -> Delivery:
    """One message, its first attempt traced."""
    mix = MIX[name]
    if mix.refused:
        place.hop.script[f"RCPT:<{mix.refused}@x.example>"] = ["451 4.3.0 not now"]
    delivery = Delivery(mail_for(mix, large=large), lmtp)
    async with traced(place.worker(), log, calls, inject):
        await place.attempt(delivery, delivery.attempt())
    await place.retry(delivery)
    return delivery


@pytest.mark.parametrize(("name", "lmtp", "large"), JOURNEYS)
async def test_a_system_call_that_fails_loses_nothing(
    name: str, lmtp: bool, large: bool, tally: Tally, tmp_path: Path
) -> None:
    wrong: list[str] = []
    log = tmp_path / "strace"
    async with service() as place:
        await journey(place, name, lmtp, large, log, "none", "")  # what happens once in a worker's life
        await journey(place, name, lmtp, large, log, ",".join(CALLS), "")
        counted = Trace.read(log)
        cells = [
            (call, number, error) for call in CALLS for number in counted.places(call, place.state) for error in ERRORS
        ]
        assert cells
        for call, number, error in cells if ALL else cells[::SAMPLE]:
            delivery = await journey(place, name, lmtp, large, log, call, f"error={error}:when={number}")
            injected = [line for line in Trace.read(log).injected if str(place.state) in line]
            held = place.holdings(delivery.mail)
            # A ledger that cannot be written cannot remember.
            forgotten = any("ledger" in line for line in injected)
            excuses = {Reason.FORGOTTEN: Counter(delivery.mail.rcpts) if forgotten else Counter()}
            cell = f"{name} | {error} at {call} {number} | {'; '.join(injected)[:300]}"
            wrong += tally.add(f"{error} at a system call", [delivery], judge(cell, delivery, held, excuses))
            tally.notes["system calls that failed"] += len(injected)
    assert not wrong, "\n".join(wrong)


FULL: dict[str, tuple[Callable[[Path], None], Callable[[Path], None]]] = {
    "no room": (fill_with_bytes, empty),
    "no inodes": (fill_with_files, empty),
}


@pytest.mark.parametrize("lmtp", [True, False], ids=["LMTP", "SMTP"])
@pytest.mark.parametrize("trouble", FULL)
async def test_a_full_disk_defers_says_so_and_heals(trouble: str, lmtp: bool, tally: Tally) -> None:
    begin, end = FULL[trouble]
    # What needs the disk: the quarantine, and the spool of a large message where it takes bytes.
    mixes = [(MIX["discard"], False), (MIX["pass, discard"], False)]
    mixes += [(MIX["one"], True)] if trouble != "no inodes" else []
    with tempfile.TemporaryDirectory(prefix="fault-") as name, small_file_system(Path(name) / "state") as state:
        async with service(state) as place:
            warm = Delivery(mail_for(MIX["discard"]), lmtp)
            await place.retry(warm)
            found = judge(trouble, warm, place.holdings(warm.mail), {})
            wrong = tally.add(f"state directory with {trouble}", [warm], found)
            begin(state)
            waiting = []
            for mix, large in mixes:
                before = len(place.filter.log_lines())
                delivery = Delivery(mail_for(mix, large=large), lmtp)
                await place.attempt(delivery, delivery.attempt())
                needs_disk = [rcpt for rcpt in delivery.mail.rcpts if large or rcpt.startswith("discard")]
                assert set(needs_disk) <= set(delivery.open), delivery.attempts[0].replies
                assert {delivery.attempts[0].replies[rcpt][0] for rcpt in needs_disk} == {"4"}
                said = "\n".join(place.filter.log_lines()[before:])
                assert any(word in said for word in ("No space left", "full")), said
                waiting.append(delivery)
            end(state)
            for delivery in waiting:
                await place.retry(delivery)
                found = judge(f"{trouble} | {delivery.mail.rcpts}", delivery, place.holdings(delivery.mail), {})
                wrong += tally.add(f"state directory with {trouble}", [delivery], found)
    assert not wrong, "\n".join(wrong)
