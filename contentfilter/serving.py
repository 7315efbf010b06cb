"""What `contentfilter serve` does: everything that comes before the supervisor, which it ends as.

Nothing of the other commands is known here. They would stay in memory for as long as the daemon runs, once for each of
its processes that writes beside them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from contentfilter import assembly, maillog, output, worker
from contentfilter import config as configuration
from contentfilter.account import Account, AccountError
from contentfilter.config import Config, ownership
from contentfilter.daemon import StartError, Supervisor
from contentfilter.errors import ConfigError, PolicyError
from contentfilter.rules import TableKind
from contentfilter.unpack.keeper import Keeper


def main(path: Path | None) -> None:
    """Serve with this configuration file, None: the usual one. Ends with an exit status of sysexits.h."""
    file = configuration.path_in_use(path)
    reload: Callable[[], Config] = partial(loaded, file)
    try:
        config = reload()
    except ConfigError as error:
        output.fail(str(error), os.EX_CONFIG)
    maillog.set_up(config.log.to.value, config.log.level.value, config.log.syslog_address)
    account = account_to_become(config, file)
    make_state_directory(config, file, account)
    load_wanted(config)
    if account is not None:
        load_unreadable(account)
    try:
        keeper = Keeper()
        work = partial(worker.run, door=keeper.door)
        raise SystemExit(Supervisor(config, reload, work, partial(blame, config), account, keeper).run())
    except StartError as error:
        output.fail(f"{file}: {error}", error.status)


def loaded(file: Path) -> Config:
    """The configuration in this file, if nobody else may change it and its databases can be used. Raises ConfigError.

    Whether they answer is another question: what is away now may come back.
    """
    config = configuration.load(file)
    ownership.check(configuration.files(config, file))
    for key, make in (("database", assembly.policy_reader_for), ("amavis_database", assembly.amavis_database_for)):
        if getattr(config.policies, key):
            try:
                make(config)
            except PolicyError as error:
                raise ConfigError(f"{file}: [policies] {key}: {error}") from error
    return config


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


def load_wanted(config: Config) -> None:
    """Load now what this configuration needs beyond what all do: before workers are forked, who then share it."""
    if config.rspamd.enabled:
        import_module("contentfilter.inspectors.rspamd")
    if config.rule_set.of(TableKind.BODY_CHECKS) is not None:
        import_module("contentfilter.html_text")


def load_unreadable(account: Account) -> None:
    """Load now what is else loaded when it is wanted, if the user that root becomes cannot read it."""
    modules = ("contentfilter.policy.amavis", "quarantine.index", "contentfilter.html_text")
    specs = [find_spec(name) for name in (*modules, "sqlalchemy")]
    files = [os.__file__, *(spec.origin for spec in specs if spec is not None and spec.origin is not None)]
    if not account.reads(map(Path, files)):
        for module in modules:
            import_module(module)


def blame(config: Config, identities: Sequence[bytes], how: str) -> None:
    """A worker ended so while these messages were in work: it counts against each. For the supervisor.

    Raises LedgerError. Nothing stays open: a database that is open does not survive a fork.
    """
    ledger_of_ours = assembly.ledger_for(config)
    try:
        ledger_of_ours.strike(identities, f"worker ended: {how}")
    finally:
        ledger_of_ours.close()
