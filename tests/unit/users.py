"""Users who may not do everything, for tests that root runs too."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOBODY = 65534


@contextmanager
def open_place() -> Iterator[Path]:
    """A directory that every user may look into, as /etc is; pytest's are for one user only."""
    with tempfile.TemporaryDirectory(prefix="contentfilter-") as name:
        place = Path(name)
        place.chmod(0o755)
        yield place


@contextmanager
def locked_out(directory: Path) -> Iterator[None]:
    """Be a user who may not look into this directory."""
    if os.geteuid() == 0:
        directory.chmod(0o700)
        os.seteuid(_NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)
    else:
        directory.chmod(0)
        try:
            yield
        finally:
            directory.chmod(0o700)
