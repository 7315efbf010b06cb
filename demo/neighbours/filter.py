"""The content filter itself, as a service manager runs it: `contentfilter serve` in the foreground."""

from __future__ import annotations

import json
import smtplib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import tomli_w

from demo.neighbours.daemon import Daemon, free_port

_START_WITHIN: Final = 30.0
_STOP_WITHIN: Final = 90.0
_COMMAND_WITHIN: Final = 60.0


class Filter:
    """contentfilter in a directory of its own, on a free port of the loopback interface.

    next_hop_port: where filtered mail goes. settings: tables of the configuration, put over those that it needs to
    live here. Started and answering once the context is entered. Raises StartError.
    """

    def __init__(
        self,
        directory: Path,
        *,
        next_hop_port: int,
        settings: Mapping[str, Any] | None = None,
        port: int | None = None,
    ) -> None:
        self.port = port or free_port()
        self.directory = directory
        self.log = directory / "contentfilter.log"
        self.configuration = directory / "contentfilter.toml"
        self._next_hop_port = next_hop_port
        self._settings = settings or {}
        self._daemon: Daemon | None = None

    def start(self) -> None:
        """Write the configuration, start, and wait until it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.configure(self._settings)
        command = [sys.executable, "-m", "contentfilter", "serve", "--config", str(self.configuration)]
        self._daemon = Daemon(command, self.log)
        self._daemon.wait_until(self._greets, _START_WITHIN)

    @property
    def pid(self) -> int:
        """The process id of the supervisor, 0 before the start."""
        return 0 if self._daemon is None else self._daemon.pid

    def stop(self) -> int:
        """Let it finish what it has in hand, and end. Its exit status."""
        return 0 if self._daemon is None else self._daemon.terminate(_STOP_WITHIN)

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Write the configuration anew, with these tables; it counts from the next start or reload on."""
        tables: dict[str, Any] = {
            "state_directory": str(self.directory / "state"),
            "user": "root",  # its directory is root's, if root runs it
            "hostname": "filter.example.org",
            "listen": {"addresses": [f"127.0.0.1:{self.port}"]},
            "next_hop": {"address": f"127.0.0.1:{self._next_hop_port}"},
            "domains": {"local": ["example.org"]},
        }
        for name, value in settings.items():
            if isinstance(value, Mapping):
                tables[name] = {**tables.get(name, {}), **value}
            else:
                tables[name] = value
        self.configuration.write_text(tomli_w.dumps(tables))

    def reload(self) -> None:
        """Send SIGHUP."""
        if self._daemon is not None:
            self._daemon.reload()

    def log_lines(self) -> list[str]:
        """The log so far."""
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []

    def command(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run "contentfilter" or "quarantine" with these arguments and this configuration, whatever its status."""
        command = [sys.executable, "-m", module, *arguments, "--config", str(self.configuration)]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=_COMMAND_WITHIN)

    def quarantined(self) -> list[dict[str, Any]]:
        """What `quarantine list --json` says. Raises subprocess.CalledProcessError."""
        listing = self.command("quarantine", "list", "--json")
        listing.check_returncode()
        items: list[dict[str, Any]] = json.loads(listing.stdout)
        return items

    def _greets(self) -> bool:
        with smtplib.LMTP("127.0.0.1", self.port, timeout=5) as client:
            return client.ehlo()[0] == 250  # which an LMTP client says as LHLO

    def __enter__(self) -> Filter:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
