"""Where the commands read and write settings and lists: the policy database, and what the configuration has."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from contentfilter.config import Config
from contentfilter.errors import PolicyError
from contentfilter.output import fail
from contentfilter.policy import forms
from contentfilter.policy.change import Change, ConflictError
from contentfilter.policy.database import PolicyDatabase
from contentfilter.policy.exchange.content import Content, Step, changes, content
from contentfilter.policy.keys import stored_key
from contentfilter.policy.lists import stored_subject

_ATTEMPTS = 20
_SITE = "site"
_T = TypeVar("_T")
_S = TypeVar("_S", bound=Step)


@contextlib.contextmanager
def opened(config: Config) -> Iterator[PolicyDatabase]:
    """The policy database; its errors, and those of every other source, end the command with their text."""
    with ending():
        database = PolicyDatabase(config.policies.database, timeout=config.policies.timeout)
        try:
            yield database
        finally:
            database.close()


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """End the command with the text of a PolicyError."""
    try:
        yield
    except PolicyError as error:
        code, advice = _end(error)
        fail(f"{error}; {advice}", code)


def _end(error: PolicyError) -> tuple[int, str]:
    said = str(error).lower()
    if isinstance(error, ConflictError):
        return os.EX_TEMPFAIL, "nothing was changed, run the command again"
    if isinstance(error.__cause__, PermissionError) or "readonly" in said or "permission denied" in said:
        return os.EX_NOPERM, "only the filter's user and root may"
    if isinstance(error.__cause__, FileNotFoundError) and "amavis" not in said:
        return os.EX_UNAVAILABLE, "the filter makes state_directory when it is started for the first time"
    if "locked" in said:
        return os.EX_TEMPFAIL, "another process writes to it: try again"
    return os.EX_UNAVAILABLE, "see [policies] in the configuration, and whether the database runs"


def content_of(database: PolicyDatabase) -> tuple[int, Content]:
    """All that is in the database, and a generation that is not newer."""
    generation = database.generation()
    return generation, content(database.entries().values(), database.listed())


def change(database: PolicyDatabase, read: Callable[[], _T], step: Callable[[_T], Iterable[_S]]) -> list[_S]:
    """Read, decide, and write, again from the start if somebody else wrote in between. Returns what was done."""
    for attempt in range(_ATTEMPTS):
        generation = database.generation()
        steps = list(step(read()))
        wanted: list[Change] = changes(steps)
        if not wanted:
            break
        try:
            database.apply(wanted, generation)
            break
        except ConflictError:
            if attempt == _ATTEMPTS - 1:
                raise
    return steps


def key_given(text: str, config: Config) -> str:
    """The key of an entry on the command line, or the end."""
    try:
        return stored_key(text, case_sensitive=config.domains.case_sensitive)
    except ValueError as error:
        fail(f'"{text}": {error}', os.EX_DATAERR)


def name_given(name: str) -> str:
    """The name of a setting on the command line, or the end."""
    try:
        return forms.known_name(name)
    except ValueError as error:
        fail(f"{name}: {error}", os.EX_DATAERR)


def owner_given(text: str, config: Config) -> str:
    """The owner of a list on the command line; "site" is everybody."""
    return "@." if text == _SITE else key_given(text, config)


def subject_given(text: str) -> str:
    """The subject of a list entry on the command line, or the end."""
    try:
        return stored_subject(text)
    except ValueError as error:
        fail(f'"{text}": {error}', os.EX_DATAERR)


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a key is meant: a pattern with * or ? means whole keys, any other a part of them."""
    if not {"*", "?"} & set(pattern):
        part = pattern.lower()
        return lambda key: part in key.lower()
    # Only these two: a [ is part of an address literal.
    whole = re.compile(fnmatch.translate(pattern.replace("[", "[[]")), re.IGNORECASE)
    return lambda key: whole.fullmatch(key) is not None
