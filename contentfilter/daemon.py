"""The supervisor: binds the sockets, keeps the workers running, passes on the signals.

The sockets are bound once and inherited, so no connection is refused while a worker is restarted or the configuration
is reloaded: what arrives meanwhile waits in the kernel's queue. A reload is a change of guard: new workers start with
the new configuration, and once they serve the old ones finish what they have in hand. A configuration that cannot be
read, or with which no worker comes up, changes nothing. A worker that dies, or whose heart stands still, is replaced,
and the messages that it had in work are reported, for one of them may be what did it.

The supervisor does nothing else. It holds no message, runs no event loop and no threads, so that it can fork.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from contentfilter import allocator, history, maillog, sockets, systemd
from contentfilter.account import Account, AccountError
from contentfilter.config import Config
from contentfilter.errors import ConfigError
from contentfilter.guard import LOOK_SECONDS, SIGNALS, Blame, Guard, Work, nobody
from contentfilter.history_expiry import Expiry
from contentfilter.slot import READY_SECONDS, RETIRE, StartError
from contentfilter.sockets import Sockets
from contentfilter.unpack.keeper import Keeper

__all__ = ["Blame", "StartError", "Supervisor", "Work"]

_log = logging.getLogger("contentfilter.daemon")

EXPIRY_SECONDS = 3600.0
"""How often the history is looked through for what is too old."""
_STDERR = 2

_STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


@dataclass(slots=True)
class Supervisor:
    """Runs workers until it is told to stop.

    load: reads the configuration anew, raises ConfigError; work: the body of a worker process; blame: told of messages
    that a worker died over; account: whom to become once the sockets are bound, None to stay who we are; keeper: of the
    nursery behind the door that the workers know of, None if they know of none.
    """

    config: Config
    load: Callable[[], Config]
    work: Work
    blame: Blame = nobody
    account: Account | None = None
    keeper: Keeper | None = None
    guard: Guard = field(init=False)
    _sockets: Sockets = field(default_factory=dict)
    _watchdog: systemd.Watchdog = field(default_factory=systemd.Watchdog)
    _expiry: Expiry = field(default_factory=Expiry)
    _expiry_due: float = 0.0

    def __post_init__(self) -> None:
        self.guard = Guard(self.work, self.blame)

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT. Returns the exit status.

        Raises StartError if a socket cannot be bound, or if a worker dies before all of them served.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        faulthandler.enable(_STDERR)  # SIGABRT, of systemd to us and of us to a worker, shows which line hangs
        self._watchdog = systemd.Watchdog.wanted(os.environ, os.getpid())
        self._sockets = self._opened(self.config)
        if self.account is not None:
            self._become(self.account)
        self._keep_nursery()
        allocator.loaded()
        self.guard.fill(self.config, self._sockets)
        try:
            serving = self._await_ready()
        except StartError:
            self._stop()
            raise
        if serving:
            self._tell_ready()
            _log.info("ready: %d workers on %s", self.config.workers, ", ".join(self.config.listen.addresses))
        self.guard.reap()
        self._expire_history()
        while self._turn(signal.sigtimedwait(SIGNALS, self._next_deadline())):
            pass
        return self._stop()

    def _become(self, account: Account) -> None:
        """Be this user, who must be able to read the configuration, as a reload does. Raises StartError."""
        try:
            account.become()
            self.config = self.load()
        except (AccountError, ConfigError) as error:
            sockets.close(self._sockets)
            raise StartError(f'user: as "{account.name}": {error}', os.EX_CONFIG) from error
        directory = self.config.state_directory
        if not os.access(directory, os.W_OK | os.X_OK):
            sockets.close(self._sockets)
            advice = f"if it is not read-only: chown -R {account.name} {directory}"
            raise StartError(f'state_directory: "{account.name}" cannot write to {directory}; {advice}')
        self.account = None
        _log.info("started as root, runs as %s from here on", account.name)

    def _tell_ready(self) -> None:
        status = f"{self.config.workers} workers on {', '.join(self.config.listen.addresses)}"
        systemd.notify("READY=1", f"STATUS={status}")

    def _turn(self, received: signal.struct_siginfo | None) -> bool:
        """React to one signal, or to none. False: stop."""
        number = received.si_signo if received else 0
        if number in (signal.SIGTERM, signal.SIGINT):
            return False
        if number == signal.SIGHUP:
            self._reload()
        self.guard.reap()
        self.guard.look_at_hearts(self.config.worker_timeout)
        self.guard.cut_the_late()
        self._keep_nursery()
        self.guard.fill(self.config, self._sockets)
        self._show_life()
        self._expire_history()
        return True

    def _keep_nursery(self) -> None:
        if self.keeper is not None:
            self.keeper.keep()

    def _show_life(self) -> None:
        """To systemd, which restarts us where nobody serves and nobody is about to."""
        if self.guard.lives:
            self._watchdog.keep_alive()

    def _expire_history(self) -> None:
        """Now and then, whether mail comes or not."""
        if time.monotonic() >= self._expiry_due:
            self._expiry_due = time.monotonic() + EXPIRY_SECONDS
            self._expiry.run(self.config.state_directory / history.DIRECTORY, self.config.history.keep_days)

    def _next_deadline(self) -> float:
        """Seconds until something is due."""
        now = time.monotonic()
        look = min(LOOK_SECONDS, self.config.worker_timeout / 4, self._watchdog.interval or LOOK_SECONDS)
        nursery = now + look if self.keeper is None else self.keeper.due
        return max(0.05, min((now + look, nursery, *self.guard.deadlines())) - now)

    def _opened(self, config: Config) -> Sockets:
        """A socket for each address: the one that is open already, or a new one. Raises StartError."""
        opened = {one: self._sockets[one] for one in config.listen.addresses if one in self._sockets}
        for address in config.listen.addresses:
            if address not in opened:
                try:
                    opened[address] = sockets.bind(address, int(config.listen.unix_mode, 8), self.account)
                except OSError as error:
                    sockets.close({one: sock for one, sock in opened.items() if one not in self._sockets})
                    raise StartError(f"[listen] addresses: {sockets.why_not(address, error)}") from error
        return opened

    def _await_ready(self) -> bool:
        """Wait until every worker serves; false as soon as we are told to stop. Raises StartError if one dies before.

        The signal to stop stays pending, and so does SIGHUP.
        """
        deadline = time.monotonic() + READY_SECONDS
        waiting = list(self.guard.slots)
        while waiting := [slot for slot in waiting if not slot.serves()]:
            if signal.sigpending() & _STOP_SIGNALS:
                return False
            if time.monotonic() > deadline:
                raise StartError(f"a worker did not serve within {READY_SECONDS:g} s", os.EX_SOFTWARE)
            self._show_life()
            signal.sigtimedwait({signal.SIGCHLD}, 0.02)
        return True

    def _reload(self) -> None:
        systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            config = self.load()
            self._change_guard(config)
        except (ConfigError, StartError) as error:
            _log.error("reload refused, the old configuration stays: %s", error)
        else:
            _log.info("reloaded")
        self._tell_ready()

    def _change_guard(self, config: Config) -> None:
        """Put new workers in the place of the old ones, who go once the new ones serve.

        Raises StartError if they cannot; then everything is as before.
        """
        before = (self.config, self._sockets, self.guard.slots)
        old_config, old_sockets, old_slots = before
        opened = self._opened(config)
        self.config, self._sockets, self.guard.slots = config, opened, []
        _set_up_log(config)
        allocator.loaded()
        self.guard.fill(self.config, self._sockets)
        try:
            self._await_ready()
        except StartError:
            self.guard.dismiss(self.guard.slots, self.config.drain_timeout)
            self.config, self._sockets, self.guard.slots = before
            sockets.close({one: sock for one, sock in opened.items() if one not in old_sockets})
            _set_up_log(old_config)
            raise
        self.guard.dismiss(old_slots, old_config.drain_timeout, RETIRE)
        sockets.close({one: sock for one, sock in old_sockets.items() if one not in opened})
        self._expiry_due = 0.0  # it may be kept for fewer days from now on
        if config.listen.unix_mode != old_config.listen.unix_mode:
            sockets.change_modes(opened, int(config.listen.unix_mode, 8))
        if config.user != old_config.user:
            _log.warning('user: "%s" counts from the next start on, not for a reload', config.user)

    def _stop(self) -> int:
        systemd.notify("STOPPING=1")
        for sock in self._sockets.values():
            sock.close()
        self.guard.dismiss(self.guard.slots, self.config.drain_timeout)
        self.guard.slots = []
        self.guard.reap()
        while self.guard.leaving:
            self._watchdog.keep_alive()
            signal.sigtimedwait(SIGNALS, self._next_deadline())
            self.guard.reap()
            self.guard.cut_the_late()
            self._keep_nursery()
        if self.keeper is not None:
            self.keeper.close()
        sockets.close(self._sockets)
        _log.info("stopped")
        return 0


def _set_up_log(config: Config) -> None:
    maillog.set_up(config.log.to.value, config.log.level.value, config.log.syslog_address)
