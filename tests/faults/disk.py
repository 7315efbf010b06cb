"""Disks that fail: strace(1) makes single system calls of a running worker fail, and a file system is full."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from demo.neighbours.daemon import find_program

CALLS = (
    "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "openat", "mkdir", "rename", "renameat", "unlink",
)  # fmt: skip
"""What changes files, and what makes changes durable."""

_LINE = re.compile(r"^(?P<thread>\d+) +(?:<\.\.\. )?(?P<call>\w+)(?:\(| resumed)(?P<rest>.*)$")


@dataclass
class Trace:
    """What strace saw: by call and thread the rest of each line, in their order; and the lines of what it made fail."""

    calls: dict[str, dict[str, list[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    injected: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, log: Path) -> Trace:
        """From its log."""
        trace = cls()
        for line in log.read_text(errors="replace").splitlines():
            match = _LINE.match(line)
            if match is None:
                continue
            if " resumed" not in line[:60]:
                trace.calls[match["call"]][match["thread"]].append(match["rest"])
            if "(INJECTED)" in line:
                trace.injected.append(line)
        return trace

    def places(self, call: str, directory: Path) -> list[int]:
        """At which of its calls, counted from 1 as strace does for each thread, a thread touches this directory."""
        inside = f"{directory}/"
        return sorted(
            {
                number
                for rests in self.calls[call].values()
                for number, rest in enumerate(rests, 1)
                if inside in rest or f"{directory}>" in rest
            }
        )


@contextlib.asynccontextmanager
async def traced(pid: int, log: Path, calls: str, inject: str = "") -> AsyncIterator[None]:
    """Trace a process and its threads for the time of the block. inject: "error=ENOSPC:when=3" or the like."""
    what = ["-e", f"inject={calls}:{inject}"] if inject else []
    tracer = await asyncio.create_subprocess_exec(
        find_program("strace", "strace"), "-f", "-y", "-p", str(pid), "-o", str(log), "-e", f"trace={calls}",
        "-e", "signal=none", *what, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert tracer.stderr is not None
    try:
        said = b""
        while b"attached" not in said:
            said = await asyncio.wait_for(tracer.stderr.readline(), 30)
            assert said, "strace has ended: may this user trace?"
        draining = asyncio.create_task(tracer.stderr.read())
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                tracer.send_signal(signal.SIGINT)
            await draining
    finally:
        if tracer.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                tracer.send_signal(signal.SIGINT)
        await tracer.wait()


@contextlib.contextmanager
def small_file_system(directory: Path) -> Iterator[Path]:
    """A file system of two megabytes and a hundred inodes. Only for root."""
    directory.mkdir()
    mount = find_program("mount", "mount")
    subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m,nr_inodes=100", "tmpfs", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run([find_program("umount", "mount"), "-l", directory], check=True)


def fill_with_bytes(directory: Path) -> None:
    """Until nothing more can be written."""
    with (directory / "fill").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def fill_with_files(directory: Path) -> None:
    """Until no more can be made."""
    (directory / "files").mkdir()
    with contextlib.suppress(OSError):
        for number in range(1000):
            (directory / "files" / str(number)).touch()


def empty(directory: Path) -> None:
    """Undo both."""
    (directory / "fill").unlink(missing_ok=True)
    if (directory / "files").exists():
        for file in (directory / "files").iterdir():
            file.unlink()
        (directory / "files").rmdir()
