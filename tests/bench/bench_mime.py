"""How fast messages are decomposed and decoded, against the standard library's email package on the same machine.

Run it from the top of the repository: `python -m tests.bench.bench_mime`. The ratio is what counts; absolute figures
drift with the machine.
"""

from __future__ import annotations

import base64
import email
import random
import time
from collections.abc import Callable

from contentfilter.filetype import SAMPLE, detect
from contentfilter.mime import parse

HEADER = (
    b"".join(
        b"Received: from mx%d.example.net (mx%d.example.net [192.0.2.%d])\r\n"
        b"\tby mail.example.org (Postfix) with ESMTPS id 4Wh0Zk1Vqz for <bob@example.org>;\r\n"
        b"\tMon, 02 Mar 2026 10:00:0%d +0000 (UTC)\r\n" % (hop, hop, hop, hop)
        for hop in range(6)
    )
    + b"From: =?utf-8?q?J=C3=B6rg?= <joerg@example.net>\r\nTo: <bob@example.org>\r\nSubject: Rechnung\r\n"
    b"Date: Mon, 02 Mar 2026 10:00:00 +0000\r\nMessage-ID: <1@example.net>\r\nMIME-Version: 1.0\r\n"
)
HTML = b'<p style=3D"margin: 0">Sehr geehrte Damen und Herren, gr=C3=BC=C3=9Fe =\r\nund mehr davon.</p>\r\n'


def message(html_lines: int, attachment: int) -> bytes:
    """A multipart with text, HTML in quoted-printable, and an attachment of so many bytes in base64."""
    content = b"%PDF-1.4\n" + random.Random(1).randbytes(attachment)
    return b"".join(
        [
            HEADER,
            b'Content-Type: multipart/mixed; boundary="=_outer"\r\n\r\n--=_outer\r\n',
            b'Content-Type: multipart/alternative; boundary="=_inner"\r\n\r\n--=_inner\r\n',
            b"Content-Type: text/plain; charset=utf-8\r\n\r\nplain text\r\n--=_inner\r\n",
            b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
            HTML * html_lines,
            b"\r\n--=_inner--\r\n\r\n--=_outer\r\n",
            b'Content-Type: application/pdf; name="bill.pdf"\r\nContent-Transfer-Encoding: base64\r\n',
            b'Content-Disposition: attachment; filename="bill.pdf"\r\n\r\n',
            base64.encodebytes(content).replace(b"\n", b"\r\n"),
            b"--=_outer--\r\n",
        ]
    )


def ours(raw: bytes) -> int:
    """Decompose and decode."""
    return sum(len(part.content()) for part in parse(raw).leaves)


def standard(raw: bytes) -> int:
    """The same with email's compat32 policy."""
    parts = email.message_from_bytes(raw).walk()
    return sum(len(part.get_payload(decode=True) or b"") for part in parts if not part.is_multipart())


def types(raw: bytes) -> int:
    """Detecting the type of every leaf, which the banned inspector adds."""
    return sum(len(detect(part.head(SAMPLE))) for part in parse(raw).leaves)


def best(function: Callable[[bytes], int], raw: bytes, rounds: int) -> float:
    """Milliseconds of the fastest of so many rounds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        function(raw)
        times.append(time.perf_counter() - started)
    return min(times) * 1000


def main() -> None:
    """Print one line a message."""
    print(f"{'message':>10} {'ours ms':>9} {'email ms':>9} {'ratio':>6} {'with types ms':>14}")
    for name, raw, rounds in (
        ("3 kB", message(10, 500), 300),
        ("60 kB", message(150, 33_000), 300),
        ("10 MB", message(150, 7_300_000), 10),
    ):
        own, other = best(ours, raw, rounds), best(standard, raw, rounds)
        print(
            f"{name:>10} {own:9.2f} {other:9.2f} {own / other:6.2f} {best(types, raw, rounds):14.2f}   {len(raw)} bytes"
        )


if __name__ == "__main__":
    main()
