"""The ground that is talked on: a real daemon and a recording next hop, and what must hold of both afterwards."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from demo.neighbours.filter import Filter
from tests.fakes.next_hop import FakeNextHop, Transaction
from tests.fuzz.commands import LATER, REFUSED
from tests.fuzz.line import Line
from tests.workers import workers_of

PATIENCE: Final = 20.0

HOP_SCRIPT: Final = {
    f"RCPT:<{REFUSED}>": "550 5.1.1 no such user",
    f"RCPT:<{LATER}>": "451 4.3.0 not now",
}


class Ground:
    """The daemon and its next hop, for many examples. Use it as a context manager."""

    def __init__(self, directory: Path) -> None:
        self.hop = FakeNextHop(HOP_SCRIPT)
        self.promised: dict[bytes, set[str] | None] = {}
        self.sums: Counter[str] = Counter()
        self.count = 0
        self._directory = directory
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._log_seen = 0
        self._workers: Counter[int] = Counter()

    def __enter__(self) -> Ground:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.hop.__aenter__(), self._loop).result(PATIENCE)
        settings = {
            "workers": 2,
            "clamav": {"enabled": False},
            "spamassassin": {"enabled": False},
            "next_hop": {"pool_size": 2},
            "limits": {"memory_threshold": 100_000},
            # What is in the messages is not the question here.
            "policy": {"default": {"unchecked_lover": True, "banned_lover": True, "bad_header_lover": True}},
        }
        self.service = Filter(
            self._directory, next_hop_port=int(self.hop.address.rpartition(":")[2]), settings=settings
        )
        self.service.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.service.stop()
        asyncio.run_coroutine_threadsafe(self.hop.__aexit__(None, None, None), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def dial(self) -> Line:
        connection = socket.create_connection(("127.0.0.1", self.service.port), PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is sent apart arrives apart
        line = Line(connection, connection.makefile("rb"))
        assert line.code() == 220
        self.sums["connections"] += 1
        return line

    def token(self) -> bytes:
        self.count += 1
        return b"token-%d-\r\n" % self.count

    def deliveries(self, token: bytes) -> list[Transaction]:
        """The transactions of this message, reports of its failure not counted."""
        return [one for one in self.hop.delivered if one.raw.endswith(token)]

    def check_quiet(self) -> None:
        """No exception in the log since we last looked."""
        with self.service.log.open("rb") as log:
            log.seek(self._log_seen)
            fresh = log.read()
        self._log_seen += len(fresh)
        assert b"Traceback" not in fresh, fresh.decode(errors="replace")
        assert b"\nE " not in b"\n" + fresh, fresh.decode(errors="replace")

    def check_promises(self) -> None:
        """What was acknowledged arrived, once; what was not did not."""
        for one in self.hop.transactions:
            found = re.search(rb"token-\d+-\r\n\Z", one.raw[-40:]) if one.delivered else None
            if found is None:
                continue
            allowed = self.promised[found[0]]
            assert allowed is not None, f"delivered, but never sent to its end: {one}"
            assert len(one.rcpt_tos) == len(set(one.rcpt_tos))
            assert set(one.rcpt_tos) <= allowed, one
            self.promised[found[0]] = allowed - set(one.rcpt_tos)  # a second copy would not be allowed
        self.hop.transactions.clear()
        self.hop.commands.clear()

    def check_nothing_held(self) -> None:
        """The workers hold no more than at the end of the first examples, however many connections came since."""
        await_true(lambda: not connections(self.service.port))
        after = Counter({one: _descriptors(one) for one in _children(self.service.pid)})
        assert after.keys() == self._workers.keys(), "a worker has died"
        for worker, count in after.items():
            # Helpers may have been started since, each with a few descriptors of ours, and threads.
            assert count <= self._workers[worker] + 16, (self._workers, after)

    def look(self) -> None:
        """Note what the workers hold now that they are warm."""
        if not self._workers:
            await_true(lambda: not connections(self.service.port))
            self._workers.update({one: _descriptors(one) for one in _children(self.service.pid)})


def _children(pid: int) -> list[int]:
    return sorted(workers_of(pid))


def _descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def await_true(condition: Any) -> None:
    """Another process's doing, of which no event tells us."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def connections(port: int) -> int:
    """Connections that the daemon still has open on its port: established, or closed by the client alone."""
    count = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        count += int(local.rpartition(":")[2], 16) == port and state in ("01", "08")
    return count
