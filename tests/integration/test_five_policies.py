"""One message through the real Postfix to five people with five policies: five outcomes, each explained."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from contentfilter.inspectors.spamd import GTUBE
from demo.neighbours.clamd import Clamd
from demo.neighbours.postfix import Postfix, Transport
from demo.neighbours.spamd import Spamd
from tests.house import House, built, text

ANN, BOB, CAT, DAN, EVE = (f"{name}@example.org" for name in ("ann", "bob", "cat", "dan", "eve"))

SETTINGS = {
    "policy": {
        ANN: {},
        BOB: {"banned_rules": [], "spam_lover": True, "addr_extension_spam": "junk", "spam_quarantine": False},
        CAT: {"banned_action": "reject", "banned_quarantine": False},
        DAN: {"banned_lover": True, "banned_quarantine": False, "bypass_spam_checks": True},
        EVE: {"banned_rules": []},
    },
    "list": {EVE: {"allow": ["@example.net"]}},
}


@pytest.mark.parametrize("transport", list(Transport), ids=lambda one: one.value)
def test_five_outcomes(
    start_postfix: Callable[..., Postfix], clamd: Clamd, spamd: Spamd, open_directory: Path, transport: Transport
) -> None:
    message = text("five ways", GTUBE.decode() + "\n")
    message.add_attachment(b"MZ" + bytes(200), maintype="application", subtype="octet-stream", filename="setup.exe")
    with built(start_postfix, clamd.address, spamd.address, open_directory, transport, SETTINGS) as house:
        house.send(message, ANN, BOB, CAT, DAN, EVE)
        bob, dan, eve = house.receive("bob+junk@example.org"), house.receive(DAN), house.receive(EVE)
        house.postfix.wait_until_idle()
        assert {mail.recipient for mail in house.postfix.mail()} == {"bob+junk@example.org", DAN, EVE}

        assert house.quarantined("five ways") == [ANN]
        assert bob.header["X-Spam-Flag"] == "YES"
        assert "X-Contentfilter-Alert" not in bob.header
        _refused(house, transport)
        assert "BANNED, message contains .exe: setup.exe" in " ".join(dan.header["X-Contentfilter-Alert"].split())
        assert "X-Spam-Flag" not in dan.header
        assert eve.header["X-Spam-Flag"] == "NO"
        assert "SENDER_ALLOWED" in eve.header["X-Spam-Status"]
        _explained(house)


def _explained(house: House) -> None:
    """Each outcome with its reason, whichever queue id or transaction the recipient was in."""
    judged = re.compile(r"\((\w+)\) (?:Passed|Blocked) ")
    ids = {match[1] for line in house.filter.log_lines() if (match := judged.search(line))}
    found = {}
    for mail_id in ids:
        done = house.filter.command("contentfilter", "explain", mail_id, "--json")
        assert done.returncode == 0, done.stderr
        (told,) = json.loads(done.stdout)
        for group in told["groups"]:
            found.update(dict.fromkeys(group["recipients"], group))
    outcomes = {rcpt: (one["category"], one["action"], one["quarantine"]) for rcpt, one in found.items()}
    assert outcomes == {
        ANN: ("banned", "discard", True),
        BOB: ("spam", "pass", False),
        CAT: ("banned", "reject", False),
        DAN: ("banned", "pass", False),
        EVE: ("clean", "pass", False),
    }
    assert found[ANN]["reasons"][0].startswith("banned: .exe: setup.exe in part ")
    assert re.match(r"spam: score [\d.]+ >= kill_level 6.9$", found[BOB]["reasons"][0])
    assert all(found[rcpt]["explanation"]["changes"] for rcpt in (ANN, BOB, CAT, DAN))


def _refused(house: House, transport: Transport) -> None:
    """Cat's is refused, and Alice learns of cat only."""
    if transport is Transport.LMTP:
        (bounced,) = house.postfix.wait_for_log(r"to=<cat@example.org>.*status=bounced")
        assert "554 5.7.0 Refused: the message contains an attachment" in bounced
    else:
        (line,) = [line for line in house.filter.log_lines() if "reported to <alice@example.net>" in line]
        assert line.endswith("as failed: <cat@example.org>")
