"""Standard output that takes all of what is written, or fails."""

from __future__ import annotations

import io
import sys


def make_whole() -> None:
    """Put a buffer before standard output if it has none, as with PYTHONUNBUFFERED.

    Without one Python passes over a disk that takes only a part of what is written: a backup would end in the middle,
    with exit status 0.
    """
    if isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        whole = open(sys.stdout.fileno(), "wb", closefd=False)  # noqa: SIM115 - a descriptor, for as long as we run
        sys.stdout = io.TextIOWrapper(whole, sys.stdout.encoding, sys.stdout.errors, line_buffering=True)
