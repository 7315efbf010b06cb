"""The doctor for where settings come from: the policy database, amavis's, and the files of the configuration.

Nothing is changed: a database that has no tables yet gets none from here.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy.engine import make_url

from contentfilter.config import Config, NamedFile
from contentfilter.diagnosis import Diagnosis, State
from contentfilter.errors import PolicyError
from contentfilter.policy.amavis_database import AmavisDatabase
from contentfilter.policy.database import DatabaseStatus, PolicyDatabase
from contentfilter.policy.engine import sqlite_path
from contentfilter.policy.steps import STEPS

_TEST_SECONDS = 10
_MEANWHILE = "until it can be read all mail is deferred"


async def policy_database(config: Config, database: PolicyDatabase) -> Diagnosis:
    """Whether the policy database answers, which version its tables have, and how much is in it."""
    about = f"policy database at {_shown(config.policies.database)}"
    try:
        status = await asyncio.to_thread(database.status)
    except PolicyError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            advice = "start the filter, which makes state_directory, or set [policies] database to another place"
            return Diagnosis(about, State.ODD, f"{error}", advice)
        return Diagnosis(about, State.ILL, str(error), f"{_database_advice(error, 'database')}; {_MEANWHILE}")
    finally:
        database.close()
    if status is None:
        return Diagnosis(about, State.WELL, "is not there yet: the first policy set or lists add makes it")
    return _tables(about, status)


def _tables(about: str, status: DatabaseStatus) -> Diagnosis:
    if status.version == 0 and not status.may_create:
        advice = f"GRANT CREATE on the schema, or run contentfilter policy list once as somebody who may; {_MEANWHILE}"
        return Diagnosis(about, State.ILL, "has no tables, and this user may not make them", advice)
    if status.version == 0:
        return Diagnosis(about, State.WELL, f"answers; tables of version {len(STEPS)} are made when it is first used")
    found = f"tables of version {status.version}, entries: {status.entries}, list entries: {status.listed}"
    if status.version < len(STEPS):
        advice = "its user has to be one who may alter tables; or run contentfilter policy list once as such a user"
        return Diagnosis(about, State.ODD, f"{found}; they become version {len(STEPS)} when it is next used", advice)
    return Diagnosis(about, State.WELL, found)


async def amavis_database(config: Config, database: AmavisDatabase) -> Diagnosis:
    """Whether amavis's database answers and has the tables that are read, and how many users and lists it has."""
    about = f"amavis database at {_shown(config.policies.amavis_database)}"
    try:
        status = await asyncio.to_thread(database.status)
    except PolicyError as error:
        return Diagnosis(about, State.ILL, str(error), f"{_database_advice(error, 'amavis_database')}; {_MEANWHILE}")
    finally:
        database.close()
    if not status.users:
        advice = "if that is not meant to be, compare [policies] amavis_database with amavis's @lookup_sql_dsn"
        return Diagnosis(about, State.ODD, "has no users, so it sets nothing", advice)
    lists = "no tables of lists" if status.listed is None else f"rows in wblist: {status.listed}"
    return Diagnosis(about, State.WELL, f"users: {status.users}, {lists}")


def configuration_files(config: Config, files: Sequence[NamedFile]) -> Iterator[Diagnosis]:
    """Whether the daemon's user may read what we have read, and nobody else may write it, or read a password in it.

    files: those that the configuration was read from.
    """
    about = "configuration files"
    owner = _owner(config.state_directory)
    complaints: list[Diagnosis] = []
    for one in files:
        complaints += _permissions(one)
    if owner is not None and os.geteuid() == 0:
        complaints += _hidden_from(owner, files, _database_file(config))
    yield from complaints
    if not complaints:
        whom = "may be read" if owner is None else f"may be read by the user {owner.pw_name}"
        yield Diagnosis(about, State.WELL, f"{whom}: {', '.join(str(one.path) for one in files)}")


def _permissions(file: NamedFile) -> Iterator[Diagnosis]:
    about = _about(file)
    mode = file.path.stat().st_mode
    if mode & stat.S_IWOTH:
        advice = f"chmod o-w {file.path}: whoever may write it says what becomes of everybody's mail"
        yield Diagnosis(about, State.ILL, "everybody may write to it", advice)
    if file.secret and mode & stat.S_IROTH:
        advice = f"let the filter's group read it and nobody else: chgrp GROUP {file.path}; chmod 640 {file.path}"
        yield Diagnosis(about, State.ODD, "has the password of a database in it, and everybody may read it", advice)


def _hidden_from(owner: pwd.struct_passwd, files: Sequence[NamedFile], database: Path | None) -> Iterator[Diagnosis]:
    """What root may read and the daemon's user may not: a start, or the next reload, would fail."""
    whom = f"{owner.pw_name}, to whom state_directory belongs,"
    for file in files:
        if not _may(owner, "-r", file.path):
            advice = f"chgrp {_group(owner)} {file.path}; chmod g+r {file.path}; look at the directories above as well"
            yield Diagnosis(_about(file), State.ILL, f"{whom} may not read it", f"a reload would be refused: {advice}")
    if database is not None and database.exists() and not (_may(owner, "-r", database) and _may(owner, "-w", database)):
        advice = f"chown {owner.pw_name} {database}* (SQLite has two more files beside it); until then mail is deferred"
        yield Diagnosis(f"[policies] database {database}", State.ILL, f"{whom} may not both read and write it", advice)


def _about(file: NamedFile) -> str:
    return f"{file.key or 'configuration'} {file.path}"


def _may(user: pwd.struct_passwd, right: str, path: Path) -> bool:
    """Whether this user may read (-r) or write (-w) it, by all that the system knows, ACLs and mounts included."""
    done = subprocess.run(  # noqa: S603 - a fixed program; the path is the administrator's
        [shutil.which("test") or "/usr/bin/test", right, str(path)],
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=os.getgrouplist(user.pw_name, user.pw_gid),
        cwd="/",
        timeout=_TEST_SECONDS,
        check=False,
    )
    return done.returncode == 0


def _owner(directory: Path) -> pwd.struct_passwd | None:
    """Whom the daemon runs as, by its directory; None if that does not tell."""
    try:
        uid = directory.stat().st_uid
        return pwd.getpwuid(uid) if uid else None
    except (OSError, KeyError):
        return None


def _group(user: pwd.struct_passwd) -> str:
    import grp  # noqa: PLC0415 - rarely wanted

    try:
        return grp.getgrgid(user.pw_gid).gr_name
    except KeyError:
        return str(user.pw_gid)


def _database_file(config: Config) -> Path | None:
    return sqlite_path(make_url(config.policies.database))


def _shown(url: str) -> str:
    """The URL without a password. Where it has one that is given in another way, nothing of its query is shown."""
    return make_url(url).set(query={}).render_as_string(hide_password=True)


def _database_advice(error: PolicyError, key: str) -> str:
    if isinstance(error.__cause__, PermissionError):
        return "run doctor as the filter's user or root; the file has to belong to the filter's user"
    return f"look whether the database runs, and compare [policies] {key} with its name, user and password"
