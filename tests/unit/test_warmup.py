"""What opening takes at its first use is there before helpers are forked, and what fails there keeps nobody from it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import BinaryIO

from contentfilter.unpack.opener import Kind
from contentfilter.unpack.openers import OPENERS
from contentfilter.unpack.report import Sign
from contentfilter.unpack.warmup import warm_up


def test_all_samples_are_opened_and_so_is_what_is_in_them() -> None:
    seen = []

    def look(file: BinaryIO, kind: Kind) -> Iterator[Sign]:
        seen.append((kind.media_type, kind.names))
        return iter(())

    warm_up(OPENERS, look)
    assert seen == [
        ("image/jpeg", ("photo.jpg",)),
        ("text/html", ("page.html",)),
        ("application/zip", ("report.zip",)),
        ("application/pdf", ("minutes.pdf",)),
        ("text/plain", ("report.txt",)),
        ("text/xml", ("word/document.xml",)),
    ]


def test_what_fails_is_left_to_who_opens_mail() -> None:
    def look(file: BinaryIO, kind: Kind) -> Iterator[Sign]:
        raise MemoryError

    warm_up(OPENERS, look)
    warm_up(None, look)  # type: ignore[arg-type] # a defect of ours


FIRST_TEXT = """
import re, sys
from pathlib import Path
from contentfilter.filetype import detect
from contentfilter.unpack.openers import OPENERS
from contentfilter.unpack.signs import look
from contentfilter.unpack.warmup import warm_up

def anonymous():
    return int(re.search(r"Anonymous: +([0-9]+)", Path("/proc/self/smaps_rollup").read_text())[1])

if sys.argv[1] == "warm":
    warm_up(OPENERS, look)
before = anonymous()
assert detect(b"Another text, of two lines.\\nThis is the second.\\n") == "text/plain"
print(anonymous() - before)
"""


def _first_text_takes(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FIRST_TEXT, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_the_first_text_takes_no_memory_any_more() -> None:
    assert _first_text_takes("warm") < 300
    assert _first_text_takes("cold") > 1000
