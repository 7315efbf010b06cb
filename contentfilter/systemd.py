"""What systemd hears of us: sd_notify(3), and the watchdog of sd_watchdog_enabled(3)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

_SHARE = 3
"""So many signs of life come in the time that systemd waits for one."""


def notify(*lines: str) -> None:
    """Tell systemd, such as "READY=1", if it asked to be told."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock, suppress(OSError):
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.sendall("\n".join(lines).encode())


@dataclass(slots=True)
class Watchdog:
    """Signs of life for systemd. interval: seconds between two, 0 if it does not want any."""

    interval: float = 0.0
    _due: float = 0.0

    @classmethod
    def wanted(cls, environment: Mapping[str, str], pid: int) -> Self:
        """As this process was told, in the environment that systemd made for the one with this id."""
        try:
            meant = int(environment.get("WATCHDOG_PID") or pid) == pid
            microseconds = int(environment.get("WATCHDOG_USEC") or 0)
        except ValueError:
            return cls()
        return cls(microseconds / 1e6 / _SHARE) if meant and microseconds > 0 else cls()

    def keep_alive(self) -> None:
        """Give a sign of life, if the time for one has come."""
        now = time.monotonic()
        if self.interval and now >= self._due:
            self._due = now + self.interval
            notify("WATCHDOG=1")
