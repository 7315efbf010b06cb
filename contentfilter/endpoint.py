"""Where somebody listens, as the configuration writes it: "host:port", "[::1]:25" or "unix:/path".

Parsed in one place, so that what `config check` accepts is what can be listened on and connected to.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Self

# Labels of 63 octets, as the DNS has them (RFC 1035 section 2.3.4): the resolver raises UnicodeError for others.
_NAME = r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?"
_HOST_AND_PORT = re.compile(rf"(?:\[(?P<literal>[^\[\]]+)\]|(?P<host>{_NAME})):(?P<port>[0-9]{{1,5}})")
_LONGEST_PATH = 107
"""Bytes of a Unix socket's path (unix(7))."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A Unix socket's path, or host and port. host: a name or an IP address, without brackets."""

    path: str = ""
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """From "host:port", "[::1]:25" or "unix:/path". Raises ValueError, whose text says what would be right."""
        if text.startswith("unix:"):
            return cls(path=_unix_path(text))
        host, port = _host_and_port(text, f'must be "host:port" or "unix:/path", not {text!r}')
        return cls(host=host, port=port)

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class SchemeEndpoint(Endpoint):
    """The same with its scheme, as scanners' addresses are written: "tcp:host:port" or "unix:/path"."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From "tcp:host:port", "tcp:[::1]:783" or "unix:/path". Raises ValueError, whose text says what is right."""
        if text.startswith("unix:"):
            return cls(path=_unix_path(text))
        problem = f'must be "unix:/path" or "tcp:host:port", not {text!r}'
        if not text.startswith("tcp:"):
            raise ValueError(problem)
        host, port = _host_and_port(text.removeprefix("tcp:"), problem)
        return cls(host=host, port=port)

    def __str__(self) -> str:
        return ("" if self.path else "tcp:") + Endpoint.__str__(self)


def _unix_path(text: str) -> str:
    path = text.removeprefix("unix:")
    if not path.startswith("/") or not path.isprintable():
        raise ValueError(f'must be an absolute path such as "unix:/run/name.sock", not {text!r}')
    if len(path.encode()) > _LONGEST_PATH:
        raise ValueError(f"must be a path of at most {_LONGEST_PATH} bytes, not {text!r}")
    return path


def _host_and_port(text: str, problem: str) -> tuple[str, int]:
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 65536:
        if text.count(":") > 1 and not text.startswith("["):
            problem += "; an IPv6 address stands in brackets"
        raise ValueError(problem)
    if match["literal"]:
        try:
            ipaddress.IPv6Address(match["literal"])
        except ValueError:
            raise ValueError(problem) from None
    return match["literal"] or match["host"], int(match["port"])
