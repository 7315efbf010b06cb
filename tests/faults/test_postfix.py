"""A sample with a real Postfix as the sender, whose queue manager tries again, and with one as the next hop too."""

from __future__ import annotations

import asyncio
import re
import smtplib
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.neighbours.daemon import free_port
from demo.neighbours.postfix import Postfix, Transport
from tests.fakes.next_hop import Close, Hold
from tests.faults.accounting import Finding, Holdings, Reason, Tally, copies_of, judge
from tests.faults.cells import MIX, NORMAL
from tests.faults.mail import DOMAIN, Mail, mail_for
from tests.faults.scanners import Pause
from tests.faults.sender import Delivery
from tests.faults.service import PATIENCE, Service, kill, service
from tests.integration.conftest import require_root

LOST = Close()


@dataclass(frozen=True)
class Trouble:
    """One cell. mix: who gets the message; behind: a real Postfix is the next hop."""

    what: str
    mix: str
    behind: bool


TROUBLES = (
    Trouble("clamd closes when asked", "pass, discard", behind=True),
    Trouble("worker killed while clamd is asked", "two groups", behind=True),
    Trouble("second group refused once", "three groups, second refused", behind=False),
    Trouble("the answer to the final dot is lost", "two groups", behind=False),
    Trouble("worker killed before the next hop's answer", "pass, reject", behind=False),
)


async def run(
    trouble: Trouble, transport: Transport, place: Service, postfix: Postfix
) -> tuple[Delivery, list[Finding]]:
    mix = MIX[trouble.mix]
    mail = mail_for(mix)
    logged = len(postfix.log_lines())
    excuses: dict[Reason, Counter[str]] = {}
    sending = asyncio.create_task(asyncio.to_thread(hand_over, postfix, mail))
    match trouble.what:
        case "clamd closes when asked":
            place.clamd.script.append("closes when asked")
        case "worker killed while clamd is asked":
            pause = Pause()
            place.clamd.script.append(pause)
            await asyncio.wait_for(pause.reached.wait(), PATIENCE)
            await kill(place.worker())
        case "second group refused once":
            place.hop.script[f"RCPT:<{mix.refused}@{DOMAIN}>"] = ["451 4.3.0 not now"]
        case "the answer to the final dot is lost":
            place.hop.script["dot"] = [LOST]
        case "worker killed before the next hop's answer":
            hold = Hold(NORMAL["dot"])
            place.hop.script["dot"] = [hold]
            await asyncio.wait_for(hold.reached.wait(), PATIENCE)
            excuses[Reason.KILLED] = place.taken(mail)
            await kill(place.worker())
            hold.go.set()
    await sending
    await asyncio.to_thread(postfix.wait_until_idle)
    delivery = Delivery(mail, transport is Transport.LMTP)
    for rcpt, answer in heard(postfix.log_lines()[logged:], place.filter.port):
        attempt = delivery.attempt()
        attempt.replies[rcpt] = answer
        delivery.note(attempt)
    held = place.holdings(mail, [LOST])
    if trouble.behind:
        copies = Counter(one.recipient for one in postfix.mail() if mail.mark in one.raw)
        held = Holdings(copies, held.quarantined, held.reported)
    if trouble.what.startswith("the answer"):
        lost = [one for one in place.hop.transactions if one.dot is LOST]
        excuses[Reason.ANSWER_LOST] = copies_of(mail, lost, [LOST])
    return delivery, judge(f"{trouble.what} | {transport.value}", delivery, held, excuses)


def hand_over(postfix: Postfix, mail: Mail) -> None:
    """As a host of the internet would."""
    with smtplib.SMTP("127.0.0.1", postfix.smtp_port) as client:
        client.sendmail(mail.mail_from, list(mail.rcpts), mail.content)


def heard(lines: list[str], port: int) -> list[tuple[str, str]]:
    """What Postfix says that the filter answered: recipient and "250", "451" or "550" in place of the code."""
    codes = {"sent": "250", "deferred": "451", "bounced": "550"}
    pattern = rf"to=<([^>]+@{DOMAIN})>.* relay=[^,]*:{port}, .*status=(sent|deferred|bounced)"
    return [(match[1], codes[match[2]]) for line in lines if (match := re.search(pattern, line))]


async def house(transport: Transport, behind: bool, directory: Path, tally: Tally) -> list[str]:
    """All troubles of one house, one after the other."""
    port = free_port()
    postfix = Postfix(directory, filter_port=port, transport=transport, domains=(DOMAIN,))
    await asyncio.to_thread(postfix.start)
    wrong = []
    try:
        async with service(port=port, next_hop_port=postfix.reinject_port if behind else None) as place:
            for trouble in TROUBLES:
                if trouble.behind is behind:
                    delivery, findings = await run(trouble, transport, place, postfix)
                    wrong += tally.add("with a real Postfix", [delivery], findings)
    finally:
        postfix.stop()
    return wrong


@pytest.mark.parametrize("behind", [True, False], ids=["in front and behind", "in front"])
async def test_the_queue_manager_is_rid_of_everything_once(behind: bool, tally: Tally) -> None:
    require_root()
    with tempfile.TemporaryDirectory(prefix="fault-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        houses = []
        for transport in Transport:
            own = directory / transport.value
            own.mkdir(mode=0o755)
            houses.append(house(transport, behind, own, tally))
        wrong = await asyncio.gather(*houses)
    assert not any(wrong), "\n".join(line for lines in wrong for line in lines)
