"""What commands write, and how they end: with all of it written or a clear failure, and without a traceback."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

from contentfilter.printable import printable, told

_MEDIUM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS}
"""Errors that are about where something is written, not about us."""


def make_whole() -> None:
    """Put a buffer before standard output if it has none, as with PYTHONUNBUFFERED.

    Without one Python passes over a disk that takes only a part of what is written: a backup would end in the middle,
    with exit status 0.
    """
    if isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        whole = open(sys.stdout.fileno(), "wb", closefd=False)  # noqa: SIM115 - a descriptor, for as long as we run
        sys.stdout = io.TextIOWrapper(whole, sys.stdout.encoding, sys.stdout.errors, line_buffering=True)


def fail(message: str, status: int) -> NoReturn:
    """Say what is wrong and leave."""
    complain(message)
    raise SystemExit(status)


def complain(message: str) -> None:
    """Say on stderr what is wrong."""
    print(f"contentfilter: {printable(message)}", file=sys.stderr)  # noqa: T201 - a command's own words


@contextmanager
def clear_end() -> Iterator[None]:
    """In place of an exception, a line on stderr and an exit status of sysexits.h."""
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in its buffer goes nowhere
        if isinstance(error, BrokenPipeError):
            raise SystemExit(os.EX_OK) from None
        if error.errno not in _MEDIUM:
            fail(f"unforeseen error: {told(error)}", os.EX_SOFTWARE)
        fail(error.strerror or str(error), os.EX_IOERR)
    except Exception as error:
        fail(f"unforeseen error: {told(error)}", os.EX_SOFTWARE)
