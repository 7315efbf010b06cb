"""Writes what a message consists of into files for analysis: under numbers, for no name in it is to be trusted."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

from contentfilter.case import Case
from contentfilter.inspectors import Content


def dump(case: Case, directory: Path) -> None:
    """Write each part and member as 0001.bin and so on, and index.json that tells what is what.

    The directory is made, or must be empty: nothing is overwritten, no link is followed. Raises OSError.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    if any(directory.iterdir()):
        raise OSError(errno.ENOTEMPTY, "the directory is not empty")
    index = []
    contents: tuple[Content, ...] = (*case.tree.leaves, *case.opened.members)
    for number, each in enumerate(contents, 1):
        name = f"{number:04}.bin"
        _write(directory / name, each.content())
        values = {"file": name, "path": each.path, "names": each.names, "size": each.size}
        index.append({**values, "declared_type": each.declared_type, "detected_type": each.detected_type})
    _write(directory / "index.json", json.dumps(index, indent=2).encode("ascii"))


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(content)
