"""How fast banned rules are compared: ordinary messages with the default set, a hostile one with hundreds of rules.

Run it from the top of the repository: `python -m tests.bench.bench_banned`. The absolute figures are those of this
machine; a message takes five milliseconds and more as a whole.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping

from contentfilter import config
from contentfilter.envelope import Envelope
from contentfilter.inspectors import Subject
from contentfilter.inspectors.banned import BannedInspector
from contentfilter.message import Message
from contentfilter.mime import parse
from contentfilter.unpack.unpacked import NOTHING, Member, Unpacked
from tests.bench.bench_text import best

_PDF = base64.encodebytes(b"%PDF-1.4\n" + bytes(range(256)) * 120)
_MIXED = b"Content-Type: multipart/mixed; boundary=b\n\n"
MESSAGES = {
    "3 kB": b"Content-Type: text/plain\n\n" + b"Nothing to see here, really.\n" * 100,
    "60 kB": _MIXED
    + b"--b\nContent-Type: text/html\n\n"
    + b"<p>hello</p>\n" * 1200
    + b"\n--b\nContent-Type: application/pdf; name=report.pdf\nContent-Transfer-Encoding: base64\n\n"
    + _PDF
    + b"--b--\n",
}
RULES = {
    "extensions": '{{ action = "deny", extensions = ["e{0}"] }}',
    "names": '{{ action = "deny", names = ["x{0}[a-z]*q$"] }}',
    "inside": '{{ action = "allow", inside = ["application/x-{0}", "zip"], extensions = ["txt"] }}',
    "depth": '{{ action = "deny", min_depth = 30, extensions = ["txt"], signs = ["dde"] }}',
}


def subject(raw: bytes, opened: Unpacked = NOTHING, rules: str = "default") -> Subject:
    """A message to be judged by one set."""
    return Subject("id", Envelope("", ()), Message(raw), parse(raw), opened=opened, banned_rules=((rules,),))


def hostile() -> Subject:
    """3,000 parts, all copies of one archive, with 3,000 members of long names in it."""
    raw = _MIXED + b"--b\nContent-Disposition: attachment; filename=a.zip\n\nx\n" * 2998
    names = ("a.txt", "." * 20 + "x" * 900 + ".txt")
    members = tuple(Member(f"1.1/{n}", "1.1", names, "", "text/plain", (), "", 3) for n in range(1, 3000))
    return subject(raw, Unpacked(members, same=tuple((f"1.{n}", "1.1") for n in range(2, 2999))), "x")


def milliseconds(sets: str, what: Subject, rounds: int) -> float:
    """Of the fastest round."""
    inspector = BannedInspector(config.parse(sets, "bench").banned.sets)
    with asyncio.Runner() as runner:
        return best(lambda: runner.run(inspector.inspect(what)), rounds)


def main(messages: Mapping[str, bytes] = MESSAGES) -> None:
    """Print a line for each."""
    for name, raw in messages.items():
        print(f"{name:6} with the default set: {milliseconds('', subject(raw), 500):8.3f} ms")
    worst = hostile()
    for name, rule in RULES.items():
        sets = f"[banned.set.x]\nrules = [{', '.join(rule.format(number) for number in range(500))}]"
        print(f"6,000 contents with 500 rules for {name:10}: {milliseconds(sets, worst, 2):8.1f} ms")


if __name__ == "__main__":
    main()
