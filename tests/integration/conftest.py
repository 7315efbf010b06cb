"""The real neighbours, started once for all integration tests. A missing program is an error that names its package."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from demo.neighbours.clamd import Clamd
from demo.neighbours.postfix import Postfix
from demo.neighbours.spamd import Spamd
from tests.postgresql import PostgreSQL

ENVELOPE_RULES = """
header SAW_OURS EnvelopeFrom =~ /^ada@/
header SAW_FORGED EnvelopeFrom =~ /evil/
score SAW_OURS 0.001
score SAW_FORGED 0.001
"""
"""SpamAssassin rules that show whom it takes for the envelope sender."""

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(scope="session")
def open_directory() -> Iterator[Path]:
    """A directory that servers can use which do not stay root, with a name short enough for a Unix socket in it."""
    with tempfile.TemporaryDirectory(prefix="contentfilter-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory


@pytest.fixture(scope="session")
def clamd(open_directory: Path) -> Iterator[Clamd]:
    """A real clamd, on a Unix socket and on TCP."""
    directory = open_directory / "clamd"
    directory.mkdir()
    with Clamd(directory, tcp=True) as running:
        yield running


@pytest.fixture(scope="session")
def spamd(open_directory: Path) -> Iterator[Spamd]:
    """A real spamd, on TCP. The user "strict" has preferences of its own."""
    directory = open_directory / "spamd"
    directory.mkdir()
    with Spamd(directory, tcp=True, preferences={"strict": "score GTUBE 500"}, options=ENVELOPE_RULES) as running:
        yield running


@pytest.fixture(scope="session")
def bare_spamd(open_directory: Path) -> Iterator[Spamd]:
    """A real spamd, on a Unix socket, whose postmaster has not installed our snippet."""
    directory = open_directory / "spamd-bare"
    directory.mkdir()
    with Spamd(directory, options=ENVELOPE_RULES, snippet=False) as running:
        yield running


@pytest.fixture(scope="session")
def postgresql(open_directory: Path) -> Iterator[PostgreSQL]:
    """A real PostgreSQL, on a Unix socket."""
    directory = open_directory / "postgresql"
    directory.mkdir()
    with PostgreSQL(directory) as running:
        yield running


@pytest.fixture
def own_postgresql(open_directory: Path) -> Iterator[PostgreSQL]:
    """Another one, for a test that does it harm."""
    directory = Path(tempfile.mkdtemp(prefix="postgresql-", dir=open_directory))
    with PostgreSQL(directory) as running:
        yield running


def require_root() -> None:
    """Skip the test unless root runs it. In CI it fails: a green run has had a Postfix in it."""
    if os.geteuid() == 0:
        return
    if os.environ.get("CI"):
        pytest.fail("only root can start Postfix, and CI does not go without")
    pytest.skip("only root can start Postfix")


@pytest.fixture
def root() -> None:
    """For tests that only root can run."""
    require_root()


@pytest.fixture
def start_postfix(root: None, open_directory: Path) -> Iterator[Callable[..., Postfix]]:
    """Start a Postfix with these arguments of :class:`Postfix`; it is stopped when the test ends."""
    with contextlib.ExitStack() as stack:

        def start(**arguments: Any) -> Postfix:
            directory = Path(tempfile.mkdtemp(prefix="postfix-", dir=open_directory))
            directory.chmod(0o755)
            return stack.enter_context(Postfix(directory, **arguments))

        yield start


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine to its end, in a loop of each kind."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def runner(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=factory) as loop:
            return loop.run(coroutine)

    return runner
