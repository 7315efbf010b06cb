"""What the history costs a message, in CPU: from the case to the line in the file, and how much of it on the loop.

Run it from the top of the repository: `python -m tests.bench.bench_history`. Pauses between messages cost, too.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from contentfilter.case import Case
from contentfilter.decision import decide
from contentfilter.envelope import Client, Envelope, Recipient
from contentfilter.evidence import Evidence
from contentfilter.failure import OnFailure
from contentfilter.finding import Finding, Kind, Test
from contentfilter.handled import Handled
from contentfilter.history import History
from contentfilter.mail_id import new_id
from contentfilter.message import Message
from contentfilter.mime import Limits, parse
from contentfilter.outcome import Outcome
from contentfilter.policy.entry import Effective, Entry, merged, settings_of
from contentfilter.policy.settings import Policy
from contentfilter.reply import Reply
from contentfilter.verdict import Action

RAW = b"From: a@b.example\r\nTo: c@d.example\r\nMessage-ID: <1@b.example>\r\nSubject: hi there\r\n\r\nbody\r\n"
SPAM = Finding(
    Kind.SPAM, "spamd", "spam score", score=4.5, tests=tuple(Test(f"TEST_NUMBER_{n}", 0.1 * n) for n in range(10))
)
SITE = Entry(
    "contentfilter.toml",
    "default",
    settings_of(Policy(tag_level=2.0, tag2_level=6.2, kill_level=6.9, spam_action=Action.DISCARD, virus_lover=False)),
)
OK = Reply(250, "2.0.0", "from MTA(127.0.0.1:10026): 250 2.0.0 Ok: queued as 4XyZ2")


def handled(count: int, policies: int) -> tuple[Case, list[Outcome]]:
    """A message to so many recipients, who have so many different policies."""
    evidence = Evidence((SPAM,), len(RAW), True, {"clamd": OnFailure.DEFER, "spamd": OnFailure.PASS})
    settled = []
    for number in range(policies):
        entries = (Entry("sql", f"u{number}@example.org", (("kill_level", 5.0 + number),)), SITE)[policies == 1 :]
        settled.append(Effective(merged(entries), entries))
    verdicts = [decide(evidence, one, local=True) for one in settled]
    envelope = Envelope(
        "sender@y.example",
        tuple(Recipient(f"user{number}@example.org") for number in range(count)),
        client=Client("mail.y.example", "192.0.2.7", "4711", "ESMTP", "mail.y.example", "4XyZ1", "REMOTE"),
    )
    message = Message(RAW)
    case = Case(
        new_id(), envelope, message, parse(message.buffer, Limits()), evidence,
        tuple(settled[number % policies] for number in range(count)),
        tuple(verdicts[number % policies] for number in range(count)),
    )  # fmt: skip
    return case, [Outcome(recipient, verdict, OK) for recipient, verdict in case.recipients]


def best(directory: Path, case: Case, outcomes: Sequence[Outcome], calls: int, pause: float) -> tuple[float, float]:
    """Microseconds of CPU for a message, in all threads and in that of the event loop, in the best of five rounds."""
    rounds = []
    for _ in range(5):
        history = History(directory)
        everywhere, here = time.process_time(), time.thread_time()
        for _ in range(calls):
            history.note(case, outcomes)
            if pause:
                time.sleep(pause)
        here = time.thread_time() - here
        history.close()
        rounds.append(((time.process_time() - everywhere) * 1e6 / calls, here * 1e6 / calls))
    return min(rounds)


def main() -> None:
    """Print two lines for each sort of message: many at once, and one every two milliseconds."""
    for count, policies, calls in ((1, 1, 900), (5, 5, 500), (20, 1, 500), (2000, 1, 9), (2000, 2000, 2)):
        case, outcomes = handled(count, policies)
        size = len(Handled.of(case, outcomes).to_line())
        for pause in (0, 0.002):
            with tempfile.TemporaryDirectory() as directory:
                whole, here = best(Path(directory) / "history", case, outcomes, calls, pause)
            how = "one by one" if pause else "at once"
            print(
                f"{count:5} recipients, {policies:5} policies, {how:10}: {whole:9.1f} us in all, "
                f"{here:9.1f} us on the loop, {size:7} bytes"
            )


if __name__ == "__main__":
    main()
