"""What `contentfilter serve` does: everything that comes before the supervisor, which it ends as.

Nothing of the other commands is known here. They would stay in memory for as long as the daemon runs, once for each of
its processes that writes beside them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from contentfilter import config as configuration
from contentfilter import maillog, output, worker
from contentfilter.account import Account, AccountError
from contentfilter.config import Config
from contentfilter.daemon import StartError, Supervisor
from contentfilter.errors import ConfigError
from contentfilter.unpack.keeper import Keeper


def main(path: Path | None) -> None:
    """Serve with this configuration file, None: the usual one. Ends with an exit status of sysexits.h."""
    file = configuration.path_in_use(path)
    reload: Callable[[], Config] = partial(worker.loaded, file)
    try:
        config = reload()
    except ConfigError as error:
        output.fail(str(error), os.EX_CONFIG)
    maillog.set_up(config.log.to.value, config.log.level.value, config.log.syslog_address)
    account = account_to_become(config, file)
    make_state_directory(config, file, account)
    worker.load_wanted(config)
    if account is not None:
        worker.load_unreadable(account)
    try:
        blame = partial(worker.blame, config)
        keeper = Keeper()
        work = partial(worker.run, door=keeper.door)
        raise SystemExit(Supervisor(config, reload, work, blame, account, keeper).run())
    except StartError as error:
        output.fail(f"{file}: {error}", error.status)


def account_to_become(config: Config, file: Path) -> Account | None:
    """Whom root leaves its place to; None: nobody, as we are not root or are to stay it.

    Ends if there is no such user.
    """
    if os.geteuid() != 0:
        return None
    try:
        account = Account.named(config.user)
    except AccountError as error:
        output.fail(f"{file}: user: {error}", os.EX_CONFIG)
    if account.uid:
        return account
    maillog.stays_root(str(file))
    return None


def make_state_directory(config: Config, file: Path, account: Account | None) -> None:
    """Make it for this user, None: for us.

    If it cannot be made the end is one after which a service manager tries again: a file system may be mounted late.
    """
    try:
        missing = [one for one in (config.state_directory, *config.state_directory.parents) if not one.is_dir()]
        for path in reversed(missing):
            path.mkdir()
            path.chmod(0o755)  # whatever the umask: the user has to get through what we make on the way
        if missing:
            config.state_directory.chmod(0o750)
            if account is not None:
                account.give(config.state_directory)
    except OSError as error:
        problem = f"{config.state_directory} cannot be made: {error.strerror}"
        output.fail(f"{file}: state_directory: {problem}", os.EX_OSERR)
