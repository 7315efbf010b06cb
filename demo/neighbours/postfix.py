"""A private Postfix that filters its mail as a postmaster's does, for it loads what we give to postmasters.

`master.cf.example` and `conf/main.cf.snippet` are taken verbatim, but for the port numbers. Around them stand the
services of any Postfix. Mail for the local domains ends in one Maildir; nothing leaves the instance. It touches
neither /etc/postfix nor /var/spool/postfix.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import smtplib
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message as ParsedMessage
from email.parser import BytesHeaderParser
from enum import Enum
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from demo.neighbours.daemon import Daemon, StartError, find_program, free_port

_T = TypeVar("_T")

ROOT: Final = Path(__file__).parents[2]
MASTER_CF: Final = ROOT / "master.cf.example"
MAIN_CF: Final = ROOT / "conf" / "main.cf.snippet"
FILTER_PORT: Final = "10025"
REINJECT_PORT: Final = "10026"

_START_WITHIN: Final = 30.0
_LOOK_AGAIN_AFTER: Final = 0.01
_MAILBOX_OWNER: Final = 65534  # nobody: virtual(8) refuses to deliver as root

_SERVICES: Final = """
127.0.0.1:{smtp_port} inet n - n - - smtpd
pickup     unix  n  -  n  60    1  pickup
cleanup    unix  n  -  n  -     0  cleanup
qmgr       unix  n  -  n  300   1  qmgr
rewrite    unix  -  -  n  -     -  trivial-rewrite
bounce     unix  -  -  n  -     0  bounce
defer      unix  -  -  n  -     0  bounce
trace      unix  -  -  n  -     0  bounce
verify     unix  -  -  n  -     1  verify
flush      unix  n  -  n  1000? 0  flush
proxymap   unix  -  -  n  -     -  proxymap
smtp       unix  -  -  n  -     -  smtp
showq      unix  n  -  n  -     -  showq
error      unix  -  -  n  -     -  error
retry      unix  -  -  n  -     -  error
discard    unix  -  -  n  -     -  discard
virtual    unix  -  n  n  -     -  virtual
lmtp       unix  -  -  n  -     -  lmtp
anvil      unix  -  -  n  -     1  anvil
scache     unix  -  -  n  -     1  scache
postlog    unix-dgram n - n -   1  postlogd
"""

_SETTINGS: Final = {
    "compatibility_level": "3.6",
    "myhostname": "mx.example.org",
    "myorigin": "example.org",
    "mydestination": "",
    "inet_interfaces": "127.0.0.1",
    "inet_protocols": "ipv4",
    "mynetworks": "127.0.0.0/8",
    "alias_maps": "",
    "alias_database": "",
    "local_recipient_maps": "",
    # Nobody is asked for names, and no mail gets out.
    "smtpd_peername_lookup": "no",
    "smtp_dns_support_level": "disabled",
    "lmtp_dns_support_level": "disabled",
    "default_transport": "error:5.1.2 mail does not leave this instance",
    "relay_transport": "$default_transport",
    "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
    # A test may say that it is somebody else (XCLIENT), so that there is a remote client to see.
    "smtpd_authorized_xclient_hosts": "127.0.0.0/8",
    "smtpd_client_connection_count_limit": "0",
    "virtual_transport": "virtual",
    "virtual_mailbox_maps": "static:all/",
    "virtual_uid_maps": f"static:{_MAILBOX_OWNER}",
    "virtual_gid_maps": f"static:{_MAILBOX_OWNER}",
    # What is deferred is tried again at once: tests have no five minutes.
    "queue_run_delay": "1s",
    # Whole seconds: of one, nothing may be left, and a message that is found while the agent that has just deferred it
    # still holds its file ("skipped, still being delivered") is put off for minutes.
    "minimal_backoff_time": "2s",
    "maximal_backoff_time": "3s",
    "transport_retry_time": "1s",
}

# Directory, mode, group; all belong to Postfix's user, as postfix-files(5) of the distribution has it.
_QUEUE: Final = (
    *((name, 0o700, "postfix") for name in ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold")),
    *((name, 0o700, "postfix") for name in ("incoming", "private", "saved", "trace")),
    ("maildrop", 0o730, "postdrop"),
    ("public", 0o710, "postdrop"),
)


class Transport(Enum):
    """Which of the two "scan" services of master.cf.example is loaded."""

    LMTP = "lmtp"
    SMTP = "smtp"


@dataclass(frozen=True, slots=True)
class DeliveredMail:
    """One message in the mailbox. raw: as the mailbox has it, with LF line ends and Postfix's fields on top."""

    recipient: str
    raw: bytes

    @property
    def header(self) -> ParsedMessage:
        """The header fields."""
        return BytesHeaderParser().parsebytes(self.raw)

    @property
    def content(self) -> bytes:
        """The message as it was handed to the mailbox: without Return-Path, X-Original-To and Delivered-To."""
        return self.raw.split(b"\n", 3)[3]


class Postfix:
    """Postfix in a directory of its own, on free ports of the loopback interface, in front of and behind the filter.

    filter_port: where the filter listens, or filter_socket: its Unix socket; with neither there is no content_filter.
    settings: further lines of main.cf, over ours. domains: whose mail is delivered here.
    The directory and those above it must let other users through, for Postfix does not stay root.
    Raises MissingProgramError, StartError.
    """

    def __init__(
        self,
        directory: Path,
        *,
        filter_port: int = 0,
        filter_socket: Path | None = None,
        transport: Transport = Transport.LMTP,
        settings: Mapping[str, str] | None = None,
        domains: Sequence[str] = ("example.org",),
    ) -> None:
        self.directory = directory
        self.maillog = directory / "maillog"
        self.smtp_port = free_port()
        self.reinject_port = free_port()
        self._filter = f"unix:{filter_socket}" if filter_socket else f"[localhost]:{filter_port}" if filter_port else ""
        self._transport = transport
        self._settings = {"virtual_mailbox_domains": ", ".join(domains), **(settings or {})}
        self._configuration = directory / "etc"
        self._queue = directory / "queue"
        self._mailbox = directory / "mail" / "all" / "new"
        self._daemon: Daemon | None = None

    def start(self) -> None:
        """Start and wait until it greets."""
        if os.geteuid() != 0:
            raise StartError("only root can start Postfix, also a private one: please try again as root, or with sudo")
        self._make_directories()
        self._configure()
        command = [self._master_program, "-c", str(self._configuration)]
        self._daemon = Daemon(command, self.directory / "master.log")
        self._daemon.wait_until(self._greets, _START_WITHIN)

    def stop(self) -> None:
        """Kill it with its children. Twice does no harm."""
        if self._daemon is not None:
            self._daemon.stop()

    def log_lines(self) -> list[str]:
        """The mail log so far."""
        return self.maillog.read_text(errors="replace").splitlines() if self.maillog.exists() else []

    def wait_for_log(self, pattern: str, count: int = 1, within: float = 90.0) -> list[str]:
        """The lines in which the pattern is found, once there are that many. Raises TimeoutError. within: seconds."""

        def lines() -> list[str]:
            return [line for line in self.log_lines() if re.search(pattern, line)]

        return self._wait_for(lines, count, within, f"lines with {pattern!r}")

    def mail(self, recipient: str = "") -> list[DeliveredMail]:
        """What has arrived for the recipient, or for anybody; in the order of arrival."""
        files = sorted(self._mailbox.glob("*"), key=lambda file: file.stat().st_mtime_ns)
        delivered = [_read(file) for file in files]
        return [mail for mail in delivered if recipient in ("", mail.recipient)]

    def wait_for_mail(self, recipient: str, count: int = 1, within: float = 90.0) -> list[DeliveredMail]:
        """What has arrived for the recipient, once it is that many messages. Raises TimeoutError. within: seconds."""
        return self._wait_for(lambda: self.mail(recipient), count, within, f"mail for {recipient}")

    def queue(self) -> list[dict[str, Any]]:
        """What is in the queue, as postqueue(1) -j tells it."""
        listing = self._run("postqueue", "-j").stdout
        return [json.loads(line) for line in listing.splitlines()]

    def flush(self) -> None:
        """Try to deliver now what is deferred."""
        self._run("postqueue", "-f")

    def wait_until_idle(self, within: float = 90.0) -> None:
        """Wait until the queue is empty. Raises TimeoutError. within: seconds."""
        self._wait_for(lambda: [] if self.queue() else [True], 1, within, "an empty queue")

    def _wait_for(self, look: Callable[[], list[_T]], count: int, within: float, what: str) -> list[_T]:
        deadline = time.monotonic() + within
        while len(found := look()) < count:
            if time.monotonic() > deadline:
                end = "\n".join(self.log_lines()[-20:])
                raise TimeoutError(f"{what}: {len(found)} of {count} after {within:g} s; {self.maillog} ends:\n{end}")
            time.sleep(_LOOK_AGAIN_AFTER)
        return found

    @cached_property
    def _master_program(self) -> str:
        directory = self._run_plain(find_program("postconf", "postfix"), "-d", "-h", "daemon_directory").stdout.strip()
        return str(Path(directory) / "master")

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run_plain(find_program(program, "postfix"), "-c", str(self._configuration), *arguments)

    def _run_plain(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)

    def _greets(self) -> bool:
        with smtplib.SMTP("127.0.0.1", self.smtp_port, timeout=5) as client:
            return client.noop()[0] == 250

    def _make_directories(self) -> None:
        for directory in (self._configuration, self._queue, self._queue / "pid"):
            directory.mkdir(parents=True, exist_ok=True)
        for name, mode, group in _QUEUE:
            _make_directory(self._queue / name, mode, "postfix", group)
        _make_directory(self.directory / "data", 0o700, "postfix", "postfix")
        _make_directory(self.directory / "mail", 0o755, _MAILBOX_OWNER, _MAILBOX_OWNER)

    def _configure(self) -> None:
        for name, text in (("main.cf", self._main_cf()), ("master.cf", self._master_cf())):
            file = self._configuration / name
            file.write_text(text)
            # Postfix waits for seconds before it trusts a file that changed just now.
            os.utime(file, (0, 0))

    def _main_cf(self) -> str:
        settings = {
            **_SETTINGS,
            "queue_directory": str(self._queue),
            "data_directory": str(self.directory / "data"),
            "maillog_file": str(self.maillog),
            "maillog_file_prefixes": str(self.directory),
            "virtual_mailbox_base": str(self.directory / "mail"),
            **self._settings,
        }
        ours = "".join(f"{name} = {value}\n" for name, value in settings.items())
        snippet = MAIN_CF.read_text().replace(f"[localhost]:{FILTER_PORT}", self._filter)
        return f"{ours}\n{snippet}" if self._filter else ours

    def _master_cf(self) -> str:
        example = MASTER_CF.read_text().replace(f"localhost:{REINJECT_PORT}", f"localhost:{self.reinject_port}")
        if self._transport is Transport.SMTP:
            example = _choose_smtp(example)
        return f"{_SERVICES.format(smtp_port=self.smtp_port)}\n{example}"

    def __enter__(self) -> Postfix:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _make_directory(path: Path, mode: int, user: str | int, group: str | int) -> None:
    path.mkdir(exist_ok=True)
    shutil.chown(path, user, group)
    path.chmod(mode)  # after the umask has had its say


def _choose_smtp(example: str) -> str:
    """Do what the text asks those to do who prefer SMTP: comment out one service, uncomment the other."""
    without_lmtp = re.sub(r"^scan .*\n(?:[ #].*\n)*", "", example, count=1, flags=re.MULTILINE)
    return re.sub(r"^# (scan +unix|    -o )", r"\1", without_lmtp, flags=re.MULTILINE)


def _read(file: Path) -> DeliveredMail:
    raw = file.read_bytes()
    # By hand, because a header parser gives an address that is not ASCII as bytes of an unknown charset.
    original_to = re.search(rb"^X-Original-To: (.*)$", raw, re.MULTILINE)
    return DeliveredMail(original_to[1].decode() if original_to else "", raw)
