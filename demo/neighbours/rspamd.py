"""A private Rspamd with the rules that Debian ships and their scores; no network, no redis, no maps from elsewhere."""

from __future__ import annotations

import getpass
import grp
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final

from demo.neighbours.daemon import Daemon, MissingProgramError, ask, find_program, free_port

RULES: Final = Path("/etc/rspamd")

_START_WITHIN: Final = 60.0
# Rspamd refuses to scan as root.
_UNPRIVILEGED: Final = "nobody"

# Of the modules that ship with it only those that need nobody else: most look up names, keep state in redis or load
# lists from the project's servers. The rules themselves are all there.
_CONFIGURATION: Final = """\
lua = "$RULESDIR/rspamd.lua";
.include "$CONFDIR/metrics.conf"
.include "$CONFDIR/actions.conf"
.include "$CONFDIR/groups.conf"
.include "$CONFDIR/composites.conf"
options {{
    filters = "regexp";
    explicit_modules = ["settings"];
    allow_raw_input = true;
    disable_hyperscan = {disable_hyperscan};
    pidfile = "{directory}/rspamd.pid";
    tempdir = "{directory}/data";
    hs_cache_dir = "{directory}/data/";
    cache_file = "{directory}/data/symbols.cache";
    control_socket = "{directory}/data/control.sock mode=0600";
    url_tld = "{directory}/domains";
    local_addrs = [];
    dns {{ nameserver = ["127.0.0.1:1:1"]; timeout = 0.1s; retransmits = 1; }}
}}
logging {{ type = "console"; level = "notice"; color = false; }}
modules {{ path = "$PLUGINSDIR/settings.lua"; path = "$PLUGINSDIR/force_actions.lua"; }}
settings {{
{settings}
}}
worker "normal" {{ bind_socket = "{bind}"; count = {processes}; mime = true; }}
{options}
"""


class Rspamd:
    """Rspamd in a directory of its own, on a Unix socket or, if wanted, on a free TCP port of the loopback interface.

    preferences: for each user whom Deliver-To names the scores of symbols that are others for him. options: more of
    the configuration.

    The directory and those above it must let other users through when this runs as root: Rspamd does not stay root.
    Started and answering /ping once the context is entered. Raises MissingProgramError, StartError.
    """

    processes = 1
    hyperscan = False
    """Whether patterns are compiled for speed; that takes the processor for a while at the start."""

    def __init__(
        self,
        directory: Path,
        *,
        tcp: bool = False,
        preferences: Mapping[str, Mapping[str, float]] | None = None,
        options: str = "",
    ) -> None:
        self._directory = directory
        self._socket = directory / "rspamd.sock"
        self._port = free_port() if tcp else 0
        self._preferences = preferences or {}
        self._options = options
        self._daemon: Daemon | None = None

    @property
    def address(self) -> str:
        """Where it listens, as our configuration has it."""
        return f"tcp:127.0.0.1:{self._port}" if self._port else f"unix:{self._socket}"

    @property
    def pid(self) -> int:
        """The process id of its main process; 0 before it was started."""
        return self._daemon.pid if self._daemon is not None else 0

    def start(self) -> None:
        """Start and wait until it answers."""
        program = find_program("rspamd", "rspamd")
        if not RULES.is_dir():
            raise MissingProgramError(f"{RULES} does not exist; on Debian: apt-get install rspamd")
        self._configure()
        self._socket.unlink(missing_ok=True)
        self._daemon = Daemon([program, *self._arguments()], self._directory / "rspamd.log")
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
        return ask(listener, b"GET /ping HTTP/1.0\r\n\r\n").endswith(b"pong\r\n")

    def _configure(self) -> None:
        for name in ("data", "site"):
            (self._directory / name).mkdir(parents=True, exist_ok=True)
        # The whole list of public suffixes would take ten seconds to compile.
        (self._directory / "domains").write_text("com\nexample\nnet\norg\n")
        (self._directory / "rspamd.conf").write_text(
            _CONFIGURATION.format(
                directory=self._directory,
                disable_hyperscan=str(not self.hyperscan).lower(),
                processes=self.processes,
                bind=f"127.0.0.1:{self._port}" if self._port else f"{self._socket} mode=0666",
                settings="\n".join(_settings(user, scores) for user, scores in self._preferences.items()),
                options=self._options,
            )
        )
        if os.geteuid() == 0:
            shutil.chown(self._directory / "data", _UNPRIVILEGED)

    def _arguments(self) -> list[str]:
        user = _UNPRIVILEGED if os.geteuid() == 0 else getpass.getuser()
        group = grp.getgrgid(os.getgid()).gr_name if os.geteuid() else "nogroup"
        # The machine's own local.d and override.d are not ours to read.
        places = {"LOCAL_CONFDIR": "site", "DBDIR": "data", "RUNDIR": "data", "LOGDIR": "data"}
        return [
            "--no-fork",
            f"--config={self._directory}/rspamd.conf",
            f"--user={user}",
            f"--group={group}",
            *(f"--var={name}={self._directory}/{place}" for name, place in places.items()),
        ]

    def __enter__(self) -> Rspamd:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _settings(user: str, scores: Mapping[str, float]) -> str:
    listed = " ".join(f"{symbol} = {score};" for symbol, score in scores.items())
    return f'{user} {{ request_header {{ "Deliver-To" = "^{user}$"; }} apply {{ scores {{ {listed} }} }} }}'
