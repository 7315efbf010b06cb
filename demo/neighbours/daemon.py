"""A program that runs in the foreground for as long as we want it: start, wait until it answers, kill."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

_SEARCH_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
_LOOK_AGAIN_AFTER: Final = 0.01
_GONE_WITHIN: Final = 10.0
_FIRST_PORT: Final = 12_000
_PORTS: Final = 256


class MissingProgramError(RuntimeError):
    """A program is not installed. The text names the Debian package that has it."""


class StartError(RuntimeError):
    """A program did not come up. The text says where its log is, and how it ends."""


def find_program(name: str, package: str) -> str:
    """Where the program is. Raises MissingProgramError."""
    found = shutil.which(name, path=_SEARCH_PATH)
    if found is None:
        raise MissingProgramError(f"{name} is not installed; on Debian: apt-get install {package}")
    return found


@functools.cache
def _our_ports() -> tuple[socket.socket, Iterator[int]]:
    """Ports that no other process has that asks here, in turns, and what says so for as long as we live.

    They lie below those that the kernel gives to clients: any connection may have such a one when it is wanted.
    """
    first_of_clients = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for first in range(_FIRST_PORT, first_of_clients - _PORTS, _PORTS):
        taken = socket.socket(socket.AF_UNIX)
        try:
            taken.bind(f"\0contentfilter ports from {first}")
        except OSError:
            taken.close()
        else:
            return taken, itertools.cycle(range(first, first + _PORTS))
    raise StartError(f"no {_PORTS} ports are left between {_FIRST_PORT} and {first_of_clients}")


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on now, and nobody else gets. Raises StartError."""
    _, ports = _our_ports()
    for port in itertools.islice(ports, _PORTS):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise StartError(f"all of our {_PORTS} ports are taken")


def ask(address: str | tuple[str, int], request: bytes) -> bytes:
    """Send a request to a Unix socket's path or a host and port, read the reply to its end. Raises OSError."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect(address)
        connection.sendall(request)
        reply = b""
        while data := connection.recv(4096):
            reply += data
    return reply


class Daemon:
    """One running program and its children. Its output goes to a log file."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self._command = command
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id; that of the session and of the process group as well."""
        return self._process.pid

    def wait_until(self, ready: Callable[[], bool], within: float) -> None:
        """Wait until ready() is true; an OSError from it means not yet. Raises StartError.

        within: seconds. Whatever comes in between, Ctrl-C included, the program is killed before it is raised.
        """
        came_up = False
        try:
            came_up = self._becomes(ready, within)
        finally:
            if not came_up:
                self.stop()
        if not came_up:
            end = self._log.read_text(errors="replace")[-1000:]
            raise StartError(f"{self._command[0]} did not come up; its log, {self._log}, ends:\n{end}")

    def _becomes(self, ready: Callable[[], bool], within: float) -> bool:
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if ready():
                    return True
            with contextlib.suppress(subprocess.TimeoutExpired):
                # The one event there is to wait for meanwhile: that it gives up.
                self._process.wait(_LOOK_AGAIN_AFTER)
                return False
        return False

    def reload(self) -> None:
        """Tell the program to read its configuration anew (SIGHUP)."""
        self._process.send_signal(signal.SIGHUP)

    def freeze(self) -> None:
        """Stop the program with its children in the middle of what they do (SIGSTOP): alive, and silent."""
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        os.killpg(self._process.pid, signal.SIGCONT)

    def terminate(self, within: float) -> int:
        """Let the program end by itself (SIGTERM); kill what has not after so many seconds. Its exit status."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within)
        self.stop()
        return self._process.returncode

    def stop(self) -> None:
        """Kill the program with its children, and reap it; they are gone then. Twice does no harm."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        deadline = time.monotonic() + _GONE_WITHIN
        # There is no event for the end of grandchildren.
        while _group_lives(self._process.pid) and time.monotonic() < deadline:
            time.sleep(_LOOK_AGAIN_AFTER)


def _group_lives(group: int) -> bool:
    """Whether a process of this group still runs; one that only waits to be reaped does not."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # What follows the name, which stands in parentheses: state, parent, group.
            state, _, its_group, *_ = (process / "stat").read_text().rpartition(")")[2].split()
            if int(its_group) == group and state not in "ZX":
                return True
    return False
