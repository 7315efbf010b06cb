"""The worker's way to the nursery, the process that helpers are forked from.

One nursery serves all workers. They have a door to it in common, a socket on which each hands in a channel of its own;
over that it asks for helpers. The door outlives a nursery that died: whoever has the other end may start another one.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contentfilter.unpack import wire

COMMAND: Final = (sys.executable, "-m", "contentfilter.unpack.forker")
PATIENCE: Final = 30.0
"""Seconds within which the nursery has to be ready, and to start or end a helper."""
_NOBODY: Final = 65534


@dataclass(slots=True)
class Helper:
    """One helper process. Its socket's end is closed by us; the nursery ends the process."""

    nursery: Nursery
    pid: int
    channel: socket.socket
    directory: Path
    jobs: int = 0
    idle_since: float = 0.0
    """By the monotonic clock."""
    first_memory: int = 0
    """Bytes that it had when it was new."""

    def __post_init__(self) -> None:
        self.first_memory = self.memory

    @property
    def memory(self) -> int:
        """Bytes in memory that are of no file; 0 where that cannot be seen, as with hidepid of proc(5)."""
        try:
            _, resident, of_files, *_ = Path(f"/proc/{self.pid}/statm").read_text().split()
        except OSError:
            return 0
        return (int(resident) - int(of_files)) * mmap.PAGESIZE

    @property
    def lives(self) -> bool:
        """Whether it is there, and says nothing, as one that has no job should."""
        return self.nursery.lives and _waiting(self.channel) is None


def launch(command: tuple[str, ...], inside: socket.socket) -> subprocess.Popen[bytes]:
    """Start a nursery behind the door whose inner end this is. Raises OSError."""
    return subprocess.Popen(  # noqa: S603 - our own program
        [*command, str(inside.fileno())],
        pass_fds=[inside.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "PYTHONPATH")},
    )


class Nursery:
    """A channel to the nursery. missing: what this kernel or installation lacks of the confinement."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self.missing: tuple[str, ...] = ()

    @classmethod
    async def enter(cls, door: socket.socket) -> Nursery:
        """Hand in a channel and wait until the nursery is ready. Raises OSError, TimeoutError, NonsenseError."""
        ours, theirs = wire.pair()
        ours.setblocking(False)
        nursery = cls(ours)
        try:
            with theirs:
                async with asyncio.timeout(PATIENCE):
                    await send(door, {"do": "serve"}, (theirs.fileno(),))
            nursery.missing = tuple(str(each) for each in (await nursery._answer())["ready"])
        except BaseException:
            nursery.close()
            raise
        return nursery

    @property
    def lives(self) -> bool:
        """Whether it is there."""
        return _waiting(self._channel) != b""

    async def fork(self, parent: Path, *, memory: int, file_size: int) -> Helper:
        """A new helper, with a directory in this one. Raises OSError, TimeoutError, NonsenseError."""
        directory = _working_directory(parent)
        ours, theirs = wire.pair()
        opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            limits = {"memory": memory, "file_size": file_size}
            await send(self._channel, {"do": "fork", "settings": limits}, (theirs.fileno(), opened))
            pid = (await self._answer())["pid"]
        except BaseException:
            ours.close()
            shutil.rmtree(directory, ignore_errors=True)
            raise
        finally:
            theirs.close()
            os.close(opened)
        ours.setblocking(False)
        return Helper(self, pid, ours, directory)

    async def end(self, pid: int) -> None:
        """Return when a helper and all its offspring are gone. Raises OSError, TimeoutError, NonsenseError."""
        await send(self._channel, {"do": "end", "pid": pid})
        await self._answer()

    async def _answer(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            packet = await receive(self._channel)
        if packet is None:
            raise ConnectionResetError("the process that helpers are forked from is gone")
        values, descriptors = packet
        wire.close_all(descriptors)
        if "error" in values:
            raise OSError(values["error"])
        return values

    def close(self) -> None:
        """Leave. What helpers of ours there are the nursery kills."""
        self._channel.close()


def _waiting(channel: socket.socket) -> bytes | None:
    """The first byte of what came and was not received yet; None if nothing did, and b"" if nothing will any more."""
    try:
        return channel.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _working_directory(parent: Path) -> Path:
    directory = Path(tempfile.mkdtemp(prefix="unpack-", dir=parent))
    if os.geteuid() == 0:
        os.chown(directory, _NOBODY, _NOBODY)
    return directory


async def send(channel: socket.socket, values: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
    """Send a packet, when there is room for it. Raises OSError."""
    while True:
        try:
            wire.send(channel, values, descriptors)
        except BlockingIOError:
            await _until(channel, asyncio.get_running_loop().add_writer, asyncio.get_running_loop().remove_writer)
        else:
            return


async def receive(channel: socket.socket) -> tuple[dict[str, Any], tuple[int, ...]] | None:
    """The next packet, None at the end. Raises NonsenseError, OSError."""
    while True:
        try:
            return wire.receive(channel)
        except BlockingIOError:
            await _until(channel, asyncio.get_running_loop().add_reader, asyncio.get_running_loop().remove_reader)


async def _until(channel: socket.socket, watch: Callable[..., object], forget: Callable[..., object]) -> None:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    watch(channel, _resolve, ready)
    try:
        await ready
    finally:
        forget(channel)


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
