"""How much memory decomposing takes, as a multiple of the message's size.

Run it from the top of the repository: `python -m tests.bench.bench_memory`. Each message is made and decomposed in a
process of its own; what counts is the growth of its largest resident size while the message is taken apart and every
content of it is looked at, with the message itself already in memory. The limit is 2.5 times the message.
"""

from __future__ import annotations

import base64
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from contentfilter.mime import parse

SIZE = 50_000_000
LIMIT = 2.5


def _message(fields: bytes, body: bytes) -> bytes:
    return b"From: a@b.example\r\nTo: c@d.example\r\nSubject: large\r\nMIME-Version: 1.0\r\n" + fields + b"\r\n" + body


def _encoded(kind: bytes, body: bytes) -> bytes:
    fields = b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: " + kind + b"\r\n"
    return _message(fields, body)


def _base64(size: int) -> bytes:
    raw = random.Random(1).randbytes(size * 57 // 78)
    return base64.encodebytes(raw).replace(b"\n", b"\r\n")


MESSAGES: dict[str, Callable[[], bytes]] = {
    "base64": lambda: _encoded(b"base64", _base64(SIZE)),
    "base64 with junk": lambda: _encoded(b"base64", b"!" + _base64(SIZE)),
    "quoted-printable": lambda: _encoded(b"quoted-printable", b"=00=FF" * 12 * (SIZE // 75) + b"=\r\n"),
    "uuencode": lambda: _message(
        b"", b"begin 644 a\r\n" + (b"M" + b"8" * 60 + b"\r\n") * (SIZE // 63) + b"`\r\nend\r\n"
    ),
    "text": lambda: _message(b"Content-Type: text/plain\r\n", b"a line of text, as there are many\r\n" * (SIZE // 35)),
    "many parts": lambda: _message(
        b"Content-Type: multipart/mixed; boundary=b\r\n", (b"--b\r\n\r\n" + b"x" * 20_000 + b"\r\n") * (SIZE // 20_010)
    ),
    "header": lambda: _message(b"X-Filler: 1234567890\r\n" * (SIZE // 22), b"x\r\n"),
}


def measure(name: str) -> None:
    """Print the growth in bytes and the size of the message."""
    raw = MESSAGES[name]()
    # Makes the kernel count the largest resident size anew (proc(5)): making the message may have taken more.
    Path("/proc/self/clear_refs").write_text("5")
    before = _largest()
    tree = parse(raw)
    total = sum(part.size for part in tree.leaves)
    print(_largest() - before, len(raw), total)


def _largest() -> int:
    status = Path("/proc/self/status").read_text()
    return next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def main() -> int:
    """Print one line a message; the exit status is 1 if one is over the limit."""
    print(f"{'message':>18} {'MB':>6} {'growth':>7}")
    worst = 0.0
    for name in MESSAGES:
        command = [sys.executable, "-m", "tests.bench.bench_memory", name]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        growth, size, _ = map(int, output.split())
        worst = max(worst, growth / size)
        print(f"{name:>18} {size / 1e6:6.1f} {growth / size:6.2f}x")
    return int(worst > LIMIT)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1])
    else:
        raise SystemExit(main())
