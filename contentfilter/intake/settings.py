"""What the door in is told: who may come in, and how much it takes."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK: tuple[Network, ...] = (ipaddress.IPv4Network("127.0.0.0/8"), ipaddress.IPv6Network("::1/128"))


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """Limits in bytes, timeouts in seconds.

    hostname: how we greet. spool_directory: where messages above memory_threshold go while we work on them.
    allow: the networks that may connect; a Unix socket has its file permissions instead.
    command_timeout: for a whole command line, and for the client to take our replies; data_timeout: for a message, from
    DATA on, put off by a second for every min_data_rate bytes that come, but never further ahead than at the start, in
    the manner of Postfix's smtpd_min_data_rate. spare_idle: without a command, after which a connection gives way to a
    new one when there are max_connections. max_errors: commands refused for their syntax or sequence, until a message
    gets through; of refused recipients as many as a message may have do not count.
    """

    hostname: str
    spool_directory: Path
    allow: tuple[Network, ...] = LOOPBACK
    max_message_size: int = 100 * 1024 * 1024
    memory_threshold: int = 1024 * 1024
    max_recipients: int = 2000
    max_command_length: int = 8192
    max_errors: int = 20
    max_connections: int = 500
    command_timeout: float = 600.0
    data_timeout: float = 180.0
    min_data_rate: int = 500
    spare_idle: float = 10.0
