"""Runs a command as root in a view of the file system of its own, in which everybody may enter what it needs.

`python -m tests.fakes.in_the_open COMMAND...`. Where Python or this repository lie below a directory that only root may
enter, others may there, too; nobody else sees it.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from pathlib import Path

_CLONE_NEWNS = 0x0002_0000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_OPEN_TO_ALL = 0o755

_libc = ctypes.CDLL(None, use_errno=True)


def go_into_the_open() -> None:
    """Have such a view from now on."""
    needed = [Path(__file__).parents[2], Path(sys.prefix), Path(sys.base_prefix)]
    closed = {barred for path in needed if (barred := _barred(path)) is not None}
    if closed:
        _call("unshare", _CLONE_NEWNS)
        _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
        for place in closed:
            _open(place, [path for path in needed if path.is_relative_to(place)])


def _barred(path: Path) -> Path | None:
    """The uppermost directory on the way that others may not enter."""
    return next((place for place in (*reversed(path.parents), path) if not place.stat().st_mode & 0o001), None)


def _open(place: Path, needed: list[Path]) -> None:
    """Cover the directory with an empty one that has nothing but these, where they were."""
    with tempfile.TemporaryDirectory() as name:
        kept = [(path, Path(name, str(number))) for number, path in enumerate(dict.fromkeys(needed))]
        for path, aside in kept:
            aside.mkdir()
            _mount(str(path), str(aside), None, _MS_BIND | _MS_REC)
        _mount("none", str(place), "tmpfs", 0)
        place.chmod(_OPEN_TO_ALL)
        for path, aside in kept:
            path.mkdir(_OPEN_TO_ALL, parents=True, exist_ok=True)
            _mount(str(aside), str(path), None, _MS_BIND | _MS_REC)
            _call("umount2", str(aside).encode(), 2)


def _mount(source: str, target: str, kind: str | None, flags: int) -> None:
    _call("mount", source.encode(), target.encode(), kind and kind.encode(), flags, None)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*(ctypes.c_ulong(each) if isinstance(each, int) else each for each in arguments)):
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    go_into_the_open()
    os.execv(sys.argv[1], sys.argv[1:])
