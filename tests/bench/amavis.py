"""A private amavisd-new as Debian configures it, four children, with the same clamd and without SpamAssassin."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import Final

from demo.neighbours.daemon import Daemon, ask, free_port

PROGRAM: Final = "/usr/sbin/amavisd"
USER: Final = "amavis"
CHILDREN: Final = 4

_DEBIAN: Final = (Path("/usr/share/amavis/conf.d"), Path("/etc/amavis/conf.d"))
_CONFIGURATION: Final = r"""use strict;
$MYHOME = '{directory}';
$daemon_user = '{user}';
$daemon_group = '{user}';
$TEMPBASE = "$MYHOME/tmp";
$QUARANTINEDIR = "$MYHOME/quarantine";
$db_home = "$MYHOME/db";
$lock_file = "$MYHOME/amavisd.lock";
$pid_file = "$MYHOME/amavisd.pid";
$unix_socketname = undef;
$mydomain = 'example.org';
$myhostname = 'filter.example.org';
@local_domains_maps = (1);
$inet_socket_bind = '127.0.0.1';
$inet_socket_port = {port};
$forward_method = 'smtp:[127.0.0.1]:{next_hop_port}';
$notify_method = $forward_method;
$max_servers = {children};
$max_requests = 1000;
$DO_SYSLOG = 0;
$LOGFILE = "$MYHOME/amavis.log";
$log_level = 0;
$enable_db = 0;
$enable_global_cache = 0;
@bypass_virus_checks_maps = (0);
@bypass_spam_checks_maps = (1);
@av_scanners = (['ClamAV-clamd', \&ask_daemon, ["CONTSCAN {{}}\n", '{clamd}'],
    qr/\bOK$/m, qr/\bFOUND$/m, qr/^.*?: (?!Infected Archive)(.*) FOUND$/m]);
@av_scanners_backup = ();
"""


class Amavis:
    """amavisd-new in a directory of its own. Raises StartError.

    clamd_socket: the path of clamd's Unix socket; settings: Perl that comes after the rest of the configuration.
    """

    def __init__(self, directory: Path, *, next_hop_port: int, clamd_socket: str, settings: str = "") -> None:
        self.port = free_port()
        self.pid = 0
        self._directory = directory
        self._next_hop_port = next_hop_port
        self._clamd_socket = clamd_socket
        self._settings = settings
        self._daemon: Daemon | None = None

    def __enter__(self) -> Amavis:
        for name in ("", "tmp", "quarantine", "db"):
            (self._directory / name).mkdir(exist_ok=True)
            shutil.chown(self._directory / name, USER, USER)
        configuration = self._directory.with_suffix(".conf")
        configuration.write_text(
            _CONFIGURATION.format(
                directory=self._directory,
                user=USER,
                port=self.port,
                next_hop_port=self._next_hop_port,
                children=CHILDREN,
                clamd=self._clamd_socket,
            )
            + f"{self._settings}\n1;\n"
        )
        files = [file for directory in _DEBIAN for file in sorted(directory.glob("[0-9]*")) if "~" not in file.name]
        command = [PROGRAM, *(word for file in (*files, configuration) for word in ("-c", str(file))), "foreground"]
        self._daemon = Daemon(command, self._directory / "foreground.log")
        self._daemon.wait_until(lambda: ask(("127.0.0.1", self.port), b"QUIT\r\n").startswith(b"220 "), 60)
        self.pid = self._daemon.pid
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._daemon is not None:
            self._daemon.stop()
