"""A private spamd with the rules that Debian ships, our snippet, and no network."""

from __future__ import annotations

import getpass
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final

from demo.neighbours.daemon import Daemon, MissingProgramError, ask, find_program, free_port

SNIPPET: Final = Path(__file__).parents[2] / "conf" / "spamassassin" / "contentfilter.cf"
RULES: Final = Path("/usr/share/spamassassin")
PLUGINS: Final = Path("/etc/spamassassin")

_START_WITHIN: Final = 60.0
# spamd refuses to scan as root.
_UNPRIVILEGED: Final = "nobody"


class Spamd:
    """spamd in a directory of its own, on a Unix socket or, if wanted, on a free TCP port of the loopback interface.

    preferences: for each SpamAssassin user the lines of the user's user_prefs. options: further lines of local.cf.
    snippet: False to see what comes of it where our snippet was not installed.

    The directory and those above it must let other users through when this runs as root: spamd does not stay root.
    Started and answering PING once the context is entered. Raises MissingProgramError, StartError.
    """

    def __init__(
        self,
        directory: Path,
        *,
        tcp: bool = False,
        preferences: Mapping[str, str] | None = None,
        options: str = "",
        snippet: bool = True,
    ) -> None:
        self._directory = directory
        self._socket = directory / "spamd.sock"
        self._port = free_port() if tcp else 0
        self._preferences = preferences or {}
        self._options = options
        self._snippet = snippet
        self._daemon: Daemon | None = None

    @property
    def address(self) -> str:
        """Where it listens, as our configuration has it."""
        return f"tcp:127.0.0.1:{self._port}" if self._port else f"unix:{self._socket}"

    def start(self) -> None:
        """Start and wait until it answers."""
        program = find_program("spamd", "spamd")
        if not RULES.is_dir():
            raise MissingProgramError(f"{RULES} does not exist; on Debian: apt-get install spamassassin")
        self._configure()
        self._socket.unlink(missing_ok=True)
        home = {"HOME": str(self._directory / "home")}
        self._daemon = Daemon([program, *self._arguments()], self._directory / "spamd.log", home)
        self._daemon.wait_until(self._answers, _START_WITHIN)

    def stop(self) -> None:
        """Kill it with its children. Twice does no harm."""
        if self._daemon is not None:
            self._daemon.stop()

    def freeze(self) -> None:
        """Have it take connections and say nothing."""
        if self._daemon is not None:
            self._daemon.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        if self._daemon is not None:
            self._daemon.thaw()

    def _answers(self) -> bool:
        listener = ("127.0.0.1", self._port) if self._port else str(self._socket)
        return ask(listener, b"PING SPAMC/1.5\r\n\r\n").endswith(b" PONG\r\n")

    def _configure(self) -> None:
        site = self._directory / "site"
        for directory in (site, self._directory / "home", self._directory / "users"):
            directory.mkdir(parents=True, exist_ok=True)
        for plugins in PLUGINS.glob("*.pre"):
            shutil.copy(plugins, site)
        if self._snippet:
            shutil.copy(SNIPPET, site)
        (site / "local.cf").write_text(f"{self._options}\n")
        for user, lines in self._preferences.items():
            home = self._directory / "users" / user
            home.mkdir(exist_ok=True)
            (home / "user_prefs").write_text(f"{lines}\n")
        if os.geteuid() == 0:
            shutil.chown(self._directory / "home", _UNPRIVILEGED)

    def _arguments(self) -> list[str]:
        user = _UNPRIVILEGED if os.geteuid() == 0 else getpass.getuser()
        listen = (
            [f"--listen=127.0.0.1:{self._port}"]
            if self._port
            else [f"--socketpath={self._socket}", "--socketmode=0666"]
        )
        return [
            *listen,
            "--local",
            "--syslog=stderr",
            f"--username={user}",
            "--nouser-config",
            f"--virtual-config-dir={self._directory}/users/%u",
            f"--configpath={RULES}",
            f"--siteconfigpath={self._directory}/site",
            f"--helper-home-dir={self._directory}/home",
            "--max-children=2",
            "--min-children=2",
            "--min-spare=1",
            "--max-spare=2",
        ]

    def __enter__(self) -> Spamd:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
