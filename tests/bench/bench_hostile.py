"""What the worst messages that we can think of cost in the MIME parser: a search over hostile shapes.

Run it from the top of the repository: `python -m tests.bench.bench_hostile [SHAPES [SEED]]`. A shape is a header, and a
few bytes repeated until the message is large. So many of them are drawn at random and tried at 4 MB; the dearest, and
those that once were the dearest, are tried at 50 MB, each in a process of its own. The limits are 2.5 times the message
in memory beside it, as bench_memory measures, and `mime_seconds` of processor time.
"""

from __future__ import annotations

import base64
import os
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from contentfilter.mime import Limits, parse

SMALL, LARGE = 4_000_000, 50_000_000
_MEGABYTE = 1_000_000
TIMES, SECONDS = 2.5, Limits().seconds
SLACK = 0.2
"""Seconds that a step may go on when the time is over."""
DEAREST = 6

_TYPES = (
    *(b"text/plain", b"text/html", b"message/rfc822", b"message/global", b"message/partial", b"application/x-thing"),
    *(b"multipart/mixed; boundary=b", b"multipart/digest; boundary=b; boundary=c", b"multipart/mixed", b"text"),
    *(b'multipart/mixed; boundary="b', b"multipart/mixed; boundary=b(c)", b"text/plain; boundary=b", b'"'),
)
_ENCODINGS = (
    *(
        b"7bit",
        b"base64",
        b"quoted-printable",
        b"x-uuencode",
        b"base64 (x)",
        b"base64\r\nContent-Transfer-Encoding: qp",
    ),
    *(b"quoted-printable, base64", b"none", b"x-uuencode (x)"),
)
_TOKENS = (
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b"\x80", b"\r\n\r\n", b"--b", b"--b--", b"\r\n--b\r\n", b"\n--b--\n"),
    *(
        b"--c",
        b"\r--b\r",
        b"-",
        b"=",
        b"==",
        b"= ",
        b"=\r\n",
        b"=3D",
        b"=Q",
        b"=\t\n",
        b"A",
        b"QUJD",
        b"QQ==",
        b"!",
        b"M",
    ),
    *(b"\nbegin 644 a\n", b"\nbegin-base64 644 a\n", b"\nend\n", b"M\n", b"_\n", b"`\n", b"#86)C\n", b"~"),
    *(
        b"\n=ybegin line=128 size=9 name=a\n",
        b"\n=yend\n",
        b"=J",
        b"\x90\xff",
        b'\x90"',
        b"Content-Type: text/html\r\n",
    ),
    *(b"(This file must be converted with BinHex 4.0)\n:", b":", b'"B"', b"Content-Type: message/rfc822\r\n\r\n"),
    *(
        b"Content-Transfer-Encoding: base64\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n",
        b"X: y\r\n",
        b"x:",
    ),
    *(
        b"(",
        b")",
        b'"',
        b"\\",
        b";",
        b"a=b;",
        b"name=a;",
        b"=?utf-8?q?a?=",
        b"=?utf-8?b?QQ==?=",
        b"MIME-Version: 1\r\n",
    ),
    *(b"A" * 76 + b"\r\n", b"Ab" * 30, b"a" * 998 + b"\r\n", b"%41", b"filename*0=a;", b"From x\r\n", b"#8!\r\n"),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """A header, what stands once before the body, and what is repeated."""

    header: bytes
    before: bytes
    unit: bytes

    def message(self, size: int) -> bytes:
        """The message, about so many bytes long."""
        return self.header + self.before + self.unit * (size // len(self.unit))


def _drawn(source: random.Random) -> Shape:
    fields = b"MIME-Version: 1.0\r\n" if source.random() < 0.7 else b""
    if source.random() < 0.9:
        fields += b"Content-Type: " + source.choice(_TYPES) + b"\r\n"
    if source.random() < 0.7:
        fields += b"Content-Transfer-Encoding: " + source.choice(_ENCODINGS) + b"\r\n"
    if source.random() < 0.9:
        fields += b"\r\n"
    if source.random() < 0.2:
        field = source.choice((b"Content-Type: ", b"Content-Disposition: ", b"Content-Transfer-Encoding: ", b"X: "))
        token = b"".join(source.choices(_TOKENS, k=source.choice((1, 2, 3))))
        fields = field + token * (_MEGABYTE // len(token)) + b"\r\n" + fields
    before = b"".join(source.choices(_TOKENS, k=source.randrange(4)))
    unit = b"".join(source.choices(_TOKENS, k=source.choice((1, 1, 2, 2, 3, 4, 6))))
    return Shape(fields, before, unit * source.choice((1, 1, 1, 20)))


def _leaf(unit: bytes, before: bytes = b"", encoding: bytes = b"7bit", media_type: bytes = b"text/plain") -> Shape:
    fields = b"MIME-Version: 1.0\r\nContent-Type: " + media_type + b"\r\nContent-Transfer-Encoding: " + encoding
    return Shape(fields + b"\r\n\r\n", before, unit)


def _headed(fields: bytes, unit: bytes = b"a line of text, as there are many\r\n") -> Shape:
    return Shape(b"MIME-Version: 1.0\r\n" + fields + b"\r\n\r\n", b"", unit)


_LINE = base64.b64encode(random.Random(1).randbytes(57))
_MIXED = b"multipart/mixed; boundary=b"
_HQX = b"(This file must be converted with BinHex 4.0)\n:"
KNOWN: dict[str, Shape] = {
    "closing delimiters": _leaf(b"\n--b--\n", b"`\n", media_type=_MIXED),
    "nearly delimiters": _leaf(b"\n--bx", b"\n--b\n", media_type=_MIXED + b"; boundary=a; boundary=c; boundary=d"),
    "empty parts": _leaf(b"--b\n", media_type=_MIXED),
    "parts of odd base64": _leaf(
        b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\n!" + (_LINE + b"==\r\n") * 250, media_type=_MIXED
    ),
    "parts with many fields": _leaf(b"--b\r\n" + b"x:y\n" * 90 + b"\n" + b"x" * 16_000, media_type=_MIXED),
    "no base64": _leaf(b"A" * 76 + b"\r\n"),
    "odd base64": _leaf(_LINE + b"==-_!\r\n", encoding=b"base64"),
    "base64 of two kinds": _leaf(_LINE + b"-_\r\n", b"QQ==", encoding=b"base64"),
    "base64 in base64": _leaf(base64.b64encode(_LINE * 3) + b"\r\n", encoding=b"base64", media_type=b"message/rfc822"),
    "odd escapes": _leaf(b"x" * 600 + b"=Q==", encoding=b"quoted-printable"),
    "soft breaks": _leaf(b"=\r\n", b"=J=J", encoding=b"quoted-printable"),
    "uuencode of zeros": _leaf(b"_\n", b"begin 644 a\n"),
    "declared uuencode of zeros": _leaf(b"_\n", b"begin 644 a\n", encoding=b"x-uuencode"),
    "many uuencoded files": _leaf(b"\nbegin 644 a\n" + b"_\n" * 200_000 + b"end\n"),
    "BinHex of runs": _leaf(b"\x22B\x90" * 3 + b"r3c!", _HQX),
    "BinHex": _leaf(b"rrrr", _HQX),
    "yEnc": _leaf(b"=J", b"=ybegin line=128 size=9 name=a\r\n"),
    "begins of yEnc": _leaf(b"\n=ybegin line=128 size=9 name=a\n"),
    "bare LF behind a bare CR": Shape(b"Content-Type: text/html\rContent-Type: text/plain\r\n\r\n", b"", b"\n"),
    "bare CR": Shape(b"X: y\rContent-Type: " + _MIXED + b"\r\rx\r\n\r\n", b"\r--b\r", b"\r"),
    "fields": Shape(b"", b"", b"X-Filler: 1234567890\r\n"),
    "parameters": _headed(b"Content-Type: text/plain" + b";a=b" * (_MEGABYTE // 4)),
    "quotes": _headed(b"Content-Type: text/plain;" + b'a="' * (_MEGABYTE // 3)),
    "comments": _headed(b"Content-Type: text/plain " + b"(" * _MEGABYTE),
    "encoded words": _headed(b"Content-Disposition: x; filename=" + b"=?utf-8?q?a?=" * (_MEGABYTE // 14)),
    "sections of a name": _headed(b"Content-Disposition: x" + b";filename*1*=%41" * (_MEGABYTE // 16)),
    "controls": _headed(b"Content-Type: text/plain" + b"\0\1" * (_MEGABYTE // 2)),
    "types": _headed(b"Content-Type: " + _MIXED + b"".join(b"\r\nContent-Type: %d/x" % each for each in range(900))),
    "messages in messages": Shape(b"", b"", b"Content-Type: message/rfc822\r\n\r\n"),
    "multiparts in multiparts": Shape(b"", b"", b"Content-Type: " + _MIXED + b"\r\n\r\n--b\r\n"),
}


def _short(unit: bytes) -> str:
    """The bytes as Python has them, what is repeated in them only once."""
    for token in sorted(_TOKENS, key=len, reverse=True):
        times = unit.count(token)
        if len(token) > 20 and times:
            unit = unit.replace(token, b"<%d times %d>" % (len(token), token[0]))
    return repr(unit[:160])


def cost(shape: Shape, size: int) -> tuple[float, float]:
    """Seconds of processor time, and growth in memory as a multiple of the message. Measured in a child."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        raw = shape.message(size)
        # Makes the kernel count the largest resident size anew (proc(5)).
        Path("/proc/self/clear_refs").write_text("5")
        before, began = _largest(), time.process_time()
        tree = parse(raw)
        sum(part.size for part in tree.leaves)
        os.write(writer, f"{time.process_time() - began} {(_largest() - before) / len(raw)}".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    seconds, times = answer.split()
    return float(seconds), float(times)


def _largest() -> int:
    status = Path("/proc/self/status").read_text()
    return next(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def main(shapes: int, seed: int) -> int:
    """Print the dearest shapes; the exit status is 1 if one is over a limit."""
    source = random.Random(seed)
    tried = [(shape, *cost(shape, SMALL)) for shape in (_drawn(source) for _ in range(shapes))]
    by_time = sorted(tried, key=lambda one: -one[1])[:DEAREST]
    by_memory = sorted(tried, key=lambda one: -one[2])[:DEAREST]
    worst = False
    candidates = {**KNOWN, **{f"drawn {number}": one[0] for number, one in enumerate([*by_time, *by_memory])}}
    for name, shape in candidates.items():
        seconds, times = cost(shape, LARGE)
        over = seconds > SECONDS + SLACK or times > TIMES
        worst |= over
        told = "" if name in KNOWN else f"{shape.header[:200]!r} {_short(shape.before)} {_short(shape.unit)}"
        print(f"{name:>24} {seconds:6.2f} s {times:6.2f}x {'OVER' if over else '':4} {told}", flush=True)
    return int(worst)


if __name__ == "__main__":
    arguments = [int(each) for each in sys.argv[1:]]
    raise SystemExit(main(*(arguments + [200, 1][len(arguments) :])))
