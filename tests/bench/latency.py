"""What a filter adds to the slower of its scanners: one message at a time, nothing else to do.

The same message goes to clamd and to spamd by a bare client, and through the filter, in turns. Of each the time until
its answer is whole; for the filter from the connection to the 250 that follows the final dot, the next hop included.
"""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from contentfilter.inspectors import spamd_protocol
from tests.bench.driver import saved, smtp_steps
from tests.bench.profiles import profile
from tests.bench.results import table
from tests.bench.sides import OURS, SPAMD, THEIRS, Scanners, staged

PROFILES: Final = ("text", "document", "large")
ROUNDS: Final = 40
_QUICK_ROUNDS: Final = 10
_PAUSE: Final = 0.03
"""Seconds between two questions, in which everybody tidies up."""
_CHUNK: Final = 1 << 20


def measure(directory: Path, quick: bool, tell: Callable[[str], None]) -> dict[str, Any]:
    """Medians, and the median of what the filters took longer than the slower scanner in the same round."""
    rows, points = [], []
    with staged(Scanners.BOTH, directory / "latency", (OURS, THEIRS, SPAMD)) as stage:
        filters = [side for side in stage.sides if side.is_filter]
        clamd, spamd = (address.removeprefix("unix:") for address in (stage.clamd, stage.spamd))
        for name in PROFILES:
            letter = profile(name).letters[0]
            raw = Path(saved(letter, directory / f"{name}-smtp")[0]).read_bytes()
            shown = Path(saved(letter, directory / f"{name}-bare", for_spamd=True)[0]).read_bytes()
            request = spamd_protocol.request("HEADERS", shown)
            asked: dict[str, Callable[[int], None]] = {
                "clamd": lambda _, raw=raw: _ask_clamd(clamd, raw),
                "spamd": lambda _, request=request: _ask_spamd(spamd, request),
            }
            for side in filters:
                asked[side.name] = lambda number, raw=raw, port=side.port: _send(port, raw, number)
            taken = _in_turns(asked, 3 + (_QUICK_ROUNDS if quick else ROUNDS))
            slower = [max(pair) for pair in zip(taken["clamd"], taken["spamd"], strict=True)]
            point: dict[str, Any] = {"profile": name} | {who: statistics.median(times) for who, times in taken.items()}
            point["added"] = {
                side.name: statistics.median(a - b for a, b in zip(taken[side.name], slower, strict=True))
                for side in filters
            }
            points.append(point)
            tell(str(point))
            rows.append([profile(name).title, *(f"{point[who]:.1f}" for who in taken)])
            rows[-1] += [f"{added:+.1f}" for added in point["added"].values()]
    header = ["milliseconds", *asked, *(f"{side.name}, beyond the slower scanner" for side in filters)]
    title = "## Latency of one message alone, beside that of the scanners alone"
    return {"points": points, "markdown": f"{title}\n\n{table(header, rows)}"}


def _in_turns(asked: dict[str, Callable[[int], None]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each, by round; the first ones, in which caches fill, are left out."""
    taken: dict[str, list[float]] = {who: [] for who in asked}
    for number in range(rounds):
        for who, question in asked.items():
            time.sleep(_PAUSE)
            began = time.monotonic()
            question(number)
            taken[who].append(1000 * (time.monotonic() - began))
    return {who: times[3:] for who, times in taken.items()}


def _ask_clamd(path: str, content: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(b"zINSTREAM\0")
        for start in range(0, len(content), _CHUNK):
            chunk = content[start : start + _CHUNK]
            connection.sendall(len(chunk).to_bytes(4, "big") + chunk)
        connection.sendall(bytes(4))
        answer = _read(connection, lambda received: received.endswith(b"\0"))
    if answer != b"stream: OK\0":
        raise RuntimeError(f"clamd said {answer!r}")


def _ask_spamd(path: str, request: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(request)
        reply = spamd_protocol.parse(_read(connection, spamd_protocol.is_whole))
    if reply.score is None:
        raise RuntimeError(f"spamd said {reply}")


def _send(port: int, content: bytes, number: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for digit, line in smtp_steps(content, 1)[:-1]:
            _expect(connection, digit)
            connection.sendall(line.replace(b"<%d", b"<%d" % number, 1) if line.startswith(b"MAIL") else line)
        _expect(connection, b"2")


def _expect(connection: socket.socket, digit: bytes) -> None:
    reply = _read(connection, _is_whole_reply)
    if not reply.startswith(digit):
        raise RuntimeError(f"the filter said {reply!r}")


def _is_whole_reply(received: bytes) -> bool:
    last = received[received.rfind(b"\n", 0, -1) + 1 :]
    return received.endswith(b"\n") and last[3:4] != b"-"


def _read(connection: socket.socket, is_whole: Callable[[bytes], bool]) -> bytes:
    received = b""
    while not is_whole(received) and (data := connection.recv(1 << 16)):
        received += data
    return received
