"""A private amavisd-new as Debian configures it, with the same clamd and with SpamAssassin inside, as it is wanted.

Where Debian leaves something open, or where its choice would put one side at a disadvantage, it is set here: no system
log, no Berkeley DB, and for SpamAssassin the very rules, plugins and limits that spamd has.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from types import TracebackType
from typing import Final

from demo.neighbours.daemon import Daemon, ask, free_port
from demo.neighbours.spamd import RULES
from tests.bench.driver import SPAM_SIZE_LIMIT
from tests.bench.profiles import EAGER, STRICT

PROGRAM: Final = "/usr/sbin/amavisd"
USER: Final = "amavis"
CHILDREN: Final = 4
"""`python -m tests.bench --tune` shows what other numbers come to."""

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
@av_scanners_backup = ();
$sa_kill_level_deflt = 9999;
@spam_tag_level_maps = ({{ map {{ ($_, -999) }} qw({tagged}) }}, \$sa_tag_level_deflt);
@spam_tag2_level_maps = ({{ map {{ ($_, -998) }} qw({eager}) }}, \$sa_tag2_level_deflt);
{scanners}
"""
_CLAMD: Final = r"""@bypass_virus_checks_maps = (0);
@av_scanners = (['ClamAV-clamd', \&ask_daemon, ["CONTSCAN {{}}\n", '{socket}'],
    qr/\bOK$/m, qr/\bFOUND$/m, qr/^.*?: (?!Infected Archive)(.*) FOUND$/m]);
"""
_NO_CLAMD: Final = "@bypass_virus_checks_maps = (1);\n"
_SPAMASSASSIN: Final = r"""@bypass_spam_checks_maps = (0);
$sa_local_tests_only = 1;
$sa_mail_body_size_limit = {limit};
$sa_configpath = '{rules}';
$sa_siteconfigpath = '{site}';
"""
_NO_SPAMASSASSIN: Final = "@bypass_spam_checks_maps = (1);\n"


class Amavis:
    """amavisd-new in a directory of its own. Raises StartError.

    clamd_socket: the path of clamd's Unix socket, "" to scan for no viruses; settings: Perl that comes
    after the rest of the configuration; spamassassin: the directory with the local
    configuration of SpamAssassin, None to do without.
    """

    def __init__(
        self,
        directory: Path,
        *,
        next_hop_port: int,
        clamd_socket: str = "",
        spamassassin: Path | None = None,
        children: int = CHILDREN,
        settings: str = "",
    ) -> None:
        self.port = free_port()
        self.pid = 0
        self._directory = directory
        self._next_hop_port = next_hop_port
        self._scanners = _CLAMD.format(socket=clamd_socket) if clamd_socket else _NO_CLAMD
        self._scanners += (
            _SPAMASSASSIN.format(rules=RULES, site=spamassassin, limit=SPAM_SIZE_LIMIT)
            if spamassassin is not None
            else _NO_SPAMASSASSIN
        )
        self._children = children
        self.log = directory / "amavis.log"
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
                children=self._children,
                tagged=" ".join(STRICT + EAGER),
                eager=" ".join(EAGER),
                scanners=self._scanners,
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
